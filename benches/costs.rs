//! What things cost on this machine: the figures of the table in `docs/src/performance.md`. `cargo bench --bench costs`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "the clock on the wall measures real processes")]

use std::{
    fs,
    time::{Duration, Instant},
};

use ostler::{CancelStage, Outcome, Request, RestartPolicy, Runtime, WorkerSpec};

type Any = Box<dyn std::error::Error>;

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{what:52} p50 {:8.2} ms   p99 {:8.2} ms   {} times", at(50), at(99), times.len());
}

async fn idle(runtime: &Runtime, sessions: usize) {
    while runtime.status().await.idle != sessions {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A field of `smaps_rollup`, in MiB.
fn memory(pid: u32, field: &str) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// Processor time of this process: user and system.
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn pool(sessions: usize) -> ostler::RuntimeBuilder {
    Runtime::builder(WorkerSpec::python()).max_sessions(sessions).min_idle(sessions)
}

async fn starts() -> Result<(), Any> {
    let mut times = Vec::new();
    for _ in 0..40 {
        let begun = Instant::now();
        let runtime = pool(1).start().await?;
        times.push(begun.elapsed());
        runtime.shutdown(Duration::from_secs(1)).await;
    }
    show("start of a pool, to its first ready worker", times);
    Ok(())
}

async fn one_worker() -> Result<(), Any> {
    let runtime = pool(1).start().await?;
    let session = runtime.session().await?;
    let (mut times, mut cancels) = (Vec::new(), Vec::new());
    for _ in 0..3_000 {
        let begun = Instant::now();
        session.execute("1+1").await?.outcome().await;
        times.push(begun.elapsed());
    }
    show("round trip of `1+1`, from submission to outcome", times);
    for _ in 0..100 {
        let mut execution = session.execute("print('x', flush=True)\nwhile True: pass").await?;
        while !matches!(execution.next().await, Some(ostler::Event::Output { .. }) | None) {}
        let begun = Instant::now();
        execution.cancel();
        let outcome = execution.outcome().await;
        cancels.push(begun.elapsed());
        assert!(matches!(&outcome, Outcome::Cancelled(it) if it.stage != CancelStage::Kill), "{outcome}");
    }
    show("cancel of a busy loop, from the call to the outcome", cancels);
    drop(session);
    let mut times = Vec::new();
    idle(&runtime, 1).await;
    for _ in 0..40 {
        let death = runtime.run("import os; os._exit(1)").await?;
        assert!(matches!(death.outcome, Outcome::Lost(_)));
        let begun = Instant::now();
        idle(&runtime, 1).await;
        times.push(begun.elapsed());
    }
    show("replacement, from the death told to a ready worker", times);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn all_at_once() -> Result<(), Any> {
    let runtime = pool(8).queue(1_000).start().await?;
    idle(&runtime, 8).await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let deaths = (0..8).map(|_| Request::python("import os, time; time.sleep(0.05); os._exit(1)"));
        let begun = Instant::now();
        let reports = runtime.run_all(deaths).await;
        assert_eq!(reports.len(), 8);
        idle(&runtime, 8).await;
        times.push(begun.elapsed().saturating_sub(Duration::from_millis(50)));
    }
    show("8 of 8 workers die at once, to full strength", times);
    let status = runtime.status().await;
    let pids: Vec<u32> = status.sessions.iter().filter_map(|session| session.pid).collect();
    for field in ["Rss", "Pss", "Private_Dirty"] {
        let mean = pids.iter().map(|pid| memory(*pid, field)).sum::<f64>() / pids.len() as f64;
        println!("memory of an idle worker, {field:13}: {mean:6.1} MiB");
    }
    let before = processor();
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("processor time of the host in 5 s beside 8 idle workers: {:?}", processor() - before);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// What the sessions of one pool hold in this process.
async fn host_memory() -> Result<(), Any> {
    let own = std::process::id();
    let runtime = pool(1).max_sessions(32).start().await?;
    let first = runtime.session().await?;
    first.run("1").await?;
    let before = memory(own, "Private_Dirty");
    let mut sessions = Vec::new();
    for _ in 0..30 {
        let session = runtime.session().await?;
        session.run("1").await?;
        sessions.push(session);
    }
    let each = (memory(own, "Private_Dirty") - before) / 30.0 * 1024.0;
    println!("memory of the host for each session: {each:.0} KiB");
    Ok(())
}

/// The program vanished: the pool says so, and then does nothing.
async fn vanished() -> Result<(), Any> {
    let folder = std::env::temp_dir().join(format!("ostler-costs-{}", std::process::id()));
    let python = ostler::python_info("python3")?.executable;
    std::os::unix::fs::symlink(python, &folder)?;
    let mut policy = RestartPolicy::default();
    policy.probe_after = Duration::from_secs(3_600);
    let builder =
        Runtime::builder(WorkerSpec::python_at(&folder)).max_sessions(8).min_idle(8).restart(policy);
    let runtime = builder.start().await?;
    idle(&runtime, 8).await;
    fs::remove_file(&folder)?;
    let begun = Instant::now();
    for session in runtime.status().await.sessions {
        drop(
            runtime
                .execute(Request::python("import os; os._exit(1)").label(format!("{}", session.slot)))
                .await?,
        );
    }
    while runtime.status().await.failed.is_none() {
        let _ = runtime.run("import os; os._exit(1)").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("the program vanished: the pool says that it failed after {:?}", begun.elapsed());
    let (before, spawned) = (processor(), runtime.status().await.spawned);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = runtime.status().await.spawned;
    println!(
        "processor time of the host in 5 s of a failed pool: {:?}; {} starts",
        processor() - before,
        after - spawned
    );
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Any> {
    // First: what others gave back would be used again.
    host_memory().await?;
    starts().await?;
    one_worker().await?;
    all_at_once().await?;
    vanished().await
}
