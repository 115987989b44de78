//! Many calls and many faults from seeds: sessions and executions that are killed, servers that die, stall and read
//! slowly, callers that leave (P1, P5, P16).
//!
//! `OSTLER_SEEDS` and `OSTLER_FIRST_SEED` as in `simulation`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    panic,
};

use ostler::{PoolStatus, RestartPolicy, SessionState, SubmitError};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use super::*;
use crate::{simulation::number, support::adds_up};

const CALLS: usize = 60;
const IN_FLIGHT: usize = 8;
const SERVERS: usize = 2;

/// Which number a call that was accepted had, and what its caller was told, if it stayed to hear that.
struct Told {
    id: u64,
    outcome: Option<Outcome>,
}

/// Reads at its own pace, answers what it likes in any order, and may die of it.
async fn erratic(mut stage: Stage, seed: u64) -> Exit {
    let mut chance = StdRng::seed_from_u64(seed ^ (stage.number() as u64) << 32);
    let pause = Duration::from_millis([0, 0, 1, 20][chance.random_range(0..4)]);
    let mut open = Vec::new();
    loop {
        tokio::time::sleep(pause).await;
        let line = tokio::select! {
            biased;
            line = stage.recv_line() => line,
            () = tokio::time::sleep(Duration::from_millis(5)), if !open.is_empty() => Some(String::new()),
        };
        let Some(line) = line else { return Exit::Code(0) };
        if !line.is_empty() {
            match call_of(&line) {
                Some((id, method)) if method != "hang" => open.push(id),
                Some(_) => {}
                None => obliges(&mut stage, &line).await,
            }
        }
        while !open.is_empty() && chance.random_bool(0.6) {
            let id = open.swap_remove(chance.random_range(0..open.len()));
            answers(&mut stage, id).await;
        }
        match chance.random_range(0..200) {
            0 => return Exit::Signal(9),
            1 => {
                stage.close_input();
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            2 => tokio::time::sleep(Duration::from_millis(300)).await,
            _ => {}
        }
    }
}

/// Waits for its answer; with `leaves`, or leaves before, and then nobody hears what became of it.
async fn caller(pool: Runtime, seed: u64, leaves: bool) -> Option<Told> {
    let mut chance = StdRng::seed_from_u64(seed);
    let method = if leaves && chance.random_bool(0.1) { "hang" } else { "work" };
    let padding = "x".repeat(chance.random_range(0..200));
    let deadline = if leaves { Duration::from_millis(chance.random_range(5..2_000)) } else { LONG };
    let params = Value::from(vec![Value::from(padding)]);
    let execution = match pool.execute(Request::rpc(method, params).deadline(deadline)).await {
        Ok(execution) => execution,
        Err(SubmitError::TooLate { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    let (id, wait) = (execution.id().get(), Duration::from_millis(chance.random_range(0..50)));
    match chance.random_range(0..10) {
        0 if leaves => {
            tokio::time::sleep(wait).await;
            return Some(Told { id, outcome: None });
        }
        1 => {
            tokio::time::sleep(wait).await;
            execution.cancel();
        }
        2 if leaves => {
            turns(chance.random_range(0..40)).await;
            actor_of(&execution).kill();
        }
        _ => {}
    }
    Some(Told { id, outcome: Some(execution.outcome().await) })
}

/// Whether somebody waits while a server has room. Calls that are over for their callers may still have a place on their
/// server, and are in no list: with such ones only an idle server has room for sure.
async fn waits_in_vain(pool: &Pool, leaves: bool) -> Option<PoolStatus> {
    let (status, list) = (pool.status().await, pool.runtime.list().await);
    let has_room = |slot: usize| list.iter().filter(|call| call.slot == Some(slot)).count() < IN_FLIGHT;
    let serves = |state| matches!(state, SessionState::Ready | SessionState::Idle | SessionState::Busy);
    let mut sessions = status.sessions.iter();
    let room = match leaves {
        true => status.idle > 0,
        false => sessions.any(|session| serves(session.state) && has_room(session.slot)),
    };
    (status.queued > 0 && room).then_some(status)
}

/// What is on its way between two actors is given time to arrive.
async fn nobody_waits_in_vain(pool: &Pool, leaves: bool) {
    let mut found = None;
    for _ in 0..20 {
        found = waits_in_vain(pool, leaves).await;
        if found.is_none() {
            return;
        }
        turns(20).await;
    }
    panic!("calls wait, and a server has room: {found:?}, {:?}", pool.runtime.list().await);
}

/// The reads of each call, by the servers that read it.
fn readers(workers: &ScriptedSpawner) -> BTreeMap<u64, BTreeSet<usize>> {
    let mut readers = BTreeMap::<_, BTreeSet<_>>::new();
    for entry in workers.log() {
        if let Fact::ReceivedLine(line) = &entry.fact
            && let Some((id, _)) = call_of(line)
        {
            assert!(readers.entry(id).or_default().insert(entry.worker), "{id} twice on {}", entry.worker);
        }
    }
    readers
}

async fn scenario(seed: u64) -> BTreeMap<String, u64> {
    let mut chance = StdRng::seed_from_u64(seed);
    let spec = if chance.random_bool(0.5) { WorkerSpec::mcp("scripted") } else { spec() };
    let workers = ScriptedSpawner::new(move |stage| erratic(stage, seed)).server(&spec);
    let workers = workers.pipe_len(chance.random_range(64..1_024));
    let leaves = chance.random_bool(0.7);
    // The pool goes on however many die.
    let mut restart = RestartPolicy::default();
    (restart.min_backoff, restart.max_backoff) = (Duration::from_millis(1), Duration::from_millis(20));
    restart.intensity = u32::MAX;
    let pool = pool_of(spec, workers, |it| {
        it.max_sessions(SERVERS).in_flight(IN_FLIGHT).grace(Duration::from_millis(100)).restart(restart)
    });
    let pool = pool.await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLS {
        callers.spawn(caller(pool.runtime.clone(), chance.random(), leaves));
        match chance.random_range(0..4) {
            0 => tokio::time::sleep(Duration::from_millis(chance.random_range(0..30))).await,
            1 => turns(chance.random_range(0..60)).await,
            _ => {}
        }
        if chance.random_bool(0.05) {
            let sessions = supervisor_of(&pool.runtime).get_children();
            if let Some(session) = sessions.get(chance.random_range(0..SERVERS)) {
                session.kill();
            }
        }
        adds_up(&pool.status().await);
        nobody_waits_in_vain(&pool, leaves).await;
    }
    let told: Vec<Told> = callers.join_all().await.into_iter().flatten().collect();
    finish(pool, &told).await
}

/// All that the servers may have in flight at once finds a place.
async fn every_place_is_free(pool: &Pool) {
    let mut calls = Vec::new();
    for _ in 0..SERVERS * IN_FLIGHT {
        calls.push(call(pool, "hang").await);
    }
    pool.eventually("each has a place", |pool| pool.queued == 0).await;
}

/// What was told is true, and adds up with what the ledger says.
async fn finish(pool: Pool, told: &[Told]) -> BTreeMap<String, u64> {
    let status = pool.eventually("all is over", |pool| pool.totals.in_flight == 0 && pool.busy == 0).await;
    adds_up(&status);
    assert_eq!(status.totals.accepted, told.len() as u64);
    assert_eq!(status.queued, 0, "{status:?}");
    every_place_is_free(&pool).await;
    let readers = readers(&pool.workers);
    let mut kinds = BTreeMap::<_, u64>::new();
    for (id, by) in &readers {
        assert!(by.len() == 1, "{id} was read by {by:?}");
    }
    for Told { id, outcome } in told {
        let Some(outcome) = outcome else { continue };
        *kinds.entry(kind(outcome)).or_default() += 1;
        let read = readers.contains_key(id);
        match outcome {
            Outcome::Completed(_) => assert!(read, "{id}"),
            Outcome::Lost(lost) => assert!(lost.started || !read, "{id} was read: {lost}"),
            Outcome::Cancelled(cancelled) if cancelled.stage == CancelStage::Queued => {
                assert!(!read, "{id} was read: {outcome}");
            }
            Outcome::Cancelled(_) | Outcome::TimedOut(_) => {}
            other => panic!("{id}: {other}"),
        }
    }
    if status.totals.requeued > 0 {
        kinds.insert("requeued".into(), status.totals.requeued);
    }
    pool.close().await;
    kinds
}

fn kind(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Lost(lost) => format!("lost, started: {}", lost.started),
        other => other.kind().to_owned(),
    }
}

#[test]
fn every_call_ends_once_and_truly_whatever_dies() {
    let (first, seeds) = (number("OSTLER_FIRST_SEED", 0), number("OSTLER_SEEDS", 200));
    let mut kinds = BTreeMap::<String, u64>::new();
    for seed in first..first + seeds {
        let run = || {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            tokio.block_on(guarded(scenario(seed)))
        };
        let seen = panic::catch_unwind(run).unwrap_or_else(|cause| {
            let rerun = format!("OSTLER_FIRST_SEED={seed} OSTLER_SEEDS=1 cargo test --test it rpc::many");
            let _ = writeln!(io::stderr(), "seed {seed} fails; to run it alone:\n    {rerun}");
            panic::resume_unwind(cause)
        });
        for (kind, count) in seen {
            *kinds.entry(kind).or_default() += count;
        }
    }
    let _ = writeln!(io::stderr(), "{seeds} seeds from {first}: {kinds:#?}");
    if seeds >= 100 {
        for kind in ["completed", "cancelled", "timed_out", "lost, started: true", "requeued"] {
            assert!(kinds.contains_key(kind), "no `{kind}` in {kinds:?}");
        }
    }
}
