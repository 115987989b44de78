//! The end of the server: nothing new, then readers are told, then what runs has its time, then states are saved.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::Desk;

impl Desk {
    /// Whether nothing new is taken.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Tells when it begins to end.
    pub(crate) fn drained(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// From now on nothing new is taken, and readers are told.
    pub(crate) fn begin_to_drain(&self) {
        self.draining.send_replace(true);
    }

    /// Waits until what runs has ended, at most for the drain timeout, and saves the named sessions. Returns how many were
    /// saved, and how many could not be.
    pub(crate) async fn drain(self: &Arc<Self>) -> (usize, usize) {
        self.begin_to_drain();
        let running = async {
            loop {
                let runs = self.tables().runs.all();
                let Some((_, run)) = runs.into_iter().find(|(_, run)| run.log.outcome().is_none()) else {
                    return;
                };
                run.log.ended().await;
            }
        };
        // What has not ended by then ends with the pool, as lost.
        let _ = tokio::time::timeout(self.config.drain_timeout, running).await;
        self.stop_what_runs_in_named_sessions().await;
        self.save_all().await
    }

    /// A session is saved when nothing runs in it.
    async fn stop_what_runs_in_named_sessions(&self) {
        let runs = self.tables().runs.all();
        let runs: Vec<_> = runs.into_iter().map(|(_, run)| run).filter(|run| run.session.is_some()).collect();
        for run in &runs {
            run.log.canceller().cancel();
        }
        for run in runs {
            // A cancel ends within the grace.
            let _ = tokio::time::timeout(Duration::from_secs(60), run.log.ended()).await;
        }
    }
}
