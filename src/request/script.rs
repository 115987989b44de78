//! A script: a file, a module or a piece of code that has a process of its own.

use std::{ffi::OsString, os::fd::OwnedFd, sync::Arc};

use super::Request;

/// A program in the language of the pool's workers, run as `python FILE ARGS` or `node FILE ARGS` runs it.
///
/// It gets a process of its own, started for it in a place of the pool, and gone when it ends: the file is the real
/// `__main__`, and it ends as the interpreter ends it, with its threads joined, its exit handlers called and its files
/// flushed. Nothing of it is left for the next one. Queue, deadline, cancel, limits and the one outcome are those of every
/// request; what it finds in its environment and its working folder is what the [`WorkerSpec`](crate::WorkerSpec) says.
///
/// Its outcome is told when its process has ended: [`Completed`](crate::Outcome::Completed) for exit code 0,
/// [`Failure::Exit`](crate::Failure::Exit) for another one, and [`Lost`](crate::Outcome::Lost) if a signal ended it. A
/// cancel sends SIGINT to its process group, SIGTERM at half of the grace, and SIGKILL at its end; it starts with both as by
/// default, also where this process ignores them, unless it inherits its standard input. What it leaves running in its
/// process group is killed when it ends.
///
/// ```no_run
/// # async fn example(runtime: ostler::Runtime) -> Result<(), ostler::SubmitError> {
/// use ostler::Script;
///
/// let report = runtime.run(Script::file("jobs/nightly.py").args(["--verbose"])).await?;
/// print!("{}", report.stdout_text());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Script {
    pub(crate) what: What,
    pub(crate) args: Vec<OsString>,
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

/// What an interpreter is given to run.
#[derive(Clone, Debug)]
pub(crate) enum What {
    File(OsString),
    Module(OsString),
    Code(OsString),
    /// The code is on its standard input.
    Stdin,
}

/// Where a standard stream of a script leads, as in [`std::process`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stdio {
    /// Nowhere: reading finds the end, what is written is gone.
    Null,
    /// To the execution: output comes as [`Event::Output`](crate::Event::Output), as much of it as its caller takes;
    /// input is written to [`Execution::stdin`](crate::Execution::stdin).
    Piped,
    /// To where that of this process leads. Nothing of it is counted or limited.
    ///
    /// A script whose standard input is so, while a standard stream of this process is a terminal, stays in the process
    /// group of this process, as a program does that a shell script runs: it may read what is typed (a password also where
    /// its input is a pipe), Ctrl-C and Ctrl-Z reach it, and the terminal need not be handed over and taken back. Signals then go to its process alone, and what it leaves running is found by the environment that it
    /// inherited.
    Inherit,
    /// To this descriptor. Nothing of it is counted or limited.
    Descriptor(Arc<OwnedFd>),
}

impl From<OwnedFd> for Stdio {
    fn from(descriptor: OwnedFd) -> Self {
        Self::Descriptor(Arc::new(descriptor))
    }
}

impl Script {
    /// A file, or a folder or zip file with a `__main__`, as the interpreter takes it. A relative path is looked up in the
    /// working folder of the script.
    pub fn file(path: impl Into<OsString>) -> Self {
        Self::new(What::File(path.into()))
    }

    /// A module, as `python -m NAME`. Python only.
    pub fn module(name: impl Into<OsString>) -> Self {
        Self::new(What::Module(name.into()))
    }

    /// A piece of code, as `python -c CODE` or `node -e CODE`.
    pub fn code(code: impl Into<OsString>) -> Self {
        Self::new(What::Code(code.into()))
    }

    /// The code that its standard input holds, as `python -`.
    pub fn stdin_code() -> Self {
        Self::new(What::Stdin)
    }

    fn new(what: What) -> Self {
        Self { what, args: Vec::new(), stdin: Stdio::Null, stdout: Stdio::Piped, stderr: Stdio::Piped }
    }

    /// Adds arguments, which it finds behind its name in `sys.argv`.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Where its standard input comes from. Default: nowhere.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Where its standard output goes to. Default: [piped](Stdio::Piped).
    #[must_use]
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = stdout.into();
        self
    }

    /// Where its standard error goes to. Default: [piped](Stdio::Piped).
    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = stderr.into();
        self
    }
}

impl From<Script> for Request {
    fn from(script: Script) -> Self {
        Self { script: Some(Box::new(script)), ..Self::python(String::new()) }
    }
}
