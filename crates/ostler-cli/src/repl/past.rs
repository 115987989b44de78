//! The states that a conversation can go back to: those before its last statements, and its other branches.
//!
//! A state is kept as a copy of the session, which shares memory with it. Where a session cannot be copied it is saved, if
//! that is quick.

use std::{collections::VecDeque, time::Duration};

use ostler::{Checkpoint, Session, StateError, SubmitError};
use tokio::time::timeout;

/// Statements of one branch that can be undone.
const UNDO_MAX: usize = 8;
/// Branches at the same time.
pub(super) const BRANCHES_MAX: usize = 4;
/// Sessions that the pool has room for: those in use, those that are kept, and one that follows another.
pub(super) const SESSIONS_MAX: usize = BRANCHES_MAX * (UNDO_MAX + 1) + 1;
/// How long a statement may wait until the state before it is saved.
const SAVE_LIMIT: Duration = Duration::from_millis(250);
/// Characters of a statement that are told.
const TOLD_MAX: usize = 40;

/// The state before a statement.
#[derive(Debug)]
pub(super) enum State {
    Copy(Box<Session>),
    Saved(Box<Checkpoint>),
    /// It was not kept, and why.
    Missing(String),
}

/// What was before the last statements of a branch, the latest last.
#[derive(Debug)]
pub(super) struct Past {
    states: VecDeque<(String, State)>,
    pub(super) keeps: bool,
    /// Whether it was told that a state cannot be kept, since one last could.
    told: bool,
}

/// A branch that is not the one in use.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) number: usize,
    pub(super) session: Session,
    pub(super) past: Past,
}

impl Past {
    pub(super) fn new(keeps: bool) -> Self {
        Self { states: VecDeque::new(), keeps, told: false }
    }

    /// Keeps the state before a statement. Returns what is to be told of that.
    pub(super) async fn keep(&mut self, session: &Session, statement: &str) -> Option<String> {
        if !self.keeps {
            return None;
        }
        let state = match session.fork().await {
            Ok(copy) => State::Copy(Box::new(copy)),
            // The statement itself will meet it.
            Err(StateError::Lost(_) | StateError::Submit(SubmitError::SessionEnded { .. })) => return None,
            Err(StateError::NotForked { why }) => save(session, why).await,
            Err(error) => State::Missing(error.to_string()),
        };
        let told = match &state {
            State::Missing(why) if !self.told => Some(format!("this cannot be undone: {why}")),
            State::Copy(_) | State::Saved(_) | State::Missing(_) => None,
        };
        self.told = matches!(state, State::Missing(_));
        self.states.push_back((statement.trim().to_owned(), state));
        if self.states.len() > UNDO_MAX {
            self.states.pop_front();
        }
        told
    }

    /// The last state, and the statement that came then.
    pub(super) fn pop(&mut self) -> Option<(String, State)> {
        self.states.pop_back()
    }

    /// How many statements can be undone.
    pub(super) fn len(&self) -> usize {
        self.states.iter().filter(|(_, state)| !matches!(state, State::Missing(_))).count()
    }
}

async fn save(session: &Session, why: String) -> State {
    match timeout(SAVE_LIMIT, session.checkpoint()).await {
        Ok(Ok(saved)) => State::Saved(Box::new(saved)),
        Ok(Err(error)) => State::Missing(error.to_string()),
        Err(_elapsed) => State::Missing(format!("{why}; and to save the state takes too long")),
    }
}

/// The beginning of a statement.
pub(super) fn short(statement: &str) -> String {
    let line = statement.lines().next().unwrap_or_default();
    if line.chars().count() <= TOLD_MAX && line.len() == statement.len() {
        return line.to_owned();
    }
    line.chars().take(TOLD_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_statement_is_told_by_its_beginning() {
        assert_eq!(short("x = 1"), "x = 1");
        assert_eq!(short("def f():\n    pass"), "def f():…");
        assert_eq!(short(&"x".repeat(50)), "x".repeat(39) + "…");
    }
}
