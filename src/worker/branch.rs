//! A worker that another worker forked from itself: the copy of a session.
//!
//! The other side is `workers/python/ostler_branch`. The worker is told, by the message `fork`, the abstract name of a socket at
//! which we listen, and a secret. The copy's parent, the keeper, connects there; the kernel says who it is.
//!
//! ```text
//! host                                                      keeper
//!                                                      <-   the secret
//!                                                      <-   "wants socket", or "wants stdio"
//! a byte or more, with the descriptors 0, 1 and 2      ->   forks the copy
//!                                                      <-   "forked " pid, or "refused " why
//! (closed)                                             ->   ends
//! ```
//!
//! The copy is no child of ours. The keeper, which becomes a tiny program then, collects nobody while it lives; so a
//! death is seen by a pidfd and read off `/proc`, as that of a worker of the zygote. Then we let the keeper go, and with it
//! the dead copy: both are collected by whoever collects orphans. When the keeper is dead, the exit is `Unknown`.
//!
//! It is ended as every worker: it leads a group, carries a tag of its own before it runs, and ends with its channel.

use std::{
    fmt,
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::UnixStream, time::timeout};

use super::{
    Worker,
    cleanup::Cleanup,
    process::{Parent, Process, descriptors},
    program,
    rendezvous::Rendezvous,
    spawner::{Started, watched},
    sweep::{self, Footprint},
    threads::Threads,
    zygote::Link,
};
use crate::error::SpawnError;

/// How long the steps behind the fork may take, each.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// A worker that is to be forked from another one.
pub struct Branch {
    /// What the other one is told.
    pub order: Order,
    /// The copy, once it is there. Pending until the other one is told; dropping it gives up.
    pub worker: Pin<Box<dyn Future<Output = Result<Worker, SpawnError>> + Send>>,
}

impl fmt::Debug for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branch").field("order", &self.order).finish_non_exhaustive()
    }
}

/// What a worker is told that is to fork itself: the fields of the message `fork`.
#[derive(Clone)]
pub struct Order {
    /// The abstract name of the socket at which the copy is awaited.
    pub address: String,
    /// What is sent there before anything else.
    pub secret: String,
    /// The tag of the copy.
    pub tag: String,
    /// Its working folder.
    pub folder: PathBuf,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, secret: _, tag, folder } = self;
        let mut shown = f.debug_struct("Order");
        shown.field("address", address).field("tag", tag).field("folder", folder).finish_non_exhaustive()
    }
}

/// Waits for a copy.
#[derive(Debug)]
pub(super) struct Awaited {
    rendezvous: Rendezvous,
    program: PathBuf,
    footprint: Footprint,
    cleanup: Cleanup,
}

impl Awaited {
    /// Listens for the copy whose tag `footprint` names. Called within a runtime.
    pub(super) fn new(program: &Path, footprint: Footprint, cleanup: Cleanup) -> io::Result<Self> {
        let rendezvous = Rendezvous::new(&format!("fork-{}", footprint.tag))?;
        Ok(Self { rendezvous, program: program.into(), footprint, cleanup })
    }

    /// What the worker is told whose copy it is to be.
    pub(super) fn order(&self, folder: PathBuf) -> Order {
        let [address, secret] = [self.rendezvous.address(), self.rendezvous.secret()].map(str::to_owned);
        Order { address, secret, tag: self.footprint.tag.clone(), folder }
    }

    /// The copy, once it is there.
    pub(super) async fn arrives(self) -> Result<Started, SpawnError> {
        let failed = |error| program::system("fork a copy of a worker", &self.program, error);
        let (host, keeper) = self.rendezvous.arrives().await.map_err(failed)?;
        let starting = self.cleanup.one_more();
        let forked = async {
            let mut link = Link::quiet(host);
            let ends = match &*ask(&mut link, "wants", &[]).await? {
                "stdio" => descriptors(false)?,
                _socket => descriptors(true)?,
            };
            let keeper = Keeper::hold(keeper, &self.cleanup)?;
            let (ends, theirs) = ends;
            let pid = ask(&mut link, "forked", &theirs).await?.parse().map_err(io::Error::other)?;
            keeper.has_forked(pid)?;
            drop(theirs);
            let parent = Parent::Keeper(keeper.holding(link.into_socket()));
            let process = Process::adopt(pid, Some(parent), self.cleanup.clone())?;
            watched(process, ends, self.footprint, starting)
        };
        forked.await.map_err(failed)
    }
}

/// Sends these descriptors, if any, and waits for this word of the keeper.
async fn ask(link: &mut Link, word: &str, descriptors: &[std::os::fd::OwnedFd]) -> io::Result<String> {
    use std::os::fd::AsFd;
    let exchange = async {
        if !descriptors.is_empty() {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            link.send(["fork".into()], &descriptors).await?;
        }
        let (kind, text) = link.hear().await?;
        if kind == word { Ok(text) } else { Err(io::Error::other(format!("it answered `{kind} {text}`"))) }
    };
    timeout(STEP_LIMIT, exchange).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

/// The parent of a copy.
#[derive(Debug)]
pub(super) struct Keeper {
    process: Arc<Process>,
    /// It ends when this is closed.
    host: Mutex<Option<UnixStream>>,
}

impl Keeper {
    /// Holds a process that waits for us at this moment, so that its id is its own.
    fn hold(pid: u32, cleanup: &Cleanup) -> io::Result<Self> {
        let process = Arc::new(Process::adopt(pid, None, cleanup.clone())?);
        // It is an orphan: if we are who collects those, we do. What it leaves behind is the copy's to clear.
        drop(Threads::get()?.watch().add(Arc::clone(&process), None)?);
        Ok(Self { process, host: Mutex::default() })
    }

    /// What is not its own child is not believed to be the copy: it would be killed in the copy's place. A child stays its
    /// own, for while it is held it collects nobody.
    fn has_forked(&self, pid: u32) -> io::Result<()> {
        let (keeper, parent) = (self.process.id(), sweep::parent(pid));
        if parent == Some(keeper) {
            return Ok(());
        }
        let parent = parent.map_or("nobody".into(), |parent| parent.to_string());
        Err(io::Error::other(format!(
            "it named process {pid} as the copy: expected a child of {keeper}, got one of {parent}"
        )))
    }

    fn holding(self, host: UnixStream) -> Self {
        Self { host: Mutex::new(Some(host)), ..self }
    }

    /// Whether it lives: until it is dead, nobody collects the copy.
    pub(super) fn is_alive(&self) -> bool {
        !self.process.is_dead()
    }

    /// Lets it go, and with it the copy, which is dead.
    pub(super) fn let_go(&self) {
        drop(self.host.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
