//! A worker that another worker forked from itself: the copy of a session.
//!
//! The other side is `python/ostler_branch.py`. The worker is told, by the message `fork`, the abstract name of a socket at
//! which we listen. The copy's parent, the keeper, connects there; the kernel says who it is.
//!
//! ```text
//! host                                                      keeper
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
    os::{linux::net::SocketAddrExt, unix::net},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};

use super::{
    Worker,
    process::{Parent, Process, descriptors},
    program,
    spawner::{Started, watched},
    sweep::Estate,
    threads::Threads,
    unsettled::Unsettled,
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
#[derive(Clone, Debug)]
pub struct Order {
    /// The abstract name of the socket at which the copy is awaited.
    pub address: String,
    /// The tag of the copy.
    pub tag: String,
    /// Its working folder.
    pub folder: PathBuf,
}

/// Waits for a copy.
#[derive(Debug)]
pub(super) struct Awaited {
    listener: UnixListener,
    program: PathBuf,
    estate: Estate,
    unsettled: Unsettled,
}

impl Awaited {
    /// Listens for the copy whose tag `estate` names. Called within a runtime.
    pub(super) fn new(program: &Path, estate: Estate, unsettled: Unsettled) -> io::Result<(String, Self)> {
        let address = format!("ostler-fork-{}", estate.tag);
        let listener = net::UnixListener::bind_addr(&net::SocketAddr::from_abstract_name(&address)?)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok((address, Self { listener, program: program.into(), estate, unsettled }))
    }

    /// The copy, once it is there.
    pub(super) async fn arrives(self) -> Result<Started, SpawnError> {
        let failed = |error| program::system("fork a copy of a worker", &self.program, error);
        let (host, keeper) = accept(&self.listener).await.map_err(failed)?;
        drop(self.listener);
        let starting = self.unsettled.one_more();
        let forked = async {
            let mut link = Link::quiet(host);
            let ends = match &*ask(&mut link, "wants", &[]).await? {
                "stdio" => descriptors(false)?,
                _socket => descriptors(true)?,
            };
            let keeper = Keeper::hold(keeper, &self.unsettled)?;
            let (ends, theirs) = ends;
            let pid = ask(&mut link, "forked", &theirs).await?.parse().map_err(io::Error::other)?;
            drop(theirs);
            let parent = Parent::Keeper(keeper.holding(link.into_socket()));
            let process = Process::adopt(pid, Some(parent), self.unsettled.clone())?;
            watched(process, ends, self.estate, starting)
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

/// Waits for a process of this user.
async fn accept(listener: &UnixListener) -> io::Result<(UnixStream, u32)> {
    loop {
        let (stream, _) = listener.accept().await?;
        let peer = stream.peer_cred()?;
        if let (true, Some(pid)) = (peer.uid() == rustix::process::geteuid().as_raw(), peer.pid()) {
            return Ok((stream, pid.unsigned_abs()));
        }
    }
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
    fn hold(pid: u32, unsettled: &Unsettled) -> io::Result<Self> {
        let process = Arc::new(Process::adopt(pid, None, unsettled.clone())?);
        // It is an orphan: if we are who collects those, we do. What it leaves behind is the copy's to clear.
        drop(Threads::get()?.watch().add(Arc::clone(&process), None)?);
        Ok(Self { process, host: Mutex::default() })
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
