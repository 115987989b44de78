//! How the supervisor hands over: executions to sessions, sessions to leases, and last words to those who wait.

use ractor::ActorRef;

use crate::{
    actor::{
        charge::Charge,
        messages::{ExecutionMsg, Granted, SessionMsg, SupervisorMsg},
        supervisor::State,
    },
    machine::supervisor::LeaseId,
    protocol::ExecutionId,
};

impl State {
    /// A session that is gone, or goes before it reads this, drops the charge: that hands the execution back.
    pub(super) fn assign(&mut self, slot: usize, id: ExecutionId) {
        let Some(ticket) = self.tickets.get_mut(&id) else { return };
        ticket.waits = false;
        let charge = Charge::new(&ticket.job, ticket.execution.clone());
        self.tell(slot, SessionMsg::Assign(Box::new(charge)));
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
        let pid = live.gauge.get().pid;
        let _ = live.session.cast(SessionMsg::Leased(request.events.clone()));
        let granted = Granted { slot, generation: live.generation, pid, session: live.session.clone() };
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
