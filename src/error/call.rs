//! What can go wrong with a call of a JSON-RPC server.

use super::SubmitError;
use crate::{
    outcome::{CancelStage, Cancelled, Lost, Outcome, Phase, TimedOut},
    protocol::RpcError,
};

/// A call of a JSON-RPC server has no result.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It was not accepted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The server answered with an error.
    #[error("the server answered with an error: {0}")]
    Rpc(RpcError),
    /// There was no answer that counts: how the call ended.
    #[error("the server did not answer: {0}")]
    Unanswered(Box<Outcome>),
}

impl CallError {
    /// Whether the server may have acted on it. If not, calling again is safe.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        match self {
            Self::Submit(_) => false,
            Self::Rpc(_) => true,
            Self::Unanswered(outcome) => match &**outcome {
                Outcome::Lost(Lost { started, .. }) => *started,
                Outcome::Cancelled(Cancelled { stage, .. }) => *stage != CancelStage::Queued,
                Outcome::TimedOut(TimedOut { phase, .. }) => *phase != Phase::Queued,
                Outcome::Completed(_) | Outcome::Failed(_) => true,
            },
        }
    }
}
