//! Hosts that cannot start another thread (RLIMIT_NPROC).

use std::{path::Path, thread, time::Duration};

use ostler::{Request, StartError, StoreError};
use rustix::process::{Resource, Rlimit, getuid, setrlimit};

use super::subhost::Host;
use crate::python::{completed, one};

/// Fault 83: what keeps states has its threads from the start, and what else takes a while does without one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f83_a_host_that_can_start_no_thread_saves_its_sessions() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Host::start("crowded", folder.path().to_str().unwrap(), "").ended_well());
}

/// No thread can be started from this one any more. The limit is none for root.
fn crowd() {
    if getuid().is_root() {
        rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(54_321)).unwrap();
    }
    setrlimit(Resource::Nproc, Rlimit { current: Some(1), maximum: Some(1) }).unwrap();
    thread::Builder::new().spawn(|| {}).expect_err("there is no room");
}

/// The host of that test. It runs on the thread that it was started on.
pub(super) async fn crowded(folder: &Path) {
    let runtime = one().state_dir(folder).max_report_bytes(1 << 20).start().await.unwrap();
    let (session, _) = runtime.session_named("work").await.unwrap();
    completed(&session.run("x = 1").await.unwrap());
    crowd();
    completed(&session.run("large = bytes(1 << 20)").await.unwrap());
    assert_eq!(session.save().await, Ok(1));
    assert_eq!(session.checkpoint().await.unwrap().names(), ["x", "large"]);
    let report = session.run(Request::python("print('x' * (4 << 20))").spill(16 << 20)).await.unwrap();
    completed(&report);
    assert_eq!(session.end().await, Ok(2));
    let (session, restored) = runtime.resume("work").await.unwrap();
    assert_eq!(restored.names, ["x", "large"]);
    drop(session);
    let error = one().state_dir(folder.join("other")).start().await.unwrap_err();
    assert!(matches!(error, StartError::Store(StoreError::Thread { .. })), "{error}");
    runtime.shutdown(Duration::from_secs(5)).await;
}
