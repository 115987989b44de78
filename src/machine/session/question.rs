//! Questions: what a session is asked between two executions, about its state.
//!
//! A question takes the place of an execution: it has an id, is Busy while it is under way, can be cancelled, and ends
//! by its one answer. So nothing starts meanwhile, and a death answers it as it answers code.

use crate::{
    config::{FRAME_LEN_MAX, ITEM_MIN},
    machine::session::{Effect, Ending, Phase, Run, Session},
    outcome::{DeathCause, Failure},
    protocol::{CheckpointData, ExecutionId, FromWorker, HeapSize, Ready},
};

/// The capability of a worker that expects SIGINT with what asks its code to stop.
pub(super) const HEARS: &str = "sigint";
/// The capability of a worker that saves and restores.
const SAVES: &str = "checkpoint";
/// The capability of a worker that tells its names.
const TELLS: &str = "vars";
/// The capability of a worker that forks itself.
const FORKS: &str = "fork";
/// The capability of a worker whose copies say who they are. Others are not forked: whoever came first would be the copy.
const PROVES: &str = "secret";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// To save the namespace, in at most so many bytes.
    Save { max_bytes: u64 },
    /// To bring a namespace back.
    Restore,
    /// To fork itself.
    Fork,
    /// To tell its names.
    Names,
}

impl Question {
    /// What a worker must be capable of, and what cannot be done with another.
    fn needs(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Save { .. } | Self::Restore => (&[SAVES], "its state cannot be saved or restored"),
            Self::Fork => (&[FORKS, PROVES], "it cannot be forked"),
            Self::Names => (&[TELLS], "its names cannot be told"),
        }
    }
}

/// A question under way.
#[derive(Debug)]
pub(super) struct Asked {
    question: Question,
    /// The number that the next part must have.
    next_part: u64,
    bytes: u64,
    /// What the parts take in memory.
    held: u64,
}

/// What a worker said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Speaker {
    pub(crate) language: String,
    pub(crate) version: Option<String>,
    capabilities: Vec<&'static str>,
}

impl From<&Ready> for Speaker {
    fn from(ready: &Ready) -> Self {
        let has = |known: &&str| ready.capabilities.iter().any(|capability| capability == known);
        let capabilities = [SAVES, FORKS, PROVES, TELLS, HEARS].into_iter().filter(has).collect();
        Self { language: ready.language.clone(), version: ready.version.clone(), capabilities }
    }
}

impl Speaker {
    /// What interrupts its code.
    pub(super) fn interrupt(&self) -> impl Iterator<Item = Effect> + use<> {
        let signal = self.capabilities.contains(&HEARS).then_some(Effect::Signal);
        signal.into_iter().chain([Effect::Interrupt])
    }
}

impl Session {
    pub(super) fn ask(&mut self, id: ExecutionId, question: Question, effects: &mut Vec<Effect>) {
        let (needed, without) = question.needs();
        let missing = needed.iter().find(|needed| !self.speaker.capabilities.contains(needed));
        match (&self.phase, missing) {
            (Phase::Ready | Phase::Idle, None) => {
                let asked = Some(Asked { question, next_part: 0, bytes: 0, held: 0 });
                // It is not acknowledged, and the values' own code may run from here on.
                self.phase = Phase::Busy(Run { started: true, begun: true, asked, ..Run::new(id) });
                effects.extend([Effect::Execute(id), Effect::Started(id)]);
            }
            (Phase::Ready | Phase::Idle, Some(missing)) => {
                let what = format!("the worker does not offer `{missing}`: {without}");
                let ending = Ending::Failed(Failure::Protocol { what });
                effects.extend([Effect::Idle(id), Effect::Ended(id, ending)]);
            }
            (
                Phase::Creating
                | Phase::Warming(_)
                | Phase::Busy(_)
                | Phase::ShuttingDown { .. }
                | Phase::Terminated,
                _,
            ) => effects.push(Effect::Returned(id, self.why_not())),
        }
    }

    /// Whether a question runs.
    pub(super) fn asks(&mut self) -> bool {
        self.run().is_some_and(|run| run.asked.is_some())
    }

    /// Parts in order, no more than were asked for; the last is the answer.
    pub(super) fn part(&mut self, id: ExecutionId, part: Box<CheckpointData>, effects: &mut Vec<Effect>) {
        let asked = self.run().and_then(|run| run.asked.as_mut());
        let Some(Asked { question: Question::Save { max_bytes }, next_part, bytes, held }) = asked else {
            return self.wrong_answer(id, "checkpoint_data", effects);
        };
        let (expected, got, limit) = (*next_part, part.part, *max_bytes);
        *next_part += 1;
        *bytes = bytes.saturating_add(part.data.len() as u64);
        *held = held.saturating_add((ITEM_MIN + part.heap_size()) as u64);
        let (total, held, most) = (*bytes, *held, limit.saturating_add(limit / 8 + FRAME_LEN_MAX as u64));
        if got != expected {
            let what = format!("checkpoint {id} out of sequence: expected part {expected}, got {got}");
            return self.die(DeathCause::Protocol(what), effects);
        }
        if total > limit {
            let what =
                format!("checkpoint {id} is too long: at most {limit} bytes were asked for, {total} came");
            return self.die(DeathCause::Protocol(what), effects);
        }
        // What describes the whole has a frame for itself.
        if held > most {
            let what = format!(
                "checkpoint {id} takes {held} bytes in memory, expected at most {most} of {limit} saved"
            );
            return self.die(DeathCause::Protocol(what), effects);
        }
        let last = part.last;
        self.answered(id, FromWorker::CheckpointData(part), last, effects);
    }

    /// An answer in one piece.
    pub(super) fn replied(&mut self, id: ExecutionId, answer: FromWorker, effects: &mut Vec<Effect>) {
        let question = self.run().and_then(|run| run.asked.as_ref()).map(|asked| asked.question);
        match (question, &answer) {
            (Some(Question::Restore), FromWorker::Restored(_))
            | (Some(Question::Fork | Question::Save { .. }), FromWorker::Forked(_))
            | (Some(Question::Names), FromWorker::VarsResult(_)) => self.answered(id, answer, true, effects),
            (_, answer) => self.wrong_answer(id, answer.type_name(), effects),
        }
    }

    pub(super) fn wrong_answer(&mut self, id: ExecutionId, answer: &str, effects: &mut Vec<Effect>) {
        let what = format!("it answered question {id} with `{answer}`, which was not asked for");
        self.die(DeathCause::Protocol(what), effects);
    }

    fn answered(&mut self, id: ExecutionId, answer: FromWorker, last: bool, effects: &mut Vec<Effect>) {
        effects.push(Effect::Answer(id, Box::new(answer)));
        if last {
            self.over(id, Ending::Completed(Box::default()), effects);
        }
    }

    /// What a worker said of itself when it was ready.
    pub(crate) fn speaker(&self) -> &Speaker {
        &self.speaker
    }
}
