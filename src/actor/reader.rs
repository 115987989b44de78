//! The only reader of a worker: its frames, its pipes and its end, for the worker's whole life.
//!
//! It pays for everything that it passes on: from the window of the execution for what goes to its caller, and from the
//! inbox of the session for the rest. A full window stops the reading of pipes, and of the channel at the first frame that
//! has to be paid from it; the end of the worker and a renewed window are always waited for. Its last message is `Exited`.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use ractor::ActorRef;
use tokio::{
    io::AsyncRead,
    time::{Instant, timeout_at},
};

use crate::{
    actor::{
        assignment::ExitNotice,
        credit::{CHUNK, Credit, Credits, Room, price},
        messages::{Batch, Item, Read, SessionMsg},
    },
    config::{DRAIN_LIMIT, STALL_LIMIT},
    machine::session::Broken,
    outcome::{Event, Exit},
    protocol::{self, Codec, FrameError, FromWorker, Mime, Stream},
    worker::Pipe,
};

mod channel;
mod frames;
mod output;

use channel::{Channel, End, Stall};
use frames::{held, is_fence, to_caller};
use output::Output;

/// Everything of a worker that is read.
pub(crate) struct Reader {
    session: ActorRef<SessionMsg>,
    credits: Credits,
    inbox: Arc<Room>,
    channel: Channel,
    stall: Stall,
    pipes: [Output; 2],
    /// A frame that goes to a caller and is not paid for yet. Nothing more is taken from the channel until it is.
    owed: Option<Owed>,
    /// What the next read of a pipe costs.
    paid: Option<Paid>,
    batch: Batch,
    /// What the batch costs in the inbox.
    cost: usize,
    /// The worker is dead.
    draining: bool,
}

/// A frame that goes to a caller, and its price.
struct Owed {
    frame: FromWorker,
    price: usize,
    /// Bytes of output in it.
    output: usize,
}

/// What the reader may do with a pipe.
enum Paid {
    /// Read, and pass on with this.
    Credit(Credit),
    /// Read, and drop if that is still so then: nobody has room and nobody is waited for.
    Nobody,
}

/// What is read on, after the worker's exit has been taken out.
pub(crate) type ExitFuture = std::pin::Pin<Box<dyn Future<Output = Exit> + Send>>;

impl Reader {
    /// Takes the reading ends out of `worker`.
    pub(crate) fn new(
        session: ActorRef<SessionMsg>,
        credits: Credits,
        inbox: Arc<Room>,
        codec: Codec,
        frames: Box<dyn AsyncRead + Send + Unpin>,
        is_ending: Box<dyn Fn() -> bool + Send>,
        [stdout, stderr]: [Option<Box<dyn Pipe>>; 2],
    ) -> Self {
        Self {
            session,
            credits,
            inbox,
            channel: Channel::new(codec, frames, is_ending),
            stall: Stall::default(),
            pipes: [Output::new(Stream::Stdout, stdout), Output::new(Stream::Stderr, stderr)],
            owed: None,
            paid: None,
            batch: Batch::new(),
            cost: 0,
            draining: false,
        }
    }

    /// Reads until the worker is dead, then what it left behind, and says so.
    pub(crate) async fn run(mut self, mut exit: ExitFuture, mut exit_notice: ExitNotice) {
        exit_notice.exit = tokio::select! {
            biased;
            exit = &mut exit => exit,
            () = self.read() => exit.await,
        };
        self.drain().await;
        exit_notice.channel = self.channel.end;
        // The session may be gone already; then the supervisor is told.
        let _ = self.session.cast(SessionMsg::Exited(exit_notice));
    }

    /// Reads until nothing is left to read. Cancel safe: what was read is in `self`.
    async fn read(&mut self) {
        while self.channel.frames.is_some() || self.owed.is_some() || self.pipes.iter().any(Output::is_open) {
            self.turn().await;
            self.hand_over().await;
        }
    }

