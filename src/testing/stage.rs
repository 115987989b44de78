//! What a script has in hand: the worker's side of the protocol.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncReadExt, sync::watch};

use crate::{
    config::FRAME_LEN_MAX,
    protocol::{
        Cancel, CancelAck, Codec, Decoder, ErrorKind, Exception, Execute, ExecutionError, ExecutionId,
        ExecutionResult, FromWorker, Heartbeat, InputRequest, InputResponse, Output, Ready, Started, Stream,
        ToWorker, VERSION, Value,
    },
    testing::{
        pipe::{Reading, Writing},
        spawner::{Fact, Life, Page},
    },
};

/// The worker's side of one scripted worker.
///
/// What is sent waits while its pipe is full. Once the host has closed that pipe, it waits for ever, and so for the
/// kill that follows.
#[derive(Debug)]
pub struct Stage {
    page: Page,
    codec: Codec,
    input: Option<Reading>,
    decoder: Decoder,
    /// What came of a line whose end did not come yet.
    line: BytesMut,
    channel: Option<Writing>,
    stdout: Option<Writing>,
    stderr: Option<Writing>,
    interrupts: watch::Receiver<u64>,
    interrupts_taken: u64,
    life: Arc<Life>,
    /// The number of the next piece of output, and of the next input request.
    next_seq: u64,
    next_request: u64,
}

/// The worker's ends of what connects it with its host.
pub(super) struct Ends {
    pub(super) input: Reading,
    pub(super) channel: Writing,
    pub(super) stdout: Option<Writing>,
    pub(super) stderr: Writing,
    pub(super) interrupts: watch::Receiver<u64>,
    pub(super) life: Arc<Life>,
}

impl Stage {
    pub(super) fn new(page: Page, codec: Codec, ends: Ends) -> Self {
        let Ends { input, channel, stdout, stderr, interrupts, life } = ends;
        Self {
            page,
            codec,
            input: Some(input),
            decoder: Decoder::new(FRAME_LEN_MAX),
            line: BytesMut::new(),
            channel: Some(channel),
            stdout,
            stderr: Some(stderr),
            interrupts,
            interrupts_taken: 0,
            life,
            next_seq: 0,
            next_request: 0,
        }
    }

    /// Which worker of its spawner this is: the first is 1. It is also its process id, as far as the host knows.
    #[must_use]
    pub fn number(&self) -> usize {
        self.page.worker
    }

    /// What the host started it with: `POOL.SLOT.GENERATION`.
    #[must_use]
    pub fn tag(&self) -> &Arc<str> {
        &self.page.tag
    }

    /// The next message of the host, whatever it is; `None` when there will be no more. Cancel safe.
    ///
    /// # Panics
    /// The host sent what is no message.
    pub async fn recv(&mut self) -> Option<ToWorker> {
        loop {
            if let Some(payload) = self.decoder.next().expect("the host sends frames") {
                let message = self.codec.decode_to_worker(payload).expect("the host sends messages");
                self.page.note(Fact::Received(message.clone()));
                return Some(message);
            }
            let Some(input) = &mut self.input else { return None };
            if input.read_buf(self.decoder.buffer()).await.map_or(0, |read| read) == 0 {
                return None;
            }
        }
    }

