//! The session of `ostler repl`: it runs statements, and goes on in a new worker when its own dies.

use std::{future, pin::Pin, time::Duration};

use bytes::Bytes;
use ostler::{
    CancelStage, Cancelled, Event, Execution, Failure, Generation, InputRequest, Outcome, Request, Session,
    SessionEvent, Stream, SubmitError,
};
use tokio::time::Instant;

use crate::{
    exit::Exit,
    repl::{
        Reader,
        complete::Language,
        editor::Typed,
        home::Home,
        past::{Branch, Past},
        screen::Screen,
        waits::{next_event, passed, told_to_end},
    },
    signals::Signals,
    words,
};

mod end;
mod renew;

/// Whether the conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It does.
    Go,
    /// It ends.
    Leave(Exit),
}

/// A stateful session and who types into it.
#[derive(Debug)]
pub(crate) struct Repl {
    pub(super) home: Home,
    /// There is none only while one follows another.
    pub(super) session: Option<Session>,
    /// What it was before its last statements.
    pub(super) past: Past,
    /// Which branch that is, and the others.
    pub(super) number: usize,
    pub(super) others: Vec<Branch>,
    reader: Reader,
    pub(crate) screen: Screen,
    signals: Signals,
    startup: Option<Request>,
    /// Time that a statement has after a TERM signal.
    grace: Duration,
    /// The program was told to end while a statement ran.
    leaving: Option<Exit>,
    /// The editor has the terminal: whatever else is shown goes above its line.
    prompting: bool,
    /// The last generation of a restored session that was told.
    told: Option<Generation>,
    /// The worst that happened: the exit code when nobody sees what went wrong.
    pub(crate) worst: Exit,
}

/// An answer on its way to the code that asked.
type Answer = Pin<Box<dyn Future<Output = Typed> + Send>>;

impl Repl {
    pub(crate) fn new(
        home: Home,
        session: Session,
        reader: Reader,
        screen: Screen,
        signals: Signals,
        startup: Option<Request>,
        grace: Duration,
    ) -> Self {
        Self {
            home,
            session: Some(session),
            past: Past::new(matches!(reader, Reader::Terminal(_))),
            number: 1,
            others: Vec::new(),
            reader,
            screen,
            signals,
            startup,
            grace,
            leaving: None,
            prompting: false,
            told: None,
            worst: Exit::Completed,
        }
    }