    /// Waits for one thing, and takes it. Cancel safe.
    async fn turn(&mut self) {
        let [stdout, stderr] = &mut self.pipes;
        let cost = match &self.owed {
            Some(owed) => Some(owed.price),
            None if self.paid.is_none() && (stdout.is_open() || stderr.is_open()) => Some(price(CHUNK)),
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

    /// Passes a frame on if there is room for it. If not, it is waited for, and what was taken for the next read of a pipe
    /// is given back: that may be just what is missing, and the pipes may be silent for ever.
    fn owe(&mut self, owed: Owed) {
        match self.credits.try_take(owed.price) {
            Some(credit) => self.batch.push(Item::Frame(owed.frame, credit.carrying(owed.output))),
            None => (self.owed, self.paid) = (Some(owed), None),
        }
    }

    fn pay(&mut self, credit: Option<Credit>) {
        match (self.owed.take(), credit) {
            (None, credit) => self.paid = Some(credit.map_or(Paid::Nobody, Paid::Credit)),
            (Some(Owed { frame, output, .. }), Some(credit)) => {
                self.batch.push(Item::Frame(frame, credit.carrying(output)));
                self.take_frames();
            }
            (Some(owed), None) => {
                self.drop_frame(owed);
                self.take_frames();
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`to_caller` names them all")]
    /// Nobody has room for this frame. That it came still counts, and so does the number of a piece of output.
    fn drop_frame(&mut self, Owed { mut frame, output, .. }: Owed) {
        match &mut frame {
            FromWorker::Output(output) => output.data = Bytes::new(),
            FromWorker::Display(display) => *display = protocol::Display::new(display.id, Mime::default()),
            FromWorker::InputRequest(question) => question.prompt = String::new(),
            _not_for_a_caller => {}
        }
        self.post(Item::Frame(frame, Credit::none()), 0);
        self.drop_output(output);
    }

    /// Nobody has room for this output: it is counted here, and told.
    fn drop_output(&mut self, bytes: usize) {
        self.credits.discard(bytes);
        self.post(Item::Output(Event::Dropped { bytes: bytes as u64 }, Credit::none()), 0);
    }

    /// Passes on what costs the session something, and no caller; it keeps so many bytes.
    fn post(&mut self, item: Item, held: usize) {
        self.cost += price(held);
        self.batch.push(item);
    }

    /// Passes on what was read from a pipe. What it did not need of the credit goes back.
    fn pass_on(&mut self, pipe: usize) {
        let output = &mut self.pipes[pipe];
        let Some((data, held)) = output.take() else { return };
        let credit = match self.paid.take() {
            Some(Paid::Credit(credit)) => Some(credit.cut(price(held))),
            // Decided before these bytes came: an execution may have begun since, and have room.
            Some(Paid::Nobody) | None => self.credits.try_take(price(held)),
        };
        self.print(pipe, data, credit);
    }

    fn print(&mut self, pipe: usize, data: Bytes, credit: Option<Credit>) {
        let (stream, len) = (self.pipes[pipe].stream, data.len());
        match credit {
            Some(credit) => {
                self.batch.push(Item::Output(Event::Output { stream, data }, credit.carrying(len)));
            }
            None => self.drop_output(len),
        }
    }

    fn on_channel(&mut self, end: Option<End>) {
        if end.is_some() {
            self.channel.frames = None;
            self.channel.ended = end;
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
        if self.owed.is_none()
            && let Some(end) = self.channel.ended.take()
        {
            self.closed(end);
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
        let len = payload.len();
        let mut frame = match self.channel.codec.decode(payload) {
            Ok(frame) => frame,
            // What it says of them is cut short.
            Err(error) => return self.post(Item::Undecodable(error), 0),
        };
        if is_fence(&frame) {
            self.fence();
        }
        let held = held(&mut frame, len);
        match to_caller(&frame) {
            Some(output) => self.owe(Owed { frame, price: price(held), output }),
            None => self.post(Item::Frame(frame, Credit::none()), held),
        }
    }

    /// Takes what the pipes hold at this moment, and no more: a thread that goes on printing cannot hold the frame. These
    /// bytes are in memory, and the window is in debt by them until a caller has taken as much: nothing more is read before.
    fn fence(&mut self) {
        for pipe in 0..self.pipes.len() {
            let output = &mut self.pipes[pipe];
            output.read_held();
            if let Some((data, held)) = output.take() {
                // It is, when nobody is waited for: then that was the last that could be had.
                let refused = self.credits.is_in_debt() && !self.draining;
                let credit = (!refused).then(|| self.credits.overdraw(price(held)));
                self.print(pipe, data, credit);
            }
        }
    }

    /// The channel ended: in the middle of a frame, or between two.
    fn closed(&mut self, End(end): End) {
        self.stall.restart(false);
        match self.channel.decoder.finish() {
            Ok(()) => {
                self.channel.end = end;
                self.batch.push(Item::Broken(Broken::Closed));
            }
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
        self.draining = true;
        loop {
            while let Some(owed) = &self.owed {
                let credit = self.credits.try_take(owed.price);
                self.pay(credit);
            }
            if self.channel.frames.is_none() || timeout_at(limit, self.hand_over()).await.is_err() {
                break;
            }
            let Ok(end) = timeout_at(limit, self.channel.read()).await else { break };
            self.on_channel(end);
        }
        if self.channel.printing {
            self.printed_enough();
        }
        self.fence();
        self.send(Credit::none());
    }

    /// Hands over what is in hand, when there is room for it in the inbox. Cancel safe.
    async fn hand_over(&mut self) {
        let room = match self.cost {
            0 => Credit::none(),
            cost => self.inbox.take(cost).await,
        };
        self.send(room);
    }

    fn send(&mut self, room: Credit) {
        if !self.batch.is_empty() {
            self.cost = 0;
            let read = Box::new(Read { batch: std::mem::take(&mut self.batch), room });
            // A session that is gone reads no more; its worker is being killed, and the exit ends this task.
            let _ = self.session.cast(SessionMsg::Read(read));
        }
    }
}
