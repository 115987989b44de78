//! The caller's handle of one execution.

mod input;

use std::fmt;

use tokio::sync::oneshot;

use crate::{
    actor::{
        mailbox::{Mailbox, Sender},
        messages::{Accepted, ExecutionMsg, Keep},
        sink::Delivery,
    },
    machine::unstarted::Loss,
    outcome::{Activity, Event, LostCause, Outcome},
    protocol::{ExecutionId, RpcError, Value},
    report::{Collector, Report},
    request::Label,
};

pub use input::ScriptInput;

/// An accepted request: a stream of [`Event`]s, and then exactly one [`Outcome`].
///
/// A worker that prints faster than the events are taken is made to wait once a megabyte is in flight. Dropping the
/// handle cancels the execution, unless its request was [`detached`](crate::Request::detached); it may be dropped
/// anywhere, also outside a tokio runtime.
pub struct Execution {
    id: ExecutionId,
    label: Option<Label>,
    events: Mailbox<Delivery>,
    outcome: oneshot::Receiver<Outcome>,
    max_report_bytes: usize,
    /// Bytes of output that a report may put on disk.
    spill: u64,
    stdin: Option<ScriptInput>,
    control: Control,
    _keep: Keep,
}

/// Cancels when it is dropped before the outcome is known.
struct Control {
    execution: Sender<ExecutionMsg>,
    #[cfg(feature = "testing")]
    task: tokio::task::AbortHandle,
    cancel_on_drop: bool,
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.cancel_on_drop {
            self.tell(ExecutionMsg::Cancel { reason: Some("its handle was dropped".into()) });
        }
    }
}

impl Control {
    fn tell(&self, message: ExecutionMsg) {
        // An execution that is gone has given its outcome.
        let _ = self.execution.cast(message);
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").field("id", &self.id).field("label", &self.label).finish_non_exhaustive()
    }
}

/// The parts of a handle, from the submission.
pub(crate) struct Parts {
    pub(crate) id: ExecutionId,
    pub(crate) label: Option<Label>,
    pub(crate) events: Mailbox<Delivery>,
    pub(crate) outcome: oneshot::Receiver<Outcome>,
    pub(crate) accepted: Accepted,
    pub(crate) handling: Handling,
    pub(crate) max_report_bytes: usize,
    pub(crate) keep: Keep,
}

/// What a handle is to do.
#[derive(Debug, Default)]
pub(crate) struct Handling {
    pub(crate) detached: bool,
    /// Bytes of output that a report may put on disk.
    pub(crate) spill: u64,
    /// Where the input of a script is written to.
    pub(crate) stdin: Option<ScriptInput>,
}

