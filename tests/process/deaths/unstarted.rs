//! P5 with real workers: what their own code writes to a file is the ledger, one byte for each time that it ran.

use std::{fs, ops::RangeInclusive, path::Path, time::Duration};

use ostler::{
    CancelStage, Cancelled, Event, Lost, OnDeath, Outcome, Phase, Runtime, TimedOut, Transport, WorkerSpec,
};

use super::{Folder, bad};
use crate::{python::completed, support::wait::guarded};

/// How often the code of a file has run.
pub(super) fn ran(file: &Path) -> usize {
    fs::read(file).map_or(0, |bytes| bytes.len())
}

/// The first act of code that says itself that it runs: unbuffered, and with no name that stays behind.
pub(super) fn first_act(file: &Path) -> String {
    format!("open({file:?}, 'ab', 0).write(b'x')\n")
}

/// How often the code has run, if this is true.
pub(super) fn as_told(outcome: &Outcome) -> RangeInclusive<usize> {
    match outcome {
        Outcome::Completed(_) => 1..=1,
        Outcome::Lost(Lost { started: false, .. })
        | Outcome::Cancelled(Cancelled { stage: CancelStage::Queued, .. })
        | Outcome::TimedOut(TimedOut { phase: Phase::Queued, .. }) => 0..=0,
        Outcome::Failed(_) | Outcome::Cancelled(_) | Outcome::TimedOut(_) | Outcome::Lost(_) => 0..=1,
    }
}

/// Code that leaves a byte, and takes its worker with it at once.
fn leaves_a_byte(file: &Path) -> String {
    format!("import os\nwith open({file:?}, 'a') as f: f.write('x')\nos._exit(3)")
}

/// A pool of one session, which goes on in a new worker: so what did not start would run again.
async fn pool(on: Transport) -> Runtime {
    let spec = WorkerSpec::python().transport(on);
    let builder = Runtime::builder(spec).max_sessions(1).min_idle(1).grace(Duration::from_secs(2));
    builder.on_death(OnDeath::Restore).start().await.unwrap()
}

/// What earlier code of a session does to it; how often the code behind that runs, whether its start was heard, and what
/// became of it.
async fn behind(earlier: &str, on: Transport, file: &Path) -> (usize, bool, Outcome) {
    let runtime = pool(on).await;
    let session = runtime.session().await.unwrap();
    completed(&session.run(earlier).await.unwrap());
    let mut execution = session.execute(leaves_a_byte(file).as_str()).await.unwrap();
    let mut heard = false;
    while let Some(event) = execution.next().await {
        heard |= matches!(event, Event::Started { .. });
    }
    let outcome = execution.outcome().await;
    runtime.shutdown(Duration::ZERO).await;
    (ran(file), heard, outcome)
}

/// A thread of the session sends something large, and more of it, when the next code starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_the_start_of_code_is_told_before_it_runs_also_beside_a_thread_that_sends() {
    let shows = "import threading, time
class Shown:
    def _repr_html_(self): return big
big = 'x' * (15 << 20)
shown = [Shown() for _ in range(100)]
threading.Thread(target=lambda: display(*shown), daemon=True).start()
time.sleep(0.3)";
    guarded(async {
        let folder = Folder::new();
        for (round, on) in [Transport::Socket, Transport::Stdio].into_iter().cycle().take(6).enumerate() {
            let (ran, heard, outcome) = behind(shows, on, &folder.path().join(round.to_string())).await;
            let Outcome::Lost(Lost { started, .. }) = outcome else { panic!("{outcome}") };
            // Heard, and not only not disproved: what the thread was sending is cut in the middle of a frame.
            assert_eq!((ran, started, heard), (1, true, true), "{on:?}");
        }
    })
    .await;
}

/// Four bytes on the descriptor, by code that is over: whatever the worker says behind them is no frame any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_code_that_spoilt_the_channel_does_not_make_the_next_run_twice() {
    let cuts = "import os, stat, threading
fd = [fd for fd in range(100, 130) if os.path.exists(f'/proc/self/fd/{fd}') and stat.S_ISSOCK(os.fstat(fd).st_mode)][0]
threading.Timer(0.2, lambda: os.write(fd, bytes([0, 16, 0, 0]))).start()";
    guarded(async {
        let folder = Folder::new();
        let file = folder.path().join("cut");
        let runtime = pool(Transport::Socket).await;
        let session = runtime.session().await.unwrap();
        completed(&session.run(cuts).await.unwrap());
        tokio::time::sleep(Duration::from_millis(600)).await;
        let outcome = session.run(leaves_a_byte(&file).as_str()).await.unwrap().outcome;
        assert_eq!(ran(&file), 1, "{outcome}");
        assert!(matches!(outcome, Outcome::Lost(Lost { started: true, .. })), "{outcome}");
        runtime.shutdown(Duration::ZERO).await;
    })
    .await;
}

/// A worker that closes its channel, runs the code, and lives on a little.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_channel_that_was_closed_before_the_death_proves_nothing() {
    guarded(async {
        let folder = Folder::new();
        let file = folder.path().join("closed");
        let script = format!(
            "ready()\nexecute()\nos.close(1)\nos.close(0)\nopen({file:?}, 'a').write('x')\ntime.sleep(0.3)\nos._exit(3)"
        );
        let runtime = Runtime::builder(bad(&script)).max_sessions(1).start().await.unwrap();
        let outcome = runtime.run("anything").await.unwrap().outcome;
        assert_eq!(ran(&file), 1, "{outcome}");
        assert!(matches!(outcome, Outcome::Lost(Lost { started: true, .. })), "{outcome}");
        runtime.shutdown(Duration::ZERO).await;
    })
    .await;
}

/// The proof still serves: a worker that is killed when it has read the code, and before it starts it, runs nothing, and
/// the request goes to another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_death_without_a_word_hands_the_request_on() {
    guarded(async {
        let folder = Folder::new();
        let file = folder.path().join("seen");
        let script = format!(
            "ready()\nid = execute()['id']\nif not os.path.exists({file:?}):\n    open({file:?}, 'w').close()\n    os.kill(os.getpid(), 9)\n\
             send(type='started', id=id)\nsend(type='result', id=id, execution_time=0.1)\nexecute()"
        );
        let runtime = Runtime::builder(bad(&script)).max_sessions(1).start().await.unwrap();
        completed(&runtime.run("anything").await.unwrap());
        assert_eq!(runtime.status().await.totals.requeued, 1);
        runtime.shutdown(Duration::ZERO).await;
    })
    .await;
}