    /// The next line of the host, which takes this worker for a JSON-RPC server; `None` when there will be no more, or no
    /// whole one. Cancel safe.
    ///
    /// # Panics
    /// The host sent what is not UTF-8.
    pub async fn recv_line(&mut self) -> Option<String> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.line[seen..].iter().position(|byte| *byte == b'\n') {
                let line = self.line.split_to(seen + end + 1)[..seen + end].to_vec();
                let line = String::from_utf8(line).expect("the host sends UTF-8");
                self.page.note(Fact::ReceivedLine(line.clone()));
                return Some(line);
            }
            seen = self.line.len();
            let Some(input) = &mut self.input else { return None };
            if input.read_buf(&mut self.line).await.map_or(0, |read| read) == 0 {
                return None;
            }
        }
    }

    /// The next execution to run; what else comes is answered as a well-behaved worker would. `None` when the worker
    /// is to end: then return `Exit::Code(0)`. Cancel safe up to the answers.
    pub async fn next_execute(&mut self) -> Option<Execute> {
        loop {
            let message = self.recv().await?;
            if let ToWorker::Execute(execute) = message {
                return Some(execute);
            }
            if let ToWorker::Shutdown(_) = message {
                self.send(&FromWorker::Bye).await;
                return None;
            }
            self.answer(&message, None).await;
        }
    }

    /// Waits, as code that runs does, until the host asks to cancel `id`; answer with [`cancelled`](Self::cancelled).
    /// Never returns when the host closes the channel instead. Cancel safe up to the answers.
    pub async fn wait_for_cancel(&mut self, id: ExecutionId) -> Cancel {
        while let Some(message) = self.recv().await {
            if let ToWorker::Cancel(cancel) = &message
                && cancel.id == id
            {
                self.send(&FromWorker::CancelAck(CancelAck::new(id, true))).await;
                return cancel.clone();
            }
            self.answer(&message, Some(id)).await;
        }
        std::future::pending().await
    }

    /// Waits until the host has interrupted this worker once more, as by a signal. Cancel safe.
    pub async fn interrupted(&mut self) {
        let taken = self.interrupts_taken;
        if self.interrupts.wait_for(|rings| *rings > taken).await.is_err() {
            std::future::pending::<()>().await;
        }
        self.interrupts_taken += 1;
    }

    /// Answers what needs an answer at any time.
    async fn answer(&mut self, message: &ToWorker, running: Option<ExecutionId>) {
        if let ToWorker::Ping(ping) = message {
            self.heartbeat(Some(ping.seq), running).await;
        } else if let ToWorker::Cancel(cancel) = message {
            self.send(&FromWorker::CancelAck(CancelAck::new(cancel.id, false))).await;
        }
    }

    /// Says that the worker is there.
    pub async fn ready(&mut self) {
        let pid = u32::try_from(self.number()).unwrap_or(u32::MAX);
        self.send(&FromWorker::Ready(Ready::new(VERSION, pid, self.codec, "script"))).await;
    }

    /// Says that an execution begins, and numbers its output from 0.
    pub async fn started(&mut self, id: ExecutionId) {
        self.next_seq = 0;
        self.send(&FromWorker::Started(Started::new(id))).await;
    }

    /// Sends a piece of output as a frame, with its number.
    pub async fn output(&mut self, id: ExecutionId, stream: Stream, data: impl Into<Bytes>) {
        let output = Output::new(id, stream, self.next_seq, data.into());
        self.next_seq += 1;
        self.send(&FromWorker::Output(output)).await;
    }

    /// Asks for a line of input and waits for the answer; `None` when the host closed the channel.
    pub async fn input(&mut self, id: ExecutionId, prompt: &str) -> Option<InputResponse> {
        let request = self.next_request;
        self.next_request += 1;
        self.send(&FromWorker::InputRequest(InputRequest::new(id, request, prompt))).await;
        loop {
            let message = self.recv().await?;
            if let ToWorker::InputResponse(response) = &message
                && response.request == request
            {
                return Some(response.clone());
            }
            self.answer(&message, Some(id)).await;
        }
    }

    /// Says that an execution ended well, with this value.
    pub async fn completed(&mut self, id: ExecutionId, value: impl Into<Value>) {
        let value = value.into();
        let mut result = ExecutionResult::new(id, 0.001);
        result.repr = Some(value.to_string());
        result.value = Some(value);
        self.send(&FromWorker::Result(result)).await;
    }

    /// Says that an execution ended in an exception.
    pub async fn failed(&mut self, id: ExecutionId, type_name: &str, message: &str) {
        let mut error = ExecutionError::new(id, 0.001, ErrorKind::Exception);
        error.exception = Some(Box::new(Exception::new(type_name, message)));
        self.send(&FromWorker::Error(error)).await;
    }

    /// Says that an execution was cancelled.
    pub async fn cancelled(&mut self, id: ExecutionId) {
        self.send(&FromWorker::Error(ExecutionError::new(id, 0.001, ErrorKind::Cancelled))).await;
    }

    /// Sends a sign of life.
    pub async fn heartbeat(&mut self, seq: Option<u64>, running: Option<ExecutionId>) {
        let mut heartbeat = Heartbeat::new(1_u64 << 20, 0.0, 0_u64);
        (heartbeat.seq, heartbeat.running) = (seq, running);
        self.send(&FromWorker::Heartbeat(heartbeat)).await;
    }

    /// Sends any message.
    pub async fn send(&mut self, message: &FromWorker) {
        let frame = self.frame(message);
        self.send_bytes(&frame).await;
    }

    /// The bytes of a message, to send in pieces, or with some of them wrong.
    ///
    /// # Panics
    /// The message does not fit into a frame.
    #[must_use]
    pub fn frame(&self, message: &FromWorker) -> Bytes {
        let mut frame = BytesMut::new();
        self.codec.encode_from_worker(message, &mut frame).expect("a script sends what fits into a frame");
        frame.freeze()
    }

    /// Sends bytes where frames are expected.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        write(self.channel.as_ref(), bytes).await;
    }

    /// Prints on a plain pipe, as code that writes to fd 1 or 2 does. Without such a pipe nobody hears it.
    pub async fn print(&mut self, stream: Stream, bytes: impl AsRef<[u8]>) {
        let pipe = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        if pipe.is_some() {
            write(pipe.as_ref(), bytes.as_ref()).await;
        }
    }

    /// Closes the channel to the host, and lives on.
    pub fn close_channel(&mut self) {
        self.life.closes();
        self.channel = None;
    }

    /// Closes the channel from the host, and lives on.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Closes fd 1 or 2, and lives on.
    pub fn close(&mut self, stream: Stream) {
        match stream {
            Stream::Stdout => self.stdout = None,
            Stream::Stderr => self.stderr = None,
        }
    }
}

/// Writes all, or waits to be killed where nobody reads.
async fn write(pipe: Option<&Writing>, bytes: &[u8]) {
    let written = match pipe {
        Some(pipe) => pipe.write_all(bytes).await.is_ok(),
        None => false,
    };
    if !written {
        std::future::pending::<()>().await;
    }
}
