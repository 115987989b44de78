//! A disk that loses what was not synced, in parts; is full; fails to sync; and whose users take turns as a seed says.

use std::{
    collections::BTreeMap,
    io::{self, Error, ErrorKind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rustix::io::Errno;

use super::{
    crashes::Bug,
    turns::{Stage, Writer},
};
use crate::store::{disk::Disk, shelf::KEPT};

pub(super) const SECTOR: usize = 64;

/// A change of the names in a folder.
#[derive(Clone, Debug)]
enum Change {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) durable: Vec<u8>,
    pub(super) now: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    durable: BTreeMap<String, usize>,
    pub(super) now: BTreeMap<String, usize>,
    pending: Vec<Change>,
}

/// Clones are the same disk.
#[derive(Clone)]
pub(super) struct Simulated {
    state: Arc<Mutex<State>>,
    stage: Arc<Stage>,
    /// One lock; or several, with the bug that nobody keeps others from making folders.
    making: Arc<[Mutex<()>; 8]>,
    bug: Bug,
}

pub(super) struct State {
    pub(super) files: Vec<Contents>,
    pub(super) folders: BTreeMap<String, Names>,
    pub(super) chance: StdRng,
    /// Steps until the crash.
    pub(super) left: u32,
    /// How often a step fails.
    faults: f64,
    /// What it forgot to write, or lost afterwards, may be missing of an older generation.
    pub(super) failed: bool,
    /// Files that cannot be read.
    pub(super) unreadable: BTreeMap<usize, Errno>,
    /// Written, and not synced before the rename.
    unsynced: Vec<usize>,
}

impl Names {
    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.pending.push(change);
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &Change) {
    match change {
        Change::Link(name, file) => drop(names.insert(name.clone(), *file)),
        Change::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Change::Unlink(name) => drop(names.remove(name)),
    }
}

impl Simulated {
    pub(super) fn new(chance: StdRng, left: u32, faults: f64, bug: Bug) -> Self {
        let state = State {
            files: vec![Contents::default()],
            folders: BTreeMap::from([(String::new(), Names::default())]),
            chance,
            left,
            faults,
            failed: false,
            unreadable: BTreeMap::new(),
            unsynced: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), stage: Arc::default(), making: Arc::default(), bug }
    }

    /// One that neither fails nor crashes.
    pub(super) fn calm() -> Self {
        Self::new(StdRng::seed_from_u64(0), u32::MAX, 0.0, Bug::None)
    }

    /// Folders that were always there.
    pub(super) fn make<const N: usize>(&self, folders: [&str; N]) {
        let mut state = self.state();
        for folder in folders {
            state.folders.insert(folder.into(), Names::default());
            let root = state.folder("").expect("it is there");
            root.durable.insert(folder.into(), 0);
            root.now.insert(folder.into(), 0);
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a file behind everybody's back.
    pub(super) fn damage(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.folders["work"].now[file];
        change(&mut state.files[file].now);
    }

    /// Gives this error instead of the bytes of a file.
    pub(super) fn refuse(&self, file: &str, errno: Errno) {
        let mut state = self.state();
        let file = state.folders["work"].now[file];
        state.unreadable.insert(file, errno);
    }

    /// Something that will be done by turns.
    pub(super) fn writer(&self, work: impl FnOnce() + Send + 'static) -> Writer {
        Writer::new(Arc::clone(&self.stage), work)
    }

    /// Perhaps it is another one's turn first.
    fn pause(&self) {
        let pauses = self.state().chance.random_bool(0.4);
        if pauses {
            self.stage.pause();
        }
    }

    /// One step nearer to the crash; now and then the disk is full, or a sync fails.
    fn tick(&self, fault: Option<ErrorKind>) -> io::Result<MutexGuard<'_, State>> {
        self.pause();
        let mut state = self.state();
        state.left = state.left.checked_sub(1).ok_or_else(|| Error::other("the power is off"))?;
        let faults = state.faults;
        match fault.filter(|_| state.chance.random_bool(faults)) {
            Some(kind) => Err(kind.into()),
            None => Ok(state),
        }
    }
}

impl State {
    fn folder(&mut self, folder: &str) -> io::Result<&mut Names> {
        self.folders.get_mut(folder).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Of what was not synced, any sectors are there; of the names, any beginning of what was done.
    pub(super) fn crash(&mut self) {
        for names in self.folders.values_mut() {
            let kept = self.chance.random_range(0..=names.pending.len());
            for change in names.pending.drain(..).take(kept) {
                apply(&mut names.durable, &change);
            }
            names.now = names.durable.clone();
        }
        let linked = self.folders[""].now.clone();
        self.folders.retain(|folder, _| folder.is_empty() || linked.contains_key(folder));
        for file in self.files.iter_mut().filter(|file| file.durable != file.now) {
            let len = if self.chance.random_bool(0.5) { file.now.len() } else { file.durable.len() };
            let mut found = file.durable.clone();
            found.resize(len, 0);
            let luck = [0.0, 0.5, 0.9, 1.0][self.chance.random_range(0..4)];
            for start in (0..len.min(file.now.len())).step_by(SECTOR) {
                if self.chance.random_bool(luck) {
                    let end = (start + SECTOR).min(len).min(file.now.len());
                    found[start..end].copy_from_slice(&file.now[start..end]);
                }
            }
            *file = Contents { durable: found.clone(), now: found };
        }
        self.unsynced.clear();
    }

    /// Opens a file for writing.
    fn create(&mut self, folder: &str, name: &str, bug: Bug) -> io::Result<usize> {
        if let Some(file) = self.folder(folder)?.now.get(name).copied() {
            if !bug.shares_files() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            self.files[file].now.clear();
            return Ok(file);
        }
        let file = self.files.len();
        self.files.push(Contents::default());
        self.folder(folder)?.change(Change::Link(name.into(), file));
        Ok(file)
    }
}

impl Disk for Simulated {
    fn making(&self) -> MutexGuard<'_, ()> {
        let locks = if self.bug == Bug::MakersMeet { &self.making[..] } else { &self.making[..1] };
        loop {
            if let Some(alone) = locks.iter().find_map(|lock| lock.try_lock().ok()) {
                return alone;
            }
            self.stage.pause();
        }
    }

    fn has_folder(&self, folder: &str) -> io::Result<bool> {
        self.pause();
        Ok(self.state().folders.contains_key(folder))
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.tick(Some(ErrorKind::StorageFull))?;
        if state.folders.contains_key(folder) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.folder("")?.change(Change::Link(folder.into(), 0));
        state.folders.insert(folder.into(), Names::default());
        Ok(())
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.tick(None)?;
        if !state.folder(folder)?.now.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        state.folders.remove(folder);
        state.folder("")?.change(Change::Unlink(folder.into()));
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.pause();
        Ok(self.state().folder(folder)?.now.keys().cloned().collect())
    }

    fn read(&self, folder: &str, file: &str, from: u64, len: u64, into: &mut Vec<u8>) -> io::Result<()> {
        self.pause();
        let mut state = self.state();
        let file = *state.folder(folder)?.now.get(file).ok_or(ErrorKind::NotFound)?;
        if let Some(errno) = state.unreadable.get(&file) {
            return Err((*errno).into());
        }
        let there = &state.files[file].now;
        let up_to = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(there.len());
        into.extend_from_slice(&there[up_to(from)..up_to(from.saturating_add(len))]);
        Ok(())
    }

    fn write_synced(&self, folder: &str, name: &str, pieces: &[Bytes]) -> io::Result<()> {
        if self.bug == Bug::OldGoesFirst {
            for old in self.list(folder)? {
                self.remove(folder, &old)?;
            }
            self.sync_folder(folder)?;
        }
        let file =
            self.tick(Some(ErrorKind::StorageFull))?.create(folder, &self.bug.aside(name), self.bug)?;
        let mut at = 0;
        for piece in pieces {
            let full = self.tick(Some(ErrorKind::StorageFull)).map(drop);
            let written = if full.is_ok() { &piece[..] } else { &piece[..piece.len() / 2] };
            let now = &mut self.state().files[file].now;
            let end = at + written.len();
            now.resize(now.len().max(end), 0);
            now[at..end].copy_from_slice(written);
            at = end;
            full?;
        }
        if self.bug == Bug::RenamedFirst {
            self.state().unsynced.push(file);
        } else if self.bug != Bug::NoSync {
            let mut state = self.tick(Some(ErrorKind::Other))?;
            state.files[file].durable = state.files[file].now.clone();
        }
        Ok(())
    }

    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        let (mut state, from) = (self.tick(None)?, self.bug.aside(from));
        let names = state.folder(folder)?;
        if !names.now.contains_key(&from) {
            return Err(ErrorKind::NotFound.into());
        }
        names.change(Change::Rename(from, to.into()));
        Ok(())
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        let mut state = self.tick(None)?;
        state.folder(folder)?.change(Change::Unlink(self.bug.aside(file)));
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        if self.bug == Bug::NoFolderSync {
            return Ok(());
        }
        if self.bug == Bug::RenamedFirst && !folder.is_empty() {
            let mut state = self.tick(None)?;
            for file in std::mem::take(&mut state.unsynced) {
                state.files[file].durable = state.files[file].now.clone();
            }
        }
        let synced = self.tick(Some(ErrorKind::Other)).map(drop);
        let mut state = self.state();
        let forgotten = synced.is_err() && state.chance.random_bool(0.5);
        state.failed |= forgotten;
        let names = state.folder(folder)?;
        // What could not be written counts as written from now on: another sync says nothing.
        let changes =
            if synced.is_ok() || forgotten { std::mem::take(&mut names.pending) } else { Vec::new() };
        if synced.is_ok() {
            changes.iter().for_each(|change| apply(&mut names.durable, change));
        }
        if synced.is_ok() && self.bug == Bug::NeededGoes {
            let numbers = names.now.keys().filter(|file| file.parse::<u64>().is_ok());
            for old in numbers.rev().skip(KEPT).cloned().collect::<Vec<_>>() {
                names.change(Change::Unlink(old));
            }
        }
        synced
    }
}
