//! What it costs to save a session, to bring it back, and to fork it: for 1 MB, for 100 MB, and for 10,000 small names.
//!
//! A large session is saved by a copy of itself. So two times count: until code runs again, and until the state is there.
//! Beside them the same session saved in its own process, which a thread in it enforces, and what Python alone takes to
//! pickle, to write and to sync the same names.
//!
//! And what a save of a named session writes when one part in a hundred of 100 MB has changed, beside the same state written
//! whole.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a wall clock measures both")]

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use ostler::{Request, Runtime, Session, WorkerSpec};

const ROUNDS: usize = 12;
const BRANCHES: usize = 100;
/// A thread that waits keeps a session from being forked. It leaves no name that could not be saved.
const THREAD: &str =
    "(lambda it: it.Thread(target=it.Event().wait, daemon=True).start())(__import__('threading'))";
/// What any program would have to do: bytes in a file that is on the disk.
const LEAST: &str = "
import os, pickle, time
def least():
    names = {name: value for name, value in globals().items() if name[0] != '_' and name != 'least'
             and type(value).__name__ != 'module'}
    start = time.perf_counter()
    with open('least', 'wb') as file:
        pickle.dump(names, file, 5)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start
";

type Outcome<T> = Result<T, Box<dyn Error>>;

async fn run(session: &Session, code: &str) -> Outcome<Duration> {
    let report = session.run(Request::python(code).no_deadline()).await?;
    if !report.outcome.is_completed() {
        return Err(report.outcome.to_string().into());
    }
    Ok(Duration::from_secs_f64(report.value().and_then(|value| value.as_f64()).unwrap_or(0.0)))
}

/// Until code runs again, and until the state is there.
async fn save(session: &Session) -> Outcome<(Duration, Duration, usize)> {
    let start = Instant::now();
    let saved = async { Ok::<_, Box<dyn Error>>((session.checkpoint().await?, start.elapsed())) };
    let again = async {
        // Behind the question, in the queue of the session.
        tokio::task::yield_now().await;
        run(session, "1").await.map(|_| start.elapsed())
    };
    let (saved, again) = tokio::join!(saved, again);
    let (saved, total) = saved?;
    Ok((again?, total, saved.data().len()))
}

fn told(name: &str, times: &mut [Duration]) -> f64 {
    times.sort();
    let [p10, p50, p90] = [10, 50, 90].map(|part| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3);
    println!("{name:44} p10 {p10:8.2} p50 {p50:8.2} p90 {p90:8.2} ms");
    p50
}

async fn states(runtime: &Runtime, name: &str, make: &str) -> Outcome<()> {
    let (copied, own) = (runtime.session().await?, runtime.session().await?);
    for session in [&copied, &own] {
        run(session, make).await?;
        run(session, LEAST).await?;
    }
    run(&own, THREAD).await?;
    let mut times = [const { Vec::new() }; 6];
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        for (at, session) in [(0, &copied), (2, &own)] {
            let (again, total, len) = save(session).await?;
            times[at].push(again);
            times[at + 1].push(total);
            bytes = len;
        }
        times[4].push(run(&own, "least()").await?);
    }
    let saved = copied.checkpoint().await?;
    drop((copied, own));
    for _ in 0..ROUNDS {
        let session = runtime.session().await?;
        run(&session, "1").await?;
        let start = Instant::now();
        session.restore(&saved).await?;
        times[5].push(start.elapsed());
    }
    println!("{name}: {bytes} bytes");
    let names = [
        "until code runs again",
        "until it is saved",
        "in its own process: until code runs again",
        "in its own process: until it is saved",
        "bare pickle, write and sync",
        "restored",
    ];
    for (name, times) in names.iter().zip(&mut times) {
        told(name, times);
    }
    Ok(())
}

/// The share of memory of a process, in KiB.
fn share(pid: u32) -> Outcome<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let share = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB"));
    Ok(share.ok_or("no share")?.trim().parse()?)
}

/// The keepers, by the name that they have given themselves.
fn keepers() -> Vec<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"ostler-keeper\0"))
    })
    .collect()
}

