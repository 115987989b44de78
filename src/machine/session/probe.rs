//! Questions to a worker: whether it is alive, and whether it is idle.

use crate::protocol::{ExecutionId, Heartbeat, Ping, ToWorker};

/// Numbers the questions, each with a number of its own.
#[derive(Debug, Default)]
pub(super) struct Probes {
    last: u64,
}

/// The answer that proves that a worker is idle. An answer to any other question, such as whether it is alive, was
/// perhaps given before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof(u64);

impl Probes {
    fn ask(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Whether it is alive: whatever it says answers that.
    pub(super) fn alive(&mut self) -> ToWorker {
        ToWorker::Ping(Ping { seq: self.ask() })
    }

    /// Whether it is idle.
    pub(super) fn idle(&mut self) -> (Proof, ToWorker) {
        let seq = self.ask();
        (Proof(seq), ToWorker::Ping(Ping { seq }))
    }
}

impl Proof {
    /// Whether this says that `id` does not run any more.
    pub(super) fn is(&self, heartbeat: &Heartbeat, id: ExecutionId) -> bool {
        heartbeat.seq == Some(self.0) && heartbeat.running != Some(id)
    }
}
