//! Saved states on disk: a folder for each name, a file for each generation, the newest two kept.
//!
//! ```text
//! STATE_DIR/lock            held by the host that uses it, with its process id
//! STATE_DIR/NAME/00000007   a checkpoint as bytes: its generation is its name
//! STATE_DIR/NAME/00000008
//! STATE_DIR/NAME/00000009.new     being written, or left by a host that died: swept
//! ```
//! What `save` has answered for is there after a crash at any moment: written aside, synced, renamed, its folder synced,
//! and only then what is older than the one before goes. A sync that failed is not tried again, for the kernel may have
//! dropped what it could not write: the next save writes all of it anew. Blocks; call it off the runtime's threads.

mod disk;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{
    checkpoint::Checkpoint,
    error::{CheckpointError, StoreError},
    log::warn,
    store::disk::{Disk, Folder},
};

/// Generations of one name that are kept: the newest, and one to go back to.
const KEPT: usize = 2;
/// Bytes of a name: with the rest of the path it must fit into what file systems allow.
const NAME_MAX: usize = 100;
/// What is being written ends with this.
const NEW: &str = ".new";

/// The states that were saved in one folder, which is this host's as long as this lives.
#[derive(Debug)]
pub(crate) struct Store {
    shelf: Shelf<Folder>,
    /// The names that somebody in this process uses.
    claimed: Mutex<BTreeMap<String, Used>>,
    /// Told when a name is free again.
    freed: Arc<Notify>,
}

/// How a name is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    Held,
    /// Its holder has gone, and its last state is being saved.
    Left,
}

/// A name that is nobody else's until this is dropped.
#[derive(Debug)]
#[must_use = "the name is free again when this is dropped"]
pub(crate) struct Claim {
    store: Arc<Store>,
    name: String,
}

impl Claim {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its holder has gone: it is free any moment.
    pub(crate) fn is_left(&self) {
        self.store.used().insert(self.name.clone(), Used::Left);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.store.used().remove(&self.name);
        self.store.freed.notify_waiters();
    }
}

/// A state that was saved.
#[derive(Debug)]
pub(crate) struct Saved<T> {
    pub(crate) checkpoint: T,
    pub(crate) generation: u64,
}

impl Store {
    /// Takes the folder, and makes it if it is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let shelf = Shelf { root: folder.to_owned(), disk: Folder::take(folder)? };
        shelf.sweep()?;
        Ok(Self { shelf, claimed: Mutex::default(), freed: Arc::default() })
    }

    /// Takes a name, so that no two sessions save under it. `None`: it is [freed](Self::freed) any moment.
    pub(crate) fn claim(self: &Arc<Self>, name: &str) -> Result<Option<Claim>, StoreError> {
        check_name(name)?;
        let name = name.to_owned();
        let mut used = self.used();
        match used.get(&name) {
            Some(Used::Held) => Err(StoreError::NameInUse { name }),
            Some(Used::Left) => Ok(None),
            None => {
                used.insert(name.clone(), Used::Held);
                Ok(Some(Claim { store: Arc::clone(self), name }))
            }
        }
    }

    /// Ends when a name is free that was not when this was called.
    pub(crate) fn freed(&self) -> OwnedNotified {
        Arc::clone(&self.freed).notified_owned()
    }

    fn used(&self) -> MutexGuard<'_, BTreeMap<String, Used>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn save(&self, name: &str, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
        self.shelf.save(name, &checkpoint.pieces())
    }

    /// The newest state of this name that is whole; `None` if it was never saved.
    pub(crate) fn load(&self, name: &str) -> Result<Option<Saved<Checkpoint>>, StoreError> {
        self.shelf.load(name, Checkpoint::from_bytes)
    }

    /// Every name that was saved.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        self.shelf.names()
    }
}

/// How states are laid out on a disk, whichever that is.
#[derive(Debug)]
struct Shelf<D> {
    root: PathBuf,
    disk: D,
}

