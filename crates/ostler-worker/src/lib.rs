//! A worker of Ostler in Rust: a function from a request to a value. This crate does everything else that a worker owes
//! its host.
//!
//! Frames, the handshake, output, input, cancel, heartbeats and the end with the host are done here, as `PROTOCOL.md`
//! says. The function runs on the thread that called [`Worker::run`], one request at a time, and keeps whatever it
//! captures: that is the state of the session.
//!
//! ```no_run
//! use ostler_worker::Worker;
//!
//! fn main() -> std::process::ExitCode {
//!     let mut total = 0_i64;
//!     Worker::new("adder").run(|task| {
//!         let number: i64 = task.code().trim().parse()?; // an error of the code, and the worker goes on
//!         total += number;
//!         task.print(format!("{number} more\n"))?;       // streamed; ends the request if the host has cancelled it
//!         Ok(total.into())
//!     })
//! }
//! ```
//!
//! A host starts it with `Runtime::builder(WorkerSpec::command("target/release/adder"))`, or the program `ostler` with the
//! setting `worker.command`.
//!
//! What a program cannot do without unsafe code is left out, and harmless: `OSTLER_CODEC` and `OSTLER_TRANSPORT` stay in
//! the environment.

mod channel;
mod error;
mod inbox;
mod task;
#[cfg(test)]
mod tests;
mod turns;

use std::{process::ExitCode, sync::Arc, time::Instant};

use ostler_protocol::{
    ErrorKind, Exception, Execute, ExecutionError, ExecutionResult, FromWorker, Ready, Started, VERSION,
    contain::contained,
};

#[doc(inline)]
pub use ostler_protocol::{Display, Mime, MimeData, Value};

use self::{
    channel::{Channel, Incoming, Outgoing},
    turns::{Ending, Reason, Turns},
};
pub use self::{
    error::{Error, Stopped},
    task::Task,
};

/// The exit code of a worker that was told to speak what it does not speak.
const NOT_UNDERSTOOD: u8 = 64;
/// The longest `repr`, in characters, unless the host says otherwise.
const REPR_MAX: usize = 4096;

/// A worker, described: [`Self::run`] makes this process one.
#[derive(Debug, Clone)]
pub struct Worker {
    language: String,
    version: Option<String>,
}

impl Worker {
    /// A worker that runs this language: a name of your choice, by which hosts tell workers apart.
    #[must_use]
    pub fn new(language: impl Into<String>) -> Self {
        Self { language: language.into(), version: None }
    }

    /// The version of what it runs; none unless set.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Serves the host that started this process until that asks for the end, and returns the exit code for it. When the
    /// host is gone this does not return: the process ends, and its process group with it.
    ///
    /// The function gets one request at a time. It returns a value, or an error, which is the caller's and not the
    /// worker's: the worker goes on. So it does after a panic.
    ///
    /// Call it first of all, before anything reads standard input or prints: it moves the channel to the host away from
    /// descriptors 0 and 1, so that from then on `println!` is a line of the worker's log, or on the socket transport
    /// output of the request.
    pub fn run(self, serve: impl FnMut(&Task<'_>) -> Result<Value, Error>) -> ExitCode {
        let began = channel::now();
        match Channel::take() {
            Ok((incoming, outgoing)) => self.run_on(incoming, outgoing, began, serve).into(),
            Err(why) => {
                complain(&why);
                NOT_UNDERSTOOD.into()
            }
        }
    }

    /// Serves the host at the other end, and returns the exit code.
    fn run_on(
        self,
        incoming: Incoming,
        outgoing: Outgoing,
        began: Instant,
        mut serve: impl FnMut(&Task<'_>) -> Result<Value, Error>,
    ) -> u8 {
        let (channel, turns) = (Arc::new(outgoing), Arc::new(Turns::default()));
        channel.send(&self.ready(&channel, began));
        inbox::open(incoming, Arc::clone(&channel), Arc::clone(&turns));
        loop {
            match turns.next() {
                Ok(request) => {
                    let end = execute(&request, &mut serve, &channel, &turns);
                    // Before the host can know of the end: a cancel that comes later hits nothing.
                    turns.end(request.id);
                    channel.send_or_refuse(end, request.id);
                }
                Err(Ending::Shutdown) => {
                    channel.send(&FromWorker::Bye);
                    return 0;
                }
                Err(Ending::OtherVersion) => return NOT_UNDERSTOOD,
            }
        }
    }

    fn ready(&self, channel: &Outgoing, began: Instant) -> FromWorker {
        let mut ready = Ready::new(VERSION, std::process::id(), channel.codec(), self.language.clone());
        ready.version.clone_from(&self.version);
        ready.executable = std::env::current_exe().ok().map(|path| path.to_string_lossy().into_owned());
        ready.capabilities = ["input", "cancel", "interrupt", "display"].map(Into::into).into();
        ready.boot_ms = Some(began.elapsed().as_secs_f64() * 1000.0);
        FromWorker::Ready(ready)
    }
}

/// Runs the function on one request, and returns the message that ends it.
fn execute(
    request: &Execute,
    serve: &mut impl FnMut(&Task<'_>) -> Result<Value, Error>,
    channel: &Arc<Outgoing>,
    turns: &Arc<Turns>,
) -> FromWorker {
    channel.send(&FromWorker::Started(Started::new(request.id)));
    let (began, cpu) = (channel::now(), channel::cpu_time());
    let task = Task::new(request, channel, turns);
    let ended = match turns.stopped(request.id) {
        // It never began.
        Some(_) => Err(Error::Stopped),
        None => contained(|| serve(&task)).unwrap_or_else(|said| Err(Error::new("panic", said))),
    };
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu.zip(channel::cpu_time()).map(|(before, after)| after.saturating_sub(before).as_secs_f64());
    match ended {
        Ok(value) => {
            let mut result = ExecutionResult::new(request.id, seconds);
            if !value.is_none() && !request.silent {
                result.repr = Some(value.to_string().chars().take(REPR_MAX).collect());
                result.value = Some(value);
            }
            result.cpu_time = cpu;
            FromWorker::Result(result)
        }
        Err(error) => {
            let (kind, exception, code) = told(error, turns.stopped(request.id));
            let mut error = ExecutionError::new(request.id, seconds, kind);
            (error.exception, error.exit_code, error.cpu_time) = (exception.map(Box::new), code, cpu);
            FromWorker::Error(error)
        }
    }
}

/// How an error is told. A stop that nobody asked for is an error like any other.
fn told(error: Error, asked: Option<Reason>) -> (ErrorKind, Option<Exception>, Option<i64>) {
    match (error, asked) {
        (Error::Raised(exception), _) => (ErrorKind::Exception, Some(*exception), None),
        (Error::Syntax(exception), _) => (ErrorKind::Syntax, Some(*exception), None),
        (Error::Exit(code), _) => (ErrorKind::Exit, None, Some(code.into())),
        (Error::Stopped, Some(Reason::Cancel)) => {
            (ErrorKind::Cancelled, Some(Exception::new("Cancelled", "")), None)
        }
        (Error::Stopped, Some(Reason::Interrupt)) => {
            (ErrorKind::Exception, Some(Exception::new("Interrupted", "")), None)
        }
        (Error::Stopped, None) => {
            let message = "the code says that it was stopped, and the host did not stop it";
            (ErrorKind::Exception, Some(Exception::new("Stopped", message)), None)
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the host keeps the end of stderr, and there is no other way to tell it"
)]
fn complain(why: &str) {
    eprintln!("{why}");
}
