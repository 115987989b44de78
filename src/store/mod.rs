//! Saved states on disk: who uses which name. How they lie there is the business of [`shelf`], and who works there when
//! that of [`queue`]. What waits for the disk is done by threads of this module, which are made when a store is opened.

mod chunks;
mod disk;
mod index;
mod names;
mod queue;
mod shelf;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::OwnedNotified, oneshot},
    time::timeout,
};

use crate::{
    blocking,
    checkpoint::Checkpoint,
    error::StoreError,
    store::{
        chunks::Terms,
        queue::{Queue, Threads, Ticket, Turn},
        shelf::Shelf,
    },
};

/// Bytes of a name: with the rest of the path it must fit into what file systems allow.
const NAME_MAX: usize = 100;
/// What concerns no name, or all of them.
const ROOT: &str = "";

/// The states that were saved in one folder, which is this host's as long as this lives.
#[derive(Debug)]
pub(crate) struct Store {
    /// The folder is ours until the last work in it has ended, also when this is gone.
    shelf: Arc<Shelf>,
    threads: Threads,
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

/// A name that is nobody else's until this is dropped. Who has it saved lets the work own it, so that nobody else has the
/// name as long as something is written.
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

    /// Has something done with its files, by somebody who may block. In the order in which it was asked for, one at a time.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Desk<'_>) -> T + Send + 'static,
    ) -> Result<Pending<T>, StoreError> {
        self.store.begin(&self.name, action, work)
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

/// Where somebody works with the files of one name, alone.
pub(crate) struct Desk<'a> {
    shelf: &'a Shelf,
    turn: &'a mut Turn,
}

impl Desk<'_> {
    /// Returns the generation.
    pub(crate) fn save(&mut self, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
        self.shelf.save(self.turn, &checkpoint.pieces())
    }

    /// The newest state that can be used; `None` if none was ever saved.
    pub(crate) fn load(&mut self) -> Result<Option<Saved<Checkpoint>>, StoreError> {
        self.shelf.load(self.turn, Checkpoint::from_bytes)
    }
}

/// A state that was saved.
#[derive(Debug)]
pub(crate) struct Saved<T> {
    pub(crate) checkpoint: T,
    pub(crate) generation: u64,
    /// Newer ones that could not be used, each with the reason; the newest first.
    pub(crate) passed_over: Vec<String>,
}

impl<T> Saved<T> {
    /// One that is not on disk.
    pub(crate) fn of_memory(checkpoint: T) -> Self {
        Self { checkpoint, generation: 0, passed_over: Vec::new() }
    }
}

/// Something that is being done. Dropped, it is not begun any more; what has begun goes on to its end.
#[derive(Debug)]
#[must_use = "dropping this takes back what was asked for"]
pub(crate) struct Pending<T> {
    answer: oneshot::Receiver<T>,
    /// For the words of an error.
    action: &'static str,
    path: PathBuf,
    _ticket: Ticket,
}

impl<T: Send + 'static> Pending<T> {
    fn add(
        queue: &Arc<Queue>,
        name: &str,
        action: &'static str,
        path: PathBuf,
        work: impl FnOnce(&mut Turn) -> T + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |turn: &mut Turn| {
            let done = work(turn);
            // Whoever does not wait any more does not hear of it.
            Box::new(move || drop(reply.send(done))) as queue::Answer
        });
        match queue.add(name, job) {
            Some(ticket) => Ok(Self { answer, action, path, _ticket: ticket }),
            None => Err(StoreError::Busy { path, waiting: queue::WAITING_MAX }),
        }
    }

    /// Waits for what came of it, for so long: a disk that hangs may do so for ever.
    pub(crate) async fn within(self, after: Duration) -> Result<T, StoreError> {
        let Self { answer, action, path, _ticket } = self;
        match timeout(after, blocking::answer(answer)).await {
            Ok(Some(done)) => Ok(done),
            Ok(None) => {
                let source = Arc::new(io::Error::other("the thread that worked for the store panicked"));
                Err(StoreError::Disk { action, path, source })
            }
            Err(_elapsed) => Err(StoreError::TimedOut { action, path, after }),
        }
    }
}

impl Store {
    /// Takes the folder, and makes it if it is not there. Waits so long for the disk at most.
    pub(crate) async fn open(folder: &Path, limit: Duration) -> Result<Self, StoreError> {
        let (root, terms) = (folder.to_owned(), Terms::DEFAULT);
        Self::begin_to_open(folder, move || Shelf::open(&root, terms))?.within(limit).await
    }

    fn begin_to_open(
        folder: &Path,
        open: impl FnOnce() -> Result<Shelf, StoreError> + Send + 'static,
    ) -> Result<Opening, StoreError> {
        let threads = Threads::start().map_err(|source| StoreError::Thread { source: Arc::new(source) })?;
        let shelf = Pending::add(&threads.queue, ROOT, "open", folder.to_owned(), move |_| open())?;
        Ok(Opening { shelf, threads })
    }

    fn begin<T: Send + 'static>(
        &self,
        name: &str,
        action: &'static str,
        work: impl FnOnce(&mut Desk<'_>) -> T + Send + 'static,
    ) -> Result<Pending<T>, StoreError> {
        let shelf = Arc::clone(&self.shelf);
        let path = self.shelf.path(name);
        Pending::add(&self.threads.queue, name, action, path, move |turn| {
            work(&mut Desk { shelf: &shelf, turn })
        })
    }

    /// Ends when nothing is being written or read any more. Cancel safe.
    pub(crate) async fn settled(&self) {
        self.threads.queue.settled().await;
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

    /// Every name that was saved. Waits so long for the disk at most.
    pub(crate) async fn names(&self, limit: Duration) -> Result<Vec<String>, StoreError> {
        self.begin(ROOT, "list", |desk| desk.shelf.names())?.within(limit).await?
    }
}

/// A store that is being opened.
struct Opening {
    shelf: Pending<Result<Shelf, StoreError>>,
    threads: Threads,
}

impl Opening {
    async fn within(self, limit: Duration) -> Result<Store, StoreError> {
        let shelf = self.shelf.within(limit).await??;
        Ok(Store {
            shelf: Arc::new(shelf),
            threads: self.threads,
            claimed: Mutex::default(),
            freed: Arc::default(),
        })
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
pub(crate) mod tests;
