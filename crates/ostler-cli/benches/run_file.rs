//! `ostler run` beside the interpreter alone: what an empty file costs, what `--preload` saves, and how fast input and output
//! pass, both through streams that the file was given and through those of the library.
//!
//! All take turns, round by round; what counts is the difference, or the ratio. Another interpreter is taken from `PATH`, and
//! other modules from the command line: `PATH=venv/bin:$PATH cargo bench -p ostler-cli --bench run_file -- pandas`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "plain processes and a wall clock are what it compares with")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use ostler::{Event, Request, Runtime, Script, WorkerSpec};
use tokio::io::AsyncWriteExt as _;

const OSTLER: &str = env!("CARGO_BIN_EXE_ostler");
const ROUNDS: usize = 15;
/// How many files are run after one start of the program, with modules imported ahead.
const FILES: usize = 16;
const MODULES: &str =
    "asyncio,concurrent.futures,dataclasses,email,http.client,json,logging,sqlite3,unittest,xml.dom";
const FLOOD: u64 = 1 << 30;
const LINES: u64 = 100_000;
const CAT: &str = "import shutil, sys\nshutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer, 1 << 20)";

/// The interpreter, and the files in a folder.
struct Bench {
    python: PathBuf,
    folder: PathBuf,
    modules: String,
}

impl Bench {
    fn new() -> Result<Self> {
        // Cargo adds `--bench`.
        let modules = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
        let modules = modules.unwrap_or_else(|| MODULES.into());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let imports = format!("import {modules}");
        let lines = format!("for i in range({LINES}): print(i)");
        for (name, code) in [("empty", ""), ("cat", CAT), ("imports", &imports), ("lines", &lines)] {
            fs::write(folder.join(name).with_extension("py"), code)?;
        }
        Ok(Self { python: ostler::python_info("python3")?.executable, folder, modules })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension("py")
    }

    fn plain(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.file(name)).stdin(Stdio::null());
        command
    }

    fn ostler(&self) -> Command {
        let mut command = Command::new(OSTLER);
        command.args(["run", "--quiet", "--python"]).arg(&self.python).stdin(Stdio::null());
        command
    }

    fn run(&self, name: &str) -> Command {
        let mut command = self.ostler();
        command.arg(self.file(name));
        command
    }

    fn spec(&self) -> WorkerSpec {
        WorkerSpec::python_at(&self.python).inherit_env()
    }
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    run()?;
    Ok(begun.elapsed())
}

