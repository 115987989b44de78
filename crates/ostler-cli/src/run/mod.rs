//! `ostler run`: files, a piece of code or standard input, each in a supervised worker.

mod job;
mod lines;
mod outlet;
mod source;
pub(crate) mod stats;
pub(crate) mod verdict;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::anyhow;
use ostler::{Stdio, Stream, json};
use tokio::{sync::Mutex, task::JoinSet, time::Instant};

use self::{
    job::{Streams, Surroundings},
    outlet::Outlet,
    source::Source,
    verdict::Ended,
};
use crate::{
    args::RunArgs,
    exit::{Exit, Fatal},
    monitor,
    output::{self, Console},
    pool,
    signals::{Signals, Stop},
};

/// After a stop: how long the shutdown may take beyond the grace before the program ends all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is yet to run, with the place where it shows, and what runs.
#[derive(Debug)]
struct Line {
    waiting: VecDeque<(usize, Source, Outlet)>,
    running: Vec<String>,
}

impl Line {
    /// Changes what runs, and shows it beside the bar.
    async fn show(
        &mut self,
        show: Show,
        steps: u64,
        change: impl FnOnce(&mut Vec<String>),
        around: &Surroundings,
    ) {
        change(&mut self.running);
        if show.bar {
            around.console.step(steps, lines::names(&self.running).join(", ")).await;
        }
    }
}

/// Runs everything, and says how the program is to end.
pub(crate) async fn run(mut args: RunArgs, verbose: bool, console: Console) -> Result<Exit, Fatal> {
    let sources = Source::all(&args).map_err(Fatal::usage)?;
    let plain = sources.len() == 1 && !args.json;
    let mut signals = Signals::listen().map_err(Fatal::not_started)?;
    if plain {
        signals.hear_for_another().map_err(Fatal::not_started)?;
    }
    if plain && output::is_terminal_shared() {
        signals.leave_interrupts();
    }
    let stop = signals.watch();
    let cwd = pool::working_folder()?;
    let all = sources.len();
    if args.pool.node.is_none() && source::is_javascript(&args).map_err(Fatal::usage)? {
        args.pool.node = Some(None);
    }
    if args.pool.warmup.is_some() {
        let why = "a file has a process of its own, in which nothing runs before it; to have modules imported ahead, use --preload";
        return Err(Fatal::usage(anyhow!("--warmup is of no use to `ostler run`: {why}")));
    }
    let settings = pool::settings(&args.pool, &cwd)?;
    let workers = workers(&args, settings.pool.max_sessions, all);
    let builder = settings.builder().max_sessions(workers).min_idle(0).queue(workers);
    let began = Instant::now();
    let Some(runtime) = pool::start(builder, &stop).await? else {
        console.say("\nostler: stopped before anything ran").await;
        console.flush().await;
        return Ok(stop.now().exit().unwrap_or(Exit::NotStarted));
    };
    let _monitor = monitor::serve(&args.monitor, &runtime)?;
    let streams = streams(plain, workers);
    let grace = settings.pool.grace;
    let around = Arc::new(Surroundings { args, grace, cwd, runtime, console, streams, stop, plain });
    let show = Show::new(&around.args, all, verbose);
    if show.bar {
        around.console.bar(all as u64).await;
    }
    let watching = tokio::spawn(watch_output(plain, Arc::clone(&around)));
    let stopping = tokio::spawn(shut_down_when_told(show, Arc::clone(&around)));
    let ended = until_the_end(&around, run_all(sources, workers, show, &around)).await;
    watching.abort();
    let stopped = around.stop.now().exit();
    let exit = stopped.unwrap_or_else(|| verdict::exit(&ended));
    let conclusion = Conclusion { ended, all, duration: began.elapsed(), exit };
    conclusion.show(show, &around).await;
    around.runtime.shutdown(if stopped.is_some() { Duration::ZERO } else { grace }).await;
    stopping.abort();
    Ok(around.stop.now().exit().unwrap_or(exit))
}

/// What a person sees beside the output.
#[derive(Clone, Copy, Debug)]
struct Show {
    bar: bool,
    summary: bool,
}

impl Show {
    fn new(args: &RunArgs, sources: usize, verbose: bool) -> Self {
        let summary = sources > 1 && !args.quiet && !args.json;
        // The trace writes to the terminal by itself, through the bar.
        Self { summary, bar: summary && !verbose && output::is_terminal(Stream::Stderr) }
    }
}

/// A single file has the streams of this program. Those that run at the same time read nothing, and their lines are told
/// apart.
fn streams(plain: bool, workers: usize) -> Streams {
    let stdin = if workers == 1 { Stdio::Inherit } else { Stdio::Null };
    Streams { stdin, output: if plain { Stdio::Inherit } else { Stdio::Piped } }
}

fn workers(args: &RunArgs, set: usize, sources: usize) -> usize {
    let most = args.workers.map_or(set, usize::from);
    most.min(sources).max(1)
}

/// As many at a time as there are workers, in the order in which they were named.
async fn run_all(sources: Vec<Source>, workers: usize, show: Show, around: &Arc<Surroundings>) -> Vec<Ended> {
    let labels: Vec<String> = sources.iter().map(Source::label).collect();
    let outlets = outlets(&labels, around);
    let waiting = sources.into_iter().zip(outlets).enumerate();
    let waiting = waiting.map(|(place, (source, outlet))| (place, source, outlet)).collect();
    let line = Arc::new(Mutex::new(Line { waiting, running: Vec::new() }));
    let mut turns = JoinSet::new();
    for _ in 0..workers {
        turns.spawn(take_turns(Arc::clone(&line), show, Arc::clone(around)));
    }
    let mut ended = turns.join_all().await.concat();
    // By the order of the command line, not of their ends.
    ended.sort_by_key(|(place, _)| *place);
    ended.into_iter().map(|(_, ended)| ended).collect()
}

