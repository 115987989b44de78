//! What can go wrong with saved states on disk.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use super::CheckpointError;

/// A state was not kept on disk, or not found there as it should be. What was kept before is as it was.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// This cannot be the name of a session that is kept.
    #[error(
        "`{name}` cannot name a session: give 1 to 100 lower-case letters, digits, `-`, `_` and `.`, not beginning with `.`, and not `lock`"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// A session of this name lives in this runtime.
    #[error("the session `{name}` is in use; drop it first")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// Another host uses the folder.
    #[error("the state folder `{}` is in use by process {}; stop it, or give this host another `state_dir`", .path.display(), .pid.map_or("?".into(), |pid| pid.to_string()))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who uses it.
        pid: Option<u32>,
    },
    /// The newest state is of another version, or none of those that are kept is whole.
    #[error("the saved state `{}` cannot be used, and was left as it is", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CheckpointError,
    },
    /// The disk takes too long, or hangs. What was begun goes on, and its name is in use until it has ended: a state that was
    /// being saved is there then, or the one before it.
    #[error(
        "failed to {action} `{}` within {after:?}, for the disk was not done; see what holds it up, or raise `checkpoint_timeout`", .path.display()
    )]
    TimedOut {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The limit.
        after: Duration,
    },
    /// States of this name come faster than the disk takes them.
    #[error("{waiting} saves wait for the disk at `{}` already; wait for one of them, or save less often", .path.display())]
    Busy {
        /// The folder of the name.
        path: PathBuf,
        /// How many may wait.
        waiting: usize,
    },
    /// The threads that write and read states could not be started.
    #[error(
        "failed to start the threads that keep states on disk; let this user have more threads, or leave out `state_dir`"
    )]
    Thread {
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The operating system refused.
    #[error("failed to {action} `{}`; what was saved there before is as it was", .path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
}

/// By what they say: errors of the operating system cannot be compared.
impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}