impl Execution {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { id, label, events, outcome, accepted, handling, max_report_bytes, keep } = parts;
        let Handling { detached, spill, stdin } = handling;
        let control = Control {
            execution: accepted.execution,
            #[cfg(feature = "testing")]
            task: accepted.task,
            cancel_on_drop: !detached,
        };
        Self { id, label, events, outcome, max_report_bytes, spill, stdin, control, _keep: keep }
    }

    /// Names it among all executions of this process.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        self.id
    }

    /// The label of its request.
    #[must_use]
    pub fn label(&self) -> Option<&Label> {
        self.label.as_ref()
    }

    /// The next event; `None` when there will be no more, and the outcome is there. Waits at most until the deadline
    /// plus the grace. Cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        Some(self.events.recv().await?.take())
    }

    /// Waits for the outcome; events that were not taken are discarded. Waits at most until the deadline plus the
    /// grace. Dropping the future cancels the execution, as dropping the handle does.
    pub async fn outcome(mut self) -> Outcome {
        // Nobody is woken for what nobody looks at; whatever is refused gives its room back.
        self.events.close();
        self.settled().await
    }

    /// Collects everything that is printed until the outcome, up to the pool's `max_report_bytes`; of more, the beginning
    /// and the end. Waits as [`outcome`](Self::outcome) does.
    pub async fn report(mut self) -> Report {
        let mut report = Collector::new(self.max_report_bytes, self.spill);
        while let Some(event) = self.next().await {
            report.take(event).await;
        }
        let (id, label) = (self.id, self.label.clone());
        let outcome = self.settled().await;
        report.finish(id, label, outcome)
    }

    async fn settled(mut self) -> Outcome {
        let outcome = answered(&mut self.outcome).await;
        self.control.cancel_on_drop = false;
        outcome
    }

    /// Asks the execution to stop, and returns at once. Its outcome follows within the grace: `Cancelled`, or what it
    /// became in the meantime. Output that is not taken from now on may be discarded.
    pub fn cancel(&self) {
        self.control.tell(ExecutionMsg::Cancel { reason: None });
    }

    /// As [`cancel`](Self::cancel), with a reason that the outcome repeats.
    pub fn cancel_because(&self, reason: impl Into<String>) {
        self.control.tell(ExecutionMsg::Cancel { reason: Some(reason.into()) });
    }

    /// Raises `KeyboardInterrupt` in the code, as Ctrl-C in a terminal does, and returns at once. The code may handle
    /// it and go on; nothing is killed.
    pub fn interrupt(&self) {
        self.control.tell(ExecutionMsg::Interrupt);
    }

    /// Sends SIGTERM to a [script](crate::Script), and returns at once. It may handle it and go on; nothing follows. Code in
    /// a worker does not hear of it.
    pub fn terminate(&self) {
        self.control.tell(ExecutionMsg::Terminate);
    }

    /// The standard input of a script whose `stdin` is [piped](crate::Stdio::Piped), as a stream of bytes; `None` for any
    /// other execution, and the second time. What is written waits in a pipe until the script reads it, also before it has
    /// started. Dropping it is the end of the input.
    pub fn stdin(&mut self) -> Option<ScriptInput> {
        self.stdin.take()
    }

    /// Answers an [`Event::Input`]. An answer to a request that is not open is ignored.
    pub fn input(&self, request: u64, line: impl Into<String>) {
        self.control.tell(ExecutionMsg::Input { request, value: Some(line.into()) });
    }

    /// Answers an [`Event::Input`] with the end of the input: `input()` raises `EOFError`.
    pub fn end_of_input(&self, request: u64) {
        self.control.tell(ExecutionMsg::Input { request, value: None });
    }

    /// Answers an [`Event::Asked`]. An answer to a question that is not open is ignored.
    pub fn answer(&self, request: u64, answer: Result<Value, RpcError>) {
        self.control.tell(ExecutionMsg::Reply { request, answer });
    }

    /// What its worker is doing now: where its code is, whether it computes or waits, since when it printed nothing.
    /// `None` while it waits for a worker, and after it has ended. Waits at most about
    /// [`STACKS_LIMIT`](crate::config::STACKS_LIMIT); cancel safe. Harmless to the code, but for an `EINTR` in C code
    /// that does not expect one.
    pub async fn inspect(&self) -> Option<Activity> {
        self.canceller().inspect().await
    }

    #[cfg(feature = "testing")]
    pub(crate) fn kill_actor(&self) {
        self.control.task.abort();
    }

    /// A handle that can stop it, for another task.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller { id: self.id, execution: self.control.execution.clone() }
    }
}

/// The obligation answers even when it is dropped; only a tokio runtime that ends under us may not let it. Nobody is left
/// then to prove that the code did not start, whatever events were taken.
async fn answered(outcome: &mut oneshot::Receiver<Outcome>) -> Outcome {
    let unproven = || Loss { unstarted: None, cause: LostCause::ActorGone("execution") };
    outcome.await.unwrap_or_else(|_unanswered| Outcome::Lost(unproven().into()))
}

/// Stops, answers and examines an execution from elsewhere. Dropping it does nothing.
#[derive(Clone, Debug)]
pub struct Canceller {
    id: ExecutionId,
    execution: Sender<ExecutionMsg>,
}

impl Canceller {
    pub(crate) fn new(id: ExecutionId, execution: Sender<ExecutionMsg>) -> Self {
        Self { id, execution }
    }

    /// Names the execution.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        self.id
    }

    /// As [`Execution::cancel`].
    pub fn cancel(&self) {
        let _ = self.execution.cast(ExecutionMsg::Cancel { reason: None });
    }

    /// As [`Execution::interrupt`].
    pub fn interrupt(&self) {
        let _ = self.execution.cast(ExecutionMsg::Interrupt);
    }

    /// As [`Execution::terminate`].
    pub fn terminate(&self) {
        let _ = self.execution.cast(ExecutionMsg::Terminate);
    }

    /// As [`Execution::input`], or with `None` as [`Execution::end_of_input`].
    pub fn input(&self, request: u64, line: Option<String>) {
        let _ = self.execution.cast(ExecutionMsg::Input { request, value: line });
    }

    /// As [`Execution::inspect`].
    pub async fn inspect(&self) -> Option<Activity> {
        let (asker, answer) = oneshot::channel();
        let _ = self.execution.cast(ExecutionMsg::Inspect(asker));
        answer.await.ok().map(|activity| *activity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Lost;

    /// P5.
    #[tokio::test]
    async fn an_execution_that_nobody_answers_for_may_have_run() {
        let (obligation, mut outcome) = oneshot::channel();
        drop(obligation);
        let expected = Lost { started: true, cause: LostCause::ActorGone("execution") };
        assert_eq!(answered(&mut outcome).await, Outcome::Lost(expected));
    }
}
