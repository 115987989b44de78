//! Sessions with a name, whose state outlives the host: it is kept in the `state_dir`.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{Runtime, Shared};
use crate::{
    checkpoint::Restored,
    error::{StateError, StoreError},
    log::{info, warn},
    machine::supervisor::LeaseId,
    session::Session,
    store::{Claim, Store},
};

/// Where the states of a runtime's sessions are kept, and how often they are saved.
#[derive(Clone, Debug)]
pub(crate) struct Keeping {
    pub(crate) store: Arc<Store>,
    pub(crate) every: Option<u32>,
}

/// What makes a session a named one.
#[derive(Debug)]
pub(crate) struct Kept {
    keeping: Keeping,
    claim: Claim,
    /// Executions since the last save that was begun.
    executions: AtomicU32,
    /// One save at a time: two would write the same file.
    saving: tokio::sync::Mutex<()>,
    last: Mutex<Option<Result<u64, StateError>>>,
}

impl Runtime {
    /// Leases the session of this name: with the state that was last [saved](Session::save), also by a host that was
    /// killed since; or with none, if there is no such state. Waits as [`session_from`](Self::session_from) does.
    ///
    /// # Errors
    /// There is no `state_dir`, no session, or the state did not come back. Somebody has this session already. What was
    /// saved is left as it is.
    pub async fn session_named(&self, name: &str) -> Result<(Session, Option<Restored>), StateError> {
        self.named(name, true).await
    }

    /// As [`session_named`](Self::session_named), for a name that was saved.
    ///
    /// # Errors
    /// As there; and [`StateError::NotSaved`].
    pub async fn resume(&self, name: &str) -> Result<(Session, Restored), StateError> {
        match self.named(name, false).await? {
            (session, Some(restored)) => Ok((session, restored)),
            (_, None) => Err(StateError::NotSaved { name: name.into() }),
        }
    }

    /// The names of the sessions that were saved.
    ///
    /// # Errors
    /// There is no `state_dir`, or it cannot be read.
    pub async fn saved_sessions(&self) -> Result<Vec<String>, StateError> {
        let store = self.keeping()?.store;
        on_disk(move || store.names()).await
    }

    fn keeping(&self) -> Result<Keeping, StateError> {
        self.shared.keeping.clone().ok_or(StateError::NotKept)
    }

    async fn named(&self, name: &str, may_be_new: bool) -> Result<(Session, Option<Restored>), StateError> {
        let keeping = self.keeping()?;
        let claim = keeping.store.claim(name)?;
        let (store, of) = (Arc::clone(&keeping.store), name.to_owned());
        let saved = on_disk(move || store.load(&of)).await?;
        if saved.is_none() && !may_be_new {
            return Err(StateError::NotSaved { name: name.into() });
        }
        let session = self.session().await?;
        let restored = match &saved {
            Some(saved) => {
                info!(name, generation = saved.generation, "a named session is restored");
                Some(session.restore(&saved.checkpoint).await?)
            }
            None => None,
        };
        Ok((session.keep(Kept::new(keeping, claim)), restored))
    }
}

impl Kept {
    fn new(keeping: Keeping, claim: Claim) -> Self {
        let executions = AtomicU32::new(0);
        Self { keeping, claim, executions, saving: tokio::sync::Mutex::default(), last: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        self.claim.name()
    }

    pub(crate) fn last(&self) -> Option<Result<u64, StateError>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts an execution. Returns whether the state is to be saved behind it.
    pub(crate) fn counted(&self) -> bool {
        let Some(every) = self.keeping.every else { return false };
        let count = self.executions.fetch_add(1, Relaxed) + 1;
        // A save that is under way covers what came before it; the next execution asks again.
        let due = count >= every && self.saving.try_lock().is_ok();
        if due {
            self.executions.store(0, Relaxed);
        }
        due
    }

    /// Saves the state and keeps it on disk. Returns its generation.
    pub(crate) async fn save(&self, shared: Arc<Shared>, lease: LeaseId) -> Result<u64, StateError> {
        let _one_at_a_time = self.saving.lock().await;
        let saved = self.save_once(shared, lease).await;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved.clone());
        saved
    }

    async fn save_once(&self, shared: Arc<Shared>, lease: LeaseId) -> Result<u64, StateError> {
        let checkpoint = shared.save(lease).await?;
        let (store, name) = (Arc::clone(&self.keeping.store), self.name().to_owned());
        on_disk(move || store.save(&name, &checkpoint)).await
    }

    /// Saves without anybody who waits for it. It waits in the session's line, behind what was submitted.
    pub(crate) fn save_behind(self: Arc<Self>, shared: Arc<Shared>, lease: LeaseId) {
        drop(tokio::spawn(async move {
            if let Err(error) = self.save(shared, lease).await {
                warn!(name = self.name(), %error, "the state of a named session was not saved");
            }
        }));
    }
}

/// Runs what waits for a disk where that holds up nobody.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StateError> {
    // It ends early only with the tokio runtime.
    let done = tokio::task::spawn_blocking(work).await.map_err(|_ended| StateError::Cancelled)?;
    Ok(done?)
}
