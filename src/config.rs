//! What a worker is and how a pool of them behaves: every default and every limit, named, with its unit.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::{error::ConfigError, protocol::Codec};

mod bounds;
mod policy;
mod pool;
mod server;

pub use bounds::{SESSIONS_MAX, SIZE_MAX, START_RATE_MAX, TIME_MAX, WAITING_MAX};
pub use policy::{OnDeath, RecyclePolicy, RestartPolicy};
pub use pool::PoolConfig;
pub(crate) use server::Opening;
pub use server::{Dialect, JsonRpc, MCP_VERSIONS};

/// Frames larger than this are refused, on both sides.
pub const FRAME_LEN_MAX: usize = crate::protocol::FRAME_LEN_MAX;
/// Bytes of memory that what one execution prints, shows and asks may take between its worker and its caller; and, apart
/// from that, what a worker says and its session has not handled.
pub const WINDOW: usize = 1 << 20;
/// Bytes that every single thing on its way from a worker to its caller counts for, besides those that it holds: its places
/// in queues, so that very many small things have a bound too.
pub const ITEM_MIN: usize = 256;
/// Bytes of stderr kept from each worker for the story of its death.
pub const STDERR_TAIL: usize = 64 << 10;
/// Bytes of the end of each stream that a report keeps when it cannot keep all; at most an eighth of the report.
pub const REPORT_TAIL: usize = 64 << 10;
/// Bytes that may wait for the disk when workers are recorded, all of a pool together.
pub const RECORD_PENDING_MAX: usize = 16 << 20;
/// Bytes shown of what a worker printed before its first frame.
pub const PRINTED_BEFORE_READY: usize = 4 << 10;
/// Bytes that may wait to be written to one worker that does not read.
pub const OUTBOX_MAX: usize = FRAME_LEN_MAX + (1 << 20);
/// A JSON-RPC server that has calls of so many bytes in flight is given no more: they wait in the queue.
pub const IN_FLIGHT_BYTES: usize = 16 << 20;
/// Questions of a JSON-RPC server that may be open at once; one more is answered with an error.
pub const QUESTIONS_MAX: usize = 256;
/// Bytes that the ids of these questions may have, all together.
pub const QUESTION_IDS_MAX: usize = 1 << 20;
/// Bytes of memory of answers to its own questions that a JSON-RPC server may leave unread; one more ends it.
pub const REPLIES_MAX: usize = 1 << 20;
/// Messages that one JSON-RPC batch of a server may have.
pub const BATCH_MAX: usize = crate::protocol::rpc::BATCH_MAX;
/// Messages of unknown types that one worker is told of, in its life; those that follow are only counted.
pub const UNKNOWN_TOLD_MAX: u32 = 100;
/// Ended executions whose late frames are still recognised, per worker.
pub const LATE_IDS_MAX: usize = 1024;
/// Things that an execution left running of which its caller is told, each with at most so many characters.
pub const LEFT_MAX: usize = 32;
/// See [`LEFT_MAX`].
pub const LEFT_LEN_MAX: usize = 200;
/// Messages with a wrong or missing field that a worker may send in its life; one more ends it.
pub const FIELD_ERRORS_MAX: u32 = 2;
/// How long a frame may stay incomplete before its worker is given up.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);
/// After a first interrupt that was not obeyed: when the forced one follows, at the earliest; a twentieth of a longer
/// grace.
pub const FORCE_AFTER: Duration = Duration::from_millis(50);
/// How often a forced interrupt is repeated until the grace ends.
pub const FORCE_EVERY: Duration = Duration::from_millis(200);
/// How long an MCP server may take to answer what was cancelled, once it has answered the `ping` that was sent behind the
/// notice of it; at most the grace. It need not answer.
pub const HEARD_CANCEL_LIMIT: Duration = Duration::from_millis(100);
/// How often workers are looked at: their memory, their processor time, and whether they are stopped.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the memory of a worker is looked at while it runs code and has a memory limit.
pub const MEMORY_LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks in a row that find a worker stopped, as by SIGSTOP, after which it is killed.
pub const STOPPED_LOOKS: u32 = 3;
/// How long a worker that closed its channel may take to be seen dead, before it counts as one that lives on.
pub const CLOSED_LIMIT: Duration = Duration::from_secs(1);
/// How long what a dead worker left in its pipes is read.
pub const DRAIN_LIMIT: Duration = Duration::from_millis(50);

/// Names that [`Session::vars`](crate::Session::vars) tells at most.
pub const VARS_MAX: usize = 10_000;

