//! What can be read in the log (A5, D1, D2, D6, E12), and what errors say (A10, E13).

use std::{
    fmt,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use ostler::{
    CancelStage, Cancelled, Death, DeathCause, Exit, Failure, Lost, LostCause, Outcome, Phase, TimedOut,
    protocol::{ExecutionResult, FromWorker},
    testing::Stage,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

use crate::{
    sinks::Sink,
    support::{Pool, guarded},
    workers::{first_does, polite, silent},
};

/// Lines as a log would have them: `level message field=value …`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Hears everything of this thread until the guard is dropped.
    fn hear() -> (Self, DefaultGuard) {
        be_interested();
        let log = Self::default();
        let guard = tracing::subscriber::set_default(log.clone());
        (log, guard)
    }

    fn lines(&self, with: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(with)).cloned().collect()
    }

    /// The transitions of one session, each as `old -> new` and its cause.
    fn transitions(&self) -> Vec<(String, String)> {
        let between = |line: &str, from: &str, to: &str| {
            let rest = line.split_once(from).map_or("", |(_, rest)| rest);
            rest.split_once(to).map_or(rest, |(part, _)| part).to_owned()
        };
        let lines = self.lines("session ");
        lines.iter().map(|line| (between(line, "session ", " |"), between(line, "cause=", " |"))).collect()
    }
}

/// Tests without a log run beside those with one. What they reach first would be marked as of no interest to anybody, if
/// there were not always somebody who is interested.
pub(crate) fn be_interested() {
    static ALWAYS: Once = Once::new();
    ALWAYS.call_once(|| drop(tracing::subscriber::set_global_default(Sink(|| {}))));
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ostler")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line { message: String::new(), fields: String::new() };
        event.record(&mut line);
        let level = event.metadata().level();
        self.0.lock().unwrap().push(format!("{level} {} |{}", line.message, line.fields));
    }
}

struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields += &format!(" {}={value:?} |", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields += &format!(" {}={value} |", field.name());
    }
}

/// D1, D2 and D6: the life of a worker, as it is told.
#[tokio::test(start_paused = true)]
async fn every_transition_is_traced_with_its_cause() {
    let (log, _guard) = Log::hear();
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.warmup("warm").max_sessions(1)).await;
        for code in ["one", "two"] {
            pool.outcome(code).await;
        }
        pool.close().await;
    })
    .await;
    let told = log.transitions();
    let told: Vec<_> = told.iter().map(|(transition, cause)| (transition.as_str(), cause.as_str())).collect();
    assert_eq!(
        told,
        [
            ("creating -> warming", "ready"),
            ("warming -> ready", "result"),
            ("ready -> busy", "assignment"),
            ("busy -> idle", "result"),
            ("idle -> busy", "assignment"),
            ("busy -> idle", "result"),
            ("idle -> shutting down", "stop"),
            ("shutting down -> terminated", "exit"),
        ]
    );
}

/// The ways to the end, with their causes.
#[tokio::test(start_paused = true)]
async fn the_cause_of_an_end_is_in_the_transition_and_in_the_line_about_the_worker() {
    let (log, _guard) = Log::hear();
    guarded(async {
        let pool = Pool::start(first_does(silent)).await;
        let execution = pool.runtime.execute("runs").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        execution.cancel();
        execution.outcome().await;
        pool.close().await;
    })
    .await;
    let told = log.transitions();
    assert!(told.contains(&("busy -> shutting down".into(), "end of grace".into())), "{told:?}");
    let ended = log.lines("worker ended");
    assert!(ended[0].contains("its code did not stop within the grace (signal 9, SIGKILL)"), "{ended:?}");
    assert!(ended[0].starts_with("INFO") && ended[0].contains("pid=1") && ended[0].contains("generation=1"));
}

