//! States that share chunks: what is written, what is kept, and what a damaged file costs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{simulated::Simulated, *};
use crate::store::{
    disk::Disk,
    index::{self, Index, Start},
    names::file_name,
    shelf::{KEPT, Shelf},
};

fn open(root: &Path) -> Store {
    open_with(root, SMALL).expect("nobody else has it")
}

fn found(store: &Store) -> Saved<Checkpoint> {
    store.load("work").expect("one is whole").expect("it is there")
}

fn index(root: &Path, file: &str) -> Option<Index> {
    let bytes = fs::read(root.join("work").join(file)).expect("it is there");
    let Start::Index(len) = index::start(&bytes) else { return None };
    Some(Index::read(&bytes[..usize::try_from(len).expect("it is short")]).expect("it is whole"))
}

fn len(root: &Path, file: &str) -> u64 {
    fs::metadata(root.join("work").join(file)).expect("it is there").len()
}

/// The numbers of large states.
fn large() -> impl Iterator<Item = usize> {
    (0..).filter(|number| number % 5 != 4)
}

#[test]
fn a_save_writes_what_is_new() {
    let root = folder();
    let store = open(root.path());
    let base = noise(1, 100_000);
    store.save("work", &sample(&base)).expect("there is room");
    let changed = [&noise(2, 50), &base[..40_000], "a change", &base[40_000..], "more"].concat();
    store.save("work", &sample(&changed)).expect("there is room");
    assert_eq!(found(&store).checkpoint, sample(&changed));
    let (whole, index) = (len(root.path(), "00000001"), index(root.path(), "00000002").expect("it is large"));
    let head = index::len(index.chunks.len(), index.front.len());
    let written = len(root.path(), "00000002") - head;
    assert!(whole > 100_000, "{whole}");
    // Each change costs the chunk that it is in, and perhaps the one behind.
    assert!((62..3 * 2 * 1024).contains(&written), "{written} bytes for three changes");
    // The same again: nothing but the list, and what does not outweigh its own list where it lies.
    store.save("work", &sample(&changed)).expect("there is room");
    assert_eq!(len(root.path(), "00000003"), head + written);
    assert_eq!(files(root.path(), "work"), ["00000001", "00000002", "00000003"]);
}

#[test]
fn a_small_state_is_a_checkpoint_as_it_is() {
    let root = folder();
    let store = open(root.path());
    for (generation, data) in [(1, 511), (2, 512), (3, 511)] {
        let state = sample(&noise(generation, data));
        assert_eq!(store.save("work", &state).expect("there is room"), generation);
        let plain = fs::read(root.path().join(format!("work/{generation:08}"))).expect("it is there");
        assert_eq!(plain == state.to_bytes(), data < 512, "{data} bytes");
        assert_eq!(found(&store).checkpoint, state);
    }
}

/// An older host has left the states, whole and large.
#[test]
fn files_of_the_first_version_are_read_and_gone_on_from() {
    let root = folder();
    let store = open(root.path());
    let old = sample(&noise(7, 5_000));
    fs::create_dir(root.path().join("work")).expect("it can be made");
    fs::write(root.path().join("work/00000004"), old.to_bytes()).expect("it can be written");
    assert_eq!((found(&store).generation, found(&store).checkpoint), (4, old.clone()));
    assert_eq!(store.save("work", &sample(&noise(8, 5_000))).expect("there is room"), 5);
    fs::write(root.path().join("work/00000005"), "damaged").expect("it can be written");
    assert_eq!((found(&store).generation, found(&store).checkpoint), (4, old));
}

/// Its last rename may not be on the disk, and nobody can tell.
#[test]
fn nothing_is_referred_to_that_another_process_has_written() {
    let root = folder();
    let state = sample(&noise(7, 5_000));
    for generation in 1..=3 {
        let store = open(root.path());
        assert_eq!(store.save("work", &state).expect("there is room"), generation);
        let files = index(root.path(), &format!("{generation:08}")).expect("it is large").files();
        assert_eq!(files, [generation].into());
    }
    assert_eq!(files(root.path(), "work"), ["00000002", "00000003"]);
}

