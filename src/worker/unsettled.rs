//! Counts what is still to be cleared away behind the workers of one spawner, and keeps who clears it if this process ends
//! before.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::undertaker::Undertaker;
use crate::error::SpawnError;

/// The count of one spawner.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsettled(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    count: watch::Sender<usize>,
    /// Started with the first worker. It goes with the last that is counted, and not with the spawner: a host may exit
    /// right after it has dropped that, before all is cleared.
    undertaker: Mutex<Option<Undertaker>>,
}

/// One worker that is being started or is dying, or what it left behind.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub(super) struct Pending(Unsettled);

impl Unsettled {
    /// Starts the undertaker of this pool, if there is none yet. Called on the thread that starts processes.
    pub(super) fn have_undertaker(&self, pool: &str) -> Result<(), SpawnError> {
        let mut undertaker = self.0.undertaker.lock().unwrap_or_else(PoisonError::into_inner);
        if undertaker.is_none() {
            *undertaker = Some(Undertaker::start(pool)?);
        }
        Ok(())
    }

    /// Counts one more, until it is dropped.
    pub(super) fn one_more(&self) -> Pending {
        self.0.count.send_modify(|count| *count += 1);
        Pending(self.clone())
    }

    /// Resolves when nothing is pending.
    pub(super) async fn settled(self) {
        // An error would mean that the sender is gone: it is here.
        let _ = self.0.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.0.count.send_modify(|count| *count -= 1);
    }
}
