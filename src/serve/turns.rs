//! What the thread that reads and the thread that runs know of the requests in hand.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::protocol::ExecutionId;

use super::channel;

/// Why a request is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Cancel,
    Interrupt,
}

/// A request that was accepted and has not ended.
#[derive(Debug)]
struct Turn {
    id: ExecutionId,
    since: Instant,
    stop: Option<Reason>,
    /// The input that it waits for, and the answer once it is there.
    asked: Option<u64>,
    answer: Option<Option<String>>,
}

/// All of them: the one that runs, and the one behind it.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turns: Mutex<Vec<Turn>>,
    changed: Condvar,
}

impl Turns {
    /// Accepts one, unless there are so many.
    pub(super) fn begin(&self, id: ExecutionId, most: usize) -> bool {
        let mut turns = self.lock();
        let accepted = turns.len() < most;
        if accepted {
            turns.push(Turn { id, since: channel::now(), stop: None, asked: None, answer: None });
        }
        accepted
    }

    pub(super) fn end(&self, id: ExecutionId) {
        self.lock().retain(|turn| turn.id != id);
    }

    /// What runs, and for how long.
    pub(super) fn running(&self) -> Option<(ExecutionId, Duration)> {
        self.lock().first().map(|turn| (turn.id, turn.since.elapsed()))
    }

    /// Stops one; returns whether it was there.
    pub(super) fn cancel(&self, id: ExecutionId) -> bool {
        let mut turns = self.lock();
        let hit = turns.iter_mut().find(|turn| turn.id == id).map(|turn| turn.stop = Some(Reason::Cancel));
        self.changed.notify_all();
        hit.is_some()
    }

    pub(super) fn cancel_all(&self) {
        self.lock().iter_mut().for_each(|turn| turn.stop = Some(Reason::Cancel));
        self.changed.notify_all();
    }

    /// Interrupts what runs. A cancel stays one.
    pub(super) fn interrupt(&self) {
        if let Some(turn) = self.lock().first_mut() {
            turn.stop.get_or_insert(Reason::Interrupt);
        }
        self.changed.notify_all();
    }

    pub(super) fn stopped(&self, id: ExecutionId) -> Option<Reason> {
        self.lock().iter().find(|turn| turn.id == id).and_then(|turn| turn.stop)
    }

    pub(super) fn ask(&self, id: ExecutionId, request: u64) {
        self.change(id, |turn| (turn.asked, turn.answer) = (Some(request), None));
    }

    /// Hands over a line, or the end of the input. One that nobody waits for is dropped.
    pub(super) fn answer(&self, id: ExecutionId, request: u64, line: Option<String>) {
        self.change(id, |turn| {
            if turn.asked == Some(request) {
                (turn.asked, turn.answer) = (None, Some(line));
            }
        });
        self.changed.notify_all();
    }

    /// Waits for the answer, or for a stop.
    pub(super) fn answered(&self, id: ExecutionId) -> Result<Option<String>, Reason> {
        let mut turns = self.lock();
        loop {
            let turn = turns.iter_mut().find(|turn| turn.id == id);
            match turn.map(|turn| (turn.stop, turn.answer.take())) {
                Some((Some(reason), _)) => return Err(reason),
                Some((None, Some(line))) => return Ok(line),
                Some((None, None)) => {}
                None => return Ok(None),
            }
            turns = self.changed.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits so long, or for a stop.
    pub(super) fn sleep(&self, id: ExecutionId, wait: Duration) -> Option<Reason> {
        let going_on = |turns: &mut Vec<Turn>| turns.iter().any(|turn| turn.id == id && turn.stop.is_none());
        let waited = self.changed.wait_timeout_while(self.lock(), wait, going_on);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.stopped(id)
    }

    fn change(&self, id: ExecutionId, change: impl FnOnce(&mut Turn)) {
        if let Some(turn) = self.lock().iter_mut().find(|turn| turn.id == id) {
            change(turn);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Turn>> {
        // Each change is one statement: a panic leaves nothing half done.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
