//! Crashes at any moment, on a disk that loses what was not synced, in parts; is full; and fails to sync (faults 63, 65).
//!
//! A life saves until the disk crashes. What the next life finds must be what was last answered for, or what was being
//! saved since then: never something older, nothing, or half. Most states share chunks with the one before, some are small
//! and stored whole. `OSTLER_SEEDS` says how many such histories are tried; five bugs are planted, and each must be found.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Error, ErrorKind},
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::store::{
    disk::Disk,
    shelf::{KEPT, Shelf, file_name},
};

const SECTOR: usize = 64;
const LIVES: usize = 5;

/// What is wrong with a store, or with how it uses the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    NoSync,
    NoFolderSync,
    OldGoesFirst,
    NoChecksum,
    /// An old file goes to which a newer generation refers.
    NeededGoes,
}

/// A change of the names in a folder.
#[derive(Clone, Debug)]
enum Change {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    durable: Vec<u8>,
    now: Vec<u8>,
}

#[derive(Debug, Default)]
struct Names {
    durable: BTreeMap<String, usize>,
    now: BTreeMap<String, usize>,
    pending: Vec<Change>,
}

#[derive(Debug)]
pub(super) struct Simulated {
    state: RefCell<State>,
    bug: Bug,
}

#[derive(Debug)]
struct State {
    files: Vec<Contents>,
    folders: BTreeMap<String, Names>,
    chance: StdRng,
    /// Steps until the crash.
    left: u32,
    /// How often a step fails.
    faults: f64,
    /// What it forgot to write, or lost afterwards, may be missing of an older generation.
    failed: bool,
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
    fn new(chance: StdRng, left: u32, faults: f64, bug: Bug) -> Self {
        let folders = BTreeMap::from([(String::new(), Names::default())]);
        let files = vec![Contents::default()];
        Self { state: State { files, folders, chance, left, faults, failed: false }.into(), bug }
    }

    /// One that neither fails nor crashes.
    pub(super) fn calm() -> Self {
        Self::new(StdRng::seed_from_u64(0), u32::MAX, 0.0, Bug::None)
    }

    /// Changes a file behind everybody's back.
    pub(super) fn damage(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.borrow_mut();
        let file = state.folders["work"].now[file];
        change(&mut state.files[file].now);
    }
}

fn crashed() -> Error {
    Error::other("the power is off")
}

impl State {
    /// One step nearer to the crash; now and then the disk is full, or a sync fails.
    fn tick(&mut self, fault: Option<ErrorKind>) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(crashed)?;
        match fault.filter(|_| self.chance.random_bool(self.faults)) {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }

    fn folder(&mut self, folder: &str) -> io::Result<&mut Names> {
        self.folders.get_mut(folder).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Of what was not synced, any sectors are there; of the names, any beginning of what was done.
    fn crash(&mut self) {
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
        self.left = steps(&mut self.chance);
    }
}

impl Disk for Simulated {
    fn has_folder(&self, folder: &str) -> io::Result<bool> {
        Ok(self.state.borrow().folders.contains_key(folder))
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.tick(Some(ErrorKind::StorageFull))?;
        state.folder("")?.change(Change::Link(folder.into(), 0));
        state.folders.insert(folder.into(), Names::default());
        Ok(())
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.tick(None)?;
        if !state.folder(folder)?.now.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        state.folders.remove(folder);
        state.folder("")?.change(Change::Unlink(folder.into()));
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        Ok(self.state.borrow_mut().folder(folder)?.now.keys().cloned().collect())
    }

