//! Workers that cannot be started, or never become ready.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use ostler::{
    Death, DeathCause, Exit, LostCause, RestartPolicy, Runtime, SpawnError, StartError, SubmitError,
    WorkerSpec, python_info,
};

use super::{Folder, bad, lost, plain};
use crate::support::wait::{guarded, pool_is};

async fn refused(spec: WorkerSpec) -> StartError {
    let builder = Runtime::builder(spec).max_sessions(1).ready_timeout(Duration::from_secs(30));
    builder.start().await.expect_err("this worker cannot start")
}

async fn died(spec: WorkerSpec) -> Death {
    let error = refused(spec).await;
    let StartError::Worker(death) = error else { panic!("{error:?}") };
    *death
}

/// F9: nothing is spawned, and the error names the path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f1_what_cannot_be_a_worker_is_refused_by_its_name() {
    guarded(async {
        let folder = Folder::new();
        let text = folder.path().join("text");
        fs::write(&text, "not a program").unwrap();
        for (program, expected) in [
            ("/no/such/program", "`/no/such/program` was not found"),
            ("/proc", "`/proc` cannot be executed: it is a folder"),
            (text.to_str().unwrap(), "it has no execute permission"),
            ("no-such-program-in-path", "`no-such-program-in-path` was not found in PATH"),
        ] {
            for spec in [WorkerSpec::command(program), WorkerSpec::python_at(program)] {
                let error = refused(spec).await;
                assert!(matches!(error, StartError::Spawn(_)), "{error:?}");
                assert!(error.to_string().contains(expected), "{error}");
            }
        }
        // What the system could not run is known before it is tried.
        fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
        let error = refused(WorkerSpec::command(&text)).await;
        assert!(matches!(error, StartError::Spawn(SpawnError::NotExecutable { .. })), "{error:?}");
        assert!(error.to_string().contains("neither a binary for this system nor a script"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_worker_that_dies_before_it_is_ready_shows_its_last_words() {
    guarded(async {
        let death = died(plain("import sys; print('no licence', file=sys.stderr); sys.exit(3)")).await;
        assert_eq!((&death.cause, death.exit), (&DeathCause::Itself, Exit::Code(3)));
        assert_eq!(death.stderr.trim_end(), "no licence");
        let death = died(plain("import no_such_module")).await;
        assert!(death.stderr.contains("ModuleNotFoundError: No module named 'no_such_module'"), "{death}");
    })
    .await;
}

/// f54, P8: after a bounded number of deaths the pool says why it gave up, and keeps nobody waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_pool_whose_workers_all_die_fails_and_refuses_with_the_reason() {
    guarded(async {
        let folder = Folder::new();
        let once = format!(
            "import os\nif os.path.exists({file:?}): os.write(2, b'the disk is gone'); os._exit(3)\n\
             open({file:?}, 'w').close()\nready()\nexecute(); os._exit(0)",
            file = folder.path().join("started")
        );
        let mut policy = RestartPolicy::default();
        (policy.min_backoff, policy.max_backoff) = (Duration::from_millis(5), Duration::from_millis(50));
        policy.intensity = 3;
        let runtime = Runtime::builder(bad(&once)).max_sessions(1).restart(policy).start().await.unwrap();
        // Its worker died before it started it, and no other one came.
        let lost = lost(runtime.run("first").await.unwrap().outcome);
        assert_eq!((lost.started, lost.cause), (false, LostCause::PoolFailed));
        let pool = pool_is(&runtime, "it has failed", |pool| pool.failed.is_some()).await;
        assert_eq!(pool.spawned, 1 + 3 + 1, "one that worked, three that may die, and one too many");
        assert!(pool.failed.as_ref().is_some_and(|why| why.contains("the disk is gone")), "{pool:?}");
        let refused = runtime.run("second").await.unwrap_err();
        assert!(
            matches!(&refused, SubmitError::PoolFailed { why } if why.contains("the disk is gone")),
            "{refused}"
        );
        assert_eq!((pool.sessions.len(), pool.starting, pool.backing_off), (0, 0, 0));
    })
    .await;
}

/// B16.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f6_a_worker_that_is_never_ready_ends_at_the_limit() {
    guarded(async {
        let after = Duration::from_millis(200);
        let builder =
            Runtime::builder(plain("import time; time.sleep(600)")).max_sessions(1).ready_timeout(after);
        let error = builder.start().await.unwrap_err();
        let StartError::Worker(death) = &error else { panic!("{error:?}") };
        assert_eq!((&death.cause, death.exit), (&DeathCause::NotReady { after }, Exit::Signal(9)));
        assert!(error.to_string().contains("raise `ready_timeout`"), "{error}");
    })
    .await;
}

/// A10, P15: both numbers are named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_worker_of_another_version_is_refused_with_both_numbers() {
    guarded(async {
        let death = died(bad("ready(protocol=9)\nread()")).await;
        assert_eq!(death.cause, DeathCause::Version { expected: 1, got: 9 });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_what_is_printed_before_the_handshake_is_shown() {
    guarded(async {
        let death =
            died(plain("print('Welcome to BadShell 1.0', flush=True)\nimport time; time.sleep(600)")).await;
        assert_eq!(death.cause, DeathCause::Printed("Welcome to BadShell 1.0\n".into()));
        let death = died(plain("import os\nwhile True: os.write(1, b'ASCII' * 100)")).await;
        let DeathCause::Printed(text) = &death.cause else { panic!("{death:?}") };
        assert!(text.starts_with("ASCIIASCII") && text.len() <= 4096, "{} bytes", text.len());
    })
    .await;
}

/// Fault 69: the interpreter is upgraded, or goes away, while a pool runs: who lives goes on, and who comes says what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f69_a_removed_interpreter_fails_new_workers_and_leaves_those_that_live_alone() {
    guarded(async {
        let folder = Folder::new();
        let interpreter = folder.path().join("python3");
        let real = python_info("python3").unwrap().executable;
        std::os::unix::fs::symlink(real, &interpreter).unwrap();
        let mut policy = RestartPolicy::default();
        (policy.min_backoff, policy.max_backoff) = (Duration::from_millis(1), Duration::from_millis(5));
        let builder = Runtime::builder(WorkerSpec::python_at(&interpreter)).max_sessions(2).min_idle(0);
        let runtime = builder.restart(policy).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        session.run("kept = 'kept'").await.unwrap();
        fs::remove_file(&interpreter).unwrap();

        let lost = lost(runtime.run("1").await.unwrap().outcome);
        assert_eq!((lost.started, lost.cause), (false, LostCause::PoolFailed));
        let pool = pool_is(&runtime, "it has failed", |pool| pool.failed.is_some()).await;
        let why = pool.failed.unwrap();
        assert!(why.contains(interpreter.to_str().unwrap()), "{why}");
        assert_eq!(session.run("kept").await.unwrap().outcome.to_string(), "'kept'");
    })
    .await;
}
