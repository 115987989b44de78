//! What must not get lost on its way: an execution assigned to a session's session, one that goes back into the queue, the end of
//! a worker. Whoever drops one of these has said the word that it owed, so that an actor that dies, or a mailbox that
//! is never read, loses none.

use std::{fmt, time::Duration};

use bytes::Bytes;
use ractor::ActorRef;
use smallvec::SmallVec;

use crate::{
    actor::{
        mailbox::{Gone, Sender},
        messages::{ExecutionMsg, Job, Progress, SessionNotice, SupervisorMsg},
        question::Question,
    },
    machine::{
        rpc::Terms,
        session::Ending,
        supervisor::{LeaseId, StateJob},
        unstarted::{ChannelEnd, Loss, Unstarted},
    },
    outcome::{Death, DeathCause, Exit, Generation, LostCause, SessionRestored},
    protocol::ExecutionId,
};

/// An execution assigned to a session: from the moment the supervisor hands it over.
#[derive(Debug)]
#[must_use = "dropping a assignment tells its execution that it is lost"]
pub(crate) struct Assignment {
    pub(crate) id: ExecutionId,
    frame: Bytes,
    /// Processor time that it may use.
    pub(crate) cpu: Option<Duration>,
    /// It is a question, and no code.
    pub(crate) question: Option<Question>,
    pub(crate) terms: Terms,
    execution: Sender<ExecutionMsg>,
    /// Its frame was taken, to be written to a worker.
    given: bool,
    /// What its session can prove when it ends before its time.
    unstarted: Option<Unstarted>,
    discharged: bool,
}

impl Assignment {
    pub(crate) fn new(job: &Job, execution: Sender<ExecutionMsg>) -> Self {
        let (frame, cpu) = (job.frame.clone(), job.limits.cpu);
        let (question, terms) = (job.question.clone(), job.terms.clone());
        let (given, unstarted, discharged) = (false, None, false);
        Self { id: job.id, frame, cpu, question, terms, execution, given, unstarted, discharged }
    }

    /// From here on its code may run. Its execution knows that even if it ends before it hears of it.
    ///
    /// # Errors
    /// Its execution is gone, and has said what it knew: then nothing may run any more.
    pub(crate) fn may_run(&self) -> Result<(), Gone> {
        self.execution.mark()
    }

    /// What its worker is to be sent. From here on its code may have run, if nothing proves that it has not. See
    /// [`may_run`](Self::may_run), which comes first.
    pub(crate) fn give(&mut self) -> Bytes {
        self.given = true;
        self.frame.clone()
    }

    /// Nothing of what [`give`](Self::give) returned was taken by the writer, or ever will be.
    pub(crate) fn take_back(&mut self) {
        self.given = false;
    }

    /// The bytes of what it gives.
    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    /// Proof that nothing of it was given to a worker.
    pub(crate) fn ungiven(&self) -> Option<Unstarted> {
        Unstarted::ungiven(self.given)
    }

    /// What is told if it is dropped before its end is known.
    pub(crate) fn prove(&mut self, unstarted: Option<Unstarted>) {
        self.unstarted = unstarted;
    }

    pub(crate) fn tell(&self, progress: SmallVec<[Progress; 2]>) {
        // An execution that is gone has given its outcome.
        let _ = self.execution.cast(ExecutionMsg::Progress(progress));
    }

    /// It was told its end.
    pub(crate) fn discharge(mut self) {
        self.discharged = true;
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        if !self.discharged {
            let unstarted = self.ungiven().or_else(|| self.unstarted.take());
            let loss = Loss { unstarted, cause: LostCause::ActorGone("session") };
            self.tell(SmallVec::from_iter([Progress::Ended(Ending::Lost(loss))]));
        }
    }
}

/// Something that is to be done to the state of a leased session, and the duty to say what came of it.
#[derive(Debug)]
#[must_use = "dropping a duty tells the supervisor that it was not done"]
pub(crate) struct PendingStateJob {
    pub(crate) lease: LeaseId,
    pub(crate) state_job: StateJob,
    supervisor: ActorRef<SupervisorMsg>,
    told: bool,
}

impl PendingStateJob {
    pub(crate) fn new(lease: LeaseId, state_job: StateJob, supervisor: ActorRef<SupervisorMsg>) -> Self {
        Self { lease, state_job, supervisor, told: false }
    }

