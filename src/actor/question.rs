//! A question to a session, and the place where its answer gathers.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    machine::session::{Question as Asked, Speaker},
    protocol::FromWorker,
};

/// Shared by who asks and the session that is asked. The answer is whole when the outcome says so.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) asked: Asked,
    answer: Arc<Mutex<Answer>>,
}

/// What a worker answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// In the order in which they came. Bounded by the machine: see `Question::Save`.
    pub(crate) messages: Vec<FromWorker>,
    pub(crate) speaker: Speaker,
}

impl Question {
    pub(crate) fn new(asked: Asked) -> Self {
        Self { asked, answer: Arc::default() }
    }

    pub(crate) fn gather(&self, message: FromWorker, speaker: &Speaker) {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        answer.messages.push(message);
        answer.speaker = speaker.clone();
    }

    /// The answer, once.
    pub(crate) fn take(&self) -> Answer {
        std::mem::take(&mut *self.answer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
