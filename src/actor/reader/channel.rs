//! The channel of a worker: bytes in, frames out, and how long a frame may stay incomplete.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::Instant,
};

use crate::{
    config::{FRAME_LEN_MAX, PRINTED_BEFORE_READY, STALL_LIMIT},
    machine::unstarted::ChannelEnd,
    protocol::{Codec, Decoder},
};

pub(super) struct Channel {
    pub(super) frames: Option<Box<dyn AsyncRead + Send + Unpin>>,
    pub(super) decoder: Decoder,
    pub(super) codec: Codec,
    /// Whether a whole frame has come; until then, what was printed instead is worth showing.
    pub(super) spoken: bool,
    /// Whether something is printed instead, and more of it is waited for.
    pub(super) printing: bool,
    /// It has ended, and that has not been told.
    pub(super) ended: Option<End>,
    /// What its end proves, as far as it is known.
    pub(super) end: ChannelEnd,
    /// See [`Worker::is_ending`](crate::worker::Worker::is_ending).
    pub(super) is_ending: Box<dyn Fn() -> bool + Send>,
}

/// The channel has no more to give: what that proves, if it was between two frames.
pub(super) struct End(pub(super) ChannelEnd);

impl Channel {
    pub(super) fn new(
        codec: Codec,
        frames: Box<dyn AsyncRead + Send + Unpin>,
        is_ending: Box<dyn Fn() -> bool + Send>,
    ) -> Self {
        let decoder = Decoder::new(FRAME_LEN_MAX);
        Self {
            frames: Some(frames),
            decoder,
            codec,
            spoken: false,
            printing: false,
            ended: None,
            end: ChannelEnd::Spoiled,
            is_ending,
        }
    }

    /// Reads once. Pending for ever when there is no channel any more. Cancel safe.
    pub(super) async fn read(&mut self) -> Option<End> {
        let Some(frames) = &mut self.frames else { return std::future::pending().await };
        match frames.read_buf(self.decoder.buffer()).await {
            Ok(0) => Some(self.no_more()),
            // A socket says this when it was read to its end, and the worker has left something unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(self.no_more()),
            Err(_) => Some(End(ChannelEnd::Spoiled)),
            Ok(_) => None,
        }
    }

    /// A worker that lives on has closed it, and nobody hears any more what that does.
    fn no_more(&self) -> End {
        End(if (self.is_ending)() { ChannelEnd::Clean } else { ChannelEnd::Spoiled })
    }

    /// Whether what was printed in place of the first frame may go on: it comes in pieces.
    pub(super) fn may_print_more(&self) -> bool {
        !self.spoken && self.frames.is_some() && self.decoder.pending() < PRINTED_BEFORE_READY
    }

    pub(super) fn printed(&self) -> String {
        let unread = self.decoder.unread();
        String::from_utf8_lossy(&unread[..unread.len().min(PRINTED_BEFORE_READY)]).into_owned()
    }
}

/// Watches a frame that is not whole.
#[derive(Default)]
pub(super) struct Stall(Option<Instant>);

impl Stall {
    pub(super) fn restart(&mut self, incomplete: bool) {
        self.0 = incomplete.then(|| Instant::now() + STALL_LIMIT);
    }

    pub(super) fn within(&mut self, limit: Duration) {
        self.0 = Some(Instant::now() + limit);
    }

    /// Pending for ever when every frame is whole. Cancel safe.
    pub(super) async fn wait(&self) {
        match self.0 {
            Some(limit) => tokio::time::sleep_until(limit).await,
            None => std::future::pending().await,
        }
    }
}
