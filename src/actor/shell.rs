//! What sessions share, whatever their workers speak: one actor, who it is, whom it tells, and what it keeps of its worker.
//!
//! A [`Dialect`] is the rest: it steps the machine of its kind and performs what comes back.

use std::{marker::PhantomData, sync::Arc};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::{
    actor::{
        assignment::ExitNotice,
        gauge::Gauge,
        messages::{SessionMsg, SessionNotice, SupervisorMsg},
        notes::Notes,
        obligation::Ledger,
        sink::{Feed, LastEvent},
        tail::Tail,
    },
    log::{debug, warn},
    outcome::{Death, Generation},
    status::{SessionState, Vitals},
    worker::Control,
};

/// What a session does with its worker.
pub(crate) trait Dialect: Sized + Send + 'static {
    /// What it is started with.
    type Arguments: Send + 'static;

    fn start(myself: &ActorRef<SessionMsg>, arguments: Self::Arguments) -> Self;

    fn shell(&mut self) -> &mut Shell;

    /// Takes every message but those that the actor takes itself.
    fn handle(&mut self, myself: &ActorRef<SessionMsg>, message: SessionMsg);
}

/// The actor of a session.
pub(crate) struct Session<D>(PhantomData<fn() -> D>);

impl<D> Session<D> {
    pub(crate) const ACTOR: Self = Self(PhantomData);
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl<D: Dialect> Actor for Session<D> {
    type Msg = SessionMsg;
    type State = D;
    type Arguments = D::Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SessionMsg>,
        arguments: D::Arguments,
    ) -> Result<D, ActorProcessingErr> {
        Ok(D::start(&myself, arguments))
    }

    async fn handle(
        &self,
        myself: ActorRef<SessionMsg>,
        message: SessionMsg,
        state: &mut D,
    ) -> Result<(), ActorProcessingErr> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a dialect names every message")]
        match message {
            SessionMsg::Leased(events) => state.shell().background = Some(events),
            SessionMsg::Released(last) => state.shell().released(last),
            SessionMsg::Buried => myself.stop(None),
            message => state.handle(&myself, message),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<SessionMsg>,
        _event: SupervisionEvent,
        _state: &mut D,
    ) -> Result<(), ActorProcessingErr> {
        Ok(()) // A session supervises nobody; ractor's default would stop it.
    }
}

/// The place of a session in its pool.
#[derive(Clone)]
pub(crate) struct Post {
    pub(crate) slot: usize,
    pub(crate) generation: Generation,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) gauge: Arc<Gauge>,
}

impl Post {
    /// The news of the worker's end, which its reader brings.
    pub(crate) fn exit_notice(&self) -> ExitNotice {
        ExitNotice::new(self.slot, self.generation, self.supervisor.clone())
    }
}

/// What a session of any kind has.
pub(crate) struct Shell {
    pub(crate) post: Post,
    pub(crate) pid: Option<u32>,
    /// What the last step was about.
    pub(crate) cause: &'static str,
    shown: SessionState,
    pub(crate) control: Box<dyn Control>,
    pub(crate) tail: Tail,
    pub(crate) notes: Notes,
    /// Where its holder hears of what belongs to no execution.
    pub(crate) background: Option<Feed>,
    /// What its holder is told when the worker is dead.
    last: Option<LastEvent>,
}

impl Shell {
    /// Of a worker that was started just now.
    pub(crate) fn new(post: Post, pid: Option<u32>, control: Box<dyn Control>) -> Self {
        Self {
            post,
            pid,
            cause: "start",
            shown: SessionState::Creating,
            control,
            tail: Tail::new(),
            notes: Notes::default(),
            background: None,
            last: None,
        }
    }

    pub(crate) fn notify(&self, notice: SessionNotice) {
        let Post { slot, generation, supervisor, .. } = &self.post;
        // A supervisor that is gone takes its sessions with it.
        let _ = supervisor.cast(SupervisorMsg::FromSession { slot: *slot, generation: *generation, notice });
    }

    /// Shows the state that the last step led to, if it is another one. `execution` is what runs.
    pub(crate) fn show(&mut self, state: SessionState, execution: Option<u64>) {
        let old = std::mem::replace(&mut self.shown, state);
        if old != state {
            self.post.gauge.moved(state, self.cause, self.pid);
            let Post { slot, generation, .. } = self.post;
            debug!(slot, %generation, pid = self.pid, execution, cause = self.cause, "session {old} -> {state}");
        }
    }

    /// Its holder has gone, or is refused from now on.
    pub(crate) fn released(&mut self, last: LastEvent) {
        self.last = Some(last).filter(|_| self.shown != SessionState::Terminated);
    }

    pub(crate) fn kill(&mut self) {
        self.last.iter_mut().for_each(LastEvent::is_killed);
        self.control.kill();
    }

    pub(crate) fn terminated(&mut self, death: Box<Death>) {
        self.notify(SessionNotice::Terminated(death));
        self.last = None;
    }

    /// A second has passed: returns what the operating system says of the worker.
    pub(crate) fn look(&mut self) -> Option<Vitals> {
        if let Some(left_out) = self.notes.renew() {
            warn!(slot = self.post.slot, pid = self.pid, left_out, "the worker says more than is logged");
        }
        self.control.vitals()
    }

    /// Shows what a look has found, behind the step that it led to.
    pub(crate) fn seen(&self, vitals: Option<Vitals>, unresponsive: bool) {
        self.post.gauge.seen(vitals, unresponsive);
        if let Some(vitals) = vitals
            && matches!(self.shown, SessionState::Ready | SessionState::Idle)
        {
            self.notify(SessionNotice::Measured(vitals.memory));
        }
    }
}
