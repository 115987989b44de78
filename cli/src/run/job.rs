//! One source, from its request to its outcome.

use std::{
    future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use ostler::{
    Cancelled, Event, Execution, Failure, InputRequest, Lost, LostCause, Outcome, Request, Rung, Runtime,
};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    args::RunArgs,
    input::Input,
    output::Console,
    run::{
        outlet::Outlet,
        source::Source,
        verdict::{End, Ended},
    },
    signals::{Stop, Stopping},
};

/// What all jobs share.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) args: RunArgs,
    /// Time that stopped code has.
    pub(crate) grace: Duration,
    pub(crate) cwd: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) console: Console,
    pub(crate) input: Input,
    pub(crate) stop: Stopping,
}

/// Runs one source and shows it; returns how it ended, or `None` when the program was told to stop before it began.
pub(crate) async fn run(source: &Source, outlet: &mut Outlet, around: &Surroundings) -> Option<Ended> {
    let end = match accepted(source, around).await {
        Ok(execution) => End::Outcome(follow(execution, outlet, around).await),
        Err(End::Refused(_)) if around.stop.now() != Stop::No => return None,
        Err(end) => end,
    };
    if let End::Unreadable(why) | End::Refused(why) = &end {
        outlet.refused(why).await;
    }
    Some(Ended { label: source.label(), end })
}

async fn accepted(source: &Source, around: &Surroundings) -> Result<Execution, End> {
    let request = request(source, around).await.map_err(|error| End::Unreadable(format!("{error:#}")))?;
    around.runtime.execute(request).await.map_err(|error| End::Refused(error.to_string()))
}

async fn request(source: &Source, around: &Surroundings) -> anyhow::Result<Request> {
    let (source, cwd, args) = (source.clone(), around.cwd.clone(), around.args.args.clone());
    // A file may be a pipe, and standard input a person.
    let request = tokio::task::spawn_blocking(move || source.request(&cwd, &args)).await??;
    Ok(match around.args.deadline {
        Some(deadline) => request.deadline(deadline),
        None => request,
    })
}

async fn follow(mut execution: Execution, outlet: &mut Outlet, around: &Surroundings) -> Outcome {
    let started = Instant::now();
    let id = execution.id();
    let stopper = StopWhenTold::new(&execution, &around.stop);
    let mut asked: Option<InputRequest> = None;
    loop {
        let event = tokio::select! {
            event = execution.next() => event,
            line = answer(&asked, around) => {
                if let Some(input) = asked.take() {
                    around.console.asking(false).await;
                    match line {
                        Some(line) => execution.input(input.request, line),
                        None => execution.end_of_input(input.request),
                    }
                }
                continue;
            }
        };
        match event {
            Some(Event::Started { pid, generation }) => {
                stopper.started.store(true, Relaxed);
                outlet.started(id, pid, generation).await;
            }
            Some(Event::Output { stream, data }) => outlet.output(id, stream, data).await,
            Some(Event::Display(display)) => outlet.display(id, &display).await,
            Some(Event::Input(input)) => {
                if asked.is_none() {
                    around.console.asking(true).await;
                }
                outlet.question(id, &input).await;
                asked = Some(input);
            }
            Some(Event::Dropped { bytes }) => outlet.dropped(id, bytes).await,
            // A later version may tell more.
            Some(_) => {}
            None => break,
        }
    }
    if asked.is_some() {
        around.console.asking(false).await;
    }
    let outcome = execution.outcome().await;
    let told = as_told(&outcome, around.stop.now());
    outlet.ended(id, &outcome, told.as_ref(), started.elapsed()).await;
    told.unwrap_or(outcome)
}

/// The line for an open question; never, while none is open.
async fn answer(asked: &Option<InputRequest>, around: &Surroundings) -> Option<String> {
    match asked {
        Some(input) => around.input.line(input.password).await,
        None => future::pending().await,
    }
}

/// Stops an execution when the program is to stop, also while nobody takes its events.
///
/// Code that runs is interrupted as by Ctrl-C in `python`, and has the grace to clean up: a cancel would cut its
/// `finally` blocks short much sooner.
struct StopWhenTold {
    started: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl StopWhenTold {
    fn new(execution: &Execution, stop: &Stopping) -> Self {
        let started = Arc::new(AtomicBool::new(false));
        let (canceller, stop, runs) = (execution.canceller(), stop.clone(), Arc::clone(&started));
        let task = tokio::spawn(async move {
            // A kill is the pool's: an interrupt beside it would now and then win, and the code print what it thinks of it.
            stop.when(|stop| matches!(stop, Stop::Cancel(_))).await;
            if runs.load(Relaxed) {
                canceller.interrupt();
            } else {
                canceller.cancel();
            }
        });
        Self { started, task }
    }
}

impl Drop for StopWhenTold {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an outcome means in a program that was told to stop: an interrupt and a kill were ours.
fn as_told(outcome: &Outcome, stop: Stop) -> Option<Outcome> {
    let rung = match (outcome, stop) {
        (Outcome::Failed(Failure::Exception(exception)), Stop::Cancel(_) | Stop::Kill(_))
            if exception.type_name == "KeyboardInterrupt" =>
        {
            Rung::Interrupt
        }
        (
            Outcome::Lost(Lost { started: true, cause: LostCause::ShuttingDown }),
            Stop::Drain(_) | Stop::Cancel(_) | Stop::Kill(_),
        ) => Rung::Kill,
        _ => return None,
    };
    Some(Outcome::Cancelled(Cancelled::new(rung, None)))
}