fn succeeds(mut command: Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Times of several ways, which have taken turns.
struct Times<const N: usize>([Vec<f64>; N]);

impl<const N: usize> Times<N> {
    fn new() -> Self {
        Self([const { Vec::new() }; N])
    }

    fn enter(&mut self, times: [Duration; N]) {
        for (all, time) in self.0.iter_mut().zip(times) {
            all.push(time.as_secs_f64() * 1e3);
        }
    }

    /// The first is what the others are compared with.
    fn print(mut self, what: &str, names: [&str; N]) {
        self.0.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        let at = |times: &[f64], percent: usize| times[(times.len() - 1) * percent / 100];
        let plain = at(&self.0[0], 50);
        for (name, times) in names.iter().zip(&self.0) {
            let [p10, p50, p90] = [10, 50, 90].map(|percent| at(times, percent));
            println!(
                "{what:14} {name:26} p10 {p10:8.2} p50 {p50:8.2} p90 {p90:8.2} ms   ratio {:.3}   {:+.2} ms",
                p50 / plain,
                p50 - plain
            );
        }
    }
}

/// One empty file, from the start of the program to its end.
fn empty(bench: &Bench) -> Result<()> {
    let mut times = Times::new();
    for _ in 0..2 * ROUNDS {
        times.enter([timed(|| succeeds(bench.plain("empty")))?, timed(|| succeeds(bench.run("empty")))?]);
    }
    times.print("empty file", ["python3", "ostler run"]);
    Ok(())
}

/// Files that import the same: one after the other by the interpreter, and by one `ostler run`, whose own start and that of
/// the process with the modules count; and each by a pool that is there, as a service has it.
async fn preload(bench: &Bench) -> Result<()> {
    let preload = bench.modules.split(',').map(str::to_owned).collect::<Vec<_>>();
    let pool = Runtime::builder(bench.spec().preload(preload)).min_idle(0).start().await?;
    let mut times = Times::new();
    for round in 0..=ROUNDS {
        let mut files = bench.ostler();
        files.args(["--workers", "1", "--preload", &bench.modules]);
        files.args((0..FILES).map(|_| bench.file("imports")));
        let plain = timed(|| (0..FILES).try_for_each(|_| succeeds(bench.plain("imports"))))?;
        let ours = timed(|| succeeds(files))?;
        let begun = Instant::now();
        for _ in 0..FILES {
            let report = pool.run(Script::file(bench.file("imports"))).await?;
            ensure!(report.outcome.is_completed(), "{}", report.outcome);
        }
        if round > 0 {
            times.enter([plain, ours, begun.elapsed()]);
        }
    }
    println!("{FILES} files: {}", bench.modules);
    times.print("imports", ["python3, one by one", "ostler run --preload", "a pool with preload"]);
    pool.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// Writes so many bytes.
fn pour(mut to: impl io::Write, bytes: u64) -> io::Result<()> {
    let block = vec![b'x'; 1 << 20];
    (0..bytes >> 20).try_for_each(|_| to.write_all(&block))
}

/// Reads to the end, and counts.
fn drain(mut from: impl io::Read) -> io::Result<u64> {
    let (mut block, mut count) = (vec![0; 1 << 16], 0);
    loop {
        match from.read(&mut block)? {
            0 => return Ok(count),
            read => count += read as u64,
        }
    }
}

/// A process between two pipes of ours.
fn between(mut command: Command, input: u64, output: u64) -> Result<Duration> {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take().context("no stdin")?;
    let stdout = child.stdout.take().context("no stdout")?;
    let writer = thread::spawn(move || pour(stdin, input));
    let count = drain(stdout)?;
    writer.join().expect("it does not panic")?;
    ensure!(child.wait()?.success() && count == output, "{command:?}: {count} bytes of {output}");
    Ok(begun.elapsed())
}

/// A script of the library, whose streams are ours.
async fn through(runtime: &Runtime, file: &Path, input: u64, output: u64) -> Result<Duration> {
    let begun = Instant::now();
    let script = Script::file(file).stdin(ostler::Stdio::Piped);
    let mut execution = runtime.execute(Request::from(script).no_deadline()).await?;
    let mut stdin = execution.stdin().context("no stdin")?;
    let writer = tokio::spawn(async move {
        let block = vec![b'x'; 1 << 20];
        for _ in 0..input >> 20 {
            stdin.write_all(&block).await?;
        }
        io::Result::Ok(())
    });
    let mut count = 0;
    while let Some(event) = execution.next().await {
        if let Event::Output { data, .. } = event {
            count += data.len() as u64;
        }
    }
    writer.await??;
    let outcome = execution.outcome().await;
    ensure!(outcome.is_completed() && count == output, "{outcome}: {count} bytes of {output}");
    Ok(begun.elapsed())
}

/// What passes through a file, by its own streams and by those of the library.
async fn streams(bench: &Bench, name: &str, input: u64, output: u64, rounds: usize) -> Result<()> {
    let pool = Runtime::builder(bench.spec()).min_idle(0).start().await?;
    let mut times = Times::new();
    for round in 0..=rounds {
        let turn = [
            between(bench.plain(name), input, output)?,
            between(bench.run(name), input, output)?,
            through(&pool, &bench.file(name), input, output).await?,
        ];
        if round > 0 {
            times.enter(turn);
        }
    }
    times.print(name, ["python3", "ostler run", "Execution, Script::stdin"]);
    pool.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let bench = Bench::new()?;
    println!("{ROUNDS} rounds, in turns, with {}", bench.python.display());
    empty(&bench)?;
    preload(&bench).await?;
    streams(&bench, "cat", FLOOD, FLOOD, 5).await?;
    let digits = (0..LINES).map(|n| n.to_string().len() as u64 + 1).sum();
    streams(&bench, "lines", 0, digits, 2 * ROUNDS).await
}
