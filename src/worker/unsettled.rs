//! Counts what is still to be cleared away behind the workers of one spawner.

use std::sync::Arc;

use tokio::sync::watch;

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

    /// Resolves when nothing is pending.
    pub(super) async fn settled(self) {
        // An error would mean that the sender is gone: it is here.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