    fn read(&self, folder: &str, file: &str, from: u64, len: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let file = *state.folder(folder)?.now.get(file).ok_or(ErrorKind::NotFound)?;
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
        let mut state = self.state.borrow_mut();
        state.tick(Some(ErrorKind::StorageFull))?;
        let file = state.files.len();
        state.files.push(Contents::default());
        state.folder(folder)?.change(Change::Link(name.into(), file));
        for piece in pieces {
            let full = state.tick(Some(ErrorKind::StorageFull));
            let written = if full.is_ok() { &piece[..] } else { &piece[..piece.len() / 2] };
            state.files[file].now.extend_from_slice(written);
            full?;
        }
        if self.bug != Bug::NoSync {
            state.tick(Some(ErrorKind::Other))?;
            state.files[file].durable = state.files[file].now.clone();
        }
        Ok(())
    }

    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.tick(None)?;
        state.folder(folder)?.change(Change::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.tick(None)?;
        state.folder(folder)?.change(Change::Unlink(file.into()));
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        if self.bug == Bug::NoFolderSync {
            return Ok(());
        }
        let mut state = self.state.borrow_mut();
        let synced = state.tick(Some(ErrorKind::Other));
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

fn steps(chance: &mut StdRng) -> u32 {
    let most = if chance.random_bool(0.1) { 300 } else { 60 };
    chance.random_range(0..most)
}

/// One history. `Err` tells what was found that should not be.
fn history(seed: u64, bug: Bug) -> Result<(), String> {
    let mut chance = StdRng::seed_from_u64(seed);
    let (left, age) = (steps(&mut chance), chance.random_range(2..30));
    let mut disk = Simulated::new(chance, left, 0.05, bug);
    let read = |bytes: Bytes| match bug {
        Bug::NoChecksum => Ok(number(&bytes)),
        Bug::None | Bug::NoSync | Bug::NoFolderSync | Bug::OldGoesFirst | Bug::NeededGoes => {
            Checkpoint::from_bytes(bytes).map(|it| number(it.data()))
        }
    };
    // States are numbered from 1; 0 is that there is none.
    let (mut answered, mut last, mut rotten) = (0, 0, None);
    for life in 0..LIVES {
        // What a process knows of its files dies with it.
        let shelf = Shelf::new("/simulated".into(), disk, Terms { age, ..SMALL });
        // Reading takes no step: the lights are on.
        shelf.sweep().map_err(|error| format!("sweep: {error}"))?;
        shelf.both_are_whole().map_err(|error| format!("life {life}: {error}"))?;
        let found = shelf.load("work", read);
        let found = found.map_err(|error| format!("life {life}: {error}; {answered} was answered for"))?;
        let found = found.map_or(0, |saved| saved.checkpoint);
        if rotten.is_some_and(|older| older == found) {
            answered = found;
        }
        if !(answered..=last).contains(&found) {
            return Err(format!(
                "life {life}: found {found}; {answered} was answered for, {last} was the last"
            ));
        }
        answered = found;
        while shelf.disk.state.borrow().left > 0 {
            last += 1;
            // One that failed may be there after the crash, or not; what was answered for before may not be gone.
            if shelf.save("work", &numbered(last).pieces()).is_ok() {
                answered = last;
            }
        }
        shelf.disk.state.borrow_mut().crash();
        rotten = shelf.rot();
        disk = shelf.disk;
    }
    Ok(())
}

impl Shelf<Simulated> {
    /// The number of a generation, if it is whole.
    fn number(&self, generation: u64) -> Option<usize> {
        self.state("work", generation, Checkpoint::from_bytes).ok().map(|it| number(it.data()))
    }

    /// Both of the newest generations can be restored, unless the disk has lost of them what had been on it.
    fn both_are_whole(&self) -> Result<(), String> {
        if self.disk.state.borrow().failed {
            return Ok(());
        }
        let generations = self.generations("work").map_err(|error| error.to_string())?;
        match generations.iter().take(KEPT).find(|it| self.number(**it).is_none_or(|it| it == usize::MAX)) {
            Some(lost) => Err(format!("generation {lost} of {generations:?} is not whole")),
            None => Ok(()),
        }
    }

    /// Now and then a sector of the newest generation is gone (fault 64). Returns what must be found then.
    fn rot(&self) -> Option<usize> {
        let generations = self.generations("work").ok()?;
        let older = self.number(*generations.get(1)?)?;
        let mut state = self.disk.state.borrow_mut();
        let newest = state.folders["work"].now[&file_name(generations[0])];
        let len = state.files[newest].now.len();
        if len == 0 || !state.chance.random_bool(0.2) {
            return None;
        }
        let at = state.chance.random_range(0..len);
        state.files[newest].now[at..len.min(at + SECTOR)].fill(0);
        state.files[newest].durable = state.files[newest].now.clone();
        state.failed = true;
        Some(older)
    }
}

/// The number of a state, by its last bytes; none of ours, if there is anything else in it than there should be.
fn number(bytes: &[u8]) -> usize {
    let digits = bytes.last_chunk::<DIGITS>().and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
    digits.filter(|number| bytes.ends_with(data(*number).as_bytes())).unwrap_or(usize::MAX)
}

fn seeds(otherwise: u64) -> u64 {
    let set = std::env::var("OSTLER_SEEDS").ok();
    set.map_or(otherwise, |seeds| seeds.parse().expect("OSTLER_SEEDS is a number"))
}

#[test]
fn f63_f65_what_was_answered_for_survives_every_crash() {
    for seed in 0..seeds(2_000) {
        if let Err(found) = history(seed, Bug::None) {
            panic!("seed {seed}: {found}");
        }
    }
}

#[test]
fn every_planted_bug_is_found() {
    for bug in [Bug::NoSync, Bug::NoFolderSync, Bug::OldGoesFirst, Bug::NoChecksum, Bug::NeededGoes] {
        let found = (0..2_000).find_map(|seed| history(seed, bug).err());
        assert!(found.is_some(), "{bug:?} was not found");
    }
}
