//! A supervisor binary that attacks its own workers: under load, from a seed, it kills, stops, crashes, floods and
//! garbles them, keeps a ledger of every request, and gives a verdict.
//!
//! `cargo run --example chaos -- --seed 1 --requests 20000 --every 50`, or `--minutes 30` for a soak. `--every` is the
//! time between two attacks, in ms; without it there is one for every twenty requests, however slow the machine is.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "real processes on the real clock")]

use std::{
    collections::BTreeMap,
    env, fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ostler::{Outcome, Request, RestartPolicy, Runtime, Value, WorkerSpec};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const WORKERS: usize = 8;
const CALLERS: u64 = 24;
const REQUESTS_PER_ATTACK: u64 = 20;
const DEADLINE: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(1);
/// What an outcome may take beyond deadline and grace.
const LATE: Duration = Duration::from_millis(250);
/// What allocators may keep.
const SLACK: u64 = 32 << 20;

/// The common case answers; a few do what nobody should. (Weight in a thousand, name, code.)
const WORK: [(u32, &str, &str); 7] = [
    (940, "answers", "print(n)\nn * 2"),
    (30, "floods", "import os\nfor _ in range(64): os.write(1, b'x' * 65536)\nn * 2"),
    (10, "raises", "raise ValueError(n)"),
    (5, "crashes", "import os\nos.abort()"),
    (5, "hangs", "while True: pass"),
    (
        5,
        "garbles",
        "import os\nfor fd in range(3, 64):\n  try: os.write(fd, b'no frame at all')\n  except OSError: pass",
    ),
    (5, "daemonises", "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\nn * 2"),
];

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
#[derive(Default)]
struct Book {
    next: AtomicU64,
    over: AtomicBool,
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
    wrong: Mutex<Vec<String>>,
    worst: Mutex<Duration>,
}

impl Book {
    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn enter(&self, kind: &'static str, took: Duration) {
        *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        *worst = took.max(*worst);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = Plan::from_args()?;
    // A first pool, so that what lives as long as the process is there before it is counted.
    pool().await?.shutdown(GRACE).await;
    let (before, begun) = (Census::take(), Instant::now());
    let runtime = pool().await?;
    let book = Arc::new(Book::default());
    let attacker = tokio::spawn(attack(runtime.clone(), Arc::clone(&book), plan.seed, plan.every));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            tokio::spawn(call(runtime.clone(), Arc::clone(&book), plan.seed ^ (caller << 32), plan.requests))
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
    let status = runtime.status().await;
    runtime.shutdown(GRACE).await;
    drop(runtime);

    println!("seed {}: {:.1?}, {attacks:?}", plan.seed, begun.elapsed());
    println!("workers: {} started, {} crashed, {} recycled", status.spawned, status.crashed, status.recycled);
    let totals = status.totals;
    println!("outcomes: {:?}", book.outcomes.lock().unwrap_or_else(PoisonError::into_inner));
    let worst = *book.worst.lock().unwrap_or_else(PoisonError::into_inner);
    println!("worst outcome: {worst:.1?} after its submission");
    check(&book, totals.accepted >= plan.requests.min(1), "nothing was accepted");
    let sum = totals.completed + totals.failed + totals.cancelled + totals.timed_out + totals.lost;
    check(&book, totals.in_flight == 0 && sum == totals.accepted, "the totals do not add up");
    check(&book, totals.completed * 10 >= totals.accepted * 9, "less than 90 % completed");
    check(&book, worst <= DEADLINE + GRACE + LATE, "an outcome came too late");
    let left = Census::settled(&before).await;
    println!("left over: {left}");
    check(&book, left.is_nothing(), "something is left over");

    let wrong = book.wrong.lock().unwrap_or_else(PoisonError::into_inner);
    println!("verdict: {}", if wrong.is_empty() { "sound".into() } else { wrong.join("\n") });
    if wrong.is_empty() { Ok(()) } else { Err("chaos found a fault".into()) }
}

fn check(book: &Book, holds: bool, otherwise: &str) {
    if !holds {
        book.wrong(otherwise.to_owned());
    }
}

async fn pool() -> Result<Runtime, ostler::StartError> {
    let mut restart = RestartPolicy::default();
    (restart.min_backoff, restart.max_backoff) = (Duration::from_millis(1), Duration::from_millis(50));
    restart.intensity = u32::MAX;
    let builder = Runtime::builder(WorkerSpec::python()).max_sessions(WORKERS).min_idle(WORKERS);
    builder.restart(restart).deadline(DEADLINE).grace(GRACE).start().await
}

/// Runs one request after another until there are enough.
async fn call(runtime: Runtime, book: Arc<Book>, seed: u64, requests: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    while !book.over.load(Relaxed) {
        let n = book.next.fetch_add(1, Relaxed);
        if n >= requests {
            return;
        }
        let mut roll = chance.random_range(0..1_000);
        let work = WORK.iter().find(|(weight, ..)| {
            let chosen = roll < *weight;
            roll = roll.saturating_sub(*weight);
            chosen
        });
        let (_, name, code) = work.unwrap_or(&WORK[0]);
        let mut request = Request::python(*code).arg("n", n).label(format!("{name}-{n}"));
        if *name == "hangs" {
            request = request.deadline(Duration::from_millis(300));
        }
        let begun = Instant::now();
        match runtime.run(request).await {
            Ok(report) => {
                let answers = report.value() == Some(&Value::from(n * 2));
                let silent = matches!(*name, "raises" | "crashes" | "hangs" | "garbles");
                if matches!(report.outcome, Outcome::Completed(_)) && !silent && !answers {
                    book.wrong(format!("{name}-{n} got an answer that is not its own: {}", report.outcome));
                }
                book.enter(report.outcome.kind(), begun.elapsed());
            }
            Err(error) => book.wrong(format!("{name}-{n} was refused: {error}")),
        }
    }
}

/// Signals a random worker at a steady pace: most are killed, some are stopped, shot or asked to go.
async fn attack(
    runtime: Runtime,
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
        let sessions = runtime.status().await.sessions;
        let pids: Vec<u32> = sessions.iter().filter_map(|session| session.pid).collect();
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

/// What this process holds.
#[derive(Debug, Default)]
struct Census {
    descriptors: usize,
    threads: usize,
    processes: usize,
    folders: usize,
    memory: u64,
}

impl Census {
    fn take() -> Self {
        let entries = |folder: &str| fs::read_dir(folder).map_or(0, Iterator::count);
        let names = |folder: std::path::PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok())
        };
        let scratch = format!("ostler-{}-", std::process::id());
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
        Self {
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            processes: names("/proc".into())
                .filter_map(|name| name.parse().ok())
                .filter(|pid| is_ours(*pid))
                .count(),
            folders: names(env::temp_dir()).filter(|name| name.starts_with(&scratch)).count(),
            memory: pages * 4096,
        }
    }

    /// What there is more of than `before`, when things have come to rest.
    async fn settled(before: &Self) -> Self {
        let mut more = Self::default();
        for _ in 0..100 {
            let now = Self::take();
            more = Self {
                descriptors: now.descriptors.saturating_sub(before.descriptors),
                threads: now.threads.saturating_sub(before.threads),
                processes: now.processes,
                folders: now.folders,
                memory: now.memory.saturating_sub(before.memory),
            };
            if more.is_nothing() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        more
    }

    fn is_nothing(&self) -> bool {
        self.descriptors + self.threads + self.processes + self.folders == 0 && self.memory < SLACK
    }
}

impl std::fmt::Display for Census {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { descriptors, threads, processes, folders, memory } = self;
        let memory = memory >> 10;
        write!(
            f,
            "{descriptors} descriptors, {threads} threads, {processes} processes, {folders} folders, {memory} KiB of memory"
        )
    }
}
