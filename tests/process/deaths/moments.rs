//! F4: a worker that dies is replaced and told of, whatever it was doing.

use std::time::Duration;

use ostler::{DeathCause, Exit, Runtime, SessionEvent, SessionState, SubmitError, WorkerSpec};
use rustix::process::Signal;

use super::{Folder, bad, death, line, pid};
use crate::{
    python::completed,
    support::{
        processes::signal,
        wait::{guarded, pool_is},
    },
};

async fn one() -> Runtime {
    Runtime::builder(WorkerSpec::python()).max_sessions(1).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_while_it_waits_for_input_is_lost_and_replaced() {
    guarded(async {
        let runtime = one().await;
        let mut execution = runtime.execute("input()").await.unwrap();
        line(&mut execution).await;
        signal(pid(&runtime).await, Signal::KILL);
        let (death, started) = death(execution.outcome().await);
        assert_eq!((death.exit, started), (Exit::Signal(9), true));
        completed(&runtime.run("1").await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_while_it_warms_up_is_replaced_and_the_request_waits() {
    guarded(async {
        let folder = Folder::new();
        // Only the first worker of the pool takes for ever.
        let warmup = format!(
            "import os, time\nif not os.path.exists({file:?}):\n    open({file:?}, 'w').close()\n    time.sleep(600)",
            file = folder.path().join("seen")
        );
        let builder = Runtime::builder(WorkerSpec::python()).max_sessions(1).min_idle(0).warmup(warmup);
        let runtime = builder.start().await.unwrap();
        let execution = runtime.execute("'served'").await.unwrap();
        let warming = |state: SessionState| state == SessionState::Warming;
        let pool = pool_is(&runtime, "it warms up", |pool| pool.sessions.iter().any(|it| warming(it.state))).await;
        assert!(folder.path().join("seen").exists() || !pool.sessions.is_empty());
        while !folder.path().join("seen").exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        signal(pool.sessions[0].pid.unwrap(), Signal::KILL);
        assert_eq!(execution.outcome().await.to_string(), "'served'");
        assert_eq!(runtime.status().await.crashed, 1);
    })
    .await;
}

/// f14: half a frame is never delivered; how many bytes of it came is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_a_worker_killed_in_the_middle_of_a_frame_is_lost_and_half_a_frame_is_no_frame() {
    let script = "ready()\nid = execute()['id']\nsend(type='started', id=id)\n\
                  whole = frame(type='output', id=id, stream='stdout', seq=0, data={'$bytes': 'd2hvbGU='})\n\
                  os.write(1, whole + frame(type='result', id=id, execution_time=0.1)[:20])\n\
                  os.kill(os.getpid(), signal.SIGKILL)";
    guarded(async {
        let runtime = Runtime::builder(bad(script)).max_sessions(1).start().await.unwrap();
        let report = runtime.run("anything").await.unwrap();
        assert_eq!(report.stdout_text(), "whole");
        let (death, started) = death(report.outcome);
        assert!(started);
        assert_eq!(death.exit, Exit::Signal(9));
        assert!(matches!(death.cause, DeathCause::Itself | DeathCause::Protocol(_)), "{death:?}");
    })
    .await;
}

/// A leased session ends with its worker, says so, and the lease of the next one is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leased_session_whose_worker_dies_says_so_and_the_pool_goes_on() {
    guarded(async {
        let runtime = one().await;
        let mut session = runtime.session().await.unwrap();
        completed(&session.run("x = 1").await.unwrap());
        signal(session.pid().unwrap(), Signal::KILL);
        let ended = loop {
            match session.next_event().await {
                Some(SessionEvent::Ended { why, .. }) => break why,
                Some(_) => {}
                None => panic!("the session ended without a word"),
            }
        };
        assert!(ended.contains("SIGKILL"), "{ended}");
        let refused = session.run("x").await.unwrap_err();
        let SubmitError::SessionEnded { why } = &refused else { panic!("{refused}") };
        assert!(why.contains("SIGKILL"), "{why}");
        drop(session);
        let next = runtime.session().await.unwrap();
        completed(&next.run("2").await.unwrap());
    })
    .await;
}

/// F10: whoever holds a lease when the worker dies under code gets a typed error, and the slot comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_dies_under_its_code_loses_that_and_refuses_the_rest() {
    guarded(async {
        let runtime = one().await;
        let session = runtime.session().await.unwrap();
        let running = session.execute("import os, time\ntime.sleep(0.05)\nos._exit(9)").await.unwrap();
        let waiting = session.execute("1").await.unwrap();
        let (death, started) = death(running.outcome().await);
        assert_eq!((death.exit, started), (Exit::Code(9), true));
        let waited = super::lost(waiting.outcome().await);
        assert!(!waited.started, "{waited}");
        drop(session);
        completed(&runtime.run("1").await.unwrap());
    })
    .await;
}
