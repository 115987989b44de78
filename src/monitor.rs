//! The state of a pool for other processes of the same user (feature `monitor`): a Unix socket that tells every client
//! one [`Snapshot`] a second, as a line of JSON. `ostler top` shows it.
//!
//! It only looks: nothing that a client sends is read, and a client that does not read is let go.

mod history;
mod snapshot;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::{AbortHandle, JoinHandle},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use self::history::History;
pub use self::snapshot::{Moment, SessionLine, Snapshot, Times, VERSION};
pub use crate::worker::listener::Name as SocketName;
use crate::{
    runtime::{Runtime, Shared},
    worker::listener,
};

/// How often the pool is looked at, and its clients are told.
pub const EVERY: Duration = Duration::from_secs(1);
/// Most clients at once. One more takes the place of the one that has not read for the longest time, or is let go at once if
/// all read.
pub const CLIENTS_MAX: usize = 16;
/// How long a client may not read before it is let go.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(5);

/// What may be on its way to a client that does not read, in bytes, as the kernel counts them: a line or two.
const UNREAD_MAX: usize = 4 << 10;
/// Between two attempts to take up a client, while there are no descriptors.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The latest snapshot, as a line.
type Line = Arc<str>;

/// A socket that is served. Dropping it ends that, and removes the socket.
#[derive(Debug)]
#[must_use = "dropping it ends the serving"]
pub struct Monitor {
    task: JoinHandle<()>,
    _name: listener::Name,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the state of this pool at `path`, readable for this user alone (mode 0600). A socket that nobody listens at any
/// more is replaced. It keeps the pool alive no longer than its handles do; it must be called in a tokio runtime.
///
/// # Errors
/// Something else is at `path`, another program listens there, or the folder cannot be written.
pub fn serve(runtime: &Runtime, path: impl AsRef<Path>) -> io::Result<Monitor> {
    let (socket, name) = listener::private(path.as_ref())?;
    let socket = UnixListener::from_std(socket)?;
    let task = tokio::spawn(run(runtime.downgrade(), socket));
    Ok(Monitor { task, _name: name })
}

/// Listens at a Unix socket that only this user can reach: mode 0600 before anybody can connect. A socket that nobody listens
/// at any more is replaced in one step. Dropping the [`SocketName`] removes the name. For services that have a socket of their
/// own beside that of [`serve`]; the socket does not block.
///
/// # Errors
/// Something else is at `path`, another program listens there, or the folder cannot be written.
pub fn private_socket(path: impl AsRef<Path>) -> io::Result<(listener::StdListener, SocketName)> {
    listener::private(path.as_ref())
}

async fn run(pool: Weak<Shared>, socket: UnixListener) {
    let (told, latest) = watch::channel(Line::from(""));
    let mut clients = Clients::default();
    let mut history = History::new(Instant::now());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let Some(runtime) = Runtime::upgrade(&pool) else { return };
                let status = runtime.status().await;
                drop(runtime);
                let snapshot = history.look(&status, Instant::now());
                // Strings and numbers: it cannot fail, and a client sees no line where it does.
                let line = serde_json::to_string(&snapshot).map(|line| line + "\n").unwrap_or_default();
                told.send_replace(line.into());
            }
            client = accept(&socket) => clients.take_up(client, &latest),
        }
    }
}

/// Waits for a client. What goes wrong does so again at once, most of all a want of descriptors, while the client waits.
async fn accept(socket: &UnixListener) -> UnixStream {
    loop {
        match socket.accept().await {
            Ok((client, _)) => return client,
            Err(_for_now) => sleep(AGAIN_AFTER).await,
        }
    }
}

/// Who is told.
#[derive(Default)]
struct Clients(Vec<Client>);

struct Client {
    task: AbortHandle,
    waits: Waits,
}

/// Since when a client has not read, if it has something to read.
type Waits = Arc<Mutex<Option<Instant>>>;

impl Clients {
    fn take_up(&mut self, client: UnixStream, latest: &watch::Receiver<Line>) {
        self.0.retain(|client| !client.task.is_finished());
        if self.0.len() == CLIENTS_MAX && !self.let_go() {
            return;
        }
        // One that does not read is to be seen soon. Refused, it is seen later.
        let _ = listener::keep_little_unread(&client, UNREAD_MAX);
        let waits = Waits::default();
        let task = tokio::spawn(tell(client, latest.clone(), Arc::clone(&waits))).abort_handle();
        self.0.push(Client { task, waits });
    }

    /// Lets the slowest go; false if all of them read.
    fn let_go(&mut self) -> bool {
        let waiting = self.0.iter().enumerate().filter_map(|(at, client)| Some((since(&client.waits)?, at)));
        let slowest = waiting.min().filter(|(since, _)| since.elapsed() >= EVERY);
        slowest.is_some_and(|(_, at)| {
            self.0.swap_remove(at).task.abort();
            true
        })
    }
}

fn since(waits: &Waits) -> Option<Instant> {
    *waits.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set(waits: &Waits, since: Option<Instant>) {
    *waits.lock().unwrap_or_else(PoisonError::into_inner) = since;
}

/// Tells a client the latest, and everything after, until one of the two is gone.
async fn tell(mut client: UnixStream, mut latest: watch::Receiver<Line>, waits: Waits) {
    latest.mark_changed();
    while latest.changed().await.is_ok() {
        let line = Line::clone(&latest.borrow_and_update());
        set(&waits, Some(Instant::now()));
        match timeout(CLIENT_PATIENCE, client.write_all(line.as_bytes())).await {
            Ok(Ok(())) => set(&waits, None),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

    use super::*;

    /// Fault 98: those that never read keep nobody out.
    #[tokio::test]
    async fn f98_a_client_more_takes_the_place_of_one_that_does_not_read() {
        let (told, latest) = watch::channel(Line::from(""));
        let mut clients = Clients::default();
        let mut held = Vec::new();
        for _ in 0..CLIENTS_MAX {
            let (ours, theirs) = UnixStream::pair().unwrap();
            clients.take_up(ours, &latest);
            held.push(theirs);
        }
        let line: Line = ("x".repeat(2_000) + "\n").into();
        while clients.0.iter().any(|client| since(&client.waits).is_none_or(|since| since.elapsed() < EVERY))
        {
            assert!(clients.0.iter().all(|client| !client.task.is_finished()), "within {CLIENT_PATIENCE:?}");
            told.send_replace(Line::clone(&line));
            sleep(Duration::from_millis(10)).await;
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        clients.take_up(ours, &latest);
        let mut read = String::new();
        BufReader::new(theirs).read_line(&mut read).await.unwrap();
        assert_eq!((clients.0.len(), &*read), (CLIENTS_MAX, &*line));
    }

    #[tokio::test]
    async fn a_client_too_many_is_let_go_while_all_read() {
        let (_told, latest) = watch::channel(Line::from("a line\n"));
        let mut clients = Clients::default();
        let mut held = Vec::new();
        for _ in 0..CLIENTS_MAX {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            clients.take_up(ours, &latest);
            let mut line = [0; 7];
            theirs.read_exact(&mut line).await.unwrap();
            held.push(theirs);
        }
        while clients.0.iter().any(|client| since(&client.waits).is_some()) {
            tokio::task::yield_now().await;
        }
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        clients.take_up(ours, &latest);
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(clients.0.len(), CLIENTS_MAX);
    }
}
