//! The only reader of a worker: its frames, its pipes and its end, for the worker's whole life.
//!
//! It pays before it reads a pipe, and before it passes on frames that carry output. A full window stops just that: the
//! end of the worker and a renewed window are always waited for. Its last message is `Exited`.

use std::future::Future;

use bytes::Bytes;
use ractor::ActorRef;
use tokio::{
    io::AsyncRead,
    time::{Instant, timeout_at},
};

use crate::{
    actor::{
        charge::Obituary,
        credit::{CHUNK, Credit, Credits},
        messages::{Batch, Item, SessionMsg},
    },
    config::{DRAIN_LIMIT, STALL_LIMIT},
    machine::session::Broken,
    outcome::{Event, Exit},
    protocol::{self, Codec, FrameError, FromWorker, Stream},
    worker::Pipe,
};

mod channel;
mod output;

use channel::{Channel, End, Stall};
use output::Output;

/// Everything of a worker that is read.
pub(crate) struct Reader {
    session: ActorRef<SessionMsg>,
    credits: Credits,
    channel: Channel,
    stall: Stall,
    pipes: [Output; 2],
    /// A frame that carries output and is not paid for yet. Nothing more is taken from the channel until it is.
    owed: Option<(FromWorker, usize)>,
    /// What the next read of a pipe costs.
    paid: Option<Paid>,
    batch: Batch,
}

/// What the reader may do with a pipe.
enum Paid {
    /// Read, and pass on with this.
    Credit(Credit),
    /// Read, and drop if that is still so then: nobody has room and nobody is waited for.
    Nobody,
}

/// What is read on, after the worker's exit has been taken out.
pub(crate) type ExitNotice = std::pin::Pin<Box<dyn Future<Output = Exit> + Send>>;

impl Reader {
    /// Takes the reading ends out of `worker`.
    pub(crate) fn new(
        session: ActorRef<SessionMsg>,
        credits: Credits,
        codec: Codec,
        frames: Box<dyn AsyncRead + Send + Unpin>,
        stdout: Option<Box<dyn Pipe>>,
        stderr: Option<Box<dyn Pipe>>,
    ) -> Self {
        Self {
            session,
            credits,
            channel: Channel::new(codec, frames),
            stall: Stall::default(),
            pipes: [Output::new(Stream::Stdout, stdout), Output::new(Stream::Stderr, stderr)],
            owed: None,
            paid: None,
            batch: Batch::new(),
        }
    }

    /// Reads until the worker is dead, then what it left behind, and says so.
    pub(crate) async fn run(mut self, mut exit: ExitNotice, mut obituary: Obituary) {
        obituary.exit = tokio::select! {
            biased;
            exit = &mut exit => exit,
            () = self.read() => exit.await,
        };
        self.drain().await;
        // The session may be gone already; then the supervisor is told.
        let _ = self.session.cast(SessionMsg::Exited(obituary));
    }

    /// Reads until nothing is left to read. Cancel safe: what was read is in `self`.
    async fn read(&mut self) {
        while self.channel.frames.is_some() || self.owed.is_some() || self.pipes.iter().any(Output::is_open) {
            self.turn().await;
            self.send();
        }
    }

    /// Waits for one thing, and takes it. Cancel safe.
    async fn turn(&mut self) {
        let [stdout, stderr] = &mut self.pipes;
        let cost = match &self.owed {
            Some((_, bytes)) => Some(*bytes),
            None if self.paid.is_none() && (stdout.is_open() || stderr.is_open()) => Some(CHUNK),
            None => None,
        };
        let (may_read, owes) = (self.paid.is_some(), self.owed.is_some());
        tokio::select! {
            biased;
            end = self.channel.read(), if !owes => self.on_channel(end),
            credit = self.credits.take(cost.unwrap_or_default()), if cost.is_some() => self.pay(credit),
            () = stdout.read(), if may_read => self.pass_on(0),
            () = stderr.read(), if may_read => self.pass_on(1),
            () = self.stall.wait(), if !owes => self.stalled(),
        }
    }

    fn pay(&mut self, credit: Option<Credit>) {
        match (self.owed.take(), credit) {
            (None, credit) => self.paid = Some(credit.map_or(Paid::Nobody, Paid::Credit)),
            (Some((frame, _)), Some(credit)) => {
                self.batch.push(Item::Frame(frame, credit));
                self.take_frames();
            }
            (Some((frame, bytes)), None) => {
                self.drop_output(frame, bytes);
                self.take_frames();
            }
        }
    }

    /// Nobody has room for the output of this frame. Its number still counts.
    fn drop_output(&mut self, frame: FromWorker, bytes: usize) {
        if let FromWorker::Output(output) = frame {
            let emptied = protocol::Output { data: Bytes::new(), ..output };
            self.batch.push(Item::Frame(FromWorker::Output(emptied), Credit::free()));
        }
        self.batch.push(Item::Output(Event::Dropped { bytes: bytes as u64 }, Credit::free()));
    }

