//! The whole house but the operating system, from seeds: real actors, a paused clock, scripted workers whose faults
//! come from the seed, callers in every manner, actors that are killed (P1 to P6, P8, P10, P14, P16).
//!
//! `OSTLER_SEEDS` says how many seeds are tried (200), `OSTLER_FIRST_SEED` which comes first (0). A seed that fails is
//! named with the command that runs it alone.

use std::{env, io, io::Write, panic};

use crate::support::guarded;

mod caller;
mod questions;
mod scenario;
mod unheard;
mod worker;

use scenario::{Scenario, Tally, Trace};

fn simulate(seed: u64) -> Option<Trace> {
    let run = || {
        let tokio =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        tokio.block_on(guarded(async {
            match Scenario::start(seed).await {
                Some(scenario) => Some(scenario.run().await),
                None => None,
            }
        }))
    };
    panic::catch_unwind(run).unwrap_or_else(|cause| {
        let rerun = format!("OSTLER_FIRST_SEED={seed} OSTLER_SEEDS=1 cargo test --test it simulation");
        let _ = writeln!(io::stderr(), "seed {seed} fails; to run it alone:\n    {rerun}");
        panic::resume_unwind(cause)
    })
}

pub(crate) fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_seed_keeps_the_promises() {
    let (first, seeds) = (number("OSTLER_FIRST_SEED", 0), number("OSTLER_SEEDS", 200));
    let mut tally = Tally::default();
    for seed in first..first + seeds {
        if let Some(trace) = simulate(seed) {
            tally.add(&trace);
        }
    }
    let _ = writeln!(io::stderr(), "{seeds} seeds from {first}: {tally:#?}");
    if seeds >= 100 {
        assert_eq!(tally.acts.len(), 30, "every act has come");
        for kind in ["completed", "failed", "Cancelled", "TimedOut", "lost", "left", "QueueFull"] {
            assert!(tally.endings.contains_key(kind), "no `{kind}` in {:?}", tally.endings);
        }
    }
}

/// P14.
#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 10_000..10_030 {
        let (one, other) = (simulate(seed), simulate(seed));
        assert_eq!(one, other, "seed {seed}");
    }
}
