//! What the supervisor shows of its pool.

use ractor::ActorRef;
use tokio::time::Instant;

use super::State;
use crate::{
    actor::{
        gauge::Shown,
        messages::{SessionMsg, SupervisorMsg, Wait},
    },
    config::LOOK_EVERY,
    machine::slot::{Place, Slot},
    outcome::Phase,
    status::{ExecutionStatus, PoolStatus, SessionState, SessionStatus},
};

impl State {
    pub(super) fn status(&self) -> PoolStatus {
        let mut status = self.pool.status();
        status.deaths = self.deaths.clone();
        self.see_memory();
        self.ledger.show(&mut status);
        status.reapers_lost = self.spawner.reapers_lost();
        let now = Instant::now().into_std();
        status.sessions =
            self.pool.slots().filter_map(|(index, slot)| self.session_status(index, slot, now)).collect();
        status
    }

    /// Has every session look at its worker, and tells whoever records figures.
    pub(super) fn look_around(&mut self, myself: &ActorRef<SupervisorMsg>) {
        self.see_memory();
        for live in self.sessions.values() {
            let _ = live.session.cast(SessionMsg::Look);
        }
        #[cfg(feature = "metrics")]
        crate::log::aside(|| crate::actor::metrics::publish(&self.config.name, &self.status()));
        self.arm(myself, Wait::Look, LOOK_EVERY);
    }

    /// Remembers the largest worker of all.
    pub(super) fn see_memory(&self) {
        for vitals in self.sessions.values().filter_map(|live| live.gauge.get().vitals) {
            self.ledger.saw_memory(vitals.memory);
        }
    }

    fn session_status(&self, index: usize, slot: &Slot, now: std::time::Instant) -> Option<SessionStatus> {
        let shown = self.sessions.get(&index).map(|live| live.gauge.get());
        let (execution, leased, retry_in) = match &slot.place {
            Place::Busy { runs } => (runs.first().map(|(id, ..)| *id), false, None),
            Place::Script { execution, .. } => (Some(*execution), false, None),
            Place::Leased { lease } => (self.pool.running_in(*lease), true, None),
            Place::BackingOff { until } => (None, false, Some(until.saturating_duration_since(now))),
            Place::Starting
            | Place::Branching { .. }
            | Place::Idle { .. }
            | Place::Retiring
            | Place::Doomed { .. } => (None, false, None),
            Place::Empty => return None,
        };
        let shown = match retry_in {
            Some(_) => Shown::none(SessionState::Terminated, "back-off"),
            None => shown?,
        };
        Some(SessionStatus {
            slot: index,
            generation: slot.generation,
            pid: shown.pid,
            state: shown.state,
            leased: leased || slot.heir.is_some(),
            execution,
            age: now.saturating_duration_since(slot.worker.since),
            executions: slot.worker.served,
            vitals: shown.vitals,
            unresponsive: shown.unresponsive,
            cause: shown.cause,
            last_death: slot.last_death.clone(),
            retry_in,
        })
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