async fn branches(runtime: &Runtime) -> Outcome<()> {
    let session = runtime.session().await?;
    run(&session, "state = bytearray(b'x') * (100 * 10**6)").await?;
    let before = share(session.pid().ok_or("no pid")?)?;
    let (mut times, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..BRANCHES {
        let start = Instant::now();
        copies.push(session.fork().await?);
        times.push(start.elapsed());
    }
    let mut runs = Vec::new();
    for copy in &copies {
        let start = Instant::now();
        run(copy, "x = 1").await?;
        runs.push(start.elapsed());
    }
    let all = copies.iter().chain([&session]).filter_map(Session::pid);
    let shares = all.map(share).collect::<Outcome<Vec<u64>>>();
    println!("{BRANCHES} branches of a session of 100 MB ({} MiB alone)", before / 1024);
    told("fork, each", &mut times);
    told("first execution in each", &mut runs);
    let all: u64 = shares?.iter().sum();
    println!(
        "all {} sessions together: {:.1} MiB; each branch beyond the first session: {:.2} MiB",
        BRANCHES + 1,
        all as f64 / 1024.0,
        (all - before) as f64 / 1024.0 / BRANCHES as f64
    );
    let keepers = keepers();
    let kept: u64 = keepers.iter().filter_map(|pid| share(*pid).ok()).sum();
    println!("{} keepers: {:.2} MiB each", keepers.len(), kept as f64 / 1024.0 / keepers.len().max(1) as f64);
    Ok(())
}

/// How long the newest file is, and all of them.
fn files(folder: &Path) -> Outcome<(u64, u64)> {
    let entries = fs::read_dir(folder)?.map(|entry| {
        let entry = entry?;
        Ok((entry.file_name(), entry.metadata()?.len()))
    });
    let mut files = entries.collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok((files.last().ok_or("no file")?.1, files.iter().map(|file| file.1).sum()))
}

async fn changes() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let spec = WorkerSpec::python();
    let runtime = Runtime::builder(spec).max_sessions(1).state_dir(folder.path()).start().await?;
    let (session, _) = runtime.session_named("large").await?;
    run(&session, "import random; state = bytearray(random.randbytes(100 * 10**6))").await?;
    session.save().await?;
    let (mut times, mut written, mut used) = ([const { Vec::new() }; 2], Vec::new(), 0);
    for round in 0..ROUNDS {
        let from = round * 7_919_111 % (99 * 1_000_000);
        run(&session, &format!("state[{from}:{from} + 10**6] = random.randbytes(10**6)")).await?;
        let start = Instant::now();
        session.save().await?;
        times[0].push(start.elapsed());
        let (newest, all) = files(&folder.path().join("large"))?;
        written.push(newest);
        used = used.max(all);
        let start = Instant::now();
        let saved = session.checkpoint().await?;
        let mut file = fs::File::create(folder.path().join("whole"))?;
        file.write_all(saved.data())?;
        file.sync_all()?;
        fs::File::open(folder.path())?.sync_all()?;
        times[1].push(start.elapsed());
    }
    written.sort_unstable();
    println!("100 MB by name, of which 1 MB in one place has changed");
    println!(
        "a save writes {:.2} MB in the middle, {:.2} MB at most; all files {:.1} MB at most",
        written[ROUNDS / 2] as f64 / 1e6,
        written[ROUNDS - 1] as f64 / 1e6,
        used as f64 / 1e6
    );
    told("save", &mut times[0]);
    told("checkpoint, written whole and synced", &mut times[1]);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    changes().await?;
    let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(BRANCHES + 2).start().await?;
    for (name, make) in [
        ("1 MB", "state = bytearray(b'x') * 10**6"),
        ("100 MB", "state = bytearray(b'x') * (100 * 10**6)"),
        ("10,000 names", "globals().update({f'n{i}': (i, str(i)) for i in range(10**4)})"),
        ("1,000,000 objects", "state = [(i, str(i)) for i in range(10**6 // 2)]"),
    ] {
        states(&runtime, name, make).await?;
    }
    branches(&runtime).await?;
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
