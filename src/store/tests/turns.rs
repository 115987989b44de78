//! Threads of which one goes on at a time, and which one somebody says.

use std::{
    cell::RefCell,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Whose turn it is: one writer, or whoever directs them.
#[derive(Default)]
pub(super) struct Stage {
    turn: Mutex<Option<u64>>,
    changed: Condvar,
}

thread_local! {
    /// The number of the writer whose thread this is.
    static ME: RefCell<Option<u64>> = const { RefCell::new(None) };
}

impl Stage {
    fn turn(&self) -> MutexGuard<'_, Option<u64>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self, to: Option<u64>) {
        *self.turn() = to;
        self.changed.notify_all();
    }

    fn wait(&self, whose: Option<u64>) {
        let turn = self.turn();
        drop(self.changed.wait_while(turn, |turn| *turn != whose).unwrap_or_else(PoisonError::into_inner));
    }

    /// A writer lets others go on until it is told to. Whoever directs them just goes on.
    pub(super) fn pause(&self) {
        if let Some(me) = ME.with_borrow(|me| *me) {
            self.hand(None);
            self.wait(Some(me));
        }
    }
}

/// Work on a thread that goes on when it is told to.
pub(super) struct Writer {
    number: u64,
    stage: Arc<Stage>,
    thread: std::thread::JoinHandle<()>,
    over: Arc<Mutex<bool>>,
}

impl Writer {
    pub(super) fn new(stage: Arc<Stage>, work: impl FnOnce() + Send + 'static) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Relaxed);
        let over = Arc::new(Mutex::new(false));
        let thread = std::thread::spawn({
            let (stage, over) = (Arc::clone(&stage), Arc::clone(&over));
            move || {
                ME.set(Some(number));
                stage.wait(Some(number));
                work();
                *over.lock().expect("nobody panics with it") = true;
                stage.hand(None);
            }
        });
        Self { number, stage, thread, over }
    }

    /// Lets it go on until it pauses. Returns it, unless it has ended.
    pub(super) fn go_on(self) -> Option<Self> {
        self.stage.hand(Some(self.number));
        self.stage.wait(None);
        if !*self.over.lock().expect("nobody panics with it") {
            return Some(self);
        }
        self.thread.join().expect("a job that panics is caught");
        None
    }
}
