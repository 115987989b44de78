//! The operating system: starting workers, their pipes, their signals and their end.
//!
//! Nothing outside this folder names a process, a descriptor or a signal. Actors see a [`Worker`]: two byte
//! streams, an exit and a way to end it. [`Spawner`] is the seam: the scripted in-memory worker of the tests
//! stands behind the same trait as a real process.

mod branch;
mod children;
mod cleanup;
mod delivery;
mod descriptor_limit;
mod environment;
mod ignored;
#[cfg(feature = "monitor")]
pub(crate) mod listener;
mod oom;
mod pipes;
mod process;
mod program;
mod python;
mod reaper;
mod record;
mod rendezvous;
mod scratch;
mod script;
mod spawner;
mod stacks;
mod sweep;
mod threads;
mod vitals;
mod watch;
mod zygote;

use std::{fmt, future::Future, io, pin::Pin, sync::Arc, task};

use bytes::BytesMut;
use tokio::io::AsyncRead;

use crate::{
    config::{JsonRpc, WorkerSpec},
    error::SpawnError,
    outcome::{Child, Exit, Stack},
    protocol::Codec,
    status::Vitals,
};

pub use branch::{Branch, Order};
#[cfg(feature = "conform")]
pub(crate) use children::lives_in;
pub use delivery::Delivery;
pub use python::{PythonInfo, python_info};
pub(crate) use record::Recorder;
pub(crate) use script::input;
pub use script::{Launched, Unlaunched};
pub(crate) use spawner::ProcessSpawner;

/// Starts workers.
pub trait Spawner: Send + Sync + fmt::Debug + 'static {
    /// Starts one worker. It is not ready yet: its first frame says when it is.
    ///
    /// `tag` identifies this worker among all processes of the machine; a spawner of real processes puts it into
    /// the environment, where children inherit it.
    fn spawn(&self, tag: &str) -> Pin<Box<dyn Future<Output = Result<Worker, SpawnError>> + Send>>;

    /// Starts the process of a script. A spawner that cannot says so.
    fn script(
        &self,
        tag: &str,
        launched: Arc<Launched>,
    ) -> Pin<Box<dyn Future<Output = Result<Worker, Unlaunched>> + Send>> {
        let (tag, source) = (tag.to_owned(), io::ErrorKind::Unsupported.into());
        drop(launched);
        Box::pin(async move {
            Err(SpawnError::System { action: "start a script", program: tag.into(), source }.into())
        })
    }

    /// Makes ready for a worker that another one is about to fork from itself. A spawner that cannot have such workers says
    /// so.
    fn branch(&self, tag: &str) -> Pin<Box<dyn Future<Output = Result<Branch, SpawnError>> + Send>> {
        let tag = tag.to_owned();
        Box::pin(async move {
            let source = io::ErrorKind::Unsupported.into();
            Err(SpawnError::System { action: "fork a copy of a worker", program: tag.into(), source })
        })
    }

    /// Makes ready for a state that a copy of a worker sends. `None` where no worker can send one.
    fn delivery(&self) -> Option<Delivery> {
        None
    }

    /// Makes workers from this spec from now on. A spawner without a spec goes on as it did.
    fn reload(&self, spec: WorkerSpec) {
        drop(spec);
    }

    /// How often the process that clears up behind a killed host died itself, while it was needed.
    fn reapers_lost(&self) -> u64 {
        0
    }

    /// The end of a pool: resolves when nothing is left of its workers, no child of theirs and no scratch folder, nor of what
    /// would clear that up.
    fn settled(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

/// One started worker, as its session sees it.
pub struct Worker {
    /// The process id, where there is a process.
    pub pid: Option<u32>,
    /// The codec that the worker was told to speak.
    pub codec: Codec,
    /// It is a JSON-RPC server: what the streams below carry is no frames then, but its messages.
    pub server: Option<Arc<JsonRpc>>,
    /// Frames from the worker.
    pub frames: Box<dyn AsyncRead + Send + Unpin>,
    /// Frames to the worker.
    pub outbox: Arc<dyn Outbox>,
    /// What the worker writes to fd 1, when frames travel elsewhere.
    pub stdout: Option<Box<dyn Pipe>>,
    /// What the worker writes to fd 2.
    pub stderr: Option<Box<dyn Pipe>>,
    /// Resolves when the worker is dead: its group was killed and it was reaped.
    pub exit: Pin<Box<dyn Future<Output = Exit> + Send>>,
    /// Whether the worker is dead, or about to be whatever it does: asked when its channel ends, to tell a death from a
    /// channel that was closed. It must not say so of a worker that may still run code.
    pub is_ending: Box<dyn Fn() -> bool + Send>,
    /// Interrupts and kills it; dropping it kills it too.
    pub control: Box<dyn Control>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("pid", &self.pid).field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// A byte stream that can tell what it holds at this moment.
pub trait Pipe: AsyncRead + Send + Unpin {
    /// Appends what the pipe holds now to `into`, without waiting, and returns how many bytes that was.
    ///
    /// Exactly the bytes that were there when it was asked: a writer that goes on writing cannot hold the caller.
    ///
    /// # Errors
    /// What the operating system says of the read.
    fn read_held(&mut self, into: &mut BytesMut) -> io::Result<usize>;
}

/// The writing end of a worker's frames. It never blocks.
pub trait Outbox: Send + Sync {
    /// Writes what the pipe takes now and returns how many bytes that was.
    ///
    /// # Errors
    /// `WouldBlock` when the pipe is full; anything else means that the worker will not read again.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ready when the next [`try_write`](Self::try_write) may take something.
    ///
    /// # Errors
    /// The pipe is closed.
    fn poll_writable(&self, context: &mut task::Context<'_>) -> task::Poll<io::Result<()>>;
}

/// What was seen of a worker from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What the operating system says of it.
    pub vitals: Option<Vitals>,
    /// What its threads do.
    pub stacks: Vec<Stack>,
    /// The processes that its code has started.
    pub children: Vec<Child>,
}

/// Power over one worker. Dropping it kills the worker and its group.
pub trait Control: Send {
    /// Asks the running code to stop: rings the worker, and interrupts its children if it has any.
    fn interrupt(&self);
    /// Sends SIGINT to the worker, and to nobody else. Only to one that offers `sigint`.
    fn interrupt_worker(&self) {}
    /// Sends SIGINT to the worker and its group, as Ctrl-C does. For scripts.
    fn interrupt_group(&self) {}
    /// Sends SIGTERM to the worker and its group. For scripts.
    fn terminate_group(&self) {}
    /// Ends the worker and its process group at once. May be called again.
    fn kill(&self);
    /// Leaves the worker's group as it is when the worker ends by itself, for whoever looks at that. `exit` resolves when it
    /// was killed.
    #[cfg(feature = "conform")]
    fn hold(&self) {}
    /// What the operating system says of the worker; `None` if it says nothing.
    fn vitals(&self) -> Option<Vitals> {
        None
    }
    /// Looks at what the worker does. What is asked of it is asked before this returns, so that an interrupt that
    /// follows comes later; the answer may take [`STACKS_LIMIT`](crate::config::STACKS_LIMIT).
    fn examine(&self) -> Pin<Box<dyn Future<Output = Inspection> + Send>> {
        Box::pin(std::future::ready(Inspection::default()))
    }
}

#[cfg(test)]
mod tests;
