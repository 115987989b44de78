//! Saved states on disk: who uses which name. How they lie there is the business of [`shelf`]. Blocks; call it off the
//! runtime's threads.

mod chunks;
mod disk;
mod index;
mod shelf;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{
    checkpoint::Checkpoint,
    error::StoreError,
    store::{chunks::Terms, disk::Folder, shelf::Shelf},
};

/// Bytes of a name: with the rest of the path it must fit into what file systems allow.
const NAME_MAX: usize = 100;

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
        Self::open_with(folder, Terms::DEFAULT)
    }

    fn open_with(folder: &Path, terms: Terms) -> Result<Self, StoreError> {
        let shelf = Shelf::new(folder.to_owned(), Folder::take(folder)?, terms);
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
