//! `ostler call`: calls of a JSON-RPC server, one or a file of them, over a pool of its processes.

mod show;
mod source;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use ostler::{Canceller, Event, Execution, Outcome, Request, Runtime};
use tokio::{
    sync::{Mutex, mpsc},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use self::{
    show::{Show, Told},
    source::Call,
};
use crate::{
    args::{CallArgs, PoolArgs},
    exit::{Exit, Fatal},
    monitor,
    output::Console,
    pool,
    run::{
        stats,
        verdict::{self, End, Ended},
    },
    signals::{Signals, Stop, Stopping},
};

/// After a stop: how long the shutdown may take beyond the grace before the program ends all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// Results that may wait to be written.
const RESULTS: usize = 64;

/// Makes all calls, and says how the program is to end.
pub(crate) async fn run(args: CallArgs, console: Console) -> Result<Exit, Fatal> {
    let calls = Call::all(&args).map_err(Fatal::usage)?;
    let stop = Signals::listen().map_err(Fatal::not_started)?.watch();
    let cwd = pool::working_folder()?;
    let shared = PoolArgs {
        config: args.config.clone(),
        node: None,
        python: None,
        warmup: None,
        preload: None,
        grace: args.grace,
    };
    let mut settings = pool::settings(&shared, &cwd)?;
    source::server(&args, &mut settings).map_err(Fatal::usage)?;
    let grace = settings.pool.grace;
    let in_flight = args.in_flight.map_or(settings.pool.in_flight, usize::from);
    let all = calls.len();
    // No more processes than could have something to do.
    let workers = usize::from(args.workers).min(all.div_ceil(in_flight)).max(1);
    let width = (workers * in_flight).min(all);
    let builder = settings.builder().max_sessions(workers).min_idle(1).in_flight(in_flight).queue(width);
    let began = Instant::now();
    let Some(runtime) = pool::start(builder, &stop).await? else {
        console.say("\nostler: stopped before anything was called").await;
        console.flush().await;
        return Ok(stop.now().exit().unwrap_or(Exit::NotStarted));
    };
    let _monitor = monitor::serve(&args.monitor, &runtime)?;
    let show = Show::new(&args, all, console.clone());
    let around =
        Around { runtime: runtime.clone(), stop: stop.clone(), deadline: args.deadline, events: args.json };
    let stopping = tokio::spawn(shut_down_when_told(runtime.clone(), stop.clone(), grace));
    let watching = tokio::spawn(watch_output(console.clone(), stop.clone()));
    let ended = tokio::select! {
        ended = call_all(calls, width, around, show) => ended,
        () = after_stop(&stop, grace + PATIENCE) => Vec::new(),
    };
    watching.abort();
    let stopped = stop.now().exit();
    let exit = stopped.unwrap_or_else(|| verdict::exit(&ended));
    let duration = began.elapsed();
    let conclude = async {
        show::conclusion(&args, &console, &ended, all, duration, exit).await;
        if args.stats {
            console.say(stats::text(&runtime.status().await, duration)).await;
        }
        console.flush().await;
    };
    tokio::select! {
        () = conclude => {}
        () = after_stop(&stop, PATIENCE) => {}
    }
    runtime.shutdown(if stopped.is_some() { Duration::ZERO } else { grace }).await;
    stopping.abort();
    Ok(stop.now().exit().unwrap_or(exit))
}

/// What every call needs.
#[derive(Clone)]
struct Around {
    runtime: Runtime,
    stop: Stopping,
    deadline: Option<Duration>,
    /// Whether what a server tells between is shown.
    events: bool,
}

/// So many at a time, in the order in which they are written; what they come to is shown by one task.
async fn call_all(calls: Vec<Call>, width: usize, around: Around, mut show: Show) -> Vec<Ended> {
    let line: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(calls.into_iter().enumerate().collect()));
    let (results, mut told) = mpsc::channel(RESULTS);
    let mut turns = JoinSet::new();
    for _ in 0..width {
        turns.spawn(take_turns(Arc::clone(&line), around.clone(), results.clone()));
    }
    drop(results);
    while let Some(told) = told.recv().await {
        show.take(told).await;
    }
    turns.join_all().await;
    show.ended()
}

async fn take_turns(line: Arc<Mutex<VecDeque<(usize, Call)>>>, around: Around, results: mpsc::Sender<Told>) {
    while around.stop.now() == Stop::No {
        let Some((place, call)) = line.lock().await.pop_front() else { return };
        one(place, call, &around, &results).await;
    }
}

/// Makes one call, and tells what comes of it.
async fn one(place: usize, call: Call, around: &Around, results: &mpsc::Sender<Told>) {
    let request = Request::rpc(call.method.clone(), call.params.clone()).label(call.label.clone());
    let request = match around.deadline {
        Some(deadline) => request.deadline(deadline),
        None => request,
    };
    let began = Instant::now();
    let (end, ran) = match around.runtime.execute(request).await {
        Ok(execution) => {
            let id = execution.id();
            let outcome = follow(execution, &call, around, results).await;
            (End::Outcome(outcome), Some((id, began.elapsed())))
        }
        Err(error) => (End::Refused(error.to_string()), None),
    };
    let ended = Ended { label: call.label.clone(), end };
    // Nobody listens any more when the program gives up on its output.
    let _ = results.send(Told::Ended { place, call, ended, ran }).await;
}

async fn follow(
    mut execution: Execution,
    call: &Call,
    around: &Around,
    results: &mpsc::Sender<Told>,
) -> Outcome {
    let id = execution.id();
    let _stopper = CancelWhenTold::new(execution.canceller(), &around.stop);
    while let Some(event) = execution.next().await {
        if let (true, Event::Notification { method, params }) = (around.events, event) {
            let told = Told::Notification { id, label: call.label.clone(), method, params };
            let _ = results.send(told).await;
        }
    }
    execution.outcome().await
}

/// Cancels a call when the program is to stop.
struct CancelWhenTold(JoinHandle<()>);

impl CancelWhenTold {
    fn new(canceller: Canceller, stop: &Stopping) -> Self {
        let stop = stop.clone();
        Self(tokio::spawn(async move {
            stop.when(|stop| matches!(stop, Stop::Cancel(_))).await;
            canceller.cancel();
        }))
    }
}

impl Drop for CancelWhenTold {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Stops everything when nobody reads the output any more, as a pipe does.
async fn watch_output(console: Console, stop: Stopping) {
    console.closed().await;
    stop.change(|stop| if stop == Stop::No { Stop::Cancel(Exit::OutputClosed) } else { stop });
}

/// Ends the pool in the way that the user asks for.
async fn shut_down_when_told(runtime: Runtime, stop: Stopping, grace: Duration) {
    stop.told().await;
    tokio::select! {
        () = stop.when(|stop| matches!(stop, Stop::Kill(_))) => {}
        () = tokio::time::sleep(grace) => {}
    }
    runtime.shutdown(Duration::ZERO).await;
}

/// Resolves so long after the program was told to stop.
async fn after_stop(stop: &Stopping, patience: Duration) {
    stop.told().await;
    tokio::time::sleep(patience).await;
}