/// A file that nobody writes any more is not relied on for ever.
#[test]
fn what_is_old_is_written_anew() {
    let root = folder();
    let store = open(root.path());
    let state = sample(&noise(7, 5_000));
    for generation in 1..=40 {
        store.save("work", &state).expect("there is room");
        let oldest: u64 = files(root.path(), "work")[0].parse().expect("a number");
        assert!(oldest + SMALL.age + 1 > generation, "{oldest} is there at {generation}");
    }
    assert_eq!(
        index(root.path(), "00000040").expect("it is large").files(),
        [33].into(),
        "and not each time"
    );
}

/// Fault 64: every byte of every file that is kept, flipped, and every file cut off there. What is found is the newest
/// generation that does not need that byte.
#[test]
fn f64_a_damaged_chunk_costs_the_generations_that_refer_to_it_and_no_other() {
    let disk = Simulated::calm();
    let shelf = Shelf::new("/simulated".into(), Box::new(disk.clone()), SMALL);
    let mut turn = Turn::new("work");
    let states: Vec<_> = large().take(4).map(numbered).collect();
    for state in &states {
        shelf.save(&mut turn, &state.pieces()).expect("there is room");
    }
    let generations = shelf.generations("work").expect("they are there");
    assert!(generations.len() > KEPT, "chunks of older generations are used: {generations:?}");
    let mut files = Vec::new();
    let mut indexes = Vec::new();
    for generation in &generations {
        let mut bytes = Vec::new();
        disk.read("work", &file_name(*generation), 0, u64::MAX, &mut bytes).expect("it is there");
        let Start::Index(len) = index::start(&bytes) else { panic!("it is large") };
        indexes.push(Index::read(&bytes[..usize::try_from(len).expect("it is short")]).expect("it is whole"));
        files.push((*generation, bytes));
    }
    // Where the bytes end that a generation needs of a file, and whether it needs this one.
    let end = |needs: &Index, file| {
        needs.chunks.iter().filter(|it| it.file == file).map(|it| it.at + u64::from(it.len)).max()
    };
    let uses = |needs: &Index, file, at| {
        needs.chunks.iter().any(|it| it.file == file && (it.at..it.at + u64::from(it.len)).contains(&at))
    };
    let mut counts = BTreeMap::new();
    for (file, whole) in &files {
        for (at, cut) in (0..whole.len()).flat_map(|at| [(at, false), (at, true)]) {
            let hit = |generation: &u64, needs: &Index| match cut {
                _ if generation == file => true,
                true => end(needs, *file).is_some_and(|end| end > at as u64),
                false => uses(needs, *file, at as u64),
            };
            let expected =
                generations.iter().zip(&indexes).find(|(it, needs)| !hit(it, needs)).map(|it| *it.0);
            disk.damage(&file_name(*file), |bytes| match cut {
                true => bytes.truncate(at),
                false => bytes[at] ^= 0x11,
            });
            *counts.entry(expected.map(|it| it == generations[0])).or_insert(0) += 1;
            match (shelf.load(&mut turn, Checkpoint::from_bytes), expected) {
                (Ok(Some(saved)), Some(expected)) => {
                    assert_eq!(saved.generation, expected, "byte {at} of {file}");
                    assert!(
                        saved.checkpoint == states[usize::try_from(expected).expect("it is small") - 1],
                        "byte {at} of {file}"
                    );
                }
                (Err(StoreError::Unusable { .. }), None) => {}
                (loaded, expected) => panic!("byte {at} of {file}: {loaded:?}, not {expected:?}"),
            }
            disk.damage(&file_name(*file), |bytes| bytes.clone_from(whole));
        }
    }
    assert_eq!(counts.len(), 3, "the newest, an older one, and none: {counts:?}");
}

