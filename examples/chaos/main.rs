//! A supervisor binary that attacks its own workers and scripts: under load, from a seed, it kills, stops, crashes, floods
//! and garbles them, keeps a ledger of every request, and gives a verdict. A second ledger is written by the code itself:
//! what was told of how often it ran is compared with that. Children that scripts start are to be dead soon behind them.
//!
//! `cargo run --example chaos -- --seed 1 --requests 20000 --every 50`, or `--minutes 30` for a soak. `--every` is the
//! time between two attacks, in ms; without it there is one for every twenty requests, however slow the machine is.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "real processes on the real clock")]

mod census;
mod ledger;
mod work;

use std::{
    collections::BTreeMap,
    env, fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ostler::{Outcome, PoolStatus, RestartPolicy, Runtime, RuntimeBuilder, SubmitError, Totals, WorkerSpec};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{
    census::Census,
    ledger::Ledger,
    work::{Fate, Runs, Work},
};

const WORKERS: usize = 8;
const SCRIPTS: usize = 4;
const CALLERS: u64 = 24;
const REQUESTS_PER_ATTACK: u64 = 20;
const DEADLINE: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(1);
/// What an outcome may take beyond deadline and grace.
const LATE: Duration = Duration::from_millis(250);
/// What the children of a script may live on when its outcome is told: as long as one that hears no signal has until it is
/// killed, and a second.
const CHILDREN: Duration = Duration::from_secs(2);
/// Each pool is shut down under so many requests, most of which have not begun.
const LAST_BURST: u64 = 64;

/// What is asked for on the command line.
struct Plan {
    seed: u64,
    requests: u64,
    minutes: Option<u64>,
    every: Option<Duration>,
}

impl Plan {
    fn from_args() -> Result<Self, String> {
        let mut plan = Self { seed: 1, requests: 500, minutes: None, every: None };
        let mut args = env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().and_then(|value| value.parse().ok());
            let value = value.ok_or_else(|| format!("`{name}` needs a number"))?;
            match name.as_str() {
                "--seed" => plan.seed = value,
                "--requests" => plan.requests = value,
                "--every" => plan.every = Some(Duration::from_millis(value)),
                "--minutes" => (plan.minutes, plan.requests) = (Some(value), u64::MAX),
                _ => {
                    return Err(format!(
                        "unknown option `{name}`: give --seed, --requests, --every or --minutes"
                    ));
                }
            }
        }
        Ok(plan)
    }
}

/// Every request and what became of it.
struct Book {
    /// What ran, in the words of the code.
    ledger: Ledger,
    next: AtomicU64,
    over: AtomicBool,
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
    /// Of those that answer if they are let: how many have ended, and how many of them completed.
    answers: [AtomicU64; 2],
    wrong: Mutex<Vec<String>>,
    worst: Mutex<Duration>,
    /// How long children lived on.
    outlived: Mutex<Duration>,
}

