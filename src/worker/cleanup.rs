//! Counts what is still to be cleared away behind the workers of one spawner, and keeps who clears it if this process ends
//! before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::{
    reaper::{Reaper, Reapers},
    threads::Threads,
};
use crate::log;

/// The count of one spawner.
#[derive(Clone, Debug, Default)]
pub(super) struct Cleanup(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    count: watch::Sender<usize>,
    /// Started with the first worker. It goes with the last that is counted, and not with the spawner: a host may exit
    /// right after it has dropped that, before all is cleared.
    reaper: Mutex<Reapers>,
}

/// One worker that is being started or is dying, or what it left behind.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub(super) struct Pending(Cleanup);

impl Cleanup {
    /// Starts the reaper of this pool, if there is none. Called on the thread that starts processes.
    pub(super) fn have_reaper(&self, pool: &str) {
        let mut reapers = self.reapers();
        if !reapers.is_vacant() {
            return;
        }
        let (shared, of) = (Arc::downgrade(&self.0), pool.to_owned());
        match Reaper::start(pool, move |pid| died(&shared, of, pid)) {
            Ok(reaper) => reapers.take(reaper),
            Err(error) => log::warn!(%error, "workers may outlive this host if it is killed"),
        }
    }

    /// Ends the reaper: its pool has ended, and nothing of it is left. Whoever exits right after that leaves nobody behind.
    pub(super) fn dismiss_reaper(&self) {
        let dismissed = self.reapers().dismiss();
        drop(dismissed);
    }

    /// How often the reaper died while it was needed.
    pub(super) fn reapers_lost(&self) -> u64 {
        self.reapers().lost()
    }

    fn reapers(&self) -> MutexGuard<'_, Reapers> {
        self.0.reaper.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A reaper is dead: because its pool is gone, or before that. Called on the thread that sees deaths, which waits for
/// nobody.
fn died(shared: &Weak<Shared>, pool: String, pid: u32) {
    let Some(cleanup) = shared.upgrade().map(Cleanup) else { return };
    let replace = move || {
        // In a statement of its own: what is started next takes the lock, too.
        let lost = cleanup.reapers().has_lost(pid);
        if lost {
            log::warn!(
                pid,
                "the process that clears up behind a killed host died; it is replaced, within limits"
            );
            cleanup.have_reaper(&pool);
        }
    };
    // They run: this is one of them.
    if let Ok(threads) = Threads::get() {
        threads.later(replace);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.0.count.send_modify(|count| *count -= 1);
    }
}
