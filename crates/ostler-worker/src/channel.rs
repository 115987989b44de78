//! The channel to the host, and what the operating system tells of this process. The only file of a worker that names
//! descriptors and signals.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    process,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{getpgrp, getpid, kill_current_process_group},
    stdio::{dup2_stdin, dup2_stdout},
};

use ostler_protocol::{
    Codec, Decoder, EncodeError, ErrorKind, Exception, ExecutionError, ExecutionId, FRAME_LEN_MAX,
    FrameError, FromWorker, Level, Log, Stream,
};

/// The exit code of a worker whose host is gone, if it can still choose one.
const HOST_GONE: i32 = 113;
/// The descriptors below are those that every program uses.
const PRIVATE: i32 = 3;
const READ: usize = 64 << 10;
/// What the host calls a value that fits in no frame.
pub(super) const TOO_LARGE: &str = "ValueTooLarge";

/// Takes the channel away from the descriptors that code may use.
#[derive(Debug)]
pub(super) struct Channel;

impl Channel {
    /// Returns both ends of it, or what is wrong with the environment.
    pub(super) fn take() -> Result<(Incoming, Outgoing), String> {
        let codec =
            word("OSTLER_CODEC")?.parse::<Codec>().map_err(|error| format!("OSTLER_CODEC: {error}"))?;
        let transport = word("OSTLER_TRANSPORT")?;
        let apart = match transport.as_str() {
            "socket" => true,
            "stdio" => false,
            other => return Err(format!("OSTLER_TRANSPORT: expected `socket` or `stdio`, got `{other}`")),
        };
        let (incoming, outgoing) =
            take(apart).map_err(|error| format!("cannot set up the channel: {error}"))?;
        // A host interrupts by a message, and signals only what the code has started: this one is a stranger's.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)));
        Ok(Self::over(incoming, outgoing, codec, apart))
    }

    pub(super) fn over(incoming: File, outgoing: File, codec: Codec, apart: bool) -> (Incoming, Outgoing) {
        (
            Incoming { file: incoming, decoder: Decoder::new(FRAME_LEN_MAX), buffer: vec![0; READ] },
            Outgoing { file: Mutex::new(outgoing), codec, apart },
        )
    }
}

fn word(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_missing| {
        format!(
            "{name} is not set: this program is a worker, and is started by a host such as `ostler conform`"
        )
    })
}

fn take(socket: bool) -> io::Result<(File, File)> {
    let incoming: OwnedFd = fcntl_dupfd_cloexec(io::stdin(), PRIVATE)?;
    let outgoing = if socket {
        fcntl_dupfd_cloexec(&incoming, PRIVATE)?
    } else {
        fcntl_dupfd_cloexec(io::stdout(), PRIVATE)?
    };
    dup2_stdin(File::open("/dev/null")?)?;
    if !socket {
        dup2_stdout(io::stderr().as_fd())?;
    }
    Ok((incoming.into(), outgoing.into()))
}

/// Frames from the host.
#[derive(Debug)]
pub(super) struct Incoming {
    file: File,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Incoming {
    /// Waits for the next payload. At the end of the stream the process ends.
    pub(super) fn next(&mut self) -> Result<Bytes, FrameError> {
        loop {
            if let Some(payload) = self.decoder.next()? {
                return Ok(payload);
            }
            self.read();
        }
    }

    /// Reads on for the sake of the end of the stream only.
    pub(super) fn until_the_end(mut self) {
        loop {
            self.read();
            self.decoder = Decoder::new(FRAME_LEN_MAX);
        }
    }

    fn read(&mut self) {
        match self.file.read(&mut self.buffer) {
            Ok(0) => die("the host is gone"),
            Ok(len) => self.decoder.buffer().extend_from_slice(&self.buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => die(&format!("the channel to the host is broken: {error}")),
        }
    }
}

/// Frames to the host.
#[derive(Debug)]
pub(super) struct Outgoing {
    file: Mutex<File>,
    codec: Codec,
    apart: bool,
}

impl Outgoing {
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether output travels in pipes of its own.
    pub(super) fn writes_apart(&self) -> bool {
        self.apart
    }

    pub(super) fn write_apart(&self, stream: Stream, bytes: &[u8]) {
        let written = match stream {
            Stream::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Stream::Stderr => io::stderr().write_all(bytes),
        };
        written.unwrap_or_else(|error| die(&format!("nobody reads the output any more: {error}")));
    }

    /// Sends a message that fits into a frame by its nature.
    pub(super) fn send(&self, message: &FromWorker) {
        if let Err(error) = self.try_send(message) {
            self.send_short(Log::new(Level::Error, format!("a message was left out: {error}")));
        }
    }

    /// Sends a message that comes behind all that was printed before it: `result`, `error`, `display`, `input_request`.
    ///
    /// Never for the thread that reads: it would wait for a host that is behind, or for code that holds the output.
    pub(super) fn send_behind_output(&self, message: &FromWorker) -> Result<(), EncodeError> {
        // If nobody reads it, whoever writes the next piece learns that.
        let _ = io::stdout().flush();
        self.try_send(message)
    }

    /// Sends how a request ended; one that does not fit becomes an error that says so.
    pub(super) fn send_or_refuse(&self, end: FromWorker, id: ExecutionId) {
        let Err(error) = self.send_behind_output(&end) else { return };
        drop(end);
        let mut refused = ExecutionError::new(id, 0.0, ErrorKind::Exception);
        refused.exception = Some(Box::new(Exception::new(TOO_LARGE, error.to_string())));
        self.send(&FromWorker::Error(refused));
    }

    fn send_short(&self, log: Log) {
        // Nothing in it can be too long.
        let _ = self.try_send(&FromWorker::Log(log));
    }

    fn try_send(&self, message: &FromWorker) -> Result<(), EncodeError> {
        let mut frame = BytesMut::new();
        self.codec.encode_from_worker(message, &mut frame)?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&frame)
            .unwrap_or_else(|error| die(&format!("the host does not read any more: {error}")));
        Ok(())
    }
}

/// Ends this process, and its group with it if it leads one: a worker outlives its host for nothing.
pub(super) fn die(why: &str) -> ! {
    log(why);
    if getpgrp() == getpid() {
        let _ = kill_current_process_group(rustix::process::Signal::KILL);
    }
    process::exit(HOST_GONE)
}

/// Writes to the log of the worker. Nobody may be left to read it.
pub(super) fn log(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The processor time of this process so far, where the system tells.
pub(super) fn cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// The resident memory of this process in bytes; 0 where the system does not tell.
pub(super) fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// The clock of a worker.
#[expect(clippy::disallowed_methods, reason = "a worker is a process of its own, with real time")]
pub(super) fn now() -> Instant {
    Instant::now()
}