impl Book {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            ledger: Ledger::new()?,
            next: AtomicU64::default(),
            over: AtomicBool::default(),
            outcomes: Mutex::default(),
            answers: Default::default(),
            wrong: Mutex::default(),
            worst: Mutex::default(),
            outlived: Mutex::default(),
        })
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn enter(&self, outcome: &Outcome, fate: Fate, took: Duration) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        *outcomes.entry(outcome.kind()).or_default() += 1;
        if fate == Fate::Answers {
            self.answers[0].fetch_add(1, Relaxed);
            self.answers[1].fetch_add(outcome.is_completed().into(), Relaxed);
        }
        longer(&self.worst, took);
    }

    /// Waits until the children of a script are dead.
    async fn bury_children(&self, n: u64, name: &str) {
        let told = Instant::now();
        loop {
            let living = work::children(n);
            if living.is_empty() {
                return longer(&self.outlived, told.elapsed());
            }
            if told.elapsed() > 2 * CHILDREN {
                self.wrong(format!("{name}-{n} has left {living:?}"));
                return longer(&self.outlived, told.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = Plan::from_args()?;
    census::give_memory_back()?;
    // A first pool, so that what lives as long as the process is there before it is counted.
    Pools::start().await?.shutdown().await;
    let (before, begun) = (Census::take(), Instant::now());
    let pools = Pools::start().await?;
    let book = Arc::new(Book::new()?);
    let attacker = tokio::spawn(attack(pools.clone(), Arc::clone(&book), plan.seed, plan.every));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            tokio::spawn(call(pools.clone(), Arc::clone(&book), plan.seed ^ (caller << 32), plan.requests))
        })
        .collect();
    if let Some(minutes) = plan.minutes {
        tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
        book.over.store(true, Relaxed);
    }
    for caller in callers {
        caller.await?;
    }
    book.over.store(true, Relaxed);
    let attacks = attacker.await?;
    let status = pools.status().await;
    let last = [
        last_burst(&pools.workers, Runs::Code, &book).await,
        last_burst(&pools.scripts, Runs::Script, &book).await,
    ];
    pools.shutdown().await;

    println!("seed {}: {:.1?}, {attacks:?}", plan.seed, begun.elapsed());
    for (name, pool) in ["workers", "scripts"].into_iter().zip(&status) {
        let PoolStatus { spawned, crashed, recycled, totals, .. } = pool;
        let Totals { requeued, lost, .. } = totals;
        println!("{name}: {spawned} started, {crashed} crashed, {recycled} recycled");
        println!("requests for {name}: {requeued} requeued, {lost} lost");
        let sum = totals.completed + totals.failed + totals.cancelled + totals.timed_out + totals.lost;
        check(&book, totals.in_flight == 0 && sum == totals.accepted, "the totals do not add up");
    }
    println!("outcomes: {:?}", book.outcomes.lock().unwrap_or_else(PoisonError::into_inner));
    let [worst, outlived] =
        [&book.worst, &book.outlived].map(|it| *it.lock().unwrap_or_else(PoisonError::into_inner));
    println!("worst outcome: {worst:.1?} after its submission");
    println!("children of scripts: dead {outlived:.1?} behind them, at the latest");
    let [asked, answered] = book.answers.each_ref().map(|count| count.load(Relaxed));
    println!("of {asked} that answer if they are let, {answered} completed");
    check(&book, asked >= plan.requests.min(1), "nothing was accepted");
    check(&book, answered * 10 >= asked * 9, "less than 90 % of those completed");
    check(&book, worst <= DEADLINE + GRACE + LATE, "an outcome came too late");
    check(&book, outlived <= CHILDREN, "children of a script lived on for too long");
    let left = Census::settled(&before).await;
    println!("left over: {left}");
    check(&book, left.is_nothing(), "something is left over");
    let audit = book.ledger.audit();
    println!("each shut down under {LAST_BURST} more: {last:?}");
    println!("ledger of the code: {audit}");
    audit.wrong.into_iter().for_each(|what| book.wrong(what));

    let wrong = book.wrong.lock().unwrap_or_else(PoisonError::into_inner);
    println!("verdict: {}", if wrong.is_empty() { "sound".into() } else { wrong.join("\n") });
    if wrong.is_empty() { Ok(()) } else { Err("chaos found a fault".into()) }
}

fn longer(longest: &Mutex<Duration>, took: Duration) {
    let mut longest = longest.lock().unwrap_or_else(PoisonError::into_inner);
    *longest = took.max(*longest);
}

fn check(book: &Book, holds: bool, otherwise: &str) {
    if !holds {
        book.wrong(otherwise.to_owned());
    }
}

/// What is attacked.
#[derive(Clone)]
struct Pools {
    workers: Runtime,
    /// It has no workers: it forks a process for each script.
    scripts: Runtime,
}

impl Pools {
    async fn start() -> Result<Self, ostler::StartError> {
        let workers = pool(WorkerSpec::python()).max_sessions(WORKERS).min_idle(WORKERS).start().await?;
        let scripts = pool(WorkerSpec::python().preload(["json"])).max_sessions(SCRIPTS).min_idle(0);
        Ok(Self { workers, scripts: scripts.start().await? })
    }

    async fn status(&self) -> [PoolStatus; 2] {
        [self.workers.status().await, self.scripts.status().await]
    }

    async fn shutdown(self) {
        self.workers.shutdown(GRACE).await;
        self.scripts.shutdown(GRACE).await;
    }
}

fn pool(spec: WorkerSpec) -> RuntimeBuilder {
    let mut restart = RestartPolicy::default();
    (restart.min_backoff, restart.max_backoff) = (Duration::from_millis(1), Duration::from_millis(50));
    restart.intensity = u32::MAX;
    Runtime::builder(spec).restart(restart).deadline(DEADLINE).grace(GRACE)
}

/// Runs one request after another until there are enough.
async fn call(pools: Pools, book: Arc<Book>, seed: u64, requests: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    while !book.over.load(Relaxed) {
        let n = book.next.fetch_add(1, Relaxed);
        if n >= requests {
            return;
        }
        let work = Work::by(&mut chance);
        let soon = Duration::from_micros(chance.random_range(0..20_000));
        let begun = Instant::now();
        let runtime = if work.runs == Runs::Script { &pools.scripts } else { &pools.workers };
        let execution = match runtime.execute(work.request(&book.ledger, n, soon)).await {
            Ok(execution) => execution,
            Err(SubmitError::TooLate { .. }) if work.may_be_late() => {
                book.ledger.refused(n, work.name);
                continue;
            }
            Err(error) => {
                book.wrong(format!("{}-{n} was refused: {error}", work.name));
                continue;
            }
        };
        if work.fate == Fate::Cancelled {
            let canceller = execution.canceller();
            drop(tokio::spawn(async move {
                tokio::time::sleep(soon).await;
                canceller.cancel();
            }));
        }
        let report = execution.report().await;
        if !work.is_answered_by(&report, n) {
            book.wrong(format!("{}-{n} got an answer that is not its own: {}", work.name, report.outcome));
        }
        book.ledger.told(n, work.name, &report.outcome);
        book.enter(&report.outcome, work.fate, begun.elapsed());
        if work.has_children() {
            book.bury_children(n, work.name).await;
        }
    }
}

/// Shuts the pool down while code runs and much more waits. What was told of those that wait is in the ledger, too.
async fn last_burst(runtime: &Runtime, runs: Runs, book: &Book) -> BTreeMap<&'static str, u64> {
    let mut executions = Vec::new();
    let first = book.next.fetch_add(LAST_BURST, Relaxed);
    for n in first..first + LAST_BURST {
        // So many would be refused as too late.
        let request = work::request(&book.ledger, n, runs, "import time\ntime.sleep(0.1)").no_deadline();
        match runtime.execute(request).await {
            Ok(execution) => executions.push((n, execution)),
            Err(error) => book.wrong(format!("last-{n} was refused: {error}")),
        }
    }
    runtime.shutdown(GRACE).await;
    let mut outcomes = BTreeMap::new();
    for (n, execution) in executions {
        let outcome = execution.outcome().await;
        book.ledger.told(n, "last", &outcome);
        *outcomes.entry(outcome.kind()).or_default() += 1;
    }
    outcomes
}

