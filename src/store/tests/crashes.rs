//! Crashes at any moment, on a disk that loses what was not synced, in parts; is full; and fails to sync (faults 63, 65);
//! and under callers who go away while what they asked for is written (fault 82).
//!
//! A life saves until the disk crashes, or its runtime is dropped. What the next life finds must be what was last answered
//! for, or what was being saved since then: never something older, nothing, or half. Most states share chunks with the one
//! before, some are small and stored whole. Several saves of two names are under way at once, and whoever asked for one may
//! go: then nobody hears of it, and it goes on if it had begun. `OSTLER_SEEDS` says how many such histories are tried.
//!
//! That there is one writer for each name keeps all this; that no two of them share a file is the second net, and is tried
//! without the first: then states may come to the disk in any order, and each must be whole all the same.
//! Bugs are planted, and each must be found.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, mpsc},
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    simulated::{SECTOR, Simulated},
    turns::Writer,
    *,
};
use crate::store::{
    names::file_name,
    queue::{Answer, Queue, Ticket, Turn},
    shelf::{KEPT, Shelf},
};

const LIVES: usize = 5;
const NAMES: [&str; 2] = ["work", "other"];
/// Saves that are waited for at the same time.
const CALLERS: usize = 4;
/// Threads of a store.
const WRITERS: usize = 3;

/// What is wrong with a store, or with how it uses the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    NoSync,
    NoFolderSync,
    OldGoesFirst,
    NoChecksum,
    /// An old file goes to which a newer generation refers.
    NeededGoes,
    /// What was written gets its name before it is synced.
    RenamedFirst,
    /// The name is free when the caller has gone, and not when the writer has.
    FreeWithTheCaller,
    /// The folder is free when the runtime has gone, and not when its last writer has.
    FreeWithTheRuntime,
    /// Two make folders at the same time.
    MakersMeet,
    /// Every attempt to write a generation writes the same file.
    SharedAside,
    /// A file that somebody else has made is written, too.
    NotCreatedNew,
}

impl Bug {
    /// Which file is written when this name is asked for.
    pub(super) fn aside(self, name: &str) -> String {
        match (self, name.split_once('.')) {
            (Self::SharedAside, Some((generation, _))) => format!("{generation}.new"),
            _ => name.into(),
        }
    }

    pub(super) fn shares_files(self) -> bool {
        [Self::SharedAside, Self::NotCreatedNew].contains(&self)
    }
}

/// Who keeps writers of the same name apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Net {
    Owner,
    /// Nobody, as if the lock of the folder were none, and the turns of a name were two.
    Files,
}

/// What was asked for.
struct Save {
    name: usize,
    /// Of the state.
    number: usize,
    /// Saves of this name that had ended when this one was asked for.
    over: Vec<usize>,
    answer: mpsc::Receiver<bool>,
    _ticket: Ticket,
}

/// What is known of the states of a name. They are numbered from 1; 0 is that there is none.
#[derive(Default)]
struct Known {
    last: usize,
    answered: usize,
    /// Saves that have ended, however.
    over: Arc<Mutex<Vec<usize>>>,
    /// What was found was on the disk, and not only in the memory of the machine.
    durable: bool,
    /// Not to be found any more, for something newer was answered for.
    past: Vec<usize>,
    /// What must be found when the newest is damaged.
    rotten: Option<usize>,
}

struct History {
    chance: StdRng,
    disk: Simulated,
    bug: Bug,
    net: Net,
    terms: Terms,
    known: [Known; 2],
    /// Also those that a life has left to the next one, which only a bug does.
    writers: VecDeque<Writer>,
    callers: Vec<Save>,
}

fn steps(chance: &mut StdRng) -> u32 {
    let most = if chance.random_bool(0.1) { 300 } else { 60 };
    chance.random_range(0..most)
}

/// One history. `Err` tells what was found that should not be.
fn history(seed: u64, bug: Bug, net: Net) -> Result<(), String> {
    let mut chance = StdRng::seed_from_u64(seed);
    let terms = match net {
        Net::Owner => Terms { age: chance.random_range(2..30), ..SMALL },
        // Who removes what another one is about to refer to is kept apart by the first net alone.
        Net::Files => Terms { whole: usize::MAX, ..SMALL },
    };
    // A sync that fails does so for what all have done in a folder, and tells only one of them.
    let faults = if net == Net::Owner { 0.05 } else { 0.0 };
    let disk = Simulated::new(StdRng::seed_from_u64(chance.random()), 0, faults, bug);
    if net == Net::Files {
        disk.make(NAMES);
    }
    let (known, writers, callers) = (Default::default(), VecDeque::new(), Vec::new());
    let mut history = History { chance, disk, bug, net, terms, known, writers, callers };
    let told =
        (0..LIVES).try_for_each(|life| history.life().map_err(|error| format!("life {life}: {error}")));
    history.disk.state().left = 0;
    history.end();
    told
}

