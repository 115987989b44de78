//! The interpreter, and a worker that is put through its paces.

use std::{future::Future, time::Duration};

use ostler::{
    CancelStage, Cancelled, Event, Exit, Lost, LostCause, Outcome, PythonInfo, Report, Runtime, Settings,
    SubmitError,
};
use tokio::time::Instant;

use crate::doctor::Finding;

/// Round trips that are measured.
const ROUND_TRIPS: usize = 200;
/// No trial takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at the interpreter, and at what a worker on it does.
pub(crate) async fn look(settings: &Settings) -> Vec<Finding> {
    if let Some(command) = &settings.worker.command {
        let found = format!("not used: the settings name the worker program `{}`", command.display());
        let advice = "what follows expects that it runs Python code";
        return [vec![Finding::warning("interpreter", found, advice)], pool(settings).await].concat();
    }
    let (python, began) = (settings.worker.python.clone(), Instant::now());
    let found = tokio::task::spawn_blocking(move || ostler::python_info(python)).await;
    let info = match found {
        Ok(Ok(info)) => info,
        Ok(Err(error)) => return vec![no_interpreter(&error)],
        Err(error) => return vec![no_interpreter(&error)],
    };
    [vec![interpreter(settings, &info).took(began.elapsed())], pool(settings).await].concat()
}

async fn pool(settings: &Settings) -> Vec<Finding> {
    let (mut findings, grace) = (Vec::new(), settings.pool.grace);
    let began = Instant::now();
    match settings.builder().max_sessions(1).deadline(PATIENCE).start().await {
        Ok(runtime) => {
            findings
                .push(Finding::ok("start", "from nothing to a worker that is ready").took(began.elapsed()));
            findings.extend(trials(&runtime, grace).await);
            runtime.shutdown(grace).await;
        }
        Err(error) => {
            let advice = "see the cause above; if it is a setting, correct it";
            findings.push(Finding::missing("start", format!("{:#}", anyhow::Error::new(error)), advice));
        }
    }
    findings
}

fn interpreter(settings: &Settings, info: &PythonInfo) -> Finding {
    let PythonInfo { executable, version, shim, .. } = info;
    let how = if *shim { ", to which the shim of a version manager leads" } else { "" };
    let found =
        format!("Python {version}: `{}` is {}{how}", settings.worker.python.display(), executable.display());
    Finding::ok("interpreter", found)
}

fn no_interpreter(error: &(dyn std::error::Error + 'static)) -> Finding {
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        text.push_str(&format!(": {source}"));
    }
    Finding::missing("interpreter", text, "install Python 3.9 or newer, or name one with --python PATH")
}

async fn trials(runtime: &Runtime, grace: Duration) -> Vec<Finding> {
    vec![
        first_execution(runtime).await,
        round_trip(runtime).await,
        interrupt(runtime).await,
        restart(runtime).await,
        kill(runtime, grace).await,
    ]
}

async fn first_execution(runtime: &Runtime) -> Finding {
    let name = "execution";
    let code = "import sys; print('out'); print('err', file=sys.stderr); 6 * 7";
    let (report, time) = timed(runtime.run(code)).await;
    match report {
        Ok(report) if is_right(&report) => Finding::ok(name, "the first one, with its output").took(time),
        other => wrong(name, "stdout `out`, stderr `err` and the value 42", &other),
    }
}

fn is_right(report: &Report) -> bool {
    let value = report.value().and_then(ostler::Value::as_i64);
    value == Some(42) && &report.stdout[..] == b"out\n" && &report.stderr[..] == b"err\n"
}

async fn round_trip(runtime: &Runtime) -> Finding {
    let name = "round trip";
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let (report, time) = timed(runtime.run("1+1")).await;
        match report {
            Ok(report) if report.outcome.is_completed() => times.push(time),
            other => return wrong(name, "a completed `1+1`", &other),
        }
    }
    times.sort_unstable();
    let (median, slow) = (times[ROUND_TRIPS / 2], times[ROUND_TRIPS * 99 / 100]);
    let found =
        format!("median of {ROUND_TRIPS} on one worker, 99% within {:.3} ms", slow.as_secs_f64() * 1e3);
    Finding::ok(name, found).took(median)
}

/// Code that runs is asked to stop, and its worker goes on.
async fn interrupt(runtime: &Runtime) -> Finding {
    let name = "interrupt";
    let (report, time) = stopped(runtime, "print('running', flush=True)\nwhile True: pass").await;
    match report {
        Ok(Report {
            outcome: Outcome::Cancelled(Cancelled { stage: CancelStage::Interrupt | CancelStage::Force, .. }),
            ..
        }) => {
            // On a busy machine the forced one may come before the code had its turn.
            Finding::ok(name, "stops a busy loop, and the worker goes on").took(time)
        }
        other => wrong(name, "a loop that stops at an interrupt", &other),
    }
}

/// A worker dies, and the next one takes over.
async fn restart(runtime: &Runtime) -> Finding {
    let name = "restart";
    let report = runtime.run("import os; os.kill(os.getpid(), 9)").await;
    let signal = match &report {
        Ok(Report { outcome: Outcome::Lost(Lost { cause: LostCause::Died(death), .. }), .. }) => {
            death.exit == Exit::Signal(9)
        }
        Ok(_) | Err(_) => false,
    };
    if !signal {
        return wrong(name, "a worker that is killed by signal 9", &report);
    }
    let (report, time) = timed(runtime.run("1+1")).await;
    match report {
        Ok(report) if report.outcome.is_completed() => {
            Finding::ok(name, "from the death of a worker to the next result").took(time)
        }
        other => wrong(name, "a result from the next worker", &other),
    }
}

/// Code that cannot be interrupted is killed at the end of the grace.
async fn kill(runtime: &Runtime, grace: Duration) -> Finding {
    let name = "kill";
    // Deaf to every signal but the one that kills.
    let code = "
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print('running', flush=True)
while True:
    pass";
    let (report, time) = stopped(runtime, code).await;
    match report {
        Ok(Report { outcome: Outcome::Cancelled(Cancelled { stage: CancelStage::Kill, .. }), .. }) => {
            let found = format!("ends code that does not listen, at the end of the grace of {grace:?}");
            Finding::ok(name, found).took(time)
        }
        other => wrong(name, "a worker that is killed", &other),
    }
}

/// Runs code, cancels it as soon as it prints, and measures how long it lives on.
async fn stopped(runtime: &Runtime, code: &str) -> (Result<Report, SubmitError>, Duration) {
    let mut execution = match runtime.execute(code).await {
        Ok(execution) => execution,
        Err(error) => return (Err(error), Duration::ZERO),
    };
    while let Some(event) = execution.next().await {
        if matches!(event, Event::Output { .. }) {
            break;
        }
    }
    execution.cancel();
    timed(async { Ok(execution.report().await) }).await
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed())
}

fn wrong(name: &'static str, expected: &str, got: &Result<Report, SubmitError>) -> Finding {
    let got = match got {
        Ok(report) => report.outcome.to_string(),
        Err(error) => error.to_string(),
    };
    let advice = "try another interpreter with --python PATH; if it stays, report it with this output";
    Finding::missing(name, format!("expected {expected}, got: {got}"), advice)
}