/// E12: what passes between a session and its worker, and each execution from its acceptance to its end.
#[tokio::test(start_paused = true)]
async fn messages_and_executions_are_traced() {
    let (log, _guard) = Log::hear();
    guarded(async {
        let pool = Pool::start(polite()).await;
        let request = ostler::Request::python("print 1").label("nightly");
        pool.runtime.run(request).await.unwrap();
        pool.close().await;
    })
    .await;
    let boundary: Vec<_> = log
        .0
        .lock()
        .unwrap()
        .iter()
        .filter_map(|line| {
            let (_, message) = line.split_once("message=")?;
            let way = if line.contains("from the worker") { "<-" } else { "->" };
            Some(format!("{way} {}", message.split_once(" |").map_or(message, |(name, _)| name)))
        })
        .collect();
    assert_eq!(
        boundary,
        [
            "<- ready",
            "-> init",
            "-> execute",
            "<- started",
            "<- output",
            "<- result",
            "-> shutdown",
            "<- bye"
        ]
    );
    let executions = log.lines("execution ");
    for (line, stage) in executions.iter().zip(["accepted", "started", "ended"]) {
        assert!(line.contains(&format!("execution {stage}")) && line.contains("label=nightly"), "{line}");
    }
    assert!(log.lines("execution ended")[0].contains("outcome=completed"));
}

/// A5: a worker that reads slowly is counted at every write, and mentioned once.
#[tokio::test(start_paused = true)]
async fn persistent_stress_in_writing_is_counted_and_logged_once() {
    let (log, _guard) = Log::hear();
    guarded(async {
        let workers = first_does(|mut stage: Stage, id| async move {
            for _ in 0..300 {
                stage.recv().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stage.send(&FromWorker::Result(ExecutionResult::new(id, 0.5))).await;
            Ok(stage)
        });
        let pool = Pool::start(workers.pipe_len(200)).await;
        let execution = pool.runtime.execute("listens").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        for line in 0..300 {
            execution.input(line, "x".repeat(500));
        }
        assert!(execution.outcome().await.is_completed());
        assert!(pool.status().await.totals.partial_writes >= 300);
        pool.close().await;
    })
    .await;
    let warnings = log.lines("WARN");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("reads more slowly than it is written to") && warnings[0].contains("writes=100")
    );
    assert!(log.lines(Level::ERROR.as_str()).is_empty());
}

/// E13: what an outcome says to people: the state it was in, what was expected, what came, and what to do.
#[test]
fn outcomes_say_what_happened_and_what_to_do() {
    let after = Duration::from_secs(3);
    let died = |cause| {
        let death = Death { stderr: "Killed\n".into(), ..Death::new(cause, Exit::Signal(9)) };
        Outcome::Lost(Lost { started: true, cause: LostCause::Died(death) })
    };
    let killed = "(signal 9, SIGKILL); its stderr ends with:\nKilled";
    for (outcome, expected) in [
        (
            Outcome::TimedOut(TimedOut::new(after, Phase::Queued)),
            "timed out after 3s while it waited for a worker".to_owned(),
        ),
        (
            Outcome::TimedOut(TimedOut::new(after, Phase::Assigned)),
            "timed out after 3s: its worker had not started it".to_owned(),
        ),
        (
            Outcome::Lost(Lost { started: false, cause: LostCause::PoolFailed }),
            "lost before its code started: the pool has failed: too many workers died or never became ready".to_owned(),
        ),
        (
            died(DeathCause::NotReady { after }),
            format!(
                "lost while its code ran: the worker was not ready after 3s; raise `ready_timeout` if it needs longer {killed}"
            ),
        ),
        (
            died(DeathCause::Version { expected: 1, got: 2 }),
            format!(
                "lost while its code ran: the worker speaks protocol version 2, this host speaks 1; install matching \
                 versions {killed}"
            ),
        ),
        (
            died(DeathCause::Disobeyed),
            format!("lost while its code ran: the worker was killed: its code did not stop within the grace {killed}"),
        ),
        (
            Outcome::Failed(Failure::Protocol { what: "`result` message: field `id`: expected a string, got nil".into() }),
            "the worker broke the protocol for this execution: `result` message: field `id`: expected a string, got nil"
                .to_owned(),
        ),
        (
            Outcome::Failed(Failure::Exit { code: 3, message: None }),
            "the code asked to exit with code 3".to_owned(),
        ),
    ] {
        assert_eq!(outcome.to_string(), expected);
    }
    let cancelled = Outcome::Cancelled(Cancelled::new(CancelStage::Kill, Some("enough".into())));
    assert!(cancelled.to_string().contains("enough"), "{cancelled}");
}
