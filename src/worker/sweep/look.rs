//! Looks at the environments of processes, and kills those that have a tag of a dead worker.
//!
//! Whoever reads the memory of a process waits while that is being changed, and code can make that last for ever: by a file
//! system that does not answer. So another thread looks. When it does not come back in time, it is left where it is, and one
//! more goes on with the other processes: what hangs costs itself, once, and no other pool.

use std::{
    fs::{self, File},
    io::{self, Read},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Stat, has_tag};
use crate::{
    log,
    worker::{descriptor_limit, process::Orphan},
};

/// How long a look at one process may take.
const LOOK_LIMIT: Duration = Duration::from_millis(250);
/// Threads that did not come back; then nothing is looked at until one does.
const STUCK_MAX: usize = 16;

/// The tags that are looked for.
pub(super) type Tags = Arc<[Vec<u8>]>;
/// Reads the environment of a process.
type Environ = fn(u32) -> io::Result<Vec<u8>>;

/// What a process is found to be.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing of ours, or gone, or it cannot be seen.
    Stranger,
    /// It had one of the tags, and was killed.
    Killed(Orphan),
    /// It is just being replaced by another program: it has to be asked later.
    Undecided,
}

/// The thread that looks, and those that did not come back.
#[derive(Debug)]
pub(super) struct Looker {
    environ: Environ,
    limit: Duration,
    thread: Option<Thread>,
    stuck: Vec<(u32, u64, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Thread {
    asks: mpsc::Sender<(u32, Tags)>,
    answers: mpsc::Receiver<io::Result<Found>>,
    handle: JoinHandle<()>,
}

impl Looker {
    pub(super) fn new() -> Self {
        Self::by(environ, LOOK_LIMIT)
    }

    fn by(environ: Environ, limit: Duration) -> Self {
        Self { environ, limit, thread: None, stuck: Vec::new() }
    }

    /// Looks at a process, and kills it if it has one of `tags`. An error is that this process may open nothing, or have no
    /// thread.
    pub(super) fn look(&mut self, pid: u32, born: u64, tags: &Tags) -> io::Result<Found> {
        self.stuck.retain(|(_, _, thread)| !thread.is_finished());
        if self.stuck.iter().any(|(stuck, since, _)| (*stuck, *since) == (pid, born)) {
            return Ok(Found::Stranger);
        }
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None if self.stuck.len() < STUCK_MAX => Thread::start(self.environ)?,
            None => return Err(io::Error::other("too many looks at processes have not come back")),
        };
        let _ = thread.asks.send((pid, Arc::clone(tags)));
        match thread.answers.recv_timeout(self.limit) {
            Ok(answer) => {
                self.thread = Some(thread);
                answer
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                log::warn!(
                    pid,
                    "a process cannot be looked at; if it is of a dead worker, it is ended when it can be"
                );
                self.stuck.push((pid, born, thread.handle));
                Ok(Found::Stranger)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("a look at a process panicked"))
            }
        }
    }
}

impl Thread {
    fn start(environ: Environ) -> io::Result<Self> {
        let (asks, asked) = mpsc::channel::<(u32, Tags)>();
        let (answer, answers) = mpsc::channel();
        let look = move || {
            for (pid, tags) in asked {
                // Nobody may wait any more; what is tagged has been killed all the same.
                let _ = answer.send(decide(environ, pid, &tags));
            }
        };
        let handle = thread::Builder::new().name("ostler-look".into()).spawn(look)?;
        Ok(Self { asks, answers, handle })
    }
}

/// Kills a process that is tagged. It is looked at again when it is held: its id could have become a stranger's.
fn decide(environ: Environ, pid: u32, tags: &[Vec<u8>]) -> io::Result<Found> {
    match is_tagged(environ, pid, tags)? {
        Some(true) => {}
        Some(false) => return Ok(Found::Stranger),
        None => return Ok(Found::Undecided),
    }
    let Some(stray) = Orphan::hold(pid)? else { return Ok(Found::Stranger) };
    Ok(match is_tagged(environ, pid, tags)? {
        Some(true) => {
            stray.kill();
            Found::Killed(stray)
        }
        Some(false) => Found::Stranger,
        None => Found::Undecided,
    })
}

/// `None`: it is just being replaced by another program. An error is only that this process may open nothing.
fn is_tagged(environ: Environ, pid: u32, tags: &[Vec<u8>]) -> io::Result<Option<bool>> {
    let environ = match environ(pid) {
        Ok(environ) => environ,
        Err(error) if descriptor_limit::is_one(&error) => return Err(error),
        // Not ours to read, or gone.
        Err(_) => return Ok(Some(false)),
    };
    Ok(match environ.is_empty() {
        true if is_being_replaced(pid) => None,
        true | false => Some(has_tag(&environ, tags)),
    })
}

fn environ(pid: u32) -> io::Result<Vec<u8>> {
    let mut environ = Vec::new();
    File::open(format!("/proc/{pid}/environ"))?.read_to_end(&mut environ)?;
    Ok(environ)
}

/// Whether a process is within an `execve`: it has a program, and no place for its environment yet. A zombie or a thread
/// of the kernel has neither; an environment that is empty has a place.
fn is_being_replaced(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.env_end == 0) && fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const HANGS: u32 = u32::MAX;
    static HELD: Mutex<()> = Mutex::new(());

    /// No process is as these say; so a tagged one is gone when it is to be held.
    fn environ(pid: u32) -> io::Result<Vec<u8>> {
        if pid > HANGS - 100 {
            drop(HELD.lock());
        }
        Ok(b"PATH=/bin\0".into())
    }

    #[test]
    fn a_process_that_cannot_be_looked_at_costs_its_own_look_once() {
        let tags: Tags = [b"tag".to_vec()].into();
        let mut looker = Looker::by(environ, Duration::from_millis(50));
        let held = HELD.lock().unwrap();
        for _ in 0..3 {
            // The second time it is known, and costs nothing; the others are looked at.
            assert!(matches!(looker.look(HANGS, 7, &tags), Ok(Found::Stranger)));
            for pid in 1..50 {
                assert!(matches!(looker.look(pid, 7, &tags), Ok(Found::Stranger)));
            }
        }
        assert!(looker.stuck.iter().any(|(pid, _, _)| *pid == HANGS));
        // Each costs a thread, so there is a limit.
        for pid in 1..100 {
            let _ = looker.look(HANGS - pid, 7, &tags);
        }
        assert_eq!(looker.stuck.len(), STUCK_MAX);
        drop(held);
        while looker.look(HANGS, 7, &tags).is_err() || !looker.stuck.is_empty() {
            thread::yield_now();
        }
    }
}