impl<D: Disk> Shelf<D> {
    fn save(&self, name: &str, pieces: &[Bytes]) -> Result<u64, StoreError> {
        check_name(name)?;
        let failed = |action: &'static str| {
            let path = self.root.join(name);
            move |source| StoreError::Disk { action, path, source: Arc::new(source) }
        };
        if !self.disk.has_folder(name).map_err(failed("look for"))? {
            self.disk.make_folder(name).map_err(failed("make"))?;
        }
        // Each time: whoever made it may have died before this.
        if let Err(source) = self.disk.sync_folder("") {
            // If it is new, it may never come to the disk, however often that is asked for: the next save makes it anew.
            let _ = self.disk.remove_folder(name);
            return Err(failed("sync the folder of")(source));
        }
        let mut old = self.generations(name)?;
        let generation = old.first().map_or(1, |newest| newest + 1);
        let (file, aside) = (file_name(generation), format!("{}{NEW}", file_name(generation)));
        if let Err(source) = self.disk.write_synced(name, &aside, pieces) {
            // What is there now is of no use, and may fill the disk.
            let _ = self.disk.remove(name, &aside);
            return Err(failed("write")(source));
        }
        self.disk.rename(name, &aside, &file).map_err(failed("rename a file in"))?;
        self.disk.sync_folder(name).map_err(failed("sync"))?;
        for generation in old.drain((KEPT - 1).min(old.len())..) {
            // One too many does no harm, and goes the next time.
            let _ = self.disk.remove(name, &file_name(generation));
        }
        Ok(generation)
    }

    /// Goes back to an older generation from one that is damaged. One of another version is not damaged: using what was
    /// there before it would throw it away.
    fn load<T>(
        &self,
        name: &str,
        read: impl Fn(Bytes) -> Result<T, CheckpointError>,
    ) -> Result<Option<Saved<T>>, StoreError> {
        check_name(name)?;
        let mut damage = None;
        for generation in self.generations(name)? {
            let path = self.root.join(name).join(file_name(generation));
            let bytes = self.disk.read(name, &file_name(generation)).map_err(|source| StoreError::Disk {
                action: "read",
                path: path.clone(),
                source: Arc::new(source),
            })?;
            match read(bytes.into()) {
                Ok(checkpoint) => return Ok(Some(Saved { checkpoint, generation })),
                Err(source @ CheckpointError::Version { .. }) => {
                    return Err(StoreError::Unusable { path, source });
                }
                Err(source) => {
                    warn!(path = %path.display(), error = %source, "a saved state is damaged; the one before it is used");
                    damage.get_or_insert(StoreError::Unusable { path, source });
                }
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// Newest first.
    fn generations(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        if !self.disk.has_folder(name).map_err(|source| self.unlisted(name, source))? {
            return Ok(Vec::new());
        }
        let files = self.disk.list(name).map_err(|source| self.unlisted(name, source))?;
        let mut found: Vec<u64> = files.iter().filter_map(|file| file.parse().ok()).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.disk.list("").map_err(|source| self.unlisted("", source))?;
        names
            .retain(|name| check_name(name).is_ok() && self.generations(name).is_ok_and(|it| !it.is_empty()));
        names.sort_unstable();
        Ok(names)
    }

    /// Removes what a host that died was writing.
    fn sweep(&self) -> Result<(), StoreError> {
        for name in self.names_and_empty()? {
            for file in self.disk.list(&name).map_err(|source| self.unlisted(&name, source))? {
                if file.ends_with(NEW) {
                    // What stays is not looked at, and written over.
                    let _ = self.disk.remove(&name, &file);
                }
            }
        }
        Ok(())
    }

    fn names_and_empty(&self) -> Result<Vec<String>, StoreError> {
        let unlisted = |source| self.unlisted("", source);
        let mut names = Vec::new();
        for name in self.disk.list("").map_err(unlisted)? {
            if check_name(&name).is_ok() && self.disk.has_folder(&name).map_err(unlisted)? {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn unlisted(&self, name: &str, source: std::io::Error) -> StoreError {
        StoreError::Disk { action: "list", path: self.root.join(name), source: Arc::new(source) }
    }
}

fn file_name(generation: u64) -> String {
    format!("{generation:08}")
}

/// A name becomes a folder, on any file system.
fn check_name(name: &str) -> Result<(), StoreError> {
    let fits = (1..=NAME_MAX).contains(&name.len()) && !name.starts_with('.') && name != disk::LOCK;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    match fits && name.bytes().all(plain) {
        true => Ok(()),
        false => Err(StoreError::Name { name: name.chars().take(NAME_MAX).collect() }),
    }
}

#[cfg(test)]
mod tests;
