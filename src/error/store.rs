//! What can go wrong with saved states on disk.

use std::{io, path::PathBuf, sync::Arc};

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
