//! Sessions with a name, whose state outlives the host: it is kept in the `state_dir`.

use std::{path::Path, sync::Arc, time::Duration};

use super::{Runtime, keeper::Kept};
use crate::{
    checkpoint::Restored,
    error::{StateError, StoreError},
    log::info,
    session::Session,
    store::{Claim, Store},
};

impl Runtime {
    /// Leases the session of this name: with the state that was last [saved](Session::save), also by a host that was
    /// killed since; or with none, if there is no such state. Waits as [`session_from`](Self::session_from) does; and, if
    /// somebody has just dropped the session of this name, until that is saved, at most the lease timeout.
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

    /// The names of the sessions that were saved. Waits for the disk, at most the `checkpoint_timeout`.
    ///
    /// # Errors
    /// There is no `state_dir`, or it cannot be read.
    pub async fn saved_sessions(&self) -> Result<Vec<String>, StateError> {
        let store = self.store()?;
        Ok(store.names(self.shared.checkpoint_timeout).await?)
    }

    fn store(&self) -> Result<Arc<Store>, StateError> {
        self.shared.store.clone().ok_or(StateError::NotKept)
    }

    /// A name that somebody has let go of is free as soon as its state is saved.
    async fn claim(&self, store: &Arc<Store>, name: &str) -> Result<Claim, StoreError> {
        let deadline = tokio::time::Instant::now().checked_add(self.shared.lease_timeout);
        loop {
            let freed = store.freed();
            match store.claim(name)? {
                Some(claim) => return Ok(claim),
                None => match deadline {
                    None => freed.await,
                    Some(deadline) => tokio::time::timeout_at(deadline, freed)
                        .await
                        .map_err(|_elapsed| StoreError::NameInUse { name: name.into() })?,
                },
            }
        }
    }

    async fn named(&self, name: &str, may_be_new: bool) -> Result<(Session, Option<Restored>), StateError> {
        let store = self.store()?;
        let claim = self.claim(&store, name).await?;
        let limit = self.shared.checkpoint_timeout;
        let saved = claim.begin("load", |desk| desk.load())?.within(limit).await??;
        if saved.is_none() && !may_be_new {
            return Err(StateError::NotSaved { name: name.into() });
        }
        let session = self.lease(Kept::on_disk(claim)).await?;
        let restored = match &saved {
            Some(saved) => {
                info!(name, generation = saved.generation, "a named session is restored");
                let mut restored = session.begin_with(&saved.checkpoint, None).await?;
                restored.passed_over.clone_from(&saved.passed_over);
                Some(restored)
            }
            None => None,
        };
        session.is_named();
        Ok((session, restored))
    }
}

/// Takes the folder where states are kept, if there is to be one.
pub(super) async fn open(folder: Option<&Path>, limit: Duration) -> Result<Option<Arc<Store>>, StoreError> {
    let Some(folder) = folder else { return Ok(None) };
    Ok(Some(Arc::new(Store::open(folder, limit).await?)))
}