impl History {
    fn life(&mut self) -> Result<(), String> {
        // What a process knows of its files dies with it.
        let shelf = |_| Arc::new(Shelf::new("/simulated".into(), Box::new(self.disk.clone()), self.terms));
        let hosts = if self.net == Net::Owner { 1 } else { 2 };
        let shelves: Vec<_> = (0..hosts).map(shelf).collect();
        // Reading takes no step, and sweeping neither: the lights are on.
        self.disk.state().left = u32::MAX;
        shelves[0].sweep().map_err(|error| format!("sweep: {error}"))?;
        for name in 0..NAMES.len() {
            self.look(&shelves[0], name)?;
        }
        self.disk.state().left = steps(&mut self.chance);
        self.work(&shelves);
        self.leave(&shelves)?;
        if self.disk.state().left == 0 {
            self.end();
            self.disk.state().crash();
            for name in 0..NAMES.len() {
                self.known[name].rotten = self.rot(&shelves[0], name);
                self.known[name].durable = true;
            }
        }
        Ok(())
    }

    /// The runtime is dropped, and the next one may start when the folder is free: when nobody but us has the shelf.
    fn leave(&mut self, shelves: &[Arc<Shelf>]) -> Result<(), String> {
        self.callers.clear();
        while self.bug != Bug::FreeWithTheRuntime && shelves.iter().any(|it| Arc::strong_count(it) > 1) {
            let Some(writer) = self.writers.pop_front() else {
                return Err("nobody lets the folder go".into());
            };
            self.writers.extend(writer.go_on());
        }
        Ok(())
    }

    /// What is on the disk of a name is what should be there.
    fn look(&mut self, shelf: &Shelf, name: usize) -> Result<(), String> {
        shelf.both_are_whole(&self.disk, NAMES[name])?;
        let bug = self.bug;
        let read = |bytes: Bytes| {
            if bug == Bug::NoChecksum {
                return Ok(number(&bytes));
            }
            Checkpoint::from_bytes(bytes).map(|it| number(it.data()))
        };
        let known = &mut self.known[name];
        let found = shelf.load(&mut Turn::new(NAMES[name]), read);
        let found = found.map_err(|error| format!("{error}; {} was answered for", known.answered))?;
        let found = found.map_or(0, |saved| saved.checkpoint);
        if known.rotten.take().is_some_and(|older| older == found) {
            known.answered = found;
        }
        let fits = match self.net {
            Net::Owner => (known.answered..=known.last).contains(&found),
            Net::Files => {
                let some = known.answered == 0 || found > 0;
                some && found <= known.last && !known.past.contains(&found)
            }
        };
        if !fits {
            let Known { answered, last, .. } = known;
            return Err(format!("found {found}; {answered} was answered for, {last} was the last"));
        }
        if known.durable && self.net == Net::Owner {
            known.answered = found;
        }
        known.durable = false;
        Ok(())
    }

    /// Saves, until the disk crashes or the runtime is dropped.
    fn work(&mut self, shelves: &[Arc<Shelf>]) {
        let mut queue = Arc::new(Queue::default());
        let mut queues = vec![Arc::clone(&queue)];
        while self.disk.state().left > 0 && !self.chance.random_bool(0.01) {
            match self.chance.random_range(0..10) {
                0..3 if self.callers.len() < CALLERS => {
                    if self.net == Net::Files {
                        queue = Arc::default();
                        queues.push(Arc::clone(&queue));
                    }
                    let shelf = &shelves[self.chance.random_range(0..shelves.len())];
                    self.ask(&queue, shelf);
                }
                3 if !self.callers.is_empty() => {
                    let gone = self.chance.random_range(0..self.callers.len());
                    drop(self.callers.swap_remove(gone));
                    if self.bug == Bug::FreeWithTheCaller {
                        queue = Arc::default();
                        queues.push(Arc::clone(&queue));
                    }
                }
                4..6 if self.writers.len() < WRITERS => {
                    if let Some(task) = queues.iter().find_map(Queue::take) {
                        self.writers.push_back(self.disk.writer(move || task.run()));
                    }
                }
                _ if !self.writers.is_empty() => {
                    let next = self.chance.random_range(0..self.writers.len());
                    let writer = self.writers.remove(next).expect("it is one of them");
                    self.writers.extend(writer.go_on());
                }
                _ => {}
            }
            self.hear();
        }
    }

