//! The execution actor: one request from its acceptance to its outcome. It steps the machine, keeps the deadline, and
//! passes events on; it decides nothing.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use ractor::ActorRef;
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    actor::{
        assignment::Returning,
        credit::Credit,
        mailbox::{Mailbox, Sender, mailbox},
        messages::{ExecutionMsg, Progress, SessionMsg, SupervisorMsg},
        obligation::{Ledger, Obligation},
        sink::Sink,
    },
    config::LATE_LIMIT,
    log::debug,
    machine::{
        execution::{Effect, Execution as Machine, Input},
        session::Ending,
        unstarted::{Loss, Unstarted},
    },
    outcome::{Event, Failure, LostCause, Outcome},
    protocol::{ExecutionId, InputResponse, ToWorker},
    request::{Label, Limits},
};

/// What an execution is started with.
pub(crate) struct Arguments {
    pub(crate) id: ExecutionId,
    pub(crate) label: Option<Label>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) may_requeue: bool,
    pub(crate) obligation: Obligation,
    pub(crate) sink: Sink,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    pub(crate) ledger: Arc<Ledger>,
}

/// The state of the actor.
pub(crate) struct State {
    id: ExecutionId,
    label: Option<Label>,
    /// How long after its acceptance it is, and when.
    deadline: Option<(Duration, Instant)>,
    /// Bytes that it may print, and has printed.
    max_output: Option<u64>,
    printed: u64,
    machine: Machine,
    obligation: Option<Obligation>,
    sink: Sink,
    place: Place,
    ledger: Arc<Ledger>,
    /// Nothing more will happen.
    finished: bool,
    effects: Vec<Effect>,
    mailbox: Mailbox<ExecutionMsg>,
}

/// Where it is. If the actor ends without a word, dropping this sees that nobody works for it in vain.
struct Place {
    id: ExecutionId,
    at: At,
    supervisor: ActorRef<SupervisorMsg>,
}

enum At {
    Line,
    Session(ActorRef<SessionMsg>),
    Left,
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.at {
            // The supervisor sees to it that no session goes on with it.
            At::Line | At::Session(_) => drop(self.supervisor.cast(SupervisorMsg::Forget(self.id))),
            At::Left => {}
        }
    }
}

/// Starts the actor of one request: a task with a mailbox. Not a ractor actor: those cost more than the rest of a small
/// request together, and nobody supervises it. What it owes is settled when its state is dropped, however it ends.
pub(crate) fn start(arguments: Arguments) -> (Sender<ExecutionMsg>, AbortHandle) {
    let Arguments { id, label, deadline, limits, may_requeue, obligation, sink, supervisor, ledger } =
        arguments;
    let (myself, mailbox) = mailbox();
    debug!(execution = %id, label = label.as_deref(), "execution accepted");
    let state = State {
        id,
        label,
        // One beyond all that a clock can count is none.
        deadline: deadline.and_then(|after| Some((after, Instant::now().checked_add(after)?))),
        max_output: limits.output,
        printed: 0,
        machine: Machine::new(may_requeue, limits.result),
        obligation: Some(obligation),
        sink,
        place: Place { id, at: At::Line, supervisor },
        ledger,
        finished: false,
        effects: Vec::new(),
        mailbox,
    };
    let task = tokio::spawn(state.run(myself.clone()));
    (myself, task.abort_handle())
}

