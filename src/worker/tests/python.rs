//! The shipped worker, and the interpreter that runs it.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::worker::scratch::Scratch;

/// The pid in the first frame of a Python worker.
pub(super) async fn ready(worker: &mut Worker) -> u64 {
    let first = frame(worker, &mut Decoder::new(FRAME_LEN_MAX)).await;
    let FromWorker::Ready(ready) = first else { panic!("not ready: {first:?}") };
    u64::from(ready.pid)
}

#[tokio::test]
async fn the_python_worker_becomes_ready_on_both_transports() {
    for transport in [Transport::Socket, Transport::Stdio] {
        let mut worker = start(WorkerSpec::python().transport(transport)).await;
        assert_eq!(Some(ready(&mut worker).await), worker.pid.map(u64::from));
        worker.control.kill();
        assert_eq!(soon("exit", worker.exit).await, Exit::Signal(9));
    }
}

/// All of them ask once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_workers_that_start_together_all_become_ready() {
    let spawner = Arc::new(ProcessSpawner::new(WorkerSpec::python()));
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let spawner = Arc::clone(&spawner);
        starting.spawn(async move {
            let mut worker = soon("spawn", spawner.spawn(&tag())).await.unwrap();
            ready(&mut worker).await
        });
    }
    let mut pids = soon("all of them", starting.join_all()).await;
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 8);
}

/// Also from within a runtime: it waits on a thread of its own.
#[tokio::test]
async fn what_the_interpreter_is_can_be_asked_without_a_pool() {
    let info = crate::python_info("python3").unwrap();
    assert_eq!((info.requested, info.implementation), ("python3".into(), "cpython".into()));
    assert!(info.executable.is_absolute());
    let error = crate::python_info("/no/such/python").unwrap_err();
    assert!(matches!(error, SpawnError::NotFound { .. }), "{error}");
}

/// The worker is compiled once, and what is not private or not whole does not count.
#[tokio::test]
async fn the_compiled_worker_is_kept_on_disk_and_only_a_private_whole_file_counts() {
    let caches = Scratch::new(&format!("{}-caches", tag())).unwrap();
    let variables = [("XDG_CACHE_HOME", caches.path().to_str().unwrap())];
    const TEST: &str = "python::the_compiled_worker_is_kept_on_disk_and_only_a_private_whole_file_counts";
    if !is_alone(TEST, &variables).await {
        return;
    }
    let folder = PathBuf::from(env::var_os("XDG_CACHE_HOME").unwrap()).join("ostler");
    let executable = info("python3".as_ref(), &WorkerSpec::python()).await.unwrap().executable;
    fs::remove_dir_all(&folder).unwrap();
    // Each asks anew: what is in memory belongs to one set of variables.
    let ask = |n: u32| WorkerSpec::python_at(&executable).env("N", n.to_string());
    let is_cached = async |n| info(&executable, &ask(n)).await.unwrap().cached;
    let only = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let chmod = |path: &PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();

    assert!(!is_cached(0).await);
    let [file] = only().try_into().unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(is_cached(1).await);
    chmod(&file, 0o620);
    assert!(!is_cached(2).await, "others may write to the file");
    assert!(is_cached(3).await, "it was replaced");
    let mut content = fs::read(&file).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&file, &content).unwrap();
    assert!(!is_cached(4).await, "one bit is wrong");
    fs::write(&file, &content[..100]).unwrap();
    assert!(!is_cached(5).await, "it was cut short");
    chmod(&folder, 0o770);
    assert!(!is_cached(6).await, "others may write to the folder");
    chmod(&folder, 0o700);
    assert!(is_cached(7).await);
    let mut worker = start(ask(8)).await;
    assert_eq!(Some(ready(&mut worker).await), worker.pid.map(u64::from));
}
