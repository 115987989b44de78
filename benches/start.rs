//! A new worker until its first result, started or forked from a zygote, beside the least that any host could do: a new
//! interpreter with a minimal worker, and no host worth the name; and what it takes to replace one that was killed. With
//! `import numpy` too, where it is installed. What a worker costs comes last.
//!
//! All take turns, round by round; what counts is the ratio. Another interpreter is taken from `PATH`:
//! `PATH=venv/bin:$PATH cargo bench --bench start`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(
    clippy::disallowed_methods,
    reason = "the limit is a process of its own, and a wall clock measures both"
)]

use std::{
    error::Error,
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ostler::{Runtime, Session, WorkerSpec};
use rustix::process::{Pid, Signal, kill_process};

const ROUNDS: usize = 40;
const ALIVE: usize = 8;

/// Reads one byte, imports what it was given, evaluates and answers.
const LIMIT: &str = "
import os, sys
os.read(0, 1)
if len(sys.argv) > 1: __import__(sys.argv[1])
os.write(1, repr(eval(compile('1+1', '<limit>', 'eval'), {})).encode())
os.read(0, 1)
";

fn limit(python: &Path, module: Option<&str>) -> std::io::Result<Duration> {
    let start = Instant::now();
    let mut child = Command::new(python)
        .args(["-I", "-c", LIMIT])
        .args(module)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, mut stdout) = stdin.zip(stdout).ok_or(std::io::ErrorKind::BrokenPipe)?;
    stdin.write_all(b"g")?;
    stdout.read_exact(&mut [0])?;
    let took = start.elapsed();
    drop(stdin);
    child.wait()?;
    Ok(took)
}

/// Nothing is kept ready, so that each lease starts a worker.
async fn pool(spec: WorkerSpec, warmup: Option<&str>) -> Result<Runtime, Box<dyn Error>> {
    let builder = Runtime::builder(spec).min_idle(0).max_sessions(ALIVE);
    let builder = match warmup {
        Some(module) => builder.warmup(format!("import {module}")),
        None => builder,
    };
    let runtime = builder.start().await?;
    // Compiles the worker, or starts the zygote.
    first(&runtime).await?;
    Ok(runtime)
}

async fn first(runtime: &Runtime) -> Result<Duration, Box<dyn Error>> {
    while !runtime.status().await.sessions.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    answers(&runtime.session().await?).await?;
    Ok(start.elapsed())
}

/// From a SIGKILL until another worker has answered; the death is noticed by the execution that it costs.
async fn replaced(runtime: &Runtime) -> Result<Duration, Box<dyn Error>> {
    let session = runtime.session().await?;
    answers(&session).await?;
    let pid = session.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or("the worker is gone")?;
    let start = Instant::now();
    kill_process(pid, Signal::KILL)?;
    if session.run("1+1").await?.outcome.is_completed() {
        return Err("a dead worker answered".into());
    }
    drop(session);
    answers(&runtime.session().await?).await?;
    Ok(start.elapsed())
}

async fn answers(session: &Session) -> Result<(), Box<dyn Error>> {
    let report = session.run("1+1").await?;
    if report.outcome.is_completed() { Ok(()) } else { Err(report.outcome.to_string().into()) }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1e3
}

fn descriptors(pid: &str) -> std::io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// What each of several workers costs: its share of memory, in MiB; its descriptors, and ours for it.
async fn costs(runtime: &Runtime) -> Result<(f64, usize, usize), Box<dyn Error>> {
    // Those that ended just now still close what they had.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = descriptors("self")?;
    let mut sessions = Vec::new();
    for _ in 0..ALIVE {
        let session = runtime.session().await?;
        answers(&session).await?;
        sessions.push(session);
    }
    let (mut total, mut theirs) = (0, 0);
    for session in &sessions {
        let pid = session.pid().ok_or("the worker is gone")?;
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let share = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB"));
        theirs += descriptors(&pid.to_string())?;
        total += share.ok_or("no share")?.trim().parse::<usize>()?;
    }
    let ours = descriptors("self")?.saturating_sub(before);
    Ok((total as f64 / ALIVE as f64 / 1024.0, theirs / ALIVE, ours / ALIVE))
}

async fn compare(python: &Path, module: Option<&str>) -> Result<(), Box<dyn Error>> {
    let cold = pool(WorkerSpec::python_at(python), module).await?;
    let zygote = pool(WorkerSpec::python_at(python).preload(module), module).await?;
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        times[0].push(limit(python, module)?);
        times[1].push(first(&cold).await?);
        times[2].push(first(&zygote).await?);
        times[3].push(replaced(&cold).await?);
        times[4].push(replaced(&zygote).await?);
    }
    times.iter_mut().for_each(|times| times.sort());
    let (least, of) = (percentile(&times[0], 50), module.unwrap_or("bare"));
    for (name, times) in
        ["limit", "started", "forked", "killed, started", "killed, forked"].iter().zip(&times)
    {
        let [p10, p50, p90] = [10, 50, 90].map(|percent| percentile(times, percent));
        println!("{of:6} {name:15} p10 {p10:6.2} p50 {p50:6.2} p90 {p90:6.2} ms   ratio {:.3}", p50 / least);
    }
    for (name, runtime) in [("started", &cold), ("forked", &zygote)] {
        let (memory, theirs, ours) = costs(runtime).await?;
        println!("{of:6} each of {ALIVE} {name}: {memory:.1} MiB, {theirs} descriptors, {ours} of the host");
    }
    for runtime in [cold, zygote] {
        runtime.shutdown(Duration::from_secs(1)).await;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let python = ostler::python_info("python3")?.executable;
    println!("{ROUNDS} rounds, in turns: from nothing to the first result");
    compare(&python, None).await?;
    match Command::new(&python).args(["-I", "-c", "import numpy"]).stderr(Stdio::null()).status()?.success() {
        true => compare(&python, Some("numpy")).await?,
        false => println!("numpy is not installed for {}: not measured", python.display()),
    }
    Ok(())
}
