//! A question to a session, and the place where its answer gathers.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    machine::{
        session::{Question as Asked, Speaker},
        supervisor::{Moment, Sort},
    },
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
    /// Which state it is about.
    pub(crate) moment: Moment,
}

impl Question {
    /// What it is to the state of the session.
    pub(crate) fn sort(&self) -> Sort {
        match self.asked {
            Asked::Save { .. } | Asked::Fork | Asked::Names => Sort::Save,
            Asked::Restore => Sort::Restore,
        }
    }

    pub(crate) fn new(asked: Asked) -> Self {
        Self { asked, answer: Arc::default() }
    }

    /// It is about to be asked, about this state.
    pub(crate) fn asked_at(&self, moment: Moment) {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).moment = moment;
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