/// Runs one source after another; returns how they ended, with their places.
async fn take_turns(line: Arc<Mutex<Line>>, show: Show, around: Arc<Surroundings>) -> Vec<(usize, Ended)> {
    let mut ended = Vec::new();
    while around.stop.now() == Stop::No {
        let Some((place, source, mut outlet)) = line.lock().await.waiting.pop_front() else { break };
        line.lock().await.show(show, 0, |running| running.push(source.label()), &around).await;
        ended.extend(job::run(&source, &mut outlet, &around).await.map(|ended| (place, ended)));
        line.lock().await.show(show, 1, |running| remove(running, &source.label()), &around).await;
    }
    ended
}

fn remove(running: &mut Vec<String>, label: &str) {
    if let Some(at) = running.iter().position(|name| name == label) {
        running.remove(at);
    }
}

fn outlets(labels: &[String], around: &Surroundings) -> Vec<Outlet> {
    let RunArgs { json, quiet, .. } = around.args;
    let coloured = output::colours(Stream::Stdout) && output::colours(Stream::Stderr);
    let collapse = output::is_terminal(Stream::Stdout);
    let prefixes = lines::prefixes(labels, coloured);
    let outlet = |(label, prefix): (&String, String)| {
        let (label, console) = (label.clone(), around.console.clone());
        match (json, labels.len()) {
            (true, _) => Outlet::json(label, console),
            (false, 1) => Outlet::plain(label, console, quiet),
            (false, _) => Outlet::lines(label, console, quiet, prefix, collapse),
        }
    };
    labels.iter().zip(prefixes).map(outlet).collect()
}

/// Stops everything when nobody reads the output any more, as a pipe does.
async fn watch_output(plain: bool, around: Arc<Surroundings>) {
    if plain {
        return; // What runs writes to it by itself, and hears of it.
    }
    around.console.closed().await;
    around.stop.change(|stop| if stop == Stop::No { Stop::Cancel(Exit::OutputClosed) } else { stop });
}

/// Ends the pool in the way that the user asks for.
async fn shut_down_when_told(show: Show, around: Arc<Surroundings>) {
    around.stop.told().await;
    if let (Stop::Cancel(Exit::Signal(_)), false) = (around.stop.now(), show.bar)
        && output::is_terminal(Stream::Stderr)
    {
        // The terminal shows the key that was typed; what follows begins a line.
        around.console.write(Stream::Stderr, "\n").await;
    }
    let grace = around.grace;
    if let (Stop::Drain(_), false) = (around.stop.now(), around.args.quiet || around.args.json) {
        let console = around.console.clone();
        let told =
            format!("ostler: told to stop: what runs may end within {grace:?}; a second signal kills it");
        // Beside the shutdown, which does not wait for whoever reads our stderr.
        tokio::spawn(async move { console.say(told).await });
    }
    let killed = around.stop.when(|stop| matches!(stop, Stop::Kill(_)));
    tokio::select! {
        () = killed => {}
        () = async {
            match around.stop.now() {
                // Also when a Ctrl-C follows: what runs is interrupted, and this ends sooner.
                Stop::Drain(_) => around.runtime.shutdown(grace).await,
                Stop::No | Stop::Cancel(_) | Stop::Kill(_) => tokio::time::sleep(grace).await,
            }
        } => {}
    }
    around.runtime.shutdown(Duration::ZERO).await;
}

/// Waits for the work; after a stop no longer than it may take, since what reads our output may not read any more.
async fn until_the_end(around: &Surroundings, work: impl Future<Output = Vec<Ended>>) -> Vec<Ended> {
    tokio::select! {
        ended = work => ended,
        () = after_stop(around, around.grace + PATIENCE) => Vec::new(),
        () = after_kill(around, PATIENCE) => Vec::new(),
    }
}

/// Resolves so long after the program was told to kill.
async fn after_kill(around: &Surroundings, patience: Duration) {
    around.stop.when(|stop| matches!(stop, Stop::Kill(_))).await;
    tokio::time::sleep(patience).await;
}

/// Resolves so long after the program was told to stop.
async fn after_stop(around: &Surroundings, patience: Duration) {
    around.stop.told().await;
    tokio::time::sleep(patience).await;
}

/// What became of everything.
struct Conclusion {
    ended: Vec<Ended>,
    all: usize,
    duration: Duration,
    exit: Exit,
}

impl Conclusion {
    /// Shows it, and waits until everything is written; after a stop not for ever, since what reads our output may not
    /// read any more.
    async fn show(&self, show: Show, around: &Surroundings) {
        tokio::select! {
            () = self.write(show, around) => {}
            () = after_stop(around, PATIENCE) => {}
        }
    }

    async fn write(&self, show: Show, around: &Surroundings) {
        let (Self { ended, all, duration, exit }, console) = (self, &around.console);
        if show.bar {
            console.bar_done().await;
        }
        if around.args.json {
            let counts = verdict::counts(ended, *all, *duration, *exit);
            console.write(Stream::Stdout, json::line(&counts)).await;
        } else if show.summary && !console.is_closed() {
            console.say(verdict::text(ended, *all, "files", *duration)).await;
        }
        if around.args.stats {
            console.say(stats::text(&around.runtime.status().await, *duration)).await;
        }
        console.flush().await;
    }
}
