//! One source, from its request to its outcome.

use std::{path::PathBuf, time::Duration};

use ostler::{
    CancelStage, Cancelled, Event, Execution, Failure, Lost, LostCause, Outcome, Request, Runtime, Stdio,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    args::RunArgs,
    output::Console,
    run::{
        outlet::Outlet,
        source::Source,
        verdict::{End, Ended},
    },
    signals::{self, Signals, Stop, Stopping},
};

/// Where the streams of what runs lead.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: Stdio,
    /// Standard output and standard error.
    pub(crate) output: Stdio,
}

/// What all jobs share.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) args: RunArgs,
    /// Time that stopped code has.
    pub(crate) grace: Duration,
    pub(crate) cwd: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) console: Console,
    pub(crate) streams: Streams,
    pub(crate) stop: Stopping,
    /// Whether a single file has the streams and the signals of this program.
    pub(crate) plain: bool,
}

/// Runs one source and shows it; returns how it ended, or `None` when the program was told to stop before it began.
pub(crate) async fn run(source: &Source, outlet: &mut Outlet, around: &Surroundings) -> Option<Ended> {
    let end = match accepted(source, around).await {
        Ok(execution) => End::Outcome(follow(execution, outlet, around).await),
        Err(End::Refused(_)) if around.stop.now() != Stop::No => return None,
        Err(end) => end,
    };
    if let End::Refused(why) = &end {
        outlet.refused(why).await;
    }
    Some(Ended { label: source.label(), end })
}

async fn accepted(source: &Source, around: &Surroundings) -> Result<Execution, End> {
    let Streams { stdin, output } = &around.streams;
    let script = source.script(&around.args.args);
    let stdin = if *source == Source::Stdin { Stdio::Inherit } else { stdin.clone() };
    let script = script.stdin(stdin).stdout(output.clone()).stderr(output.clone());
    let request = Request::from(script).cwd(&around.cwd).label(source.label());
    let request = match around.args.deadline {
        Some(deadline) => request.deadline(deadline),
        None => request,
    };
    around.runtime.execute(request).await.map_err(|error| End::Refused(error.to_string()))
}

async fn follow(mut execution: Execution, outlet: &mut Outlet, around: &Surroundings) -> Outcome {
    let started = Instant::now();
    let id = execution.id();
    let stopper = StopWhenTold::new(&execution, &around.stop);
    loop {
        match execution.next().await {
            Some(Event::Started { pid, generation }) => {
                stopper.started(pid);
                if let (Some(pid), true) = (pid, around.plain) {
                    around.stop.runs(pid);
                }
                outlet.started(id, pid, generation).await;
            }
            Some(Event::Output { stream, data }) => outlet.output(id, stream, data).await,
            Some(Event::Dropped { bytes }) => outlet.dropped(id, bytes).await,
            // A script shows and asks nothing; a later version may tell more.
            Some(_) => {}
            None => break,
        }
    }
    let outcome = execution.outcome().await;
    let told = as_told(&outcome, around.stop.now());
    outlet.ended(id, &outcome, told.as_ref(), started.elapsed()).await;
    told.unwrap_or(outcome)
}

/// Tells an execution when the program is to stop, also while nobody takes its events.
///
/// What runs is interrupted as by Ctrl-C in a terminal, and has the grace to clean up. A TERM is passed on to what handles
/// that; what does not would die of it in the middle of its work, so it may run to its end instead.
struct StopWhenTold {
    pid: watch::Sender<Option<u32>>,
    task: JoinHandle<()>,
}

impl StopWhenTold {
    fn new(execution: &Execution, stop: &Stopping) -> Self {
        let (pid, runs) = watch::channel(None);
        let (canceller, stop) = (execution.canceller(), stop.clone());
        let task = tokio::spawn(async move {
            stop.told().await;
            if let (Stop::Drain(_), Some(pid)) = (stop.now(), *runs.borrow())
                && signals::is_handled(pid, Signals::TERMINATE)
            {
                canceller.terminate();
            }
            // A kill is the pool's: an interrupt beside it would now and then win, and the code print what it thinks of it.
            stop.when(|stop| matches!(stop, Stop::Cancel(_))).await;
            if runs.borrow().is_some() {
                canceller.interrupt();
            } else {
                canceller.cancel();
            }
        });
        Self { pid, task }
    }

    fn started(&self, pid: Option<u32>) {
        self.pid.send_replace(pid);
    }
}

impl Drop for StopWhenTold {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an outcome means in a program that was told to stop: an interrupt and a kill were ours.
fn as_told(outcome: &Outcome, stop: Stop) -> Option<Outcome> {
    let stage = match (outcome, stop) {
        // Typed at the terminal that it shares, or sent by the program.
        (Outcome::Lost(Lost { cause: LostCause::Died(death), .. }), _)
            if death.exit == ostler::Exit::Signal(Signals::INTERRUPT.into()) =>
        {
            CancelStage::Interrupt
        }
        (Outcome::Failed(Failure::Exit { .. }), Stop::Cancel(_) | Stop::Kill(_)) => CancelStage::Interrupt,
        (
            Outcome::Lost(Lost { started: true, cause: LostCause::ShuttingDown }),
            Stop::Drain(_) | Stop::Cancel(_) | Stop::Kill(_),
        ) => CancelStage::Kill,
        _ => return None,
    };
    Some(Outcome::Cancelled(Cancelled::new(stage, None)))
}