    /// Passes on what was read from a pipe. What it did not need of the credit goes back.
    fn pass_on(&mut self, pipe: usize) {
        let output = &mut self.pipes[pipe];
        let data = output.buffer.split().freeze();
        if data.is_empty() {
            return;
        }
        let credit = match self.paid.take() {
            Some(Paid::Credit(mut credit)) => Some(credit.split(data.len())),
            // Decided before these bytes came: an execution may have begun since, and have room.
            Some(Paid::Nobody) | None => self.credits.try_take(data.len()),
        };
        let item = match credit {
            Some(credit) => Item::Output(Event::Output { stream: output.stream, data }, credit),
            None => Item::Output(Event::Dropped { bytes: data.len() as u64 }, Credit::free()),
        };
        self.batch.push(item);
    }

    fn on_channel(&mut self, end: Option<End>) {
        if end.is_some() {
            self.channel.frames = None;
            self.channel.ended = true;
        }
        self.take_frames();
    }

    /// Takes the whole frames in hand, each behind the output that was printed before it, up to one that has to be
    /// paid for.
    fn take_frames(&mut self) {
        while self.owed.is_none() {
            match self.channel.decoder.next() {
                Ok(Some(payload)) => {
                    self.channel.spoken = true;
                    self.frame(payload);
                }
                Ok(None) => break,
                Err(error) => return self.garbage(&error),
            }
        }
        self.stall.restart(self.channel.decoder.pending() > 0);
        if self.owed.is_none() && std::mem::take(&mut self.channel.ended) {
            self.closed();
        }
    }

    fn garbage(&mut self, error: &FrameError) {
        if self.channel.may_print_more() {
            if !std::mem::replace(&mut self.channel.printing, true) {
                self.stall.within(DRAIN_LIMIT);
            }
            return;
        }
        let printed = (!self.channel.spoken).then(|| self.channel.printed());
        self.channel.printing = false;
        self.channel.frames = None;
        self.stall.restart(false);
        self.batch.push(Item::Broken(Broken::Garbage { what: error.to_string(), printed }));
    }

    fn frame(&mut self, payload: Bytes) {
        let frame = match self.channel.codec.decode(payload) {
            Ok(frame) => frame,
            Err(error) => return self.batch.push(Item::Undecodable(error)),
        };
        if is_fence(&frame) {
            self.fence();
        }
        match weight(&frame) {
            Some(bytes) => self.owed = Some((frame, bytes)),
            None => self.batch.push(Item::Frame(frame, Credit::free())),
        }
    }

    /// Takes what the pipes hold at this moment, and no more: a thread that goes on printing cannot hold the frame.
    /// These bytes are free; a pipe's own size bounds them.
    fn fence(&mut self) {
        for output in &mut self.pipes {
            let Some(pipe) = &mut output.pipe else { continue };
            match pipe.read_held(&mut output.buffer) {
                Ok(0) => continue,
                Ok(_) => {}
                Err(_) => output.pipe = None,
            }
            let (stream, data) = (output.stream, output.buffer.split().freeze());
            if !data.is_empty() {
                self.batch.push(Item::Output(Event::Output { stream, data }, Credit::free()));
            }
        }
    }

    /// The worker closed its channel: in the middle of a frame, or between two.
    fn closed(&mut self) {
        self.stall.restart(false);
        match self.channel.decoder.finish() {
            Ok(()) => self.batch.push(Item::Broken(Broken::Closed)),
            Err(error) => self.garbage(&error),
        }
    }

    fn stalled(&mut self) {
        if self.channel.printing {
            return self.printed_enough();
        }
        let pending = self.channel.decoder.pending();
        let what = format!("a frame stalled: {pending} bytes of it came, and no more for {STALL_LIMIT:?}");
        self.channel.frames = None;
        self.stall.restart(false);
        self.batch.push(Item::Broken(Broken::Garbage { what, printed: None }));
    }

    /// What was printed in place of frames is told now, whole or not.
    fn printed_enough(&mut self) {
        self.channel.frames = None;
        self.take_frames();
    }

    /// The worker is dead: what it had written is still there to be read, and nobody is waited for. Its channel may be
    /// held open by a process that it left behind, so this has a limit.
    async fn drain(&mut self) {
        let limit = Instant::now() + DRAIN_LIMIT;
        loop {
            while let Some((_, bytes)) = &self.owed {
                let credit = self.credits.try_take(*bytes);
                self.pay(credit);
            }
            if self.channel.frames.is_none() {
                break;
            }
            let Ok(end) = timeout_at(limit, self.channel.read()).await else { break };
            self.on_channel(end);
        }
        if self.channel.printing {
            self.printed_enough();
        }
        self.fence();
        self.send();
    }

    fn send(&mut self) {
        if !self.batch.is_empty() {
            let batch = Box::new(std::mem::take(&mut self.batch));
            // A session that is gone reads no more; its worker is being killed, and the exit ends this task.
            let _ = self.session.cast(SessionMsg::Read(batch));
        }
    }
}

/// Frames that must come after everything that was printed before them.
fn is_fence(frame: &FromWorker) -> bool {
    matches!(
        frame,
        FromWorker::Result(_) | FromWorker::Error(_) | FromWorker::Display(_) | FromWorker::InputRequest(_)
    )
}

/// The bytes of output that a frame carries, if it is one that carries output.
#[expect(clippy::wildcard_enum_match_arm, reason = "a new message carries no output unless it is named here")]
fn weight(frame: &FromWorker) -> Option<usize> {
    match frame {
        FromWorker::Output(output) => Some(output.data.len()),
        FromWorker::Display(display) => Some(display.data.weight()),
        _other => None,
    }
}
