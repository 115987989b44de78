//! Where the events of one execution go: to the streams as they are, as lines with a prefix, or as JSON.

use std::time::Duration;

use bytes::Bytes;
use ostler::{
    CancelStage, ExecutionId, Failure, Generation, Lost, LostCause, Outcome, Stream,
    json::{self, Characters, End, Line, What},
};
use serde::Serialize;

use crate::{output::Console, run::lines::Lines, words};

/// Where the events of one execution go.
#[derive(Debug)]
pub(crate) struct Outlet {
    label: String,
    console: Console,
    form: Form,
    /// Only what the code itself says.
    quiet: bool,
}

/// How they look.
#[derive(Debug)]
enum Form {
    /// As `python` would show them.
    Plain,
    /// Whole lines, with a prefix.
    Lines { stdout: Lines, stderr: Lines },
    /// One JSON object a line.
    Json { stdout: Characters, stderr: Characters },
}

/// A source that was never accepted.
#[derive(Debug, Serialize)]
struct Refused<'a> {
    event: &'static str,
    label: &'a str,
    message: &'a str,
}

impl Outlet {
    pub(crate) fn plain(label: String, console: Console, quiet: bool) -> Self {
        Self { label, console, form: Form::Plain, quiet }
    }

    pub(crate) fn lines(
        label: String,
        console: Console,
        quiet: bool,
        prefix: String,
        collapse: bool,
    ) -> Self {
        let lines = Lines::new(&prefix, collapse);
        let form = Form::Lines { stdout: lines.clone(), stderr: lines };
        Self { label, console, form, quiet }
    }

    pub(crate) fn json(label: String, console: Console) -> Self {
        let form = Form::Json { stdout: Characters::default(), stderr: Characters::default() };
        Self { label, console, form, quiet: true }
    }

    pub(crate) async fn started(&self, id: ExecutionId, pid: Option<u32>, generation: Generation) {
        self.event(id, What::Started { pid, generation: generation.0 }).await;
    }

    pub(crate) async fn output(&mut self, id: ExecutionId, to: Stream, data: Bytes) {
        match (&mut self.form, to) {
            (Form::Plain, _) => self.console.write(to, data).await,
            (Form::Lines { stdout: lines, .. }, Stream::Stdout)
            | (Form::Lines { stderr: lines, .. }, Stream::Stderr) => {
                let whole = lines.take(&data);
                self.write(to, whole).await;
            }
            (Form::Json { stdout: characters, .. }, Stream::Stdout)
            | (Form::Json { stderr: characters, .. }, Stream::Stderr) => {
                let whole = characters.take(&data);
                self.piece(id, to, &whole).await;
            }
        }
    }

    pub(crate) async fn dropped(&self, id: ExecutionId, bytes: u64) {
        self.event(id, What::Dropped { bytes }).await;
        if let (Form::Plain | Form::Lines { .. }, false) = (&self.form, self.quiet) {
            self.console
                .say(format!("ostler: {bytes} bytes of output of `{}` were discarded", self.label))
                .await;
        }
    }

    /// Shows how it ended: a failure as Python shows it, anything else in a line of our own. `told` is what it is
    /// counted as, when the program itself stopped it.
    pub(crate) async fn ended(
        &mut self,
        id: ExecutionId,
        outcome: &Outcome,
        told: Option<&Outcome>,
        duration: Duration,
    ) {
        self.finish(id).await;
        self.event(id, What::Outcome(Box::new(End::new(told.unwrap_or(outcome), duration)))).await;
        if matches!(self.form, Form::Json { .. }) || self.console.is_closed() {
            return;
        }
        // A traceback says where the code was, also when it was interrupted.
        let shown = if matches!(outcome, Outcome::Failed(_)) { outcome } else { told.unwrap_or(outcome) };
        match shown {
            // The text given to `sys.exit` was printed where Python prints it.
            Outcome::Completed(_) | Outcome::Failed(Failure::Exit { .. }) => {}
            // It has said so itself, if it wished to.
            Outcome::Cancelled(cancelled) if cancelled.stage == CancelStage::Interrupt => {}
            Outcome::Lost(Lost { cause: LostCause::NotLaunched { why }, .. }) => {
                self.tell(id, &format!("ostler: {why}")).await;
            }
            Outcome::Failed(_) | Outcome::Cancelled(_) | Outcome::TimedOut(_) | Outcome::Lost(_)
                if self.quiet => {}
            Outcome::Failed(_) | Outcome::Cancelled(_) | Outcome::TimedOut(_) | Outcome::Lost(_) => {
                self.tell(id, &format!("ostler: `{}`: {}", self.label, words::page(shown))).await;
            }
        }
    }

    /// Says that it was never accepted.
    pub(crate) async fn refused(&self, why: &str) {
        if let Form::Json { .. } = self.form {
            let refused = Refused { event: "refused", label: &self.label, message: why };
            self.write(Stream::Stdout, json::line(&refused)).await;
        } else {
            self.console.say(format!("ostler: `{}` was not run: {why}", self.label)).await;
        }
    }

    /// Gives on what was kept back.
    async fn finish(&mut self, id: ExecutionId) {
        let (stdout, stderr) = match &mut self.form {
            Form::Plain => return,
            Form::Lines { stdout, stderr, .. } => (stdout.finish(), stderr.finish()),
            Form::Json { stdout, stderr } => (stdout.finish(), stderr.finish()),
        };
        for (to, rest) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            match self.form {
                Form::Plain | Form::Lines { .. } => self.write(to, rest).await,
                Form::Json { .. } => self.piece(id, to, &rest).await,
            }
        }
    }

    /// Text on stderr, in whole lines.
    async fn tell(&mut self, id: ExecutionId, text: &str) {
        self.output(id, Stream::Stderr, Bytes::from(format!("{}\n", text.trim_end_matches('\n')))).await;
    }

    async fn piece(&self, id: ExecutionId, stream: Stream, data: &[u8]) {
        if !data.is_empty() {
            self.event(id, What::output(stream, data)).await;
        }
    }

    /// Writes an event, where events are what is written.
    async fn event(&self, id: ExecutionId, what: What<'_>) {
        if let Form::Json { .. } = self.form {
            self.write(Stream::Stdout, Line::new(id, Some(&self.label), what).to_line()).await;
        }
    }

    async fn write(&self, to: Stream, data: Vec<u8>) {
        if !data.is_empty() {
            self.console.write(to, data).await;
        }
    }
}
