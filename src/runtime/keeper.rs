//! What keeps the state of a session: it is saved without being asked for, and brought back in a new worker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Shared, named::on_disk};
use crate::{
    actor::{charge::Duty, mailbox::Mailbox, messages::Keep},
    checkpoint::Checkpoint,
    error::StateError,
    log::{info, warn},
    machine::supervisor::{Chore, LeaseId, Moment},
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
    /// Which state the newest of all is.
    at: Moment,
    /// The newest worker that a state was, or is being, brought back in: what older ones held is past.
    since: Generation,
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

    /// This state was saved, in memory or on disk. One that an older worker held is not what the session goes on with.
    pub(crate) fn holds(&self, newest: Option<Checkpoint>, at: Moment) -> Result<(), StateError> {
        let mut notes = self.notes();
        if at.generation < notes.since {
            return Err(StateError::Overtaken);
        }
        if at >= notes.at {
            (notes.newest, notes.at) = (newest, at);
        }
        Ok(())
    }

    /// Saves the state, on disk if it has a name. Returns the generation of what is kept, and which state it is.
    pub(crate) async fn save(
        &self,
        shared: Arc<Shared>,
        lease: LeaseId,
        chore: bool,
    ) -> Result<(u64, Moment), StateError> {
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
    ) -> Result<(u64, Moment), StateError> {
        let (checkpoint, at) = shared.save(lease, chore).await?;
        let Some(disk) = &self.disk else {
            self.holds(Some(checkpoint), at)?;
            let mut notes = self.notes();
            notes.saves += 1;
            return Ok((notes.saves, at));
        };
        let _one_at_a_time = self.writing.lock().await;
        let (since, newest, last) = {
            let notes = self.notes();
            (notes.since, notes.at, notes.last.clone())
        };
        match last {
            _ if at.generation < since => return Err(StateError::Overtaken),
            // A newer state is on disk already.
            Some(Ok(generation)) if newest > at => return Ok((generation, at)),
            Some(_) | None => {}
        }
        let (store, name) = (Arc::clone(&disk.store), disk.claim.name().to_owned());
        let generation = on_disk(move || store.save(&name, &checkpoint)).await?;
        self.holds(None, at)?;
        Ok((generation, at))
    }

    /// The newest state that there is, and which one it is. From here on what an older worker than this held is past.
    async fn newest(&self, generation: Generation) -> Result<(Option<Checkpoint>, Moment), StateError> {
        // What is on its way to the disk is on it before.
        let _one_at_a_time = self.writing.lock().await;
        let (newest, at) = {
            let mut notes = self.notes();
            notes.since = notes.since.max(generation);
            (notes.newest.clone(), notes.at)
        };
        match (&self.disk, newest) {
            (Some(disk), None) => {
                let (store, name) = (Arc::clone(&disk.store), disk.claim.name().to_owned());
                Ok((on_disk(move || store.load(&name)).await?.map(|saved| saved.checkpoint), at))
            }
            (_, newest) => Ok((newest, at)),
        }
    }

    /// Brings the newest state back in the new worker of the session. Returns after how many executions it was, too.
    async fn restore(
        &self,
        shared: Arc<Shared>,
        lease: LeaseId,
        generation: Generation,
    ) -> Result<(u64, SessionRestored), StateError> {
        let mut news = SessionRestored { generation, ..SessionRestored::default() };
        let (newest, at) = self.newest(generation).await?;
        let Some(checkpoint) = newest else { return Ok((at.ran, news)) };
        let restored = shared.restore(lease, &checkpoint, Some(generation)).await?.0;
        let kind = |name: &str| checkpoint.skipped().find(|it| it.name == name).map(|it| it.type_name);
        let lost = restored.lost.into_iter().map(|it| LostName {
            type_name: kind(&it.name),
            name: it.name,
            reason: it.reason,
        });
        news.from_checkpoint = true;
        (news.restored, news.lost) = (restored.names, lost.collect());
        Ok((at.ran, news))
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
                if let Ok((_, at)) = kept.save(shared, lease, true).await {
                    duty.saved(at.ran);
                }
            }
            Chore::Restore { generation, why } => match kept.restore(shared, lease, generation).await {
                Ok((covers, mut news)) => {
                    news.why = why;
                    duty.restored(generation, Ok((covers, Box::new(news))));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generation: u64, ran: u64) -> Moment {
        Moment { generation: Generation(generation), ran }
    }

    /// A copy of a worker may go on saving when that worker has died, and its session was told to go on without it.
    #[tokio::test]
    async fn what_an_older_worker_held_is_past_once_a_restore_has_begun() {
        let kept = Kept::default();
        kept.holds(None, at(1, 3)).unwrap();
        assert_eq!(kept.newest(Generation(2)).await.unwrap().1, at(1, 3));
        assert_eq!(
            kept.holds(None, at(1, 4)),
            Err(StateError::Overtaken),
            "it was told that the fourth is lost"
        );
        kept.holds(None, at(2, 4)).unwrap();
        kept.holds(None, at(2, 3)).unwrap();
        assert_eq!(kept.newest(Generation(3)).await.unwrap().1, at(2, 4), "of two, the newer one");
    }
}
