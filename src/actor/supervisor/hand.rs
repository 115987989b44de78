//! How the supervisor hands over: executions to sessions, sessions to leases, and last words to those who wait.

use ractor::ActorRef;

use crate::{
    actor::{
        messages::{Assignment, ExecutionMsg, Granted, Progress, SessionMsg, SupervisorMsg},
        supervisor::State,
    },
    machine::{session::Ending, supervisor::LeaseId},
    outcome::{Lost, LostCause},
    protocol::ExecutionId,
};

impl State {
    pub(super) fn assign(&mut self, slot: usize, id: ExecutionId) {
        let (Some(ticket), Some(live)) = (self.tickets.get_mut(&id), self.sessions.get(&slot)) else {
            return;
        };
        ticket.waits = false;
        let execution = ticket.execution.clone();
        let assignment = Assignment { id, frame: ticket.job.frame.clone(), execution: execution.clone() };
        if live.session.cast(SessionMsg::Assign(Box::new(assignment))).is_err() {
            // The session has just ended; its end, which is on its way, frees the slot.
            ticket.waits = true;
            let _ = execution.cast(ExecutionMsg::lost_unstarted());
        }
    }

    /// Tells an execution that waits its last word.
    pub(super) fn dismiss(&mut self, id: ExecutionId, word: ExecutionMsg) {
        if let Some(mut ticket) = self.tickets.remove(&id) {
            ticket.waits = false;
            let _ = ticket.execution.cast(word);
        }
    }

    pub(super) fn grant(&mut self, myself: &ActorRef<SupervisorMsg>, lease: LeaseId, slot: usize) {
        let (Some(request), Some(live)) = (self.leases.remove(&lease), self.sessions.get(&slot)) else {
            return drop(myself.cast(SupervisorMsg::Release(lease)));
        };
        let (_, pid) = live.gauge.get();
        let _ = live.session.cast(SessionMsg::Leased(request.events.clone()));
        let granted = Granted { slot, generation: live.generation, pid };
        if request.granted.send(Ok(granted)).is_err() {
            // Whoever asked has left.
            return drop(myself.cast(SupervisorMsg::Release(lease)));
        }
        self.lease_events.insert(lease, request.events);
    }

    pub(super) fn tell(&mut self, slot: usize, message: SessionMsg) {
        if let Some(live) = self.sessions.get(&slot) {
            // A session that is gone has nothing left to end.
            let _ = live.session.cast(message);
        }
    }
}

impl ExecutionMsg {
    /// For an execution whose session ended before it was told of it.
    fn lost_unstarted() -> Self {
        let lost = Lost { started: false, cause: LostCause::SessionEnded };
        Self::Progress(smallvec::smallvec![Progress::Ended(Ending::Lost(lost))])
    }
}
