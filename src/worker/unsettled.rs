//! Counts what is still to be cleared away behind the workers of one spawner.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// How long is waited for the count to come down. A process in an uninterruptible wait of the kernel does not die.
const LIMIT: Duration = Duration::from_secs(1);

/// The count of one spawner.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsettled(Arc<watch::Sender<usize>>);

/// One worker that is being started or is dying, or what it left behind.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub(super) struct Pending(Unsettled);

impl Unsettled {
    /// Counts one more, until it is dropped.
    pub(super) fn one_more(&self) -> Pending {
        self.0.send_modify(|count| *count += 1);
        Pending(self.clone())
    }

    /// Resolves when nothing is pending, at the latest after `LIMIT`.
    pub(super) async fn settled(self) {
        let mut count = self.0.subscribe();
        // An error means that too much time has passed; the sender is alive.
        let _ = timeout(LIMIT, count.wait_for(|count| *count == 0)).await;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