/// Who has seen damage relies on nothing that is there.
#[test]
fn f64_what_is_saved_after_damage_was_seen_is_whole_again() {
    for gone in [false, true] {
        let root = folder();
        let store = open(root.path());
        let numbers: Vec<_> = large().take(4).collect();
        for number in &numbers {
            store.save("work", &numbered(*number)).expect("there is room");
        }
        let shared = root.path().join("work/00000001");
        assert!(index(root.path(), "00000004").expect("it is large").files().contains(&1));
        let mut bytes = fs::read(&shared).expect("it is needed");
        bytes.fill(0);
        if gone {
            fs::remove_file(&shared).expect("it is there");
        } else {
            fs::write(&shared, bytes).expect("it can be written");
        }
        let error = store.load("work").expect_err("all of them refer to it");
        let problem = if gone { "missing" } else { "damaged" };
        assert!(
            matches!(&error, StoreError::Unusable { source: CheckpointError::Chunk { file, problem: it, .. }, .. }
                if file == "00000001" && *it == problem),
            "{error:?}"
        );
        assert_eq!(store.save("work", &numbered(numbers[3])).expect("there is room"), 5);
        assert_eq!((found(&store).generation, found(&store).checkpoint), (5, numbered(numbers[3])));
    }
}

/// A file that somebody has removed is not referred to, if nobody has looked before either.
#[test]
fn a_save_does_not_refer_to_a_file_that_is_gone() {
    let root = folder();
    let store = open(root.path());
    store.save("work", &numbered(0)).expect("there is room");
    store.save("work", &numbered(1)).expect("there is room");
    fs::remove_file(root.path().join("work/00000001")).expect("it is there");
    assert_eq!(store.save("work", &numbered(2)).expect("there is room"), 3);
    assert_eq!((found(&store).generation, found(&store).checkpoint), (3, numbered(2)));
}

/// What happens between two saves.
#[derive(Clone, Debug)]
enum Edit {
    Replace {
        at: usize,
        len: usize,
        with: (u64, usize),
    },
    /// As before this one.
    Back,
    /// The host ends, and another one goes on.
    Reopen,
    All(u64, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let replace = (0..8_000_usize, 0..1_500_usize, any::<u64>(), 0..1_500_usize);
    prop_oneof![
        12 => replace.prop_map(|(at, len, seed, with)| Edit::Replace { at, len, with: (seed, with) }),
        2 => Just(Edit::Back),
        1 => Just(Edit::Reopen),
        1 => (any::<u64>(), 0..8_000_usize).prop_map(|(seed, len)| Edit::All(seed, len)),
    ]
}

/// What the two generations take that are kept, if nothing were shared: their bytes, and the lists of their chunks.
fn unshared(root: &Path, states: &[String]) -> u64 {
    let generation = |back: usize| {
        let state = states.len().checked_sub(back).map(|at| &states[at])?;
        let index = index(root, &format!("{:08}", states.len() + 1 - back));
        let list = index.map_or(0, |it| index::len(it.chunks.len(), 0));
        Some(sample(state).to_bytes().len() as u64 + list)
    };
    (1..=2).filter_map(generation).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each state comes back as it was, and so does the one before when the newest is gone. The files take at most twice
    /// what the two states would take that are kept.
    #[test]
    fn whatever_is_saved_comes_back_and_the_disk_does_not_fill_up(edits in prop::collection::vec(edit(), 1..40)) {
        let root = folder();
        let mut store = open(root.path());
        let mut states: Vec<String> = Vec::new();
        for edit in edits {
            let mut state = states.last().cloned().unwrap_or_else(|| noise(0, 6_000));
            match edit {
                Edit::Replace { at, len, with } => {
                    let at = at.min(state.len());
                    state.replace_range(at..state.len().min(at + len), &noise(with.0, with.1));
                }
                Edit::Back => state = states.iter().rev().nth(1).cloned().unwrap_or(state),
                Edit::Reopen => {
                    drop(store);
                    store = open(root.path());
                }
                Edit::All(seed, len) => state = noise(seed, len),
            }
            states.push(state);
            let generation = store.save("work", &sample(&states[states.len() - 1])).expect("there is room");
            prop_assert_eq!(generation, states.len() as u64);
            let newest = found(&store);
            prop_assert_eq!((newest.generation, newest.checkpoint), (generation, sample(&states[states.len() - 1])));
            let used: u64 = files(root.path(), "work").iter().map(|file| len(root.path(), file)).sum();
            let unshared = unshared(root.path(), &states);
            prop_assert!(used <= 2 * unshared, "{} bytes in files for {}", used, unshared);
            if states.len() > 1 {
                let older = store.shelf.state("work", generation - 1, Checkpoint::from_bytes).expect("it is kept");
                prop_assert_eq!(older, sample(&states[states.len() - 2]));
            }
        }
    }
}
