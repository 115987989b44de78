//! The zygote: an interpreter with the worker and some modules loaded, from which workers are forked within about a
//! millisecond. One for each spawner whose spec wants it; started with the first worker, and again when it dies.
//!
//! It runs `workers/python/ostler_zygote`. Its fd 0 is a stream socket, on which it is given, as every worker, what the
//! bootstrap reads. Frames follow, a length of four bytes before each:
//!
//! ```text
//! host                                                      zygote
//! "preload" NUL name NUL name …                        ->   imports them, one after the other
//!                                                      <-   "importing " name              before each
//!                                                      <-   "failed " name NUL why         and it ends
//!                                                      <-   "unfit " why                   and it ends: threads run in it
//!                                                      <-   "ready " pid                   of a dead child, see below
//! "fork" NUL folder NUL name=value NUL …, with the
//!   descriptors 0, 1 and 2 of the worker               ->
//!                                                      <-   "forked " pid, or "refused " why
//! "script" NUL count NUL argument NUL … folder NUL name=value NUL …,
//!   with its descriptors 0, 1 and 2                    ->   runs what `python ARGUMENTS` would, and ends as it does
//!                                                      <-   "forked " pid, or "refused " why
//! "end" NUL pid                                        ->   kills what is left of its group, and collects it
//! (closed)                                             ->   kills and collects all its children, and ends
//! ```
//!
//! One child is forked ahead of its order and has started the worker already, on descriptors that lead nowhere; the zygote
//! passes the order on to it. It is that, or one that is forked when the order comes.
//!
//! A forked worker is no child of ours, so three things need care:
//!
//! - *How it ended.* The zygote collects nobody until it is told to, and the kernel tells everybody of the same user how
//!   a dead process ended that is not collected yet, in `/proc/PID/stat`. So a death is seen by a pidfd and read off, as
//!   that of any worker, with no word from the zygote. Whether the kernel does tell is tried on a dead child at the
//!   start. When the zygote is dead, its children are another's, and the exit is `Unknown`.
//! - *Whose it is.* `/proc/PID/environ` shows the block of variables that a process was started with, which for a forked
//!   one is the zygote's. So the zygote has a long tag, and each child writes its own over it, in place, before anything
//!   else. Its children have it from there, forked or not; the sweep and the reaper see no difference.
//! - *Who ends it.* A worker outlives the zygote, and ends with its host: at the end of its channel; or because the
//!   zygote, whose socket has ended, kills it; or by the reaper.

mod control;
mod keeper;
mod link;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    future::Future,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

pub(super) use link::Link;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    Unlaunched,
    cleanup::Cleanup,
    process::{Ends, Process},
    python::Interpreter,
    spawner::Started,
    sweep::Footprint,
};
use crate::config::WorkerSpec;

/// A worker to be forked.
#[derive(Debug)]
pub(super) struct Birth {
    pub(super) env: BTreeMap<OsString, OsString>,
    pub(super) cwd: PathBuf,
    /// Whether its fd 0 is a socket, which it also writes to, or a pipe.
    pub(super) socket: bool,
    /// It is a script: what the interpreter would be given, and its three streams.
    pub(super) script: Option<(Vec<OsString>, [OwnedFd; 3])>,
    pub(super) footprint: Footprint,
}

/// A process that the zygote forked. A script has no ends of ours.
type Forked = Started<Option<Ends>>;

/// Where it is told what came of a fork.
type Reply = oneshot::Sender<Result<Option<Forked>, Unlaunched>>;

/// What the task that keeps the zygote is asked for.
#[derive(Debug)]
enum Ask {
    /// `None`: it cannot be forked now; start it in the plain way.
    Fork(Birth, Reply),
    /// This child of this zygote is dead: have it collected.
    Collect { zygote: u32, pid: u32 },
}

/// The one that is kept. It ends when this is dropped and every worker that it forked is dead.
#[derive(Debug)]
struct Kept {
    asks: mpsc::UnboundedSender<Ask>,
    spec: Arc<WorkerSpec>,
    interpreter: Arc<Interpreter>,
    keeper: JoinHandle<()>,
}

/// The zygote of a spawner, once there is one.
#[derive(Debug, Default)]
pub(super) struct Zygote(Mutex<Option<Kept>>);

impl Zygote {
    /// Forks a worker of `spec`. `None`: it cannot be forked now. Called within a runtime, which also keeps the zygote.
    ///
    /// # Errors
    /// The zygote never came to be, for a reason that would trouble its workers too: a module that cannot be imported.
    pub(super) async fn fork(
        &self,
        spec: &Arc<WorkerSpec>,
        interpreter: &Arc<Interpreter>,
        birth: Birth,
        cleanup: &Cleanup,
    ) -> Result<Option<Forked>, Unlaunched> {
        let (reply, answer) = oneshot::channel();
        {
            let mut zygote = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let is_there = |zygote: &&mut Kept| zygote.is_of(spec, interpreter);
            let zygote = match zygote.as_mut().filter(is_there) {
                Some(zygote) => zygote,
                None => zygote.insert(Kept::new(spec, interpreter, &birth.footprint.tag, cleanup)),
            };
            let _ = zygote.asks.send(Ask::Fork(birth, reply));
        }
        answer.await.unwrap_or(Ok(None))
    }

    /// Lets go of it, and resolves when it has ended: that is, when its workers are dead.
    pub(super) fn end(&self) -> impl Future<Output = ()> + Send + 'static {
        let zygote = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let keeper = zygote.map(|zygote| zygote.keeper);
        async move {
            if let Some(keeper) = keeper {
                let _ = keeper.await;
            }
        }
    }
}

impl Kept {
    fn new(spec: &Arc<WorkerSpec>, interpreter: &Arc<Interpreter>, tag: &str, cleanup: &Cleanup) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "one ask for each start, and one for each worker that dies"
        )]
        let (asks, asked) = mpsc::unbounded_channel();
        let pool = tag.split('.').next().unwrap_or_default().to_owned();
        let recipe = control::Recipe { spec: Arc::clone(spec), interpreter: Arc::clone(interpreter), pool };
        let keeper = keeper::Keeper::new(recipe, asks.downgrade(), asked, cleanup.clone());
        let keeper = tokio::spawn(keeper.run());
        Self { asks, spec: Arc::clone(spec), interpreter: Arc::clone(interpreter), keeper }
    }

    /// Whether it is kept, and forks what is asked for: the spec may have been replaced, and the interpreter too.
    fn is_of(&self, spec: &Arc<WorkerSpec>, interpreter: &Arc<Interpreter>) -> bool {
        Arc::ptr_eq(&self.spec, spec) && Arc::ptr_eq(&self.interpreter, interpreter) && !self.asks.is_closed()
    }
}

/// The zygote that forked a worker, as the worker's process knows it.
#[derive(Debug)]
pub(super) struct Parent {
    zygote: Arc<Process>,
    asks: mpsc::UnboundedSender<Ask>,
}

impl Parent {
    /// Whether it lives: until it is dead, nobody collects its children but by our word.
    pub(super) fn is_alive(&self) -> bool {
        !self.zygote.is_dead()
    }

    /// Has it collect a child that is dead.
    pub(super) fn collect(&self, pid: u32) {
        // If nobody keeps it any more, it dies, and another parent collects.
        let _ = self.asks.send(Ask::Collect { zygote: self.zygote.id(), pid });
    }
}
