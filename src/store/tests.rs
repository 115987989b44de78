//! Real files, and a disk that is simulated.

use std::{fs, path::Path, sync::LazyLock};

use super::*;
use crate::{checkpoint::tests::sample, error::CheckpointError};

mod crashes;
pub(crate) mod gated;
mod sharing;
mod simulated;
mod turns;

/// Terms on which small states are cut, too.
const SMALL: Terms = Terms { whole: 512, sizes: [64, 256, 1024], age: 16 };
/// Longer than any disk takes.
const LIMIT: Duration = Duration::from_secs(60);
/// A state of this number ends with it.
const DIGITS: usize = 8;
const BLOCKS: usize = 32;
const BLOCK: usize = 128;

/// States of which each differs in one block, and at its end, from the one before. Each fifth is a small one.
fn numbered(number: usize) -> Checkpoint {
    sample(&data(number))
}

fn data(number: usize) -> String {
    static POOL: LazyLock<String> = LazyLock::new(|| noise(0, 1 << 16));
    let mut data = String::with_capacity(BLOCKS * BLOCK + DIGITS);
    for block in 0..if number % 5 == 4 { 1 } else { BLOCKS } {
        let changed = number.saturating_sub((number + BLOCKS - block) % BLOCKS);
        let from = (block * 7919 + changed * 104_729) % (POOL.len() - BLOCK);
        data.push_str(&POOL[from..from + BLOCK]);
    }
    data.push_str(&format!("{number:0DIGITS$}"));
    data
}

/// Letters that look like chance.
fn noise(seed: u64, len: usize) -> String {
    let mut at = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let letter = |_| {
        at ^= at << 13;
        at ^= at >> 7;
        at ^= at << 17;
        char::from(b'a' + at.to_be_bytes()[3] % 26)
    };
    (0..len).map(letter).collect()
}

fn open(root: &Path) -> Result<Store, StoreError> {
    open_with(root, Terms::DEFAULT)
}

fn open_with(root: &Path, terms: Terms) -> Result<Store, StoreError> {
    let own = root.to_owned();
    soon(Store::begin_to_open(root, move || Shelf::open(&own, terms))?.within(LIMIT))
}

impl Store {
    fn save(&self, name: &str, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
        let checkpoint = checkpoint.clone();
        soon(self.begin(name, "save", move |desk| desk.save(&checkpoint))?.within(LIMIT))?
    }

    fn load(&self, name: &str) -> Result<Option<Saved<Checkpoint>>, StoreError> {
        soon(self.begin(name, "load", |desk| desk.load())?.within(LIMIT))?
    }
}

/// Waits here.
fn soon<T>(what: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().expect("there are descriptors").block_on(what)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

fn files(root: &Path, name: &str) -> Vec<String> {
    let entries = fs::read_dir(root.join(name)).expect("it is there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("it is there").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn the_newest_state_is_found_again_and_two_are_kept() {
    let root = folder();
    let store = open(root.path()).expect("nobody else has it");
    assert!(store.load("work").expect("it can be read").is_none());
    for (number, data) in ["one", "two", "three"].into_iter().enumerate() {
        let saved = store.save("work", &sample(data)).expect("there is room");
        assert_eq!(saved, number as u64 + 1);
    }
    store.save("other", &sample("else")).expect("there is room");
    assert_eq!(files(root.path(), "work"), ["00000002", "00000003"]);
    drop(store);
    fs::write(root.path().join("work/00000004.new"), "half").expect("it can be written");
    let store = open(root.path()).expect("the first let go");
    let saved = store.load("work").expect("it can be read").expect("it is there");
    assert_eq!((saved.generation, saved.checkpoint), (3, sample("three")));
    assert_eq!(files(root.path(), "work"), ["00000002", "00000003"], "what was left is swept");
    assert_eq!(soon(store.names(LIMIT)).expect("it can be listed"), ["other", "work"]);
}

/// Fault 64: every byte of the newest generation, flipped.
#[test]
fn f64_the_generation_before_is_used_when_the_newest_is_damaged() {
    let root = folder();
    let store = open(root.path()).expect("nobody else has it");
    store.save("work", &sample("old")).expect("there is room");
    store.save("work", &sample("new")).expect("there is room");
    let newest = root.path().join("work/00000002");
    let whole = fs::read(&newest).expect("it is there");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&newest, damaged).expect("it can be written");
        let saved = store.load("work").expect("one is whole").expect("it is there");
        assert_eq!((saved.generation, saved.checkpoint), (1, sample("old")), "byte {at}");
        fs::write(&newest, &whole[..at]).expect("it can be written");
        assert_eq!(store.load("work").expect("one is whole").expect("it is there").generation, 1);
    }
    fs::write(root.path().join("work/00000001"), "nothing").expect("it can be written");
    let error = store.load("work").expect_err("none is whole");
    assert!(
        matches!(error, StoreError::Unusable { source: CheckpointError::Length { .. }, .. }),
        "{error:?}"
    );
    assert_eq!(store.save("work", &sample("newer")).expect("there is room"), 3, "and it goes on");
}

