//! The only reader of a JSON-RPC server: its messages, its stderr and its end, for the server's whole life.
//!
//! One stream carries the answers of all callers, so none of them may hold it up: this reader waits for the session
//! alone, and what a caller does not take is dropped there. What was read and not handled yet is bounded by a window.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ractor::ActorRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};

use crate::{
    actor::{
        assignment::ExitNotice,
        credit::{Credit, Room, price},
        messages::{Heard, SessionMsg},
        reader::ExitFuture,
    },
    config::{DRAIN_LIMIT, JsonRpc},
    machine::session::Broken,
    protocol::{
        HeapSize,
        rpc::{Cutter, Framing, Incoming, parse_messages},
    },
    worker::Pipe,
};

/// A first read from stderr.
const READ_MIN: usize = 4 << 10;

/// Everything of a server that is read.
pub(crate) struct Reader {
    session: ActorRef<SessionMsg>,
    /// Room for what the session has not handled yet.
    inbox: Arc<Room>,
    messages: Option<Box<dyn AsyncRead + Send + Unpin>>,
    framing: Framing,
    cutter: Cutter,
    stderr: Option<Box<dyn Pipe>>,
    errors: BytesMut,
    heard: Batch,
}

/// What is to be handed over.
#[derive(Default)]
struct Batch {
    said: Vec<Incoming>,
    printed: BytesMut,
    broken: Option<Broken>,
    /// What was said costs so much.
    price: usize,
}

impl Reader {
    /// Takes the reading ends of a server.
    pub(crate) fn new(
        session: ActorRef<SessionMsg>,
        inbox: Arc<Room>,
        server: &JsonRpc,
        messages: Box<dyn AsyncRead + Send + Unpin>,
        stderr: Option<Box<dyn Pipe>>,
    ) -> Self {
        let framing = server.framing;
        Self {
            session,
            inbox,
            messages: Some(messages),
            framing,
            cutter: Cutter::new(framing, server.max_message),
            stderr,
            errors: BytesMut::new(),
            heard: Batch::default(),
        }
    }

    /// Reads until the server is dead, then what it left behind, and says so.
    pub(crate) async fn run(mut self, mut exit: ExitFuture, mut exit_notice: ExitNotice) {
        exit_notice.exit = tokio::select! {
            biased;
            exit = &mut exit => exit,
            () = self.read() => exit.await,
        };
        self.drain().await;
        // The session may be gone already; then the supervisor is told.
        let _ = self.session.cast(SessionMsg::Exited(exit_notice));
    }

    /// Reads until nothing is left to read. Cancel safe: what was read is in `self`.
    async fn read(&mut self) {
        while self.messages.is_some() || self.stderr.is_some() {
            let (messages, stderr) = (self.messages.is_some(), self.stderr.is_some());
            tokio::select! {
                biased;
                ended = more(&mut self.messages, self.cutter.buffer()), if messages => self.take(ended),
                ended = more(&mut self.stderr, room(&mut self.errors)), if stderr => self.take_errors(ended),
            }
            self.hand_over().await;
        }
    }

    /// Takes the whole texts in hand.
    fn take(&mut self, ended: bool) {
        if ended {
            self.messages = None;
        }
        loop {
            match self.cutter.next_message() {
                Ok(Some(text)) => self.text(&text),
                Ok(None) => break,
                Err(what) => {
                    self.messages = None;
                    self.heard.broken = Some(Broken::Garbage { what, printed: None });
                    return;
                }
            }
        }
        if ended {
            self.closed();
        }
    }

    fn text(&mut self, text: &Bytes) {
        let before = self.heard.said.len();
        parse_messages(self.framing, text, &mut self.heard.said);
        self.heard.price +=
            self.heard.said[before..].iter().map(|said| price(said.heap_size())).sum::<usize>();
        if self.heard.said[before..].contains(&Incoming::NotAMessage) {
            self.heard.printed.extend_from_slice(text);
            self.heard.printed.extend_from_slice(b"\n");
        }
    }

    /// The server closed its channel: behind a message, or within one. What it printed last may have no end.
    fn closed(&mut self) {
        let rest = self.cutter.rest();
        let mut said = Vec::new();
        parse_messages(self.framing, &rest, &mut said);
        self.heard.broken = Some(if said.is_empty() {
            Broken::Closed
        } else if said == [Incoming::NotAMessage] && !rest.trim_ascii_start().starts_with(b"{") {
            self.heard.said.push(Incoming::NotAMessage);
            self.heard.printed.extend_from_slice(&rest);
            Broken::Closed
        } else {
            let what = format!("the stream ended inside a message: got {} bytes of it", rest.len());
            Broken::Garbage { what, printed: None }
        });
    }

    fn take_errors(&mut self, ended: bool) {
        if ended {
            self.stderr = None;
        }
        self.heard.printed.extend_from_slice(&self.errors.split());
    }

    /// Hands over what is in hand, when the session has handled what it was given before. Cancel safe.
    async fn hand_over(&mut self) {
        let cost = self.heard.cost();
        if cost > 0 {
            let room = self.inbox.take(cost).await;
            self.send(room);
        }
    }

    fn send(&mut self, room: Credit) {
        let Batch { said, printed, broken, .. } = std::mem::take(&mut self.heard);
        let heard = Heard { said, printed: printed.freeze(), broken, room };
        // A session that is gone reads no more; its server is being killed, and the exit ends this task.
        let _ = self.session.cast(SessionMsg::Heard(Box::new(heard)));
    }

    /// The server is dead: what it had written is still there to be read, and nobody is waited for. Its channel may be
    /// held open by a process that it left behind, so this has a limit.
    async fn drain(&mut self) {
        let limit = Instant::now() + DRAIN_LIMIT;
        while self.messages.is_some() {
            let read = timeout_at(limit, more(&mut self.messages, self.cutter.buffer())).await;
            let Ok(ended) = read else { break };
            self.take(ended);
            if timeout_at(limit, self.hand_over()).await.is_err() {
                break;
            }
        }
        if let Some(stderr) = &mut self.stderr {
            // What cannot be read any more is no part of the story.
            let _ = stderr.read_held(&mut self.errors);
            self.take_errors(true);
        }
        if self.heard.cost() > 0 {
            self.send(Credit::none());
        }
    }
}

impl Batch {
    /// The room that it takes; 0 when there is nothing in it.
    fn cost(&self) -> usize {
        let empty = self.said.is_empty() && self.printed.is_empty() && self.broken.is_none();
        if empty { 0 } else { price(self.price + self.printed.len()) }
    }
}

/// Reads once, and returns whether that was the end. Cancel safe.
async fn more<R: AsyncRead + Unpin + ?Sized>(from: &mut Option<Box<R>>, into: &mut BytesMut) -> bool {
    let Some(from) = from else { return std::future::pending().await };
    matches!(from.read_buf(into).await, Ok(0) | Err(_))
}

fn room(buffer: &mut BytesMut) -> &mut BytesMut {
    buffer.reserve(READ_MIN);
    buffer
}