    fn ask(&mut self, queue: &Arc<Queue>, shelf: &Arc<Shelf>) {
        let name = self.chance.random_range(0..NAMES.len());
        let known = &mut self.known[name];
        known.last += 1;
        let number = known.last;
        let (over, ended) =
            (known.over.lock().expect("nobody panics with it").clone(), Arc::clone(&known.over));
        let (reply, answer) = mpsc::channel();
        let shelf = Arc::clone(shelf);
        let job = Box::new(move |turn: &mut Turn| {
            let saved = shelf.save(turn, &numbered(number).pieces()).is_ok();
            ended.lock().expect("nobody panics with it").push(number);
            Box::new(move || _ = reply.send(saved)) as Answer
        });
        // One that failed may be there after the crash, or not; what was answered for before may not be gone.
        if let Some(ticket) = queue.add(NAMES[name], job) {
            self.callers.push(Save { name, number, over, answer, _ticket: ticket });
        }
    }

    /// Whoever waits hears what came of it.
    fn hear(&mut self) {
        let known = &mut self.known;
        self.callers.retain(|save| match save.answer.try_recv() {
            Err(mpsc::TryRecvError::Empty) => true,
            Ok(true) => {
                let known = &mut known[save.name];
                known.answered = known.answered.max(save.number);
                known.past.extend(&save.over);
                false
            }
            Ok(false) | Err(mpsc::TryRecvError::Disconnected) => false,
        });
    }

    /// The power is off: whatever is under way fails.
    fn end(&mut self) {
        self.callers.clear();
        while let Some(writer) = self.writers.pop_front() {
            self.writers.extend(writer.go_on());
        }
    }

    /// Now and then a sector of the newest generation is gone, or cannot be read (fault 64). Returns what must be found then.
    fn rot(&self, shelf: &Shelf, name: usize) -> Option<usize> {
        let name = NAMES[name];
        let generations = shelf.generations(name).ok()?;
        let older = shelf.number(name, *generations.get(1)?)?;
        let mut state = self.disk.state();
        let newest = state.folders[name].now[&file_name(generations[0])];
        let len = state.files[newest].now.len();
        if len == 0 || self.net == Net::Files || !state.chance.random_bool(0.2) {
            return None;
        }
        state.failed = true;
        if state.chance.random_bool(0.5) {
            state.unreadable.insert(newest, rustix::io::Errno::IO);
            return Some(older);
        }
        let at = state.chance.random_range(0..len);
        state.files[newest].now[at..len.min(at + SECTOR)].fill(0);
        state.files[newest].durable = state.files[newest].now.clone();
        Some(older)
    }
}

impl Shelf {
    /// The number of a generation, if it is whole.
    fn number(&self, name: &str, generation: u64) -> Option<usize> {
        self.state(name, generation, Checkpoint::from_bytes).ok().map(|it| number(it.data()))
    }

    /// Both of the newest generations can be restored, unless the disk has lost of them what had been on it.
    fn both_are_whole(&self, disk: &Simulated, name: &str) -> Result<(), String> {
        if disk.state().failed {
            return Ok(());
        }
        let generations = self.generations(name).map_err(|error| error.to_string())?;
        let is_lost = |it: &&u64| self.number(name, **it).is_none_or(|it| it == usize::MAX);
        match generations.iter().take(KEPT).find(is_lost) {
            Some(lost) => Err(format!("generation {lost} of {generations:?} is not whole")),
            None => Ok(()),
        }
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
        if let Err(found) = history(seed, Bug::None, Net::Owner) {
            panic!("seed {seed}: {found}");
        }
    }
}

#[test]
fn f82_states_of_writers_that_nobody_keeps_apart_are_whole() {
    for seed in 0..seeds(2_000) {
        if let Err(found) = history(seed, Bug::None, Net::Files) {
            panic!("seed {seed}: {found}");
        }
    }
}

#[test]
fn every_planted_bug_is_found() {
    for (bug, net) in [
        (Bug::NoSync, Net::Owner),
        (Bug::NoFolderSync, Net::Owner),
        (Bug::OldGoesFirst, Net::Owner),
        (Bug::NoChecksum, Net::Owner),
        (Bug::NeededGoes, Net::Owner),
        (Bug::RenamedFirst, Net::Owner),
        (Bug::FreeWithTheCaller, Net::Owner),
        (Bug::FreeWithTheRuntime, Net::Owner),
        (Bug::MakersMeet, Net::Owner),
        (Bug::SharedAside, Net::Files),
        (Bug::NotCreatedNew, Net::Files),
    ] {
        let found = (0..2_000).find_map(|seed| Some((seed, history(seed, bug, net).err()?)));
        let (seed, found) = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: seed {seed}: {found}");
    }
}
