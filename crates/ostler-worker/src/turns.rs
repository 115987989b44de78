//! What the thread that reads and the threads that run know of the requests in hand.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ostler_protocol::{Execute, ExecutionId};

use super::channel;

/// So many requests wait while another runs; the next one is refused.
pub(super) const LINE: usize = 16;

/// Why a request is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Cancel,
    Interrupt,
}

/// Why nothing more is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Shutdown,
    OtherVersion,
}

/// A request that was accepted and has not ended.
#[derive(Debug)]
struct Turn {
    id: ExecutionId,
    /// What to run, until it is begun.
    waiting: Option<Box<Execute>>,
    since: Instant,
    stop: Option<Reason>,
    questions: Vec<Question>,
}

/// Input that one thread of a request waits for. Several may wait at once.
#[derive(Debug)]
struct Question {
    number: u64,
    answer: Option<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    /// The one that runs, and those behind it.
    turns: VecDeque<Turn>,
    ending: Option<Ending>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

impl Turns {
    /// Accepts one, unless so many wait.
    pub(super) fn accept(&self, request: Box<Execute>) -> bool {
        let mut state = self.lock();
        let accepted = state.turns.len() <= LINE && state.ending.is_none();
        if accepted {
            state.turns.push_back(Turn {
                id: request.id,
                waiting: Some(request),
                since: channel::now(),
                stop: None,
                questions: Vec::new(),
            });
            self.changed.notify_all();
        }
        accepted
    }

    /// Waits for the next one to run. The end goes before all that wait.
    pub(super) fn next(&self) -> Result<Box<Execute>, Ending> {
        let mut state = self.lock();
        loop {
            if let Some(ending) = state.ending {
                return Err(ending);
            }
            if let Some(turn) = state.turns.front_mut()
                && let Some(request) = turn.waiting.take()
            {
                turn.since = channel::now();
                return Ok(request);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn end(&self, id: ExecutionId) {
        self.lock().turns.retain(|turn| turn.id != id);
    }

    /// Begins the end: what runs is stopped, what waits is never begun.
    pub(super) fn close(&self, ending: Ending) {
        let mut state = self.lock();
        state.ending = Some(ending);
        state.turns.iter_mut().for_each(|turn| turn.stop = Some(Reason::Cancel));
        self.changed.notify_all();
    }

    /// What runs, and for how long.
    pub(super) fn running(&self) -> Option<(ExecutionId, Duration)> {
        let state = self.lock();
        let running = state.turns.front().filter(|turn| turn.waiting.is_none());
        running.map(|turn| (turn.id, turn.since.elapsed()))
    }

    /// Stops one; returns whether it was there.
    pub(super) fn cancel(&self, id: ExecutionId) -> bool {
        self.change(id, |turn| turn.stop = Some(Reason::Cancel)).is_some()
    }

    /// Interrupts what runs. A cancel stays one.
    pub(super) fn interrupt(&self) {
        if let Some(turn) = self.lock().turns.front_mut() {
            turn.stop.get_or_insert(Reason::Interrupt);
        }
        self.changed.notify_all();
    }

    pub(super) fn stopped(&self, id: ExecutionId) -> Option<Reason> {
        self.lock().turns.iter().find(|turn| turn.id == id).and_then(|turn| turn.stop)
    }

    /// Opens a question, before the host can answer it.
    pub(super) fn ask(&self, id: ExecutionId, number: u64) {
        self.change(id, |turn| turn.questions.push(Question { number, answer: None }));
    }

    /// Closes a question that was not put to the host.
    pub(super) fn withdraw(&self, id: ExecutionId, number: u64) {
        self.change(id, |turn| turn.questions.retain(|question| question.number != number));
    }

    /// Hands over a line, or the end of the input. One that nobody waits for is dropped, and so is a second one.
    pub(super) fn answer(&self, id: ExecutionId, number: u64, line: Option<String>) {
        self.change(id, |turn| {
            let asked = turn.questions.iter_mut().find(|question| question.number == number);
            asked.map(|question| question.answer.get_or_insert(line));
        });
    }

    /// Waits for the answer to this question, or for a stop.
    pub(super) fn answered(&self, id: ExecutionId, number: u64) -> Result<Option<String>, Reason> {
        let mut state = self.lock();
        loop {
            let Some(turn) = state.turns.iter_mut().find(|turn| turn.id == id) else { return Ok(None) };
            if let Some(reason) = turn.stop {
                return Err(reason);
            }
            let asked = turn.questions.iter().position(|question| question.number == number);
            let Some(asked) = asked else { return Ok(None) };
            if let Some(line) = turn.questions[asked].answer.take() {
                turn.questions.swap_remove(asked);
                return Ok(line);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits so long, or for a stop.
    pub(super) fn sleep(&self, id: ExecutionId, wait: Duration) -> Option<Reason> {
        let going_on =
            |state: &mut State| state.turns.iter().any(|turn| turn.id == id && turn.stop.is_none());
        let waited = self.changed.wait_timeout_while(self.lock(), wait, going_on);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.stopped(id)
    }

    fn change<T>(&self, id: ExecutionId, change: impl FnOnce(&mut Turn) -> T) -> Option<T> {
        let mut state = self.lock();
        let changed = state.turns.iter_mut().find(|turn| turn.id == id).map(change);
        self.changed.notify_all();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under this lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