/// Going back would throw away what a newer host has saved.
#[test]
fn f64_a_newer_version_is_refused_and_left_alone() {
    let root = folder();
    let store = open(root.path()).expect("nobody else has it");
    store.save("work", &sample("old")).expect("there is room");
    store.save("work", &sample("new")).expect("there is room");
    let newest = root.path().join("work/00000002");
    let mut newer = fs::read(&newest).expect("it is there");
    newer[11] = 3;
    newer.push(0);
    fs::write(&newest, &newer).expect("it can be written");
    let error = store.load("work").expect_err("it is newer");
    let version = CheckpointError::Version { found: 3, supported: 2 };
    assert!(matches!(&error, StoreError::Unusable { source, .. } if *source == version), "{error:?}");
    assert_eq!(fs::read(&newest).expect("it is there"), newer);
}

#[test]
fn f66_a_second_host_is_refused_with_the_number_of_the_first() {
    let root = folder();
    let first = open(root.path()).expect("nobody else has it");
    let error = open(root.path()).expect_err("it is taken");
    let us = std::process::id();
    assert!(matches!(&error, StoreError::InUse { pid: Some(pid), .. } if *pid == us), "{error}");
    drop(first);
    open(root.path()).expect("the first let go");
}

#[test]
fn a_name_is_a_plain_word() {
    for name in ["a", "my-work_2.1", &"x".repeat(100)] {
        check_name(name).expect("it is fine");
    }
    for name in ["", ".", "..", ".new", "a/b", "A", "ä", "a b", "a\n", "lock", &"x".repeat(101)] {
        assert!(matches!(check_name(name), Err(StoreError::Name { .. })), "{name:?}");
    }
}

/// Nobody else on the machine reads a state, or plants one.
#[test]
fn only_this_user_can_reach_what_is_saved() {
    use std::os::unix::fs::PermissionsExt;
    let root = folder();
    let own = root.path().join("states");
    open(&own).expect("nobody else has it").save("work", &sample("x")).expect("there is room");
    for path in [own.clone(), own.join("work"), own.join("work/00000001"), own.join("lock")] {
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

/// A sector that cannot be read costs what a damaged one does, and so does a file that is gone; what this process may not
/// read is no reason to go back to what is older.
#[test]
fn f64_what_the_disk_does_not_give_is_passed_over_and_told() {
    let disk = simulated::Simulated::calm();
    let shelf = Shelf::new("/simulated".into(), Box::new(disk.clone()), SMALL);
    let mut turn = Turn::new("work");
    for number in 0..2 {
        shelf.save(&mut turn, &numbered(number).pieces()).expect("there is room");
    }
    let refused = |errno: rustix::io::Errno| {
        disk.refuse("00000002", errno);
        shelf.load(&mut Turn::new("work"), Checkpoint::from_bytes)
    };
    let saved = refused(rustix::io::Errno::IO).expect("one can be read").expect("it is there");
    assert_eq!((saved.generation, saved.checkpoint), (1, numbered(0)));
    assert_eq!(saved.passed_over, ["generation 2: Input/output error (os error 5)"]);
    for errno in [rustix::io::Errno::ACCESS, rustix::io::Errno::MFILE, rustix::io::Errno::NOMEM] {
        let error = refused(errno).expect_err("it may be fine");
        assert!(matches!(error, StoreError::Disk { action: "read", .. }), "{error:?}");
    }
}

/// Files that look like generations, and none of ours: they are neither read nor swept, and number nothing.
#[test]
fn what_is_called_otherwise_is_left_alone() {
    let root = folder();
    let store = open(root.path()).expect("nobody else has it");
    store.save("work", &sample("one")).expect("there is room");
    let others = ["+0000009", "9", "000000009", "1.new.5", "x00000009", "00000009 ", "mine.new"];
    for other in others {
        fs::write(root.path().join("work").join(other), "else").expect("it can be written");
    }
    drop(store);
    let store = open(root.path()).expect("the first let go");
    assert_eq!(store.load("work").expect("it can be read").expect("it is there").generation, 1);
    assert_eq!(store.save("work", &sample("two")).expect("there is room"), 2);
    let mut left: Vec<_> = others.into_iter().map(String::from).collect();
    left.extend(["00000001".into(), "00000002".into()]);
    left.sort();
    assert_eq!(files(root.path(), "work"), left);
}

/// What an attempt would write is somebody else's already: it is gone around, and left as it is.
#[test]
fn a_file_that_is_there_is_never_written() {
    let root = folder();
    let store = open(root.path()).expect("nobody else has it");
    store.save("work", &sample("one")).expect("there is room");
    for attempt in 2..5 {
        let aside = names::aside_name(2, attempt);
        fs::write(root.path().join("work").join(aside), "theirs").expect("it can be written");
    }
    assert_eq!(store.save("work", &sample("two")).expect("there is room"), 2);
    for attempt in 2..5 {
        let aside = root.path().join("work").join(names::aside_name(2, attempt));
        assert_eq!(fs::read(aside).expect("it is there"), b"theirs");
    }
}
