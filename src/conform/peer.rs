//! One worker, driven by hand: each message is written and read by the check itself.

use std::{collections::VecDeque, fmt, future::poll_fn, io, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

use crate::{
    outcome::Exit,
    protocol::{
        Codec, Decoder, Execute, ExecutionError, ExecutionId, ExecutionResult, FRAME_LEN_MAX, FromWorker,
        Init, InputRequest, Ready, Stream, ToWorker, VERSION,
    },
    worker::{Control, Outbox, Pipe, Spawner as _, lives_in},
};

use super::{Fault, Kit, fault::ensure, until};

/// How much of what came is shown.
const SHOWN: usize = 300;
/// How many of the last messages are.
const SEEN_MAX: usize = 5;
/// How long a process may take to end behind its channel.
const LAST_BREATH: Duration = Duration::from_secs(1);

pub(super) struct Peer {
    pub(super) codec: Codec,
    pub(super) pid: Option<u32>,
    channel: Option<(Box<dyn AsyncRead + Send + Unpin>, Arc<dyn Outbox>)>,
    decoder: Decoder,
    stdout: Option<Box<dyn Pipe>>,
    stderr: Option<Box<dyn Pipe>>,
    /// What came on the two pipes since it was last taken.
    printed: [BytesMut; 2],
    exit: Option<Pin<Box<dyn Future<Output = Exit> + Send>>>,
    /// The last messages, for a report.
    seen: VecDeque<String>,
    is_ending: Box<dyn Fn() -> bool + Send>,
    /// Dropping it kills the worker.
    control: Box<dyn Control>,
    patience: Duration,
    last: u64,
}

/// What was seen of one execution until now.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) stdout: BytesMut,
    pub(super) stderr: BytesMut,
    started: bool,
    pieces: u64,
}

/// Where an execution stands.
#[derive(Debug)]
pub(super) enum Step {
    Asks(InputRequest),
    Completed(ExecutionResult),
    Failed(ExecutionError),
}

impl Peer {
    /// Starts a worker, and waits for nothing.
    pub(super) async fn start(kit: &Kit) -> Result<Self, Fault> {
        let worker = kit.spawner.spawn(&Kit::tag()).await;
        let worker =
            worker.map_err(|error| Fault::wrong("a program that can be started", error.to_string()))?;
        Ok(Self {
            codec: worker.codec,
            pid: worker.pid,
            channel: Some((worker.frames, worker.outbox)),
            decoder: Decoder::new(FRAME_LEN_MAX),
            stdout: worker.stdout,
            stderr: worker.stderr,
            printed: Default::default(),
            exit: Some(worker.exit),
            seen: VecDeque::new(),
            is_ending: worker.is_ending,
            control: worker.control,
            patience: kit.patience,
            last: 0,
        })
    }

    /// Starts one, and settles its session.
    pub(super) async fn greeted(kit: &Kit) -> Result<Self, Fault> {
        let mut peer = Self::start(kit).await?;
        peer.ready().await?;
        peer.send(&ToWorker::Init(Init::new(VERSION))).await?;
        Ok(peer)
    }

    /// The first message.
    pub(super) async fn ready(&mut self) -> Result<Ready, Fault> {
        match self.next("`ready`, before anything else").await? {
            FromWorker::Ready(ready) => Ok(ready),
            other => Err(Fault::wrong("`ready`, before anything else", shown(&other))),
        }
    }

    pub(super) fn new_id(&mut self) -> ExecutionId {
        self.last += 1;
        ExecutionId(self.last)
    }

    /// A request to run this, with a new id.
    pub(super) fn request(&mut self, code: &str) -> Execute {
        Execute::new(self.new_id(), code)
    }

    pub(super) fn encoded(&self, messages: &[ToWorker]) -> Result<BytesMut, Fault> {
        let mut frames = BytesMut::new();
        for message in messages {
            let encoded = self.codec.encode(message, &mut frames);
            encoded.map_err(|error| Fault::Skip(format!("the message cannot be written: {error}")))?;
        }
        Ok(frames)
    }

    pub(super) async fn send(&mut self, message: &ToWorker) -> Result<(), Fault> {
        let frame = self.encoded(std::slice::from_ref(message))?;
        self.write(&frame).await
    }

