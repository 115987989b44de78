//! What refusals say (E13): the object, the state it is in, what was expected, and what to do. Word by word, because
//! people search for these words.

use std::{io, path::PathBuf, time::Duration};

use ostler::{
    ConfigError, Death, DeathCause, ExecutionId, Exit, NotFound, PoolConfig, SpawnError, StartError,
    SubmitError,
};

/// E13: a request that is not accepted.
#[test]
fn refusals_of_requests_say_which_limit_and_what_to_do() {
    let after = Duration::from_secs(30);
    for (error, expected) in [
        (
            SubmitError::QueueFull { len: 256, limit: 256, retry_after: None },
            "the queue is full: 256 of 256 requests wait; submit again when some have ended, or raise `queue`",
        ),
        (
            SubmitError::QueueFull { len: 200, limit: 256, retry_after: Some(Duration::from_millis(1_400)) },
            "the queue is full: 200 of 256 requests wait; submit again in about 1s, or raise `queue`",
        ),
        (
            SubmitError::TooLate {
                predicted: Duration::from_secs(9),
                deadline: Duration::from_secs(5),
                len: 40,
            },
            "the request would wait for about 9s, longer than its deadline of 5s: 40 requests wait; submit again later, \
             give it longer, or raise `max_sessions`",
        ),
        (
            SubmitError::SessionQueueFull { limit: 16 },
            "the session is busy and its queue is full: 16 of 16 executions wait; await one of them first, or raise `session_queue`",
        ),
        (
            SubmitError::TooLarge { len: 70_000_000, limit: 67_108_864 },
            "the request is too large: 70000000 bytes encoded, the frame limit is 67108864; pass large inputs as files",
        ),
        (SubmitError::ShuttingDown, "the runtime is shutting down; start a new one"),
        (SubmitError::PoolFailed { why: "the disk is gone".into() }, "the pool has failed: the disk is gone"),
        (
            SubmitError::SessionEnded { why: "it was released".into() },
            "the session has ended: it was released; lease a new one",
        ),
        (
            SubmitError::NoSession { after, sessions: 2, limit: 2 },
            "no session became free within 30s: 2 of 2 sessions are in use; release one, or raise `max_sessions`",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(
        NotFound(ExecutionId(7)).to_string(),
        "no execution 7 is queued or running: it has ended, or never was"
    );
}

/// E13: a pool that does not start.
#[test]
fn refusals_of_starts_name_the_program_and_the_reason() {
    let program = PathBuf::from("/opt/worker");
    let denied = io::Error::from_raw_os_error(13);
    let death = Death { stderr: "no licence\n".into(), ..Death::new(DeathCause::Itself, Exit::Code(3)) };
    for (error, expected) in [
        (
            StartError::from(SpawnError::NotFound { program: program.clone(), path_searched: None }),
            "worker program `/opt/worker` was not found; give its full path, or install it",
        ),
        (
            StartError::from(SpawnError::NotFound {
                program: "worker".into(),
                path_searched: Some("/bin".into()),
            }),
            "worker program `worker` was not found in PATH `/bin`; give its full path, or install it",
        ),
        (
            StartError::from(SpawnError::NotExecutable { program: program.clone(), why: "it is a folder" }),
            "worker program `/opt/worker` cannot be executed: it is a folder",
        ),
        (
            StartError::from(SpawnError::Interpreter {
                program: program.clone(),
                why: "it is too old".into(),
            }),
            "interpreter `/opt/worker` cannot run the worker: it is too old",
        ),
        (
            StartError::from(SpawnError::System { action: "make a pipe", program, source: denied }),
            "failed to make a pipe for worker program `/opt/worker`",
        ),
        (
            StartError::Worker(Box::new(death)),
            "no worker became ready: the worker ended by itself (exit code 3); its stderr ends with:\nno licence",
        ),
        (
            StartError::from(ConfigError { key: "queue", why: "it is odd".into() }),
            "invalid setting `queue`: it is odd",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}

/// E13 and F2: each setting that cannot work is named, with what it is and what would be right.
#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let zero = "it is 0, so it would always have passed; give a longer time";
    let refused = |change: fn(&mut PoolConfig)| {
        let mut config = PoolConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert_eq!(PoolConfig::default().validate(), Ok(()));
    for (change, expected) in [
        (
            (|it| it.max_sessions = 0) as fn(&mut PoolConfig),
            "invalid setting `max_sessions`: it is 0, so nothing could ever run; give at least 1".to_owned(),
        ),
        (
            |it| (it.min_idle, it.max_sessions) = (3, 2),
            "invalid setting `min_idle`: it is 3, more than `max_sessions`, 2".to_owned(),
        ),
        (|it| it.grace = Duration::ZERO, format!("invalid setting `grace`: {zero}")),
        (|it| it.ready_timeout = Duration::ZERO, format!("invalid setting `ready_timeout`: {zero}")),
        (|it| it.warmup_timeout = Duration::ZERO, format!("invalid setting `warmup_timeout`: {zero}")),
        (|it| it.restart.window = Duration::ZERO, format!("invalid setting `restart.window`: {zero}")),
        (
            |it| it.restart.min_backoff = Duration::from_secs(60),
            "invalid setting `restart.min_backoff`: it is 60s, more than `restart.max_backoff`, 10s"
                .to_owned(),
        ),
    ] {
        assert_eq!(refused(change), expected);
    }
}
