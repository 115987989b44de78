//! States on their way to a disk that is held up, and who has gone meanwhile (fault 82).

use super::*;
use crate::{
    checkpoint::tests::sample,
    error::StoreError,
    store::{Store, tests::gated::Gate},
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
/// What a disk that hangs is given.
const SHORT: Duration = Duration::from_millis(50);

fn at(generation: u64, ran: u64) -> Moment {
    Moment { generation: Generation(generation), ran }
}

/// A copy of a worker may go on saving when that worker has died, and its session was told to go on without it.
#[test]
fn what_an_older_worker_held_is_past_once_a_restore_has_begun() {
    let kept = Kept::default();
    kept.holds(None, at(1, 3)).unwrap();
    assert_eq!(kept.newest(None, Generation(2)).unwrap().1, at(1, 3));
    assert_eq!(kept.holds(None, at(1, 4)), Err(StateError::Overtaken), "it was told that the fourth is lost");
    kept.holds(None, at(2, 4)).unwrap();
    kept.holds(None, at(2, 3)).unwrap();
    assert_eq!(kept.newest(None, Generation(3)).unwrap().1, at(2, 4), "of two, the newer one");
}

struct Bench {
    folder: tempfile::TempDir,
    gate: Gate,
    store: Arc<Store>,
    kept: Arc<Kept>,
}

impl Bench {
    fn new() -> Self {
        let (folder, gate) = (tempfile::tempdir().unwrap(), Gate::default());
        let store = Arc::new(gate.store(folder.path()).unwrap());
        let claim = store.claim("work").unwrap().expect("it is free");
        Self { folder, gate, store, kept: Arc::new(Kept::on_disk(claim)) }
    }

    /// Begins to save, and gives up when it is being written.
    async fn abandon(&self, text: &str, ran: u64) {
        let saving = self.kept.keep(sample(text), at(1, ran), LONG);
        tokio::pin!(saving);
        tokio::select! {
            done = &mut saving => panic!("the disk is held up: {done:?}"),
            () = self.gate.somebody_waits() => {}
        }
    }

    async fn keep(&self, text: &str, ran: u64) -> Result<u64, StateError> {
        self.kept.keep(sample(text), at(1, ran), LONG).await.map(|(generation, _)| generation)
    }

    /// What whoever resumes it finds.
    async fn found(&self) -> Option<(u64, Checkpoint)> {
        let saved = self.kept.look(Generation(1), LONG).await.unwrap().0?;
        Some((saved.generation, saved.checkpoint))
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("work")).unwrap().count()
    }
}

/// The worst that a store can do: a save is dropped while it is written, and destroys the next one, which was answered for.
#[tokio::test]
async fn f82_a_save_that_was_dropped_is_written_to_its_end_before_the_next_one() {
    let bench = Bench::new();
    bench.gate.close();
    bench.abandon("first", 1).await;
    let second = bench.keep("second", 2);
    tokio::pin!(second);
    tokio::select! {
        biased;
        done = &mut second => panic!("it was written beside the first: {done:?}"),
        () = tokio::time::sleep(SHORT) => {}
    }
    bench.gate.open();
    assert_eq!(second.await, Ok(2));
    assert_eq!(bench.found().await, Some((2, sample("second"))));
    assert_eq!(bench.files(), 2);
    assert_eq!(bench.kept.last(), Some(Ok(2)));
}

/// Its session may be over, and its runtime gone: neither the name nor the folder is anybody else's before it is written.
#[tokio::test]
async fn f82_a_name_and_a_folder_are_in_use_until_the_last_save_is_written() {
    let bench = Bench::new();
    bench.gate.close();
    bench.abandon("first", 1).await;
    let Bench { folder, gate, store, kept } = bench;
    drop(kept);
    let in_use = StoreError::NameInUse { name: "work".into() };
    assert_eq!(store.claim("work").map(|_| ()), Err(in_use));
    drop(store);
    let refused = Store::open(folder.path(), LONG).await.unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    gate.open();
    let store = loop {
        match Store::open(folder.path(), LONG).await {
            Ok(store) => break Arc::new(store),
            Err(StoreError::InUse { .. }) => tokio::time::sleep(SHORT).await,
            Err(error) => panic!("{error}"),
        }
    };
    let claim = store.claim("work").unwrap().expect("it is free");
    let saved = claim.begin("load", |desk| desk.load()).unwrap().within(LONG).await.unwrap().unwrap();
    assert_eq!(saved.map(|saved| saved.checkpoint), Some(sample("first")));
}

#[tokio::test]
async fn a_save_that_is_dropped_before_it_begins_is_not_written() {
    let bench = Bench::new();
    bench.gate.close();
    bench.abandon("first", 1).await;
    let timed_out = bench.kept.keep(sample("second"), at(1, 2), SHORT).await.unwrap_err();
    assert!(
        matches!(timed_out, StateError::Store(StoreError::TimedOut { action: "save", .. })),
        "{timed_out}"
    );
    bench.gate.open();
    assert_eq!(bench.found().await, Some((1, sample("first"))));
    assert_eq!(bench.files(), 1);
}

/// A disk that hangs holds up whoever wants something of it for as long as they were told, and no longer.
#[tokio::test]
async fn a_disk_that_hangs_is_waited_for_so_long_and_no_longer() {
    let bench = Bench::new();
    bench.gate.close();
    let error = bench.kept.keep(sample("first"), at(1, 1), SHORT).await.unwrap_err();
    let path = bench.folder.path().join("work");
    let expected = StoreError::TimedOut { action: "save", path, after: SHORT };
    assert_eq!(error, StateError::Store(expected));
    let error = bench.kept.look(Generation(1), SHORT).await.unwrap_err();
    assert!(matches!(error, StateError::Store(StoreError::TimedOut { action: "load", .. })), "{error}");
    bench.gate.open();
    bench.store.settled().await;
    assert_eq!(bench.kept.last(), Some(Ok(1)), "it was written in the end");
    assert_eq!(bench.found().await, Some((1, sample("first"))));
}

/// Nobody waited for the newer one, and it counts all the same.
#[tokio::test]
async fn an_older_state_is_not_written_over_a_newer_one_that_was_given_up() {
    let bench = Bench::new();
    bench.gate.close();
    bench.abandon("newer", 2).await;
    bench.gate.open();
    assert_eq!(bench.keep("older", 1).await, Ok(1), "what is there is newer");
    assert_eq!(bench.found().await, Some((1, sample("newer"))));
}

#[tokio::test]
async fn so_many_saves_wait_for_a_disk_and_no_more() {
    let bench = Bench::new();
    bench.gate.close();
    bench.abandon("first", 1).await;
    let claim = bench.kept.claim.as_ref().unwrap();
    let mut waiting = Vec::new();
    let busy = loop {
        match claim.begin("save", |desk| desk.save(&sample("more"))) {
            Ok(pending) => waiting.push(pending),
            Err(error) => break error,
        }
    };
    let path = bench.folder.path().join("work");
    assert_eq!(busy, StoreError::Busy { path, waiting: waiting.len() });
    assert_eq!(waiting.len(), 16);
    drop(waiting);
    bench.gate.open();
    assert_eq!(bench.keep("second", 2).await, Ok(2), "those that were taken back are gone");
}
