//! What keeps the state of a session: it is saved without being asked for, and brought back in a new worker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Shared, named::on_disk};
use crate::{
    actor::{charge::Duty, mailbox::Mailbox, messages::Keep},
    checkpoint::Checkpoint,
    error::StateError,
    log::{info, warn},
    machine::supervisor::{Chore, LeaseId},
    outcome::{Generation, LostName, SessionRestored},
    store::{Claim, Store},
};

/// What is kept of the state of one session.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Where it is kept if it has a name.
    disk: Option<Disk>,
    /// One at a time writes there: two would write the same file.
    writing: tokio::sync::Mutex<()>,
    notes: Mutex<Notes>,
}

#[derive(Debug)]
struct Disk {
    store: Arc<Store>,
    claim: Claim,
}

#[derive(Debug, Default)]
struct Notes {
    /// The newest state in memory, if it is newer than what is on disk.
    newest: Option<Checkpoint>,
    /// After how many executions the newest state of all was saved.
    covers: u64,
    /// Counts the saves in memory.
    saves: u64,
    /// What came of the last save.
    last: Option<Result<u64, StateError>>,
    /// The holder of the session has gone, and it may have to be saved yet: the runtime lives on for that.
    stays: Option<Keep>,
}

impl Kept {
    pub(super) fn on_disk(store: Arc<Store>, claim: Claim) -> Self {
        Self { disk: Some(Disk { store, claim }), ..Self::default() }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        Some(self.disk.as_ref()?.claim.name())
    }

    pub(crate) fn last(&self) -> Option<Result<u64, StateError>> {
        self.notes().last.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The holder of the session has gone. Whoever wants its name may wait for it now.
    pub(crate) fn is_left(&self, keep: &Keep) {
        if let Some(disk) = &self.disk {
            self.notes().stays = Some(Arc::clone(keep));
            disk.claim.is_left();
        }
    }

    /// The session has this state now, in memory or as it is on disk.
    pub(crate) fn holds(&self, newest: Option<Checkpoint>, covers: u64) {
        let mut notes = self.notes();
        if covers >= notes.covers {
            (notes.newest, notes.covers) = (newest, covers);
        }
    }

    /// Saves the state, on disk if it has a name. Returns its generation, and after how many executions it was.
    pub(crate) async fn save(
        &self,
        shared: Arc<Shared>,
        lease: LeaseId,
        chore: bool,
    ) -> Result<(u64, u64), StateError> {
        let saved = self.save_once(shared, lease, chore).await;
        if let Err(error) = &saved {
            warn!(name = self.name(), %error, "the state of a session was not saved");
        }
        self.notes().last = Some(saved.clone().map(|(generation, _)| generation));
        saved
    }

    async fn save_once(
        &self,
        shared: Arc<Shared>,
        lease: LeaseId,
        chore: bool,
    ) -> Result<(u64, u64), StateError> {
        let (checkpoint, covers) = shared.save(lease, chore).await?;
        let Some(disk) = &self.disk else {
            self.holds(Some(checkpoint), covers);
            let mut notes = self.notes();
            notes.saves += 1;
            return Ok((notes.saves, covers));
        };
        let _one_at_a_time = self.writing.lock().await;
        let overtaken =
            { Some(self.notes()).filter(|notes| notes.covers > covers).and_then(|notes| notes.last.clone()) };
        if let Some(Ok(generation)) = overtaken {
            return Ok((generation, covers)); // A newer state is on disk already.
        }
        let (store, name) = (Arc::clone(&disk.store), disk.claim.name().to_owned());
        let generation = on_disk(move || store.save(&name, &checkpoint)).await?;
        self.holds(None, covers);
        Ok((generation, covers))
    }

    /// The newest state that there is.
    async fn newest(&self) -> Result<Option<Checkpoint>, StateError> {
        let newest = self.notes().newest.clone();
        match (&self.disk, newest) {
            (Some(disk), None) => {
                let (store, name) = (Arc::clone(&disk.store), disk.claim.name().to_owned());
                Ok(on_disk(move || store.load(&name)).await?.map(|saved| saved.checkpoint))
            }
            (_, newest) => Ok(newest),
        }
    }

    /// Brings the newest state back in the new worker of the session.
    async fn restore(
        &self,
        shared: Arc<Shared>,
        lease: LeaseId,
        generation: Generation,
    ) -> Result<SessionRestored, StateError> {
        let mut news = SessionRestored { generation, ..SessionRestored::default() };
        let Some(checkpoint) = self.newest().await? else { return Ok(news) };
        let restored = shared.restore(lease, &checkpoint, Some(generation)).await?.0;
        let kind = |name: &str| checkpoint.skipped().find(|it| it.name == name).map(|it| it.type_name);
        let lost = restored.lost.into_iter().map(|it| LostName {
            type_name: kind(&it.name),
            name: it.name,
            reason: it.reason,
        });
        news.from_checkpoint = true;
        (news.restored, news.lost) = (restored.names, lost.collect());
        Ok(news)
    }
}

/// Does what the supervisor asks for, until the session is over.
pub(super) async fn tend(shared: Weak<Shared>, kept: Arc<Kept>, mut duties: Mailbox<Duty>) {
    while let Some(duty) = duties.recv().await {
        // A duty that is dropped says that it was not done.
        let Some(shared) = shared.upgrade() else { continue };
        let lease = duty.lease;
        match duty.chore.clone() {
            Chore::Save => {
                if let Ok((_, covers)) = kept.save(shared, lease, true).await {
                    duty.saved(covers);
                }
            }
            Chore::Restore { generation, ran, why } => match kept.restore(shared, lease, generation).await {
                Ok(mut news) => {
                    news.why = why;
                    news.unsaved = {
                        let mut notes = kept.notes();
                        let unsaved = ran - notes.covers.min(ran);
                        notes.covers = ran;
                        unsaved
                    };
                    duty.restored(generation, Ok(Box::new(news)));
                }
                Err(StateError::Lost(_) | StateError::Submit(_)) => duty.overtaken(),
                Err(error) => {
                    info!(name = kept.name(), %error, "a session was not restored");
                    duty.restored(generation, Err(error.to_string()));
                }
            },
        }
    }
    let stays = kept.notes().stays.take();
    drop(stays); // Without the lock: it may be the last handle of the runtime.
}
