//! Saved states by their handles. They stay here: a checkpoint is code, so none is taken from a caller.

use std::sync::Arc;

use ostler::Checkpoint;

use super::{Desk, principal::Principal, time};
use crate::{
    config::CHECKPOINT_BYTES_MAX,
    wire::{handle::Kind, problem::Problem},
};

/// A saved state.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) handle: Arc<str>,
    pub(crate) checkpoint: Checkpoint,
    /// When it was taken, in RFC 3339.
    pub(crate) at: String,
}

impl Desk {
    /// Finds a checkpoint of this principal.
    pub(crate) fn checkpoint(&self, who: &Principal, handle: &str) -> Result<Arc<Kept>, Problem> {
        let found = self.tables().checkpoints.find(&who.name, handle);
        self.found(who, found, Kind::Checkpoint, handle)
    }

    /// Keeps a checkpoint.
    pub(crate) fn keep(&self, who: &Principal, checkpoint: Checkpoint) -> Result<Arc<Kept>, Problem> {
        let handle = self.new_handle(Kind::Checkpoint, who)?;
        let mut tables = self.tables();
        let own = tables.checkpoints.of(&who.name);
        let bytes: usize = own.iter().map(|(_, kept)| kept.checkpoint.data().len()).sum();
        let more = checkpoint.data().len();
        let name = &who.name;
        if bytes + more > CHECKPOINT_BYTES_MAX {
            let detail = format!(
                "the checkpoints of `{name}` have {bytes} bytes, and this one has {more}; the limit is \
                 {CHECKPOINT_BYTES_MAX}: delete one of them first"
            );
            return Err(Problem::too_many("checkpoint_bytes", detail, None));
        }
        tables.checkpoints.reserve(&who.name, None).map_err(|max| {
            let detail = format!("`{name}` has {max} of {max} checkpoints; delete one of them first");
            Problem::too_many("checkpoints", detail, None)
        })?;
        let kept = Arc::new(Kept { handle: Arc::clone(&handle), checkpoint, at: time::now() });
        tables.checkpoints.insert(handle, Arc::clone(&who.name), Arc::clone(&kept));
        Ok(kept)
    }

    /// Drops a checkpoint.
    pub(crate) fn drop_checkpoint(&self, who: &Principal, handle: &str) -> Result<(), Problem> {
        self.checkpoint(who, handle)?;
        self.tables().checkpoints.remove(handle, time::now(), "it was deleted");
        Ok(())
    }
}