/// Signals a random worker or script at a steady pace: most are killed, some are stopped, shot or asked to go.
async fn attack(
    pools: Pools,
    book: Arc<Book>,
    seed: u64,
    every: Option<Duration>,
) -> BTreeMap<&'static str, u32> {
    let (mut chance, mut counts) = (StdRng::seed_from_u64(!seed), BTreeMap::new());
    let mut attacks = 0;
    while !book.over.load(Relaxed) {
        tokio::time::sleep(every.unwrap_or(Duration::from_millis(2))).await;
        if every.is_none() && book.next.load(Relaxed) < attacks * REQUESTS_PER_ATTACK {
            continue;
        }
        attacks += 1;
        let sessions = pools.status().await.map(|pool| pool.sessions);
        let pids: Vec<u32> = sessions.iter().flatten().filter_map(|session| session.pid).collect();
        let (name, signal) = match chance.random_range(0..10) {
            0 => ("STOP", Signal::STOP),
            1 => ("SEGV", Signal::SEGV),
            2 => ("TERM", Signal::TERM),
            _ => ("KILL", Signal::KILL),
        };
        if !pids.is_empty() && send(pids[chance.random_range(0..pids.len())], signal) {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts
}

/// Signals a worker of ours, and nobody who has got its number since.
fn send(pid: u32, signal: Signal) -> bool {
    let Some(held) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(held) = pidfd_open(held, PidfdFlags::empty()) else { return false };
    is_ours(pid) && pidfd_send_signal(&held, signal).is_ok()
}

/// Whether a process has the tag of one of our pools in its environment.
fn is_ours(pid: u32) -> bool {
    let tag = format!("OSTLER_TAG={}-", std::process::id());
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(tag.as_bytes()))
}

/// The numbers that are names in a folder.
fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
