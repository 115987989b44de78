//! What keeps the state of a session: it is saved without being asked for, and brought back in a new worker.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use super::Shared;
use crate::{
    actor::{assignment::PendingStateJob, mailbox::Mailbox, messages::Keep},
    checkpoint::Checkpoint,
    error::StateError,
    log::{info, warn},
    machine::supervisor::{LeaseId, Moment, StateJob},
    outcome::{Generation, LostName, SessionRestored},
    store::{Claim, Desk, Saved},
};

/// What is kept of the state of one session.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// It is kept on disk if it has a name. What is written there owns all of this until it is: nobody else has the name
    /// before.
    claim: Option<Claim>,
    notes: Mutex<Notes>,
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
    /// The newest generation that was written to the disk for this session.
    written: Option<u64>,
    /// What came of the last save.
    last: Option<Result<u64, StateError>>,
    /// The holder of the session has gone, and it may have to be saved yet: the runtime lives on for that.
    stays: Option<Keep>,
}

impl Kept {
    pub(super) fn on_disk(claim: Claim) -> Self {
        Self { claim: Some(claim), ..Self::default() }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        Some(self.claim.as_ref()?.name())
    }

    pub(crate) fn last(&self) -> Option<Result<u64, StateError>> {
        self.notes().last.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The holder of the session has gone. Whoever wants its name may wait for it now.
    pub(crate) fn is_left(&self, keep: &Keep) {
        if let Some(claim) = &self.claim {
            self.notes().stays = Some(Arc::clone(keep));
            claim.is_left();
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
        self: &Arc<Self>,
        shared: Arc<Shared>,
        lease: LeaseId,
        state_job: bool,
    ) -> Result<(u64, Moment), StateError> {
        let saved = self.save_once(shared, lease, state_job).await;
        if let Err(error) = &saved {
            warn!(name = self.name(), %error, "the state of a session was not saved");
            self.notes().last = Some(Err(error.clone()));
        }
        saved
    }

    async fn save_once(
        self: &Arc<Self>,
        shared: Arc<Shared>,
        lease: LeaseId,
        state_job: bool,
    ) -> Result<(u64, Moment), StateError> {
        let limit = shared.checkpoint_timeout;
        let (checkpoint, at) = shared.save(lease, state_job).await?;
        self.keep(checkpoint, at, limit).await
    }

    /// Keeps a state, and waits so long for the disk at most. What has begun to be written owns the name, and goes on
    /// when nobody waits for it any more.
    async fn keep(
        self: &Arc<Self>,
        checkpoint: Checkpoint,
        at: Moment,
        limit: Duration,
    ) -> Result<(u64, Moment), StateError> {
        let Some(claim) = &self.claim else {
            self.holds(Some(checkpoint), at)?;
            let mut notes = self.notes();
            notes.saves += 1;
            notes.last = Some(Ok(notes.saves));
            return Ok((notes.saves, at));
        };
        let kept = Arc::clone(self);
        claim.begin("save", move |desk| kept.write(desk, &checkpoint, at))?.within(limit).await?
    }

    /// One at a time does this, and whoever has gone does it to its end.
    fn write(
        &self,
        desk: &mut Desk<'_>,
        checkpoint: &Checkpoint,
        at: Moment,
    ) -> Result<(u64, Moment), StateError> {
        let (since, newest, written) = {
            let notes = self.notes();
            (notes.since, notes.at, notes.written)
        };
        match written {
            _ if at.generation < since => return Err(StateError::Overtaken),
            // A newer state is on disk already.
            Some(generation) if newest > at => return Ok((generation, at)),
            Some(_) | None => {}
        }
        let generation = desk.save(checkpoint)?;
        self.holds(None, at)?;
        let mut notes = self.notes();
        (notes.written, notes.last) = (Some(generation), Some(Ok(generation)));
        Ok((generation, at))
    }

    /// The newest state that there is, and which one it is. From here on what an older worker than this held is past.
    fn newest(
        &self,
        desk: Option<&mut Desk<'_>>,
        generation: Generation,
    ) -> Result<(Option<Saved<Checkpoint>>, Moment), StateError> {
        let (newest, at) = {
            let mut notes = self.notes();
            notes.since = notes.since.max(generation);
            (notes.newest.clone(), notes.at)
        };
        match (desk, newest) {
            (Some(desk), None) => Ok((desk.load()?, at)),
            (_, newest) => Ok((newest.map(Saved::of_memory), at)),
        }
    }

    /// As [`newest`](Self::newest). What is on its way to the disk is on it before; waits so long for that at most.
    async fn look(
        self: &Arc<Self>,
        generation: Generation,
        limit: Duration,
    ) -> Result<(Option<Saved<Checkpoint>>, Moment), StateError> {
        let Some(claim) = &self.claim else { return self.newest(None, generation) };
        let kept = Arc::clone(self);
        claim.begin("load", move |desk| kept.newest(Some(desk), generation))?.within(limit).await?
    }

    /// Brings the newest state back in the new worker of the session. Returns after how many executions it was, too.
    async fn restore(
        self: &Arc<Self>,
        shared: Arc<Shared>,
        lease: LeaseId,
        generation: Generation,
    ) -> Result<(u64, SessionRestored), StateError> {
        let mut news = SessionRestored { generation, ..SessionRestored::default() };
        let (newest, at) = self.look(generation, shared.checkpoint_timeout).await?;
        let Some(Saved { checkpoint, passed_over, .. }) = newest else { return Ok((at.ran, news)) };
        let restored = shared.restore(lease, &checkpoint, Some(generation)).await?.0;
        let kind = |name: &str| checkpoint.skipped().find(|it| it.name == name).map(|it| it.type_name);
        let lost = restored.lost.into_iter().map(|it| LostName {
            type_name: kind(&it.name),
            name: it.name,
            reason: it.reason,
        });
        news.from_checkpoint = true;
        (news.restored, news.lost) = (restored.names, lost.collect());
        news.passed_over = passed_over;
        Ok((at.ran, news))
    }
}

/// Does what the supervisor asks for, until the session is over.
pub(super) async fn tend(shared: Weak<Shared>, kept: Arc<Kept>, mut duties: Mailbox<PendingStateJob>) {
    while let Some(duty) = duties.recv().await {
        // A duty that is dropped says that it was not done.
        let Some(shared) = shared.upgrade() else { continue };
        let lease = duty.lease;
        match duty.state_job.clone() {
            StateJob::Save => {
                if let Ok((_, at)) = kept.save(shared, lease, true).await {
                    duty.saved(at.ran);
                }
            }
            StateJob::Restore { generation, why } => match kept.restore(shared, lease, generation).await {
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
mod tests;
