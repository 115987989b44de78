//! The state of a pool for other processes of the same user (feature `monitor`): a Unix socket that tells every client
//! one [`Snapshot`] a second, as a line of JSON. `ostler top` shows it.
//!
//! It only looks: nothing that a client sends is read, and a client that does not read is let go.

mod history;
mod snapshot;

use std::{
    io,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use self::history::History;
pub use self::snapshot::{Moment, SessionLine, Snapshot, Times, VERSION};
use crate::{
    runtime::{Runtime, Shared},
    worker::listener,
};

/// How often the pool is looked at, and its clients are told.
pub const EVERY: Duration = Duration::from_secs(1);
/// Most clients at once; one more is let go at once.
pub const CLIENTS_MAX: usize = 16;
/// How long a client may not read before it is let go.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(5);

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

async fn run(pool: Weak<Shared>, socket: UnixListener) {
    let (told, latest) = watch::channel(Line::from(""));
    let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
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
            client = socket.accept() => {
                if let (Ok((client, _)), Ok(place)) = (client, Arc::clone(&clients).try_acquire_owned()) {
                    let latest = latest.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        tell(client, latest).await;
                    });
                }
            }
        }
    }
}

/// Tells a client the latest, and everything after, until one of the two is gone.
async fn tell(mut client: UnixStream, mut latest: watch::Receiver<Line>) {
    latest.mark_changed();
    while latest.changed().await.is_ok() {
        let line = Line::clone(&latest.borrow_and_update());
        match timeout(CLIENT_PATIENCE, client.write_all(line.as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
