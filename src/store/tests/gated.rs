//! A disk of this machine that is held up where somebody wants it to be.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Shelf, Store, StoreError, Terms, Threads};
use crate::store::disk::{Disk, Folder};

/// Nobody writes or reads a file while it is closed.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    opened: Condvar,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    closed: bool,
    waiting: usize,
}

impl Gate {
    /// A store whose disk is behind this.
    pub(crate) fn store(&self, folder: &Path) -> Result<Store, StoreError> {
        let disk = Gated { folder: Folder::take(folder)?, gate: self.clone() };
        Ok(Store {
            shelf: Arc::new(Shelf::new(folder.to_owned(), Box::new(disk), Terms::DEFAULT)),
            threads: Threads::start().expect("there is room for threads"),
            claimed: Mutex::default(),
            freed: Arc::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    pub(crate) fn open(&self) {
        self.state().closed = false;
        self.0.opened.notify_all();
    }

    pub(crate) async fn somebody_waits(&self) {
        loop {
            let arrived = self.0.arrived.notified();
            if self.state().waiting > 0 {
                return;
            }
            arrived.await;
        }
    }

    fn pass(&self) {
        let mut state = self.state();
        state.waiting += 1;
        self.0.arrived.notify_waiters();
        let passed = self.0.opened.wait_while(state, |state| state.closed);
        passed.unwrap_or_else(PoisonError::into_inner).waiting -= 1;
    }
}

/// Opens it: what waits would do so for ever.
impl Drop for Gate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.open();
        }
    }
}

struct Gated {
    folder: Folder,
    gate: Gate,
}

impl Disk for Gated {
    fn making(&self) -> MutexGuard<'_, ()> {
        self.folder.making()
    }

    fn has_folder(&self, folder: &str) -> io::Result<bool> {
        self.folder.has_folder(folder)
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        self.folder.make_folder(folder)
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        self.folder.remove_folder(folder)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.folder.list(folder)
    }

    fn read(&self, folder: &str, file: &str, from: u64, len: u64, into: &mut Vec<u8>) -> io::Result<()> {
        self.gate.pass();
        self.folder.read(folder, file, from, len, into)
    }

    fn write_synced(&self, folder: &str, file: &str, pieces: &[Bytes]) -> io::Result<()> {
        self.gate.pass();
        self.folder.write_synced(folder, file, pieces)
    }

    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(folder, from, to)
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        self.folder.remove(folder, file)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.folder.sync_folder(folder)
    }
}
