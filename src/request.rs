//! What a caller asks for.

pub(crate) mod script;

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    outcome::Generation,
    protocol::{Execute, Value},
};

pub use script::{Script, Stdio};

/// A name that a caller gives to a request: it reaches spans, lists and reports.
pub type Label = Arc<str>;

/// On whose behalf a request is made: tenants share a pool fairly, and no worker, unless
/// [`share_workers`](crate::PoolConfig::share_workers) says so.
pub type Tenant = Arc<str>;

/// Names what requests have in common that makes one worker better for them than another.
pub type Affinity = Arc<str>;

/// One piece of work for a worker.
///
/// Build it with [`Request::python`]; a `&str`, a `String` and a [`Script`] are requests too.
///
/// ```
/// use std::time::Duration;
/// use ostler::Request;
///
/// let request = Request::python("sum(numbers)")
///     .arg("numbers", vec![1, 2, 3])
///     .label("nightly-sum")
///     .deadline(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) code: String,
    /// It is a call of a JSON-RPC server, and no code.
    pub(crate) rpc: Option<Box<Rpc>>,
    /// It is a script, for a process of its own, and no code for a worker.
    pub(crate) script: Option<Box<Script>>,
    pub(crate) label: Option<Label>,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) args: Vec<(String, Value)>,
    pub(crate) sys_path: Vec<String>,
    pub(crate) filename: Option<String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) allow_input: bool,
    pub(crate) silent: bool,
    pub(crate) mime: bool,
    pub(crate) detached: bool,
    pub(crate) spill: u64,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) limits: Limits,
    pub(crate) expects: Option<Generation>,
}

/// What a JSON-RPC server is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rpc {
    pub(crate) method: String,
    pub(crate) params: Value,
    /// There is no answer to it.
    pub(crate) notify: bool,
}

/// What a request may use, besides time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes that it may print.
    pub(crate) output: Option<u64>,
    /// Processor time.
    pub(crate) cpu: Option<Duration>,
    /// Bytes of its value.
    pub(crate) result: Option<u64>,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    After(Duration),
    Never,
}

impl Request {
    /// A request to run `code`. The value of its last expression is the value of the execution.
    pub fn python(code: impl Into<String>) -> Self {
        Self::new(code)
    }

