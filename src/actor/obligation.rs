//! The duty to give every accepted request exactly one outcome, as a type.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    actor::{
        latency::Histogram,
        sink::{Host, Notice},
    },
    machine::unstarted::{Loss, Unstarted},
    outcome::{LostCause, Outcome},
    protocol::ExecutionId,
    status::{PoolStatus, Totals},
};

/// Where an outcome is told.
#[derive(Debug)]
pub(crate) enum Reply {
    Handle(oneshot::Sender<Outcome>),
    Host(Host),
}

/// Holding one is the duty to answer. It cannot be cloned, settling consumes it, and dropping it answers `Lost`.
#[derive(Debug)]
#[must_use = "dropping an obligation answers the caller with `Lost`"]
pub(crate) struct Obligation {
    id: ExecutionId,
    duty: Duty,
    /// What is known of it when it is dropped.
    unstarted: Option<Unstarted>,
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
enum Duty {
    /// Not accepted yet: nobody is owed anything.
    Offered(Reply),
    Owed {
        reply: Reply,
        accepted: Instant,
        /// When the code may first have run.
        started: Option<Instant>,
    },
    Settled,
}

impl Obligation {
    pub(crate) fn new(id: ExecutionId, reply: Reply, ledger: Arc<Ledger>) -> Self {
        Self { id, duty: Duty::Offered(reply), unstarted: None, ledger }
    }

    /// From here on exactly one outcome follows.
    pub(crate) fn accept(&mut self) {
        self.duty = match std::mem::replace(&mut self.duty, Duty::Settled) {
            Duty::Offered(reply) => {
                self.ledger.accepted.fetch_add(1, Relaxed);
                Duty::Owed { reply, accepted: Instant::now(), started: None }
            }
            accepted @ (Duty::Owed { .. } | Duty::Settled) => accepted,
        };
    }

    /// From here on the code may have run.
    pub(crate) fn started(&mut self) {
        if let Duty::Owed { started, .. } = &mut self.duty {
            started.get_or_insert_with(Instant::now);
        }
    }

    /// Dropping it answers that its code did not run, if this proves it.
    pub(crate) fn prove(&mut self, unstarted: Option<Unstarted>) {
        self.unstarted = unstarted;
    }

    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.answer(outcome);
    }

    /// The first outcome wins.
    fn answer(&mut self, outcome: Outcome) {
        if let Duty::Owed { reply, accepted, started } = std::mem::replace(&mut self.duty, Duty::Settled) {
            self.ledger.count(&outcome);
            self.ledger.time(accepted, started);
            match reply {
                // The caller may have dropped its handle; the outcome still counts as given.
                Reply::Handle(reply) => drop(reply.send(outcome)),
                Reply::Host(host) => drop(host.tell(Notice::Ended { execution: self.id, outcome })),
            }
        }
    }
}

impl Drop for Obligation {
    fn drop(&mut self) {
        if let Duty::Owed { .. } = self.duty {
            let unstarted = self.unstarted.take();
            let loss = Loss { unstarted, cause: LostCause::ActorGone("execution") };
            self.answer(Outcome::Lost(loss.into()));
        }
    }
}

/// Counts what became of requests. `accepted` is always the sum of the outcomes and of what is in flight.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accepted: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    timed_out: AtomicU64,
    lost: AtomicU64,
    pub(crate) requeued: AtomicU64,
    pub(crate) late_frames: AtomicU64,
    pub(crate) dropped_bytes: AtomicU64,
    pub(crate) partial_writes: AtomicU64,
    pub(crate) stray_lines: AtomicU64,
    pub(crate) unclaimed: AtomicU64,
    queue_wait: Histogram,
    run_time: Histogram,
    peak_memory: AtomicU64,
}

impl Ledger {
    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Completed(_) => &self.completed,
            Outcome::Failed(_) => &self.failed,
            Outcome::Cancelled(_) => &self.cancelled,
            Outcome::TimedOut(_) => &self.timed_out,
            Outcome::Lost(_) => &self.lost,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn time(&self, accepted: Instant, started: Option<Instant>) {
        let now = Instant::now();
        self.queue_wait.record(started.unwrap_or(now).saturating_duration_since(accepted));
        if let Some(started) = started {
            self.run_time.record(now.saturating_duration_since(started));
        }
    }

    /// A worker was seen to hold so many bytes.
    pub(crate) fn saw_memory(&self, bytes: u64) {
        self.peak_memory.fetch_max(bytes, Relaxed);
    }

    /// Puts everything that is counted here into a status.
    pub(crate) fn show(&self, status: &mut PoolStatus) {
        status.totals = self.totals();
        status.queue_wait = self.queue_wait.latency();
        status.run_time = self.run_time.latency();
        status.peak_memory = Some(self.peak_memory.load(Relaxed)).filter(|bytes| *bytes > 0);
    }

    pub(crate) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        // Outcomes before acceptances: one that is given in between must not make `in_flight` negative.
        let ended = [&self.completed, &self.failed, &self.cancelled, &self.timed_out, &self.lost].map(read);
        let [completed, failed, cancelled, timed_out, lost] = ended;
        let accepted = read(&self.accepted);
        Totals {
            accepted,
            completed,
            failed,
            cancelled,
            timed_out,
            lost,
            in_flight: accepted - ended.iter().sum::<u64>(),
            requeued: read(&self.requeued),
            late_frames: read(&self.late_frames),
            dropped_bytes: read(&self.dropped_bytes),
            partial_writes: read(&self.partial_writes),
            stray_lines: read(&self.stray_lines),
            unclaimed: read(&self.unclaimed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Lost;

    fn obligation(ledger: &Arc<Ledger>) -> (Obligation, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        (Obligation::new(ExecutionId(1), Reply::Handle(sender), Arc::clone(ledger)), receiver)
    }

    #[test]
    fn a_dropped_obligation_answers_lost_and_without_a_proof_the_code_may_have_run() {
        let ledger = Arc::new(Ledger::default());
        for started in [false, true] {
            let (mut owed, mut outcome) = obligation(&ledger);
            owed.accept();
            owed.prove(Unstarted::ungiven(started));
            drop(owed);
            let expected = Lost { started, cause: LostCause::ActorGone("execution") };
            assert_eq!(outcome.try_recv(), Ok(Outcome::Lost(expected)));
        }
        assert_eq!(ledger.totals().lost, 2);
    }

    #[test]
    fn a_refused_request_is_owed_nothing_and_counted_nowhere() {
        let ledger = Arc::new(Ledger::default());
        let (offered, mut outcome) = obligation(&ledger);
        drop(offered);
        assert!(outcome.try_recv().is_err());
        assert_eq!(ledger.totals(), Totals::default());
    }

    #[test]
    fn accepted_is_the_sum_of_the_outcomes_and_what_is_in_flight() {
        let ledger = Arc::new(Ledger::default());
        let (mut first, _outcome) = obligation(&ledger);
        let (mut second, _outcome) = obligation(&ledger);
        first.accept();
        second.accept();
        first.settle(Outcome::Completed(Box::default()));
        let totals = ledger.totals();
        assert_eq!((totals.accepted, totals.completed, totals.in_flight), (2, 1, 1));
    }
}