impl State {
    async fn run(mut self, myself: Sender<ExecutionMsg>) {
        let mut deadline = pin!(self.deadline.map(|(_, at)| sleep_until(at)));
        while !self.finished {
            let elapsed = async {
                match deadline.as_mut().as_pin_mut() {
                    Some(deadline) => deadline.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // First: a mailbox that is never empty must not hold it up.
                () = elapsed => {
                    deadline.set(None);
                    if let Some((after, _)) = self.deadline {
                        self.step(&myself, Input::Deadline { after });
                    }
                }
                message = self.mailbox.recv() => match message {
                    Some(message) => self.handle(&myself, message),
                    None => return,
                },
            }
        }
    }

    fn handle(&mut self, myself: &Sender<ExecutionMsg>, message: ExecutionMsg) {
        match message {
            ExecutionMsg::Progress(progress) => {
                for progress in progress {
                    self.progress(myself, progress);
                }
            }
            ExecutionMsg::Assigned(session) => {
                self.place.at = At::Session(session);
                self.step(myself, Input::Assigned);
            }
            ExecutionMsg::Restored(news) => {
                if self.obligation.is_some() {
                    self.sink.deliver(self.id, Event::SessionRestored(news), Credit::none());
                }
            }
            ExecutionMsg::Withdrawn => {
                self.place.at = At::Left;
                self.step(myself, Input::Withdrawn(self.ungiven()));
            }
            ExecutionMsg::Refused(cause) => {
                self.place.at = At::Left;
                self.step(myself, Input::Refused(Loss { unstarted: self.ungiven(), cause }));
            }
            ExecutionMsg::Cancel { reason } => self.step(myself, Input::Cancel { reason }),
            ExecutionMsg::Interrupt => self.to_session(SessionMsg::Interrupt),
            ExecutionMsg::Terminate => self.to_session(SessionMsg::Terminate),
            ExecutionMsg::Input { request, value } => {
                let eof = value.is_none();
                let answer = InputResponse { id: self.id, request, value, eof };
                self.to_session(|id| SessionMsg::Send(id, Box::new(ToWorker::InputResponse(answer))));
            }
            ExecutionMsg::Reply { request, answer } => {
                self.to_session(|id| SessionMsg::Reply { id, request, answer });
            }
            ExecutionMsg::Inspect(asker) => self.to_session(|_| SessionMsg::Inspect(asker)),
            ExecutionMsg::Seen(activity) => self.step(myself, Input::Seen(activity)),
        }
    }

    fn progress(&mut self, myself: &Sender<ExecutionMsg>, progress: Progress) {
        match progress {
            Progress::Started { session, pid, generation } => {
                debug!(execution = %self.id, label = self.label.as_deref(), pid, "execution started");
                self.place.at = At::Session(session);
                if let Some(obligation) = &mut self.obligation {
                    obligation.started();
                    self.sink.deliver(self.id, Event::Started { pid, generation }, Credit::none());
                }
                self.step(myself, Input::Started);
            }
            Progress::Event(event, credit) => self.event(myself, event, credit),
            Progress::Exceeded(failure) => self.step(myself, Input::Exceeded(failure)),
            Progress::Ended(ending) => {
                self.place.at = match &ending {
                    // The session cannot tell the supervisor that this one is over, or may die before it can.
                    Ending::Lost(_) | Ending::Failed(Failure::Protocol { .. }) => At::Line,
                    Ending::Completed(_) | Ending::Failed(_) | Ending::Stopped(_) => At::Left,
                };
                self.step(myself, Input::Ended(ending));
            }
        }
    }

    /// What comes after the outcome is not passed on; dropping its credit counts it.
    fn event(&mut self, myself: &Sender<ExecutionMsg>, event: Event, credit: Credit) {
        if let Event::Output { data, .. } = &event {
            self.printed += data.len() as u64;
        }
        let (limit, printed) = (self.max_output.unwrap_or(u64::MAX), self.printed);
        if self.obligation.is_some() {
            self.sink.deliver(self.id, event, credit);
        }
        if printed > limit {
            self.max_output = None; // Told once.
            self.step(myself, Input::Exceeded(Failure::OutputLimit { limit, printed }));
        }
    }

    fn step(&mut self, myself: &Sender<ExecutionMsg>, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.machine.step(input, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Withdraw => self.to_supervisor(myself, SupervisorMsg::Withdraw),
                Effect::Stop => self.to_session(SessionMsg::Cancel),
                Effect::Look => self.look(myself),
                Effect::Requeue(unstarted) => {
                    self.ledger.requeued.fetch_add(1, Relaxed);
                    // Of the session that did not run it.
                    self.mailbox.take_mark();
                    let returning = Returning::new(self.id, myself.clone(), unstarted);
                    let _ = self.place.supervisor.cast(SupervisorMsg::Requeue(returning));
                }
                Effect::Settle(outcome) => self.settle(outcome),
                Effect::Finish => self.finished = true,
            }
        }
        self.effects = effects;
    }

    /// Proof that no session was about to give it to a worker, since it was requeued if it was.
    fn ungiven(&self) -> Option<Unstarted> {
        Unstarted::ungiven(self.mailbox.is_marked())
    }

    /// Asks what the worker is doing, for at most [`LATE_LIMIT`]: the deadline has passed. A session that dies, or is gone,
    /// drops the question: that is an answer too.
    fn look(&self, myself: &Sender<ExecutionMsg>) {
        let (asker, answer) = oneshot::channel();
        self.to_session(|_| SessionMsg::Inspect(asker));
        let myself = myself.clone();
        drop(tokio::spawn(async move {
            let activity = timeout(LATE_LIMIT, answer).await.ok().and_then(Result::ok);
            myself.cast(ExecutionMsg::Seen(activity))
        }));
    }

    fn settle(&mut self, outcome: Outcome) {
        debug!(execution = %self.id, label = self.label.as_deref(), outcome = outcome.kind(), "execution ended");
        // Closed first: when the outcome is there, the stream of events has ended.
        self.sink = Sink::Closed;
        if let Some(obligation) = self.obligation.take() {
            obligation.settle(outcome);
        }
    }

    fn to_session(&self, message: impl FnOnce(ExecutionId) -> SessionMsg) {
        if let At::Session(session) = &self.place.at {
            // A session that is gone has said so, or its assignment does.
            let _ = session.cast(message(self.id));
        }
    }

    fn to_supervisor(
        &self,
        myself: &Sender<ExecutionMsg>,
        message: impl FnOnce(ExecutionId) -> SupervisorMsg,
    ) {
        if self.place.supervisor.cast(message(self.id)).is_err() {
            let _ = myself.cast(ExecutionMsg::Refused(LostCause::ActorGone("supervisor")));
        }
    }
}

impl Drop for State {
    /// An actor that ends before its time has not heard everything: what may have run is not told as proven unrun.
    fn drop(&mut self) {
        self.mailbox.close();
        let unstarted = self.ungiven();
        if let Some(obligation) = &mut self.obligation {
            obligation.prove(unstarted);
        }
    }
}