    /// Says who is there.
    pub(crate) async fn greet(&mut self, language: Language) {
        let code = match language {
            Language::Python => {
                "'Python {1[0]}, {0.executable}'.format(__import__('sys'), __import__('sys').version.split())"
            }
            Language::JavaScript => "`Node ${process.versions.node}, ${process.execPath}`",
        };
        let python = match self.session().run(Request::python(code).label("greeting")).await {
            Ok(report) => {
                report.value().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
            }
            // The first statement will meet the same error and say it.
            Err(_) => String::new(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("Ostler {version}. {python}\nCtrl-C interrupts, Ctrl-D ends.\n");
        self.screen.write(Stream::Stdout, text).await;
    }

    /// Runs the startup file, if there is one.
    pub(crate) async fn start_up(&mut self) -> Flow {
        match self.startup.clone() {
            Some(request) => Box::pin(self.execute(request)).await,
            None => Flow::Go,
        }
    }

    /// Asks for a statement, and shows what happens meanwhile.
    pub(crate) async fn ask(&mut self) -> Result<Typed, Exit> {
        self.screen.begin_line().await;
        self.screen.flush().await;
        let Reader::Terminal(keyboard) = &self.reader else { return Ok(Typed::End) };
        let mut typed = Box::pin(keyboard.statement());
        self.prompting = true;
        let typed = loop {
            tokio::select! {
                typed = &mut typed => break typed,
                event = next_event(&mut self.session) => self.between(event).await?,
                exit = told_to_end(&mut self.signals) => return Err(exit),
            }
        };
        self.prompting = false;
        Ok(typed)
    }

    /// The next line of a pipe. There is none for whom nobody listens to.
    pub(crate) async fn next_line(&mut self) -> Result<Option<String>, Exit> {
        self.screen.flush().await;
        let mut closed = std::pin::pin!(self.screen.closed());
        let Reader::Pipe(input) = &self.reader else { return Ok(None) };
        let input = input.clone();
        let mut line = Box::pin(input.line(false));
        loop {
            tokio::select! {
                line = &mut line => return Ok(line),
                event = next_event(&mut self.session) => self.between(event).await?,
                signal = self.signals.next() => return Err(Exit::Signal(signal)),
                () = &mut closed => return Err(Exit::OutputClosed),
            }
        }
    }

    /// Shows what happened while nothing ran.
    async fn between(&mut self, event: Option<SessionEvent>) -> Result<(), Exit> {
        match event {
            Some(SessionEvent::Background { stream, data }) => self.write(stream, data).await,
            Some(SessionEvent::Ended { why, .. }) => {
                if let Flow::Leave(exit) = self.renew(&format!("the session has ended: {why}")).await {
                    return Err(exit);
                }
            }
            Some(SessionEvent::Restored(news)) => {
                if let Flow::Leave(exit) = self.goes_on(&news).await {
                    return Err(exit);
                }
            }
            // A later version may tell more.
            Some(_) => {}
            // After the end of a session comes its successor.
            None => future::pending().await,
        }
        Ok(())
    }

    pub(crate) fn session(&self) -> &Session {
        self.session.as_ref().expect("one follows another before anything else happens")
    }

    /// Runs a statement, or performs a command.
    pub(crate) async fn run(&mut self, statement: &str) -> Flow {
        if let Some(flow) = self.command(statement).await {
            return flow;
        }
        self.keep(statement).await;
        self.execute(Request::python(statement)).await
    }

    async fn execute(&mut self, request: Request) -> Flow {
        match self.session().execute(request).await {
            Ok(execution) => self.follow(execution).await,
            Err(SubmitError::SessionEnded { why }) => {
                self.screen.say("the statement was not run").await;
                self.renew(&format!("the session has ended: {why}")).await
            }
            Err(error) => {
                self.note_failure();
                self.screen.say(&format!("the statement was not run: {error}")).await;
                Flow::Go
            }
        }
    }

    async fn follow(&mut self, mut execution: Execution) -> Flow {
        let mut closed = std::pin::pin!(self.screen.closed());
        let mut interrupts = 0;
        let mut limit: Option<Instant> = None;
        let mut asked: Option<(InputRequest, Answer)> = None;
        loop {
            tokio::select! {
                event = execution.next() => match event {
                    Some(Event::SessionRestored(news)) => self.tell_once(&news).await,
                    Some(Event::Output { stream, data }) => self.write(stream, data).await,
                    Some(Event::Display(display)) => {
                        if let Some(text) = display.mime.text("text/plain") {
                            self.write(Stream::Stdout, format!("{text}\n")).await;
                        }
                    }
                    Some(Event::Input(input)) => {
                        let answer = self.answer(&input).await;
                        self.prompting = true;
                        asked = Some((input, answer));
                    }
                    Some(_) => {}
                    None => break,
                },
                typed = typed(&mut asked) => {
                    self.prompting = false;
                    if let Some((input, _)) = asked.take() {
                        reply(&execution, &input, typed);
                    }
                }
                signal = self.signals.next() => {
                    match (self.leaving, signal) {
                        (None, Signals::INTERRUPT) => {
                            interrupts += 1;
                            self.interrupt(&execution, interrupts).await;
                        }
                        (None, _) => {
                            self.leaving = Some(Exit::Signal(signal));
                            limit = Some(Instant::now() + self.grace);
                        }
                        (Some(_), Signals::HANGUP) => {}
                        (Some(exit), _) => return self.kill(exit).await,
                    }
                }
                () = &mut closed, if self.leaving.is_none() => {
                    self.leaving = Some(Exit::OutputClosed);
                    execution.cancel();
                }
                () = passed(limit) => return self.kill(self.leaving.unwrap_or(Exit::Lost)).await,
            }
        }
        if let (Some((_, answer)), Reader::Terminal(_)) = (asked, &self.reader) {
            self.tell("nobody waits for this line any more; press Enter").await;
            answer.await;
        }
        self.prompting = false;
        let outcome = execution.outcome().await;
        if self.leaving == Some(Exit::OutputClosed) {
            return Flow::Leave(Exit::OutputClosed);
        }
        let flow = self.show(outcome).await;
        self.leaving.map_or(flow, Flow::Leave)
    }

    /// Ends the pool at once, with the statement that still runs.
    async fn kill(&mut self, exit: Exit) -> Flow {
        self.tell("the statement did not end, so its worker is killed").await;
        self.home.shutdown().await;
        Flow::Leave(exit)
    }

    /// The first two Ctrl-C are the code's own to handle; the third leaves it no choice.
    async fn interrupt(&mut self, execution: &Execution, count: u32) {
        self.screen.key_shown();
        match count {
            1 => execution.interrupt(),
            2 => {
                execution.interrupt();
                self.screen
                    .say("the code still runs; Ctrl-C once more stops it by force, and its state may be lost")
                    .await;
            }
            _ => execution.cancel(),
        }
    }

    /// Asks for a line for the code that runs.
    async fn answer(&mut self, input: &InputRequest) -> Answer {
        match &self.reader {
            Reader::Terminal(keyboard) => {
                let prompt = self.screen.take_line().await + &input.prompt;
                Box::pin(keyboard.line(prompt, input.password))
            }
            Reader::Pipe(lines) => {
                let (lines, password) = (lines.clone(), input.password);
                self.screen.write(Stream::Stdout, input.prompt.clone()).await;
                Box::pin(async move { lines.line(password).await.map_or(Typed::End, Typed::Text) })
            }
        }
    }

    async fn show(&mut self, outcome: Outcome) -> Flow {
        match outcome {
            Outcome::Completed(completion) if completion.exited => return Flow::Leave(Exit::Completed),
            Outcome::Completed(completion) => {
                if let Some(repr) = completion.repr {
                    self.write(Stream::Stdout, format!("{repr}\n")).await;
                }
            }
            // The text given to `sys.exit` was printed where Python prints it.
            Outcome::Failed(Failure::Exit { code, .. }) => {
                return Flow::Leave(Exit::Code(code.to_le_bytes()[0]));
            }
            Outcome::Failed(failure @ Failure::Exception(_)) => {
                self.note_failure();
                if !self.prompting {
                    self.screen.begin_line().await;
                }
                self.write(Stream::Stderr, format!("{failure}\n")).await;
            }
            Outcome::Lost(lost) => {
                return self.renew(&format!("the statement was {}", lost.headline())).await;
            }
            Outcome::Cancelled(Cancelled { stage: CancelStage::Kill, activity, .. }) => {
                let doing = activity.map(|activity| activity.summary()).filter(|summary| !summary.is_empty());
                let doing = doing.map(|doing| format!("; {doing}")).unwrap_or_default();
                return self.renew(&format!("the code did not stop, so its worker was killed{doing}")).await;
            }
            outcome @ (Outcome::Failed(_) | Outcome::TimedOut(_) | Outcome::Cancelled(_)) => {
                self.note_failure();
                self.tell(&words::page(&outcome)).await;
            }
        }
        Flow::Go
    }

    fn note_failure(&mut self) {
        if self.worst == Exit::Completed {
            self.worst = Exit::Failed;
        }
    }

    /// A line of our own, also above a prompt.
    async fn tell(&mut self, text: &str) {
        match &mut self.reader {
            Reader::Terminal(keyboard) if self.prompting => keyboard.print(self.screen.line(text)),
            Reader::Terminal(_) | Reader::Pipe(_) => self.screen.say(text).await,
        }
    }

    /// What the code prints, also above a prompt.
    async fn write(&mut self, to: Stream, data: impl Into<Bytes>) {
        let data = data.into();
        match &mut self.reader {
            Reader::Terminal(keyboard) if self.prompting => {
                keyboard.print(String::from_utf8_lossy(&data).into_owned());
            }
            Reader::Terminal(_) | Reader::Pipe(_) => self.screen.write(to, data).await,
        }
    }
}

/// The answer to an open question; never, while none is open.
async fn typed(asked: &mut Option<(InputRequest, Answer)>) -> Typed {
    match asked {
        Some((_, answer)) => answer.await,
        None => future::pending().await,
    }
}

fn reply(execution: &Execution, input: &InputRequest, typed: Typed) {
    match typed {
        Typed::Text(line) => execution.input(input.request, line),
        Typed::Interrupted => execution.interrupt(),
        Typed::End | Typed::Broken(_) => execution.end_of_input(input.request),
    }
}
