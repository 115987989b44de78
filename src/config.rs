//! What a worker is and how a pool of them behaves: every default and every limit, named, with its unit.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use crate::{error::ConfigError, protocol::Codec};

/// Frames larger than this are refused, on both sides.
pub const FRAME_LEN_MAX: usize = crate::protocol::FRAME_LEN_MAX;
/// Bytes of output that one execution may have in flight between the worker and its caller.
pub const WINDOW: usize = 1 << 20;
/// Bytes of stderr kept from each worker for the story of its death.
pub const STDERR_TAIL: usize = 64 << 10;
/// Bytes shown of what a worker printed before its first frame.
pub const PRINTED_BEFORE_READY: usize = 4 << 10;
/// Bytes that may wait to be written to one worker that does not read.
pub const OUTBOX_MAX: usize = FRAME_LEN_MAX + (1 << 20);
/// Ended executions whose late frames are still recognised, per worker.
pub const LATE_IDS_MAX: usize = 1024;
/// Messages with a wrong or missing field that a worker may send in its life; one more ends it.
pub const FIELD_ERRORS_MAX: u32 = 2;
/// How long a frame may stay incomplete before its worker is given up.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);
/// After a first interrupt that was not obeyed: when the forced one follows.
pub const FORCE_AFTER: Duration = Duration::from_millis(50);
/// How often a forced interrupt is repeated until the grace ends.
pub const FORCE_EVERY: Duration = Duration::from_millis(200);
/// How long what a dead worker left in its pipes is read.
pub const DRAIN_LIMIT: Duration = Duration::from_millis(50);

/// What to run as a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    pub(crate) program: Program,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) inherit_env: bool,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) transport: Transport,
    pub(crate) codec: Codec,
}

/// Which program speaks the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The shipped Python worker, run by this interpreter.
    Python { interpreter: PathBuf },
    /// Any program.
    Command { program: PathBuf, args: Vec<OsString> },
}

/// How frames travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Frames on one socket pair, which is the worker's fd 0; fd 1 and 2 are plain output.
    Socket,
    /// Frames on stdin and stdout; stderr is plain output.
    Stdio,
}

impl WorkerSpec {
    /// The shipped Python worker, run by `python3` as found in `PATH`. A version manager's shim is resolved once.
    #[must_use]
    pub fn python() -> Self {
        Self::python_at("python3")
    }

    /// The shipped Python worker, run by this interpreter: a path, or a name that is looked up in `PATH`.
    #[must_use]
    pub fn python_at(interpreter: impl Into<PathBuf>) -> Self {
        Self::new(Program::Python { interpreter: interpreter.into() }, Transport::Socket)
    }

    /// Any program that speaks the worker protocol, on stdin and stdout.
    #[must_use]
    pub fn command(program: impl Into<PathBuf>) -> Self {
        Self::new(Program::Command { program: program.into(), args: Vec::new() }, Transport::Stdio)
    }

    fn new(program: Program, transport: Transport) -> Self {
        Self {
            program,
            env: BTreeMap::new(),
            inherit_env: false,
            cwd: None,
            transport,
            codec: Codec::MessagePack,
        }
    }

    /// Adds an argument to a [`command`](Self::command). The shipped worker takes none.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        match &mut self.program {
            Program::Python { .. } => {}
            Program::Command { args, .. } => args.push(arg.into()),
        }
        self
    }

    /// Sets a variable of the worker's environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().into(), value.as_ref().into());
        self
    }

    /// Gives the worker the whole environment of this process. Default: only `PATH`, `HOME`, `LANG`, `LC_*`, `TZ`,
    /// `TMPDIR` and `VIRTUAL_ENV`, so that secrets in the host's environment stay there. The shipped Python worker also
    /// finds what the user's own `python` would: the folders of `PYTHONPATH`, and packages installed for this user only.
    #[must_use]
    pub fn inherit_env(mut self) -> Self {
        self.inherit_env = true;
        self
    }

    /// The worker's working folder. Default: a private scratch folder, removed when the worker ends.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cwd = Some(folder.into());
        self
    }

    /// How frames travel. Default: [`Transport::Socket`] for the shipped worker, [`Transport::Stdio`] for others.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// How messages are encoded. Default: MessagePack.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }
}