/// How long a worker may take to write down the stacks of its threads when it is examined.
pub const STACKS_LIMIT: Duration = Duration::from_millis(50);
/// How long a worker is examined before it is killed at the end of its grace. A shorter grace is as long as this.
pub const EXAMINE_LIMIT: Duration = Duration::from_millis(80);
/// How long an execution whose deadline has passed waits to be told what its worker is doing. After that it has timed out
/// without its [`Activity`](crate::Activity).
pub const LATE_LIMIT: Duration = Duration::from_millis(150);
/// Children of a worker that are told when it is examined.
pub const CHILDREN_TOLD: usize = 32;

/// What to run as a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    pub(crate) program: Program,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) inherit_env: bool,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) transport: Transport,
    pub(crate) codec: Codec,
    pub(crate) preload: Option<Vec<String>>,
    /// That of the scripts that its interpreter runs.
    pub(crate) language: Option<Language>,
    /// It is a JSON-RPC server, and speaks no other protocol.
    pub(crate) server: Option<Arc<JsonRpc>>,
}

/// A language whose interpreter also runs scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Node,
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
        let program = Program::Python { interpreter: interpreter.into() };
        Self { language: Some(Language::Python), ..Self::new(program, Transport::Socket) }
    }

    /// The JavaScript worker that comes with Ostler, run by `node` as found in `PATH`: version 18 or newer.
    ///
    /// Code runs as in the console of a browser: names may be declared again, `await` stands anywhere, the value of the
    /// last expression is that of the execution. `require` is there, `prompt(text)` asks for input, `display(bundle)`
    /// shows rich values; `import()` is `importModule()`. A cancel ends synchronous code without its `finally` blocks.
    #[must_use]
    pub fn node() -> Self {
        Self::node_at("node")
    }

    /// The same, run by this program: a path, or a name that is looked up in `PATH`.
    #[must_use]
    pub fn node_at(interpreter: impl Into<PathBuf>) -> Self {
        // Else a timer that is cut short by a cancel ends the process: by the first where nothing tells what belongs to
        // which execution, by the second where something does.
        let spec = Self::command(interpreter).arg("--no-force-async-hooks-checks").arg("--expose-internals");
        let spec = spec.arg("-e").arg(include_str!("../workers/node/ostler_worker.js"));
        Self { language: Some(Language::Node), ..spec }
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
            preload: None,
            language: None,
            server: None,
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

    /// Forks workers of the shipped kind from a *zygote*, a process of the pool in which these modules are imported
    /// already. A start then takes a millisecond or a few, whatever the modules are, and their memory is shared. An empty
    /// list is fine: then only the interpreter's own start is spared. Default: every worker is a process of its own from
    /// the start.
    ///
    /// The zygote costs a process, and so does the worker that it keeps forked ahead of its time.
    ///
    /// ```
    /// # use ostler::WorkerSpec;
    /// let spec = WorkerSpec::python().preload(["numpy", "pandas"]);
    /// ```
    ///
    /// What to know:
    /// - The first start waits for the imports, within `ready_timeout`. A module that cannot be imported fails it with
    ///   [`SpawnError::Preload`](crate::SpawnError::Preload).
    /// - Modules that start threads, open connections or use a GPU when they are imported must not be preloaded. The
    ///   zygote refuses to be forked while other threads run in it (those of OpenBLAS, Arrow and jemalloc excepted, which
    ///   are made for a fork), and names the module;
    ///   then, and while a zygote that died is being started again, workers are started in the plain way, and a warning
    ///   is logged.
    /// - Modules are imported with `OPENBLAS_NUM_THREADS`, `OMP_NUM_THREADS` and `MKL_NUM_THREADS` at 1, unless
    ///   [`env`](Self::env) sets them: a pool of threads that was made then stays as small.
    /// - The workers of one zygote share the seed of `hash()`. `random`, `uuid` and the like differ from worker to worker,
    ///   and numpy's global generator is seeded anew in each; a generator of your own that a preloaded module has made is
    ///   the same in all of them.
    #[must_use]
    pub fn preload<M: Into<String>>(mut self, modules: impl IntoIterator<Item = M>) -> Self {
        self.preload = Some(modules.into_iter().map(Into::into).collect());
        self
    }

    /// What can be said against it without starting anything.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.validate_server()?;
        let wrong = |why: String| Err(ConfigError { key: "preload", why });
        let Some(modules) = &self.preload else { return Ok(()) };
        if let Program::Command { program, .. } = &self.program {
            let program = program.display();
            return wrong(format!(
                "expected the shipped Python worker, got `{program}`: only that one can be forked; leave `preload` out"
            ));
        }
        let is_name =
            |name: &str| name.split('.').all(|part| !part.is_empty() && !part.contains(char::is_control));
        match modules.iter().find(|module| !is_name(module)) {
            Some(module) => {
                wrong(format!("expected the name of a module, such as `numpy.linalg`, got `{module}`"))
            }
            None => Ok(()),
        }
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