    /// A request to run `code`, in whatever language the workers run.
    pub fn new(code: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            rpc: None,
            script: None,
            label: None,
            deadline: None,
            args: Vec::new(),
            sys_path: Vec::new(),
            filename: None,
            cwd: None,
            allow_input: true,
            silent: false,
            mime: false,
            detached: false,
            spill: 0,
            tenant: None,
            affinity: None,
            limits: Limits::default(),
            expects: None,
        }
    }

    /// A call of a [JSON-RPC server](crate::WorkerSpec::json_rpc). `params` is a map, a list or nothing, such as
    /// `serde_json::json!({"name": "add"})` or [`Value::None`]. What the server answers is the value of the execution, or
    /// [`Failure::Rpc`](crate::Failure::Rpc).
    ///
    /// What the server asks in turn is answered with an error, unless the request [allows it](Self::allow_input).
    pub fn rpc(method: impl Into<String>, params: impl Into<Value>) -> Self {
        let rpc = Rpc { method: method.into(), params: params.into(), notify: false };
        Self { rpc: Some(Box::new(rpc)), allow_input: false, ..Self::python(String::new()) }
    }

    /// A notification of a JSON-RPC server. It has completed when it is written.
    pub fn notification(method: impl Into<String>, params: impl Into<Value>) -> Self {
        let mut request = Self::rpc(method, params);
        if let Some(rpc) = &mut request.rpc {
            rpc.notify = true;
        }
        request
    }

    /// Names the request in spans, lists and reports. Default: none.
    #[must_use]
    pub fn label(mut self, label: impl Into<Label>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says on whose behalf it is made. Tenants that wait take turns, by their
    /// [weights](crate::PoolConfig::tenant_weights); requests without one are one tenant more. Code of one never runs in a
    /// worker that has run code of another, unless [`share_workers`](crate::PoolConfig::share_workers) is set. In a leased
    /// session it means nothing: that is of the tenant that [leased](crate::Runtime::for_tenant) it. Default: none, or that
    /// of the runtime's handle.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<Tenant>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Prefers the worker that served this affinity last, if it is free: what that code imported and cached there is still
    /// warm. It never waits for it, and the namespace is a new one all the same; for state that stays, lease a
    /// [session](crate::Runtime::session). Default: none.
    #[must_use]
    pub fn affinity(mut self, affinity: impl Into<Affinity>) -> Self {
        self.affinity = Some(affinity.into());
        self
    }

    /// Stops the code when it has printed more than this many bytes; it then has
    /// [failed](crate::Failure::OutputLimit). Default: no limit; output that nobody takes waits in the worker.
    #[must_use]
    pub fn max_output(mut self, bytes: u64) -> Self {
        self.limits.output = Some(bytes);
        self
    }

    /// Keeps up to this many bytes of output that does not fit into the [report](crate::Report) in a temporary file
    /// without a name, where [`Report::page`](crate::Report::page) finds them; if the file cannot be written, the rest is
    /// dropped and counted. Default: 0, nothing goes to disk.
    #[must_use]
    pub fn spill(mut self, bytes: u64) -> Self {
        self.spill = bytes;
        self
    }

    /// Stops the code when its worker has used more than this processor time for it, all threads together; it then has
    /// [failed](crate::Failure::CpuLimit). Waiting costs nothing, and neither do processes that the code starts. The
    /// operating system is asked once half of what is left may be used up, and at least once a second; so one thread is
    /// stopped within about 20 ms of the limit, and N threads use up to N seconds more. Default: no limit.
    #[must_use]
    pub fn max_cpu(mut self, time: Duration) -> Self {
        self.limits.cpu = Some(time);
        self
    }

    /// Refuses a value of more than this many bytes, in all its formats together: the execution has then
    /// [failed](crate::Failure::ResultLimit), though its code ran to its end. Default: no limit but that of a frame.
    #[must_use]
    pub fn max_result(mut self, bytes: u64) -> Self {
        self.limits.result = Some(bytes);
        self
    }

    /// Limits the time from submission to outcome, waiting included. Default: the pool's deadline.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(Deadline::After(after));
        self
    }

    /// Lets the request take as long as it takes; only a cancel ends it.
    #[must_use]
    pub fn no_deadline(mut self) -> Self {
        self.deadline = Some(Deadline::Never);
        self
    }

    /// Binds `name` to `value` before the code runs, without pasting it into the code.
    #[must_use]
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.args.push((name.into(), value.into()));
        self
    }

    /// Names the code in tracebacks. Default: `<exec:N>`.
    #[must_use]
    pub fn filename(mut self, filename: impl Into<String>) -> Self {
        self.filename = Some(filename.into());
        self
    }

    /// Puts these folders in front of `sys.path` while the code runs. Default: none.
    #[must_use]
    pub fn sys_path<P: Into<String>>(mut self, folders: impl IntoIterator<Item = P>) -> Self {
        self.sys_path = folders.into_iter().map(Into::into).collect();
        self
    }

    /// Runs the code in this working folder. Default: the worker's own. A name that is no UTF-8 is refused, for workers are told
    /// it as text; [`WorkerSpec::cwd`](crate::WorkerSpec::cwd) takes any.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cwd = Some(folder.into());
        self
    }

    /// Whether the code may ask for input; if not, `input()` raises `EOFError`. Default: it may. For a
    /// [`rpc`](Self::rpc), whether the server may ask its client something, see [`Event::Asked`](crate::Event::Asked).
    /// Default there: it is told that nobody answers.
    #[must_use]
    pub fn allow_input(mut self, allow: bool) -> Self {
        self.allow_input = allow;
        self
    }

    /// Leaves out the value of the last expression. Default: it is sent.
    #[must_use]
    pub fn silent(mut self, silent: bool) -> Self {
        self.silent = silent;
        self
    }

    /// Asks for the value in rich formats (HTML, images …) too. Default: no.
    #[must_use]
    pub fn mime(mut self, mime: bool) -> Self {
        self.mime = mime;
        self
    }

    /// Runs the code only in this generation of its session: if the worker of the session died meanwhile, and its state was
    /// brought back in another one, the request is refused, or lost without having started, with both numbers. Outside of a
    /// session it means nothing. Default: any.
    #[must_use]
    pub fn expect_generation(mut self, generation: Generation) -> Self {
        self.expects = Some(generation);
        self
    }

    /// Lets the execution run to its end when its handle is dropped. Default: dropping the handle cancels it.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }
}

/// What a recorded [`Execute`] asked for: the code and all that the worker was given with it, but for a deadline and limits,
/// which a worker is not told.
impl From<&Execute> for Request {
    fn from(execute: &Execute) -> Self {
        Self {
            args: execute.args.clone(),
            sys_path: execute.sys_path.clone(),
            filename: execute.filename.clone(),
            cwd: execute.cwd.clone().map(PathBuf::from),
            allow_input: execute.allow_stdin,
            silent: execute.silent,
            mime: execute.mime,
            ..Self::python(execute.code.clone())
        }
    }
}

impl From<&str> for Request {
    fn from(code: &str) -> Self {
        Self::python(code)
    }
}

impl From<String> for Request {
    fn from(code: String) -> Self {
        Self::python(code)
    }
}
