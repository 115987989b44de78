//! The callers of a simulation: each submits a request in its own manner and checks what it is told.

use std::time::Duration;

use ostler::{
    Event, Execution, ExecutionId, Generation, Lost, Outcome, Request, Runtime, Session, Stream, SubmitError,
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use tokio::time::Instant;

use super::worker::piece;

/// How a caller deals with what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Reads,
    ReadsSlowly,
    WantsTheOutcome,
    Cancels,
    Interrupts,
    Drops,
    Detaches,
    DropsTheSubmission,
}

const MANNERS: [Manner; 12] = [
    Manner::Reads,
    Manner::Reads,
    Manner::Reads,
    Manner::ReadsSlowly,
    Manner::WantsTheOutcome,
    Manner::WantsTheOutcome,
    Manner::Cancels,
    Manner::Cancels,
    Manner::Interrupts,
    Manner::Drops,
    Manner::Detaches,
    Manner::DropsTheSubmission,
];

/// What one request came to.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) code: String,
    pub(super) id: Option<ExecutionId>,
    pub(super) ending: Ending,
    pub(super) after: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Ending {
    Outcome(Outcome),
    Refused(SubmitError),
    /// Its caller did not wait.
    Left,
}

/// Where a request goes.
pub(super) enum To<'a> {
    Pool(&'a Runtime),
    Session(&'a Session),
}

impl To<'_> {
    async fn execute(&self, request: Request) -> Result<Execution, SubmitError> {
        match self {
            Self::Pool(runtime) => runtime.execute(request).await,
            Self::Session(session) => session.execute(request).await,
        }
    }
}

/// One caller, with its own chance. `bound` is what may pass between a deadline and the outcome (P1).
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) chance: StdRng,
    pub(super) bound: Duration,
    /// The last generation of its session, as far as it was told.
    pub(super) generation: Option<Generation>,
}

impl Caller {
    /// Submits one request, and sees it to its end.
    pub(super) async fn asks(&mut self, to: To<'_>) -> Told {
        let manner = *MANNERS.choose(&mut self.chance).expect("there are manners");
        let deadline = Duration::from_millis(self.chance.random_range(50..4_000));
        let code = self.name.clone();
        let padding = if self.chance.random_ratio(1, 20) { "#".repeat(100_000) } else { String::new() };
        let request = Request::python(code.clone()).arg("padding", padding.as_str()).deadline(deadline);
        let request = if manner == Manner::Detaches { request.detached() } else { request };
        let begun = Instant::now();
        let told = |id, ending| Told { code: code.clone(), id, ending, after: begun.elapsed() };
        if manner == Manner::DropsTheSubmission {
            let patience = Duration::from_micros(self.chance.random_range(0..3) * 500);
            let _ = tokio::time::timeout(patience, to.execute(request)).await;
            self.generation = None;
            return told(None, Ending::Left);
        }
        let execution = match to.execute(request).await {
            Ok(execution) => execution,
            Err(refused) => return told(None, Ending::Refused(refused)),
        };
        let id = execution.id();
        // Who does not read is not told.
        let reads = !matches!(manner, Manner::WantsTheOutcome | Manner::Drops | Manner::Detaches);
        self.generation = self.generation.filter(|_| reads);
        match manner {
            Manner::Drops | Manner::Detaches => {
                self.pause(500).await;
                drop(execution);
                return told(Some(id), Ending::Left);
            }
            Manner::Cancels => {
                let canceller = execution.canceller();
                let after = Duration::from_millis(self.chance.random_range(0..1_500));
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    canceller.cancel();
                });
            }
            Manner::Interrupts => execution.interrupt(),
            _reads => {}
        }
        let slowly = manner == Manner::ReadsSlowly;
        let outcome = match manner {
            Manner::WantsTheOutcome => execution.outcome().await,
            _reads => self.reads(execution, slowly).await,
        };
        let after = begun.elapsed();
        assert!(
            slowly || after <= deadline + self.bound,
            "P1: {code}: {after:?}, its deadline was {deadline:?}"
        );
        self.check(&outcome, manner);
        told(Some(id), Ending::Outcome(outcome))
    }

    async fn pause(&mut self, most_ms: u64) {
        let pause = Duration::from_millis(self.chance.random_range(0..most_ms));
        tokio::time::sleep(pause).await;
    }

    /// P4: in order, at most once, nobody else's.
    async fn reads(&mut self, mut execution: Execution, slowly: bool) -> Outcome {
        let (mut started, mut next, mut dropped) = (false, 0, false);
        while let Some(event) = execution.next().await {
            match event {
                Event::Started { generation, .. } => {
                    assert!(!std::mem::replace(&mut started, true), "started twice");
                    let known = self.generation.is_none_or(|known| known == generation);
                    assert!(
                        known,
                        "{}: {:?}, then {generation}, and nobody said so",
                        self.name, self.generation
                    );
                }
                Event::SessionRestored(news) => {
                    assert!(
                        !started && self.generation.is_none_or(|known| known < news.generation),
                        "{news:?}"
                    );
                    self.generation = Some(news.generation);
                }
                // A worker's own noise may belong to what runs when it is heard.
                Event::Output { data, .. } if data.first() == Some(&b'~') => {}
                Event::Output { stream, data } => {
                    assert!(started && stream == Stream::Stdout);
                    // After a cancel, what nobody had room for is missing, and said so.
                    while dropped && data != piece(&self.name, next) && next < 1_000 {
                        next += 1;
                    }
                    assert_eq!(data, piece(&self.name, next), "{}: in order, and its own", self.name);
                    next += 1;
                }
                Event::Dropped { .. } => dropped = true,
                Event::Input(asked) => execution.input(asked.request, "a line"),
                Event::Display(shown) => {
                    assert_eq!(shown.mime.text("text/plain"), Some(self.name.as_str()), "its own");
                }
                other => panic!("{other:?}"),
            }
            if slowly {
                self.pause(100).await;
            }
        }
        execution.outcome().await
    }

    /// P3 and P6: its own result; cancelled only when it asked.
    fn check(&self, outcome: &Outcome, manner: Manner) {
        let name = &self.name;
        match outcome {
            Outcome::Completed(completion) => {
                let own = completion.value.as_ref().is_none_or(|value| value.as_str() == Some(name));
                assert!(own, "{name} got the result of another: {:?}", completion.value);
            }
            Outcome::Failed(ostler::Failure::Exception(exception)) => {
                assert_eq!(&exception.message, name, "the failure of another");
            }
            Outcome::Cancelled(_) => assert_eq!(manner, Manner::Cancels, "{name} asked for no cancel"),
            Outcome::Failed(_) | Outcome::TimedOut(_) | Outcome::Lost(Lost { .. }) => {}
        }
    }
}