    /// The state was saved: it is that after so many executions.
    pub(crate) fn saved(mut self, covers: u64) {
        self.told = true;
        let _ = self.supervisor.cast(SupervisorMsg::Saved {
            lease: self.lease,
            covers: Some(covers),
            state_job: true,
        });
    }

    /// The session is restored to what it was after so many executions, or cannot be.
    pub(crate) fn restored(
        mut self,
        generation: Generation,
        fate: Result<(u64, Box<SessionRestored>), String>,
    ) {
        self.told = true;
        let _ = self.supervisor.cast(SupervisorMsg::Restored { lease: self.lease, generation, fate });
    }

    /// The worker died meanwhile, of which the supervisor hears from its session.
    pub(crate) fn overtaken(mut self) {
        self.told = true;
    }
}

impl Drop for PendingStateJob {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let lease = self.lease;
        let word = match &self.state_job {
            StateJob::Save => SupervisorMsg::Saved { lease, covers: None, state_job: true },
            StateJob::Restore { generation, .. } => {
                let fate = Err("whoever keeps its state has ended".to_owned());
                SupervisorMsg::Restored { lease, generation: *generation, fate }
            }
        };
        let _ = self.supervisor.cast(word);
    }
}

/// An execution on its way back into the waiting line.
#[derive(Debug)]
#[must_use = "dropping this tells its execution that nobody took it back"]
pub(crate) struct Returning {
    pub(crate) id: ExecutionId,
    execution: Sender<ExecutionMsg>,
    _unstarted: Unstarted,
    taken: bool,
}

impl Returning {
    /// It goes to another worker, so there must be proof that the first did not start it.
    pub(crate) fn new(id: ExecutionId, execution: Sender<ExecutionMsg>, unstarted: Unstarted) -> Self {
        Self { id, execution, _unstarted: unstarted, taken: false }
    }

    /// The supervisor has it.
    pub(crate) fn take(mut self) -> ExecutionId {
        self.taken = true;
        self.id
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        if !self.taken {
            let _ = self.execution.cast(ExecutionMsg::Refused(LostCause::ActorGone("supervisor")));
        }
    }
}

/// The end of a worker, on its way to its session.
#[must_use = "dropping this tells the supervisor what the session did not"]
pub(crate) struct ExitNotice {
    pub(crate) exit: Exit,
    pub(crate) channel: ChannelEnd,
    slot: usize,
    generation: Generation,
    supervisor: ActorRef<SupervisorMsg>,
    read: bool,
}

impl ExitNotice {
    pub(crate) fn new(slot: usize, generation: Generation, supervisor: ActorRef<SupervisorMsg>) -> Self {
        let (exit, channel) = (Exit::Unknown, ChannelEnd::Spoiled);
        Self { exit, channel, slot, generation, supervisor, read: false }
    }

    /// The session knows it, and tells the supervisor.
    pub(crate) fn read(mut self) -> (Exit, ChannelEnd) {
        self.read = true;
        (self.exit, self.channel)
    }
}

impl fmt::Debug for ExitNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitNotice").field("exit", &self.exit).finish_non_exhaustive()
    }
}

impl Drop for ExitNotice {
    fn drop(&mut self) {
        if !self.read {
            let death = Box::new(Death::new(DeathCause::Itself, self.exit));
            let notice = SessionNotice::Terminated(death);
            let (slot, generation) = (self.slot, self.generation);
            let _ = self.supervisor.cast(SupervisorMsg::FromSession { slot, generation, notice });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::mailbox::mailbox;

    /// Fault 44: what is on its way back when the supervisor ends says so; what was taken says nothing.
    #[tokio::test]
    async fn an_execution_that_nobody_takes_back_is_told() {
        for taken in [false, true] {
            let (execution, mut heard) = mailbox();
            let unstarted = Unstarted::ungiven(false).expect("it was given to nobody");
            let returning = Returning::new(ExecutionId(7), execution, unstarted);
            if taken {
                assert_eq!(returning.take(), ExecutionId(7));
            } else {
                drop(returning);
            }
            let word = heard.recv().await;
            let refused = matches!(word, Some(ExecutionMsg::Refused(LostCause::ActorGone("supervisor"))));
            assert_eq!(refused, !taken, "{word:?}");
        }
    }
}