    /// Writes bytes as they are, and reads nothing meanwhile.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let outbox = self.channel.as_ref().map(|(_, outbox)| Arc::clone(outbox));
        let why = match timeout(self.patience, write_all(outbox, bytes)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it has not read for {:?}", self.patience),
        };
        Err(Fault::wrong("that the worker reads its channel", self.with_last_words(why)))
    }

    /// The next message that matters; a `log` and a heartbeat that nobody asked for may come at any time.
    pub(super) async fn next(&mut self, expected: &str) -> Result<FromWorker, Fault> {
        loop {
            let payload = match timeout(self.patience, self.payload()).await {
                Ok(Ok(payload)) => payload,
                Ok(Err(got)) => {
                    let got = self.with_its_end(got).await;
                    return Err(Fault::wrong(expected, self.with_last_words(got)));
                }
                Err(_elapsed) => {
                    let got = format!("nothing for {:?}", self.patience);
                    return Err(Fault::wrong(expected, self.with_last_words(got)));
                }
            };
            let decoded = self.codec.decode(payload.clone());
            if let Ok(message) = &decoded {
                self.seen.push_back(brief(message));
                if self.seen.len() > SEEN_MAX {
                    self.seen.pop_front();
                }
            }
            match decoded {
                Ok(FromWorker::Log(_)) => {}
                Ok(FromWorker::Heartbeat(heartbeat)) if heartbeat.seq.is_none() => {}
                Ok(message) => return Ok(message),
                Err(error) => return Err(Fault::wrong(expected, format!("{error}: {}", escaped(&payload)))),
            }
        }
    }

    async fn payload(&mut self) -> Result<Bytes, String> {
        loop {
            match self.decoder.next() {
                Ok(Some(payload)) => return Ok(payload),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            let Some((frames, _)) = &mut self.channel else { return Err("the channel is closed".into()) };
            let [out, err] = &mut self.printed;
            tokio::select! {
                read = frames.read_buf(self.decoder.buffer()) => match read {
                    Ok(0) => return Err(self.decoder.finish().err().map_or("the end of the channel".into(), |e| e.to_string())),
                    Ok(_) => {}
                    Err(error) => return Err(error.to_string()),
                },
                () = drain(&mut self.stdout, out) => {}
                () = drain(&mut self.stderr, err) => {}
            }
        }
    }

    /// Takes what both pipes hold at this moment, as a host does before it believes that something is over.
    fn fence(&mut self) {
        for (pipe, printed) in [&mut self.stdout, &mut self.stderr].into_iter().zip(&mut self.printed) {
            if let Some(pipe) = pipe {
                // What is wrong with a pipe shows as output that is missing.
                let _ = pipe.read_held(printed);
            }
        }
    }

    /// Follows one execution until it asks or ends, and checks the order of what comes.
    pub(super) async fn follow(&mut self, id: ExecutionId, ran: &mut Ran) -> Result<Step, Fault> {
        const EXPECTED: &str =
            "`started`, then output, then one `result` or `error`, all with the id of the request";
        loop {
            let message = self.next(EXPECTED).await?;
            if message.execution_id() != Some(id) {
                return Err(Fault::wrong(EXPECTED, shown(&message)));
            }
            if matches!(message, FromWorker::Started(_)) == ran.started {
                return Err(Fault::wrong("`started` once, and before all else", shown(&message)));
            }
            match message {
                FromWorker::Started(_) => ran.started = true,
                FromWorker::Output(output) => {
                    let expected = format!("`output` with `seq` {}", ran.pieces);
                    ensure(output.seq == ran.pieces, expected, || format!("`seq` {}", output.seq))?;
                    ran.pieces += 1;
                    match output.stream {
                        Stream::Stdout => ran.stdout.extend_from_slice(&output.data),
                        Stream::Stderr => ran.stderr.extend_from_slice(&output.data),
                    }
                }
                FromWorker::Display(_) => {}
                FromWorker::InputRequest(request) => {
                    self.take_printed(ran);
                    return Ok(Step::Asks(request));
                }
                FromWorker::Result(result) => {
                    self.take_printed(ran);
                    return Ok(Step::Completed(result));
                }
                FromWorker::Error(error) => {
                    self.take_printed(ran);
                    return Ok(Step::Failed(error));
                }
                other => return Err(Fault::wrong(EXPECTED, shown(&other))),
            }
        }
    }

    /// Forgets what was printed until now.
    pub(super) fn discard_printed(&mut self) {
        self.take_printed(&mut Ran::default());
    }

    fn take_printed(&mut self, ran: &mut Ran) {
        self.fence();
        let [out, err] = &mut self.printed;
        ran.stdout.extend_from_slice(&out.split());
        ran.stderr.extend_from_slice(&err.split());
    }

    /// Runs this to its end; it asks for nothing.
    pub(super) async fn run(&mut self, request: Execute) -> Result<(Ran, Step), Fault> {
        let (id, mut ran) = (request.id, Ran::default());
        self.send(&ToWorker::Execute(request)).await?;
        let step = self.follow(id, &mut ran).await?;
        Ok((ran, step))
    }

    /// Says that the host is gone: closes the channel, and waits for the end of the process.
    pub(super) async fn hang_up(&mut self) -> Result<Exit, Fault> {
        self.channel = None;
        self.ended("the end of the process, since its host is gone").await
    }

    /// Says that the host is gone, and waits for the end of the process and then for that of another one in its group, of
    /// which nothing is left to the kit.
    pub(super) async fn hang_up_with(&mut self, other: u32) -> Result<(), Fault> {
        const EXPECTED: &str = "the end of the process and of its group, since its host is gone";
        let leader = self.pid.unwrap_or_default();
        self.control.hold();
        self.channel = None;
        // It is asked here only.
        let is_ending = std::mem::replace(&mut self.is_ending, Box::new(|| true));
        let ended = until(self.patience, is_ending).await;
        ensure(ended, EXPECTED, || "it lives on".into())?;
        let ended = until(self.patience, || !lives_in(leader, other)).await;
        ensure(ended, EXPECTED, || {
            format!("it has ended, and process {other}, which its code started, lives on")
        })
    }

    /// Waits for the end of the process.
    pub(super) async fn ended(&mut self, expected: &str) -> Result<Exit, Fault> {
        let Some(mut exit) = self.exit.take() else {
            return Err(Fault::wrong(expected, "it had ended before"));
        };
        let [out, err] = &mut self.printed;
        let ended = async {
            loop {
                tokio::select! {
                    exit = &mut exit => return exit,
                    () = drain(&mut self.stdout, out) => {}
                    () = drain(&mut self.stderr, err) => {}
                }
            }
        };
        timeout(self.patience, ended).await.map_err(|_elapsed| Fault::wrong(expected, "it lives on"))
    }

    /// A channel that ends is mostly that of a process which ended.
    async fn with_its_end(&mut self, got: String) -> String {
        let Some(exit) = &mut self.exit else { return got };
        match timeout(LAST_BREATH, exit).await {
            Ok(exit) => {
                self.exit = None;
                format!("{got}: it ended with {exit}")
            }
            Err(_elapsed) => format!("{got}, and it lives on"),
        }
    }

    /// What it said last, and wrote to its log, may say why.
    fn with_last_words(&mut self, mut got: String) -> String {
        self.fence();
        if !self.seen.is_empty() {
            got += &format!("\nits last messages: {}", Vec::from(self.seen.clone()).join(", "));
        }
        let [out, err] = &self.printed;
        for (name, printed) in [("output", out), ("error", err)] {
            if !printed.is_empty() {
                got += &format!("\non its standard {name}: {}", escaped(printed));
            }
        }
        got
    }
}

