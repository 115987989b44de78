//! One request, as the function of a worker sees it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;

use ostler_protocol::{Display, Execute, ExecutionId, FromWorker, InputRequest, Mime, Output, Stream, Value};

use super::{
    Error, Stopped,
    channel::{Outgoing, TOO_LARGE},
    turns::Turns,
};

/// The largest piece of output in one frame.
const PIECE: usize = 256 << 10;

/// The number of the next input request: never used twice by one worker.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// One request while it runs. It can be shared with threads that end before the function does.
#[derive(Debug)]
pub struct Task<'a> {
    request: &'a Execute,
    channel: &'a Arc<Outgoing>,
    turns: &'a Arc<Turns>,
    /// Counts the pieces of output; locked while one is written, so that they leave in their order.
    pieces: Mutex<u64>,
}

impl<'a> Task<'a> {
    pub(super) fn new(request: &'a Execute, channel: &'a Arc<Outgoing>, turns: &'a Arc<Turns>) -> Self {
        Self { request, channel, turns, pieces: Mutex::new(0) }
    }

    /// Its id, as in the host's logs.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        self.request.id
    }

    /// What to run.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.request.code
    }

    /// The argument of this name.
    #[must_use]
    pub fn arg(&self, name: &str) -> Option<&Value> {
        self.request.args.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether it is to run in a namespace of its own, which ends with it: what it names is not kept, and it finds nothing
    /// that others have named.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.request.fresh
    }

    /// The whole request.
    #[must_use]
    pub fn request(&self) -> &Execute {
        self.request
    }

    /// Whether the host wants it to stop. Code that runs for long asks now and then.
    ///
    /// # Errors
    /// [`Stopped`] once the host has cancelled or interrupted it; for good.
    pub fn check(&self) -> Result<(), Stopped> {
        self.turns.stopped(self.id()).map_or(Ok(()), |_reason| Err(Stopped))
    }

    /// Waits, and ends early when the host wants it to stop.
    ///
    /// # Errors
    /// As [`Task::check`].
    pub fn sleep(&self, wait: Duration) -> Result<(), Stopped> {
        self.turns.sleep(self.id(), wait).map_or(Ok(()), |_reason| Err(Stopped))
    }

    /// Prints to the standard output of the request. It waits while the host is behind.
    ///
    /// # Errors
    /// As [`Task::check`], after it was written: so code that prints stops when it is told to.
    pub fn print(&self, text: impl fmt::Display) -> Result<(), Stopped> {
        self.write(Stream::Stdout, text.to_string().as_bytes())
    }

    /// Prints to its standard error.
    ///
    /// # Errors
    /// As [`Task::print`].
    pub fn print_error(&self, text: impl fmt::Display) -> Result<(), Stopped> {
        self.write(Stream::Stderr, text.to_string().as_bytes())
    }

    /// Writes bytes to either.
    ///
    /// # Errors
    /// As [`Task::print`].
    pub fn write(&self, stream: Stream, bytes: &[u8]) -> Result<(), Stopped> {
        if self.channel.writes_apart() {
            self.channel.write_apart(stream, bytes);
            return self.check();
        }
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.chunks(PIECE) {
            let output = Output::new(self.id(), stream, *pieces, Bytes::copy_from_slice(piece));
            self.channel.send(&FromWorker::Output(output));
            *pieces += 1;
        }
        drop(pieces);
        self.check()
    }

    /// Shows a rich value: the same thing in one or more formats.
    ///
    /// # Errors
    /// [`Error::Stopped`] as [`Task::print`]; [`Error::Raised`] if it fits in no frame.
    pub fn display(&self, data: Mime) -> Result<(), Error> {
        self.tell(&FromWorker::Display(Display::new(self.id(), data)))?;
        Ok(self.check()?)
    }

    /// Asks the user for a line, and waits for it; `None` at the end of the input, and at once where the request allows
    /// none. Several threads may ask at once: each gets the answer to its own question.
    ///
    /// # Errors
    /// [`Error::Stopped`] as [`Task::check`]; [`Error::Raised`] if the prompt fits in no frame.
    pub fn input(&self, prompt: impl Into<String>) -> Result<Option<String>, Error> {
        self.ask(prompt.into(), false)
    }

    /// Asks for a line that is not shown while it is typed.
    ///
    /// # Errors
    /// As [`Task::input`].
    pub fn password(&self, prompt: impl Into<String>) -> Result<Option<String>, Error> {
        self.ask(prompt.into(), true)
    }

    fn ask(&self, prompt: String, password: bool) -> Result<Option<String>, Error> {
        self.check()?;
        if !self.request.allow_stdin {
            return Ok(None);
        }
        let number = REQUESTS.fetch_add(1, Relaxed);
        let mut request = InputRequest::new(self.id(), number, prompt);
        request.password = password;
        self.turns.ask(self.id(), number);
        self.tell(&FromWorker::InputRequest(request))
            .inspect_err(|_error| self.turns.withdraw(self.id(), number))?;
        self.turns.answered(self.id(), number).map_err(|_reason| Error::Stopped)
    }

    /// Whatever the code has printed goes first, also through `print!`.
    fn tell(&self, message: &FromWorker) -> Result<(), Error> {
        let sent = self.channel.send_behind_output(message);
        sent.map_err(|error| Error::new(TOO_LARGE, error.to_string()))
    }
}