/// How a pool behaves. Every field has a default; `RuntimeBuilder` sets them one by one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Sessions that are kept ready for the next request. Default: 1.
    pub min_idle: usize,
    /// Most workers alive at once, starting and dying ones included. Default: the number of processors, at least 2.
    pub max_sessions: usize,
    /// Most requests that wait for a session. Default: 256.
    pub queue: usize,
    /// Most executions that wait in a leased session while one runs. Default: 16; 0 refuses them.
    pub line: usize,
    /// Time from submission to outcome for a request that names none. Default: 60 s; `None`: no limit.
    pub deadline: Option<Duration>,
    /// Time from a cancel or a deadline until the worker is killed. Default: 1 s.
    pub grace: Duration,
    /// Time from the start of a worker to its `ready`. Default: 10 s.
    pub ready_timeout: Duration,
    /// Code that a worker runs before it is offered. Default: none.
    pub warmup: Option<String>,
    /// Time that the warmup may take. Default: 60 s.
    pub warmup_timeout: Duration,
    /// How long a caller waits for a session to lease. Default: 30 s.
    pub lease_timeout: Duration,
    /// A leased session that runs nothing for this long is ended. Default: `None`, never.
    pub session_timeout: Option<Duration>,
    /// Most bytes of output kept in one [`Report`](crate::Report). Default: 16 MiB.
    pub max_report_bytes: usize,
    /// When dead workers are started again, and when that stops. See [`RestartPolicy`].
    pub restart: RestartPolicy,
}

/// When dead workers are started again.
///
/// The first restart is at once; from the second on, the wait doubles from `min_backoff` to `max_backoff`, with up to
/// half of it taken off at random, so that slots do not start in step. A worker that answered an execution, or lived
/// for `stable_after`, clears the count. More than `intensity` deaths of unproven workers within `window` fail the
/// pool: it refuses requests and says why, instead of letting them wait for ever.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RestartPolicy {
    /// First wait. Default: 100 ms.
    pub min_backoff: Duration,
    /// Longest wait. Default: 10 s.
    pub max_backoff: Duration,
    /// Deaths in a row, within `window`, that fail the pool. Default: 5.
    pub intensity: u32,
    /// The sliding window. Default: 60 s.
    pub window: Duration,
    /// A worker that lived this long was a success. Default: 10 s.
    pub stable_after: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            intensity: 5,
            window: Duration::from_secs(60),
            stable_after: Duration::from_secs(10),
        }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, |processors| processors.get());
        Self {
            min_idle: 1,
            max_sessions: processors.max(2),
            queue: 256,
            line: 16,
            deadline: Some(Duration::from_secs(60)),
            grace: Duration::from_secs(1),
            ready_timeout: Duration::from_secs(10),
            warmup: None,
            warmup_timeout: Duration::from_secs(60),
            lease_timeout: Duration::from_secs(30),
            session_timeout: None,
            max_report_bytes: 16 << 20,
            restart: RestartPolicy::default(),
        }
    }
}

impl PoolConfig {
    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key, why: String| Err(ConfigError { key, why });
        if self.max_sessions == 0 {
            return refuse("max_sessions", "it is 0, so nothing could ever run; give at least 1".into());
        }
        if self.min_idle > self.max_sessions {
            let (idle, max) = (self.min_idle, self.max_sessions);
            return refuse("min_idle", format!("it is {idle}, more than `max_sessions`, {max}"));
        }
        for (key, value) in [
            ("grace", self.grace),
            ("ready_timeout", self.ready_timeout),
            ("warmup_timeout", self.warmup_timeout),
            ("restart.window", self.restart.window),
        ] {
            if value.is_zero() {
                return refuse(key, "it is 0, so it would always have passed; give a longer time".into());
            }
        }
        if self.restart.min_backoff > self.restart.max_backoff {
            let (min, max) = (self.restart.min_backoff, self.restart.max_backoff);
            return refuse(
                "restart.min_backoff",
                format!("it is {min:?}, more than `restart.max_backoff`, {max:?}"),
            );
        }
        Ok(())
    }
}