/// Writes all of it, however often the channel is full.
async fn write_all(outbox: Option<Arc<dyn Outbox>>, mut bytes: &[u8]) -> io::Result<()> {
    let outbox = outbox.ok_or(io::ErrorKind::NotConnected)?;
    while !bytes.is_empty() {
        poll_fn(|context| outbox.poll_writable(context)).await?;
        match outbox.try_write(bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads once from a pipe that is open; its end closes it. Never, while there is none.
async fn drain(pipe: &mut Option<Box<dyn Pipe>>, into: &mut BytesMut) {
    match pipe {
        Some(open) => {
            if !matches!(open.read_buf(into).await, Ok(1..)) {
                *pipe = None;
            }
        }
        None => std::future::pending().await,
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asks(request) => write!(f, "`input_request` with the prompt {:?}", request.prompt),
            Self::Completed(_) => f.write_str("`result`"),
            Self::Failed(error) => {
                write!(f, "`error` of kind `{}`", error.kind.as_str())?;
                let Some(exception) = &error.exception else { return Ok(()) };
                write!(f, ": {}: {}", exception.type_name, exception.message)
            }
        }
    }
}

/// A message in a word or two, for the list of the last ones.
fn brief(message: &FromWorker) -> String {
    let name = format!("`{}`", message.type_name());
    match message {
        FromWorker::Output(output) => format!("{name} {} {:?}", output.stream, escaped(&output.data)),
        FromWorker::Error(error) => format!("{name} of kind `{}`", error.kind.as_str()),
        FromWorker::ProtocolError(error) => format!("{name} {:?}", error.what),
        FromWorker::CancelAck(ack) => format!("{name} with `hit` {}", ack.hit),
        _ => name,
    }
}

/// A message, for a report.
pub(super) fn shown(message: &FromWorker) -> String {
    format!("{message:?}").chars().take(SHOWN).collect()
}

/// Bytes, for a report.
pub(super) fn escaped(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string()
}
