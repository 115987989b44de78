//! What the supervisor shows of its pool.

use super::State;
use crate::{
    machine::slot::Place,
    outcome::Phase,
    status::{ExecutionStatus, PoolStatus, SessionStatus},
};

impl State {
    pub(super) fn status(&self) -> PoolStatus {
        let mut status = self.pool.status();
        status.totals = self.ledger.totals();
        status.sessions = self
            .pool
            .places()
            .filter_map(|(slot, generation, place)| {
                let (state, pid) = self.sessions.get(&slot)?.gauge.get();
                let execution = match place {
                    Place::Busy { execution, .. } => Some(*execution),
                    Place::Leased { lease, .. } => self.pool.running_in(*lease),
                    Place::Empty
                    | Place::Starting { .. }
                    | Place::Idle { .. }
                    | Place::Retiring
                    | Place::Doomed { .. }
                    | Place::BackingOff { .. } => None,
                };
                let leased = matches!(place, Place::Leased { .. });
                Some(SessionStatus { slot, generation, pid, state, leased, execution })
            })
            .collect();
        status
    }

    pub(super) fn list(&self) -> Vec<ExecutionStatus> {
        let mut list: Vec<_> = self
            .tickets
            .values()
            .map(|ticket| {
                let slot = self.pool.slot_of(ticket.job.id);
                ExecutionStatus {
                    id: ticket.job.id,
                    label: ticket.job.label.clone(),
                    phase: if slot.is_some() { Phase::Running } else { Phase::Queued },
                    slot,
                    age: ticket.accepted.elapsed(),
                }
            })
            .collect();
        list.sort_by_key(|execution| execution.id);
        list
    }
}
