//! Who works with the disk for which name: one at a time for each name, in the order in which that was asked for.
//!
//! ```text
//! add ──> waiting ──(the turn of its name is here, and a thread is free)──> Task ──(it has ended, however)──> the next one
//!            └──(its `Ticket` is dropped)──> it never begins
//! ```
//! Whoever works for a name owns its [`Turn`], which there is once. It comes back when the work has ended, and not when
//! whoever asked for the work has gone: what they gave up still writes, and what is asked for next waits behind it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::Notify;

use super::chunks::Book;
use ostler_protocol::contain::contained;

/// What may wait for one name behind what is being done. Whoever asks for it waits too, for a limited time.
pub(super) const WAITING_MAX: usize = 16;
/// Names whose files are written or read at the same time.
const THREADS: usize = 4;

/// The right to work with the files of a name, and what is known of them.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) name: String,
    /// Taken out for a save: one that fails leaves none.
    pub(super) book: Option<Book>,
}

impl Turn {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), book: None }
    }
}

/// Says what came of a job. Called when the next one of the same name may begin.
pub(super) type Answer = Box<dyn FnOnce() + Send>;
/// Owns all that the work needs, so that none of it is given back before the work has ended.
pub(super) type Job = Box<dyn FnOnce(&mut Turn) -> Answer + Send>;

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something may begin, or the queue is closed.
    begins: Condvar,
    /// Nothing waits and nothing runs.
    idle: Notify,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<String, Line>,
    /// The names of which something may begin, and perhaps some more.
    ready: VecDeque<String>,
    /// Jobs that wait or run.
    open: usize,
    /// Numbers the jobs.
    last: u64,
    closed: bool,
}

/// What there is to do for one name.
struct Line {
    /// Somebody works with it if it is not here.
    turn: Option<Turn>,
    waiting: VecDeque<(u64, Job)>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("open", &self.state().open).finish_non_exhaustive()
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something done for a name. `None`: too much waits for that already.
    pub(super) fn add(self: &Arc<Self>, name: &str, job: Job) -> Option<Ticket> {
        let mut state = self.state();
        let line = state
            .lines
            .entry(name.to_owned())
            .or_insert_with(|| Line { turn: Some(Turn::new(name)), waiting: VecDeque::new() });
        if line.waiting.len() >= WAITING_MAX {
            return None;
        }
        let number = state.last + 1;
        let line = state.lines.get_mut(name).expect("it was put there above");
        line.waiting.push_back((number, job));
        if line.turn.is_some() {
            state.ready.push_back(name.to_owned());
            self.begins.notify_one();
        }
        (state.last, state.open) = (number, state.open + 1);
        Some(Ticket { queue: Arc::clone(self), name: name.to_owned(), number })
    }

    /// The next job of a name of which nothing is being done.
    #[cfg(test)]
    pub(super) fn take(self: &Arc<Self>) -> Option<Task> {
        self.take_from(&mut self.state())
    }

    fn take_from(self: &Arc<Self>, state: &mut State) -> Option<Task> {
        while let Some(name) = state.ready.pop_front() {
            let Some(line) = state.lines.get_mut(&name).filter(|line| line.turn.is_some()) else { continue };
            let Some((_, job)) = line.waiting.pop_front() else { continue };
            let turn = line.turn.take();
            return Some(Task { queue: Arc::clone(self), job: Some(job), turn });
        }
        None
    }

    /// Waits for the next job. `None`: there will be none.
    fn wait(self: &Arc<Self>) -> Option<Task> {
        let mut state = self.state();
        loop {
            if let Some(task) = self.take_from(&mut state) {
                return Some(task);
            }
            if state.closed {
                return None;
            }
            state = self.begins.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, turn: Turn) {
        let mut state = self.state();
        let State { lines, ready, .. } = &mut *state;
        let Some(line) = lines.get_mut(&turn.name) else { return };
        if !line.waiting.is_empty() {
            ready.push_back(turn.name.clone());
            self.begins.notify_one();
        } else if turn.book.is_none() {
            lines.remove(&turn.name);
            return self.ended(&mut state);
        }
        line.turn = Some(turn);
        self.ended(&mut state);
    }

    fn ended(&self, state: &mut State) {
        state.open -= 1;
        if state.open == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Ends when nothing waits and nothing runs. Cancel safe.
    pub(super) async fn settled(&self) {
        loop {
            let idle = self.idle.notified();
            if self.state().open == 0 {
                return;
            }
            idle.await;
        }
    }

    fn close(&self) {
        self.state().closed = true;
        self.begins.notify_all();
    }
}

/// Something that was asked for. Dropped, it does not begin any more; what has begun goes on to its end.
#[derive(Debug)]
#[must_use = "dropping a ticket takes back what was asked for"]
pub(super) struct Ticket {
    queue: Arc<Queue>,
    name: String,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        let taken_back = state.lines.get_mut(&self.name).and_then(|line| {
            let place = line.waiting.iter().position(|(number, _)| *number == self.number)?;
            line.waiting.remove(place)
        });
        if taken_back.is_some() {
            self.queue.ended(&mut state);
        }
        // Without the lock: what it owns may be the last of much.
        drop(state);
        drop(taken_back);
    }
}

/// A job that may be done now, by whoever has this.
pub(super) struct Task {
    queue: Arc<Queue>,
    job: Option<Job>,
    /// Here until this is dropped.
    turn: Option<Turn>,
}

impl Task {
    /// Does it. A panic ends the job, and nothing else.
    pub(super) fn run(mut self) {
        let (Some(job), Some(turn)) = (self.job.take(), &mut self.turn) else { return };
        let answer = contained(|| job(turn));
        if answer.is_err() {
            turn.book = None;
        }
        drop(self);
        if let Ok(answer) = answer {
            let _ = contained(answer);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        drop(self.job.take());
        if let Some(turn) = self.turn.take() {
            self.queue.give_back(turn);
        }
    }
}

/// The threads of a store. They end when this is dropped and what was begun has ended.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) queue: Arc<Queue>,
}

impl Threads {
    /// Starts all of them: later there may be no room for another one.
    pub(super) fn start() -> io::Result<Self> {
        let threads = Self { queue: Arc::default() };
        for _ in 0..THREADS {
            let queue = Arc::clone(&threads.queue);
            let work = move || {
                while let Some(task) = queue.wait() {
                    task.run();
                }
            };
            thread::Builder::new().name("ostler-store".into()).spawn(work)?;
        }
        Ok(threads)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.queue.close();
    }
}
