//! What the children of a worker are called.
//!
//! The kernel lets nobody see the memory of a process that is being changed, and what changes it may wait for ever: on a file
//! system that does not answer, or because the code wants it so. So a thread reads the command lines, and neither a kill nor
//! the runtime waits for it. An interrupt of those children does, for a moment: of one that dies of it nobody can tell any
//! more what it was.

use std::{
    fs,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use rustix::process::Pid;
use tokio::{sync::oneshot, time::timeout};

use crate::{config::STACKS_LIMIT, outcome::Child};

/// Characters of a command line that are told.
const COMMAND_LEN: usize = 200;
/// Threads that read command lines at once. One that waits for ever stays.
const READERS_MAX: usize = 8;

static READING: AtomicUsize = AtomicUsize::new(0);

/// Children that are being asked for their names.
#[derive(Debug)]
pub(in crate::worker) struct Naming(Mutex<State>);

#[derive(Debug)]
struct State {
    children: Vec<Child>,
    /// All of them have been asked, or it takes too long.
    over: bool,
    /// Their group, if they are to be interrupted when it is over.
    interrupt: Option<Pid>,
}

impl Naming {
    /// Begins to ask these. The future resolves when all have been asked, at the latest after [`STACKS_LIMIT`], with the names
    /// that are known by then; others are empty.
    pub(in crate::worker) fn begin(
        pids: Vec<u32>,
    ) -> (Arc<Self>, impl Future<Output = Vec<Child>> + Send + 'static) {
        Self::by(pids, command)
    }

    fn by(
        pids: Vec<u32>,
        command: impl Fn(u32) -> String + Send + 'static,
    ) -> (Arc<Self>, impl Future<Output = Vec<Child>> + Send + 'static) {
        let children = pids.iter().map(|pid| Child { pid: *pid, command: String::new() }).collect();
        let over = pids.is_empty();
        let naming = Arc::new(Self(Mutex::new(State { children, over, interrupt: None })));
        let (done, all) = oneshot::channel();
        if let Some(place) = Reading::begin().filter(|_| !over) {
            let naming = Arc::clone(&naming);
            let read = move || {
                for (at, pid) in pids.into_iter().enumerate() {
                    let command = command(pid);
                    naming.state().children[at].command = command;
                }
                naming.end();
                drop(place);
                let _ = done.send(());
            };
            // Refused, the thread drops what it was given, and nobody waits.
            let _ = thread::Builder::new().name("ostler-look".into()).spawn(read);
        } else {
            drop(done);
        }
        let asked = Arc::clone(&naming);
        (naming, async move {
            let _ = timeout(STACKS_LIMIT, all).await;
            asked.end();
            asked.told()
        })
    }

    /// Interrupts them when it is over, if it is not. These and no others: the code may have stopped by then, and what
    /// follows it started children of its own.
    pub(in crate::worker) fn interrupt_after(&self, group: Pid) -> bool {
        let mut state = self.state();
        if !state.over {
            state.interrupt = Some(group);
        }
        !state.over
    }

    fn end(&self) {
        let mut state = self.state();
        state.over = true;
        if let Some(group) = state.interrupt.take() {
            let pids: Vec<_> = state.children.iter().map(|child| child.pid).collect();
            super::interrupt(group, &pids);
        }
    }

    fn told(&self) -> Vec<Child> {
        self.state().children.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that reads, or waits to.
struct Reading;

impl Reading {
    fn begin() -> Option<Self> {
        let others = READING.fetch_add(1, Relaxed);
        // Too many: it is counted no longer as soon as it is dropped.
        Some(Self).filter(|_| others < READERS_MAX)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READING.fetch_sub(1, Relaxed);
    }
}

/// As it was started, with blanks between the arguments. Empty once it is dead.
fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&line).replace('\0', " ");
    words.trim_end().chars().take(COMMAND_LEN).collect()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    /// One whose memory cannot be seen costs its own name, and time that has a limit. Threads that wait for ever are few.
    #[tokio::test]
    async fn a_child_that_cannot_be_seen_holds_up_nobody() {
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for attempt in 0..READERS_MAX + 2 {
            let held = Arc::clone(&held);
            let read = move |pid: u32| match pid {
                2 => held.lock().map_or_else(|_| String::new(), |held| format!("{:?}", held.recv())),
                _seen => format!("program {pid}"),
            };
            let (naming, told) = Naming::by(vec![1, 2, 3], read);
            let told = timeout(Duration::from_secs(60), told).await.unwrap();
            let told: Vec<_> = told.iter().map(|child| (child.pid, &*child.command)).collect();
            // The thread may not have begun within the limit, or there are too many.
            let first = if attempt < READERS_MAX && !told[0].1.is_empty() { "program 1" } else { "" };
            assert_eq!(told, [(1, first), (2, ""), (3, "")], "attempt {attempt}");
            assert!(!naming.interrupt_after(Pid::INIT), "it is over, so nobody waits for it");
        }
        drop(release);
        while READING.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }
}
