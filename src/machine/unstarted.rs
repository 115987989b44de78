//! The proof that the code of a request did not start: the one place where that is decided (P5).
//!
//! A worker says `started` before it runs the code, but what was not heard was not always not said: a channel can end
//! in the middle, and a worker can say nothing at all. So nobody may conclude it from silence alone. Who hands a request
//! to a second worker, or tells that it did not run, needs an [`Unstarted`]; everything without one has started.

use crate::{
    outcome::{Lost, LostCause},
    protocol::{DecodeError, ExecutionId, FromWorker},
};

/// Proof that the code of one request did not start, and will not start in any worker that has its frame. It cannot be
/// cloned: it is given away with the request, or with the news.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "without this the code counts as started"]
pub(crate) struct Unstarted(());

impl Unstarted {
    /// Nobody has begun to write its frame to a worker.
    pub(crate) fn ungiven(given: bool) -> Option<Self> {
        (!given).then_some(Self(()))
    }

    /// The worker was never given the whole of its frame, which ends at `whole_at`, and never will be.
    pub(crate) fn unwritten(written: WrittenForGood, whole_at: u64) -> Option<Self> {
        (written.0 < whole_at).then_some(Self(()))
    }

    /// The worker is dead, everything that it ever said was read, and nothing of that was about this request.
    pub(crate) fn unheard(channel: ChannelEnd, begun: bool) -> Option<Self> {
        match channel {
            ChannelEnd::Clean if !begun => Some(Self(())),
            ChannelEnd::Clean | ChannelEnd::Spoiled => None,
        }
    }
}

/// The bytes that a worker may have been given at most, by a writer that gives it no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenForGood(pub(crate) u64);

/// How the channel from a worker ended, as far as that proves something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelEnd {
    /// The worker's death ended it, behind a whole frame, and all of it was read.
    Clean,
    /// Anything else: garbage, a frame that was cut or stalled, a channel that the worker closed before its death or
    /// that somebody holds open after it, an error. What was lost there, nobody knows.
    Spoiled,
}

/// How an execution is lost.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) unstarted: Option<Unstarted>,
    pub(crate) cause: LostCause,
}

impl From<Loss> for Lost {
    fn from(Loss { unstarted, cause }: Loss) -> Self {
        Self { started: unstarted.is_none(), cause }
    }
}

/// Whether this frame is a sign that the code of `id` has begun: it is about that, or about one that the worker cannot
/// know, which `is_known` does not hold for. Who mistakes ids may mean any.
pub(crate) fn is_sign(frame: &FromWorker, id: ExecutionId, is_known: impl Fn(ExecutionId) -> bool) -> bool {
    if let FromWorker::Heartbeat(heartbeat) = frame {
        return heartbeat.running == Some(id);
    }
    frame.execution_id().is_some_and(|about| about == id || !is_known(about))
}

/// The same of a frame that was not understood. One that is about no execution at all, of a type that is newer than this
/// host, is no sign.
pub(crate) fn may_be_sign(error: &DecodeError, id: ExecutionId) -> bool {
    match error {
        DecodeError::UnknownType { id: about, .. } => *about == Some(id),
        DecodeError::Malformed { .. } | DecodeError::ForeignId { .. } | DecodeError::Field { .. } => true,
    }
}
