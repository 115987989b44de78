//! An accept loop of our own, for `axum::serve` sets no limit of time: so many connections, of one peer and in all, and none
//! that sends or reads for ever.

mod connection;
mod limits;
mod listener;
mod timed;

use std::{future::Future, sync::Arc, time::Duration};

use axum::Router;
use tokio::{sync::watch, task::JoinSet};

pub use self::listener::Listener;
use self::{connection::Ends, limits::ConnectionLimits, listener::Accepted};
use crate::desk::Desk;

/// Between two attempts to take up a connection, while there are no descriptors.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long open connections have to end when the server has drained.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// What became of the sessions with names when the server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Those that were awake and were saved.
    pub saved: usize,
    /// Those that could not be saved: what they had last saved is there.
    pub not_saved: usize,
}

pub(crate) async fn serve(
    desk: &Arc<Desk>,
    router: Router,
    listeners: Vec<Listener>,
    stop: impl Future<Output = ()>,
) -> Served {
    let (close, closing) = watch::channel(false);
    let limits = ConnectionLimits::default();
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(accept(listener, router.clone(), limits.clone(), closing.clone()));
    }
    drop((router, closing));
    let mut draining = desk.drained();
    tokio::select! {
        () = stop => {}
        _ = draining.wait_for(|draining| *draining) => {}
    }
    // Connections are still taken: whoever asks is told that the server is ending.
    let (saved, not_saved) = desk.drain().await;
    close.send_replace(true);
    // What does not end by then is closed with its task.
    let _ = tokio::time::timeout(CLOSE_LIMIT, async { while loops.join_next().await.is_some() {} }).await;
    Served { saved, not_saved }
}

/// Takes up connections until the server closes, and waits for those that are open.
async fn accept(
    mut listener: Listener,
    router: Router,
    limits: ConnectionLimits,
    mut closing: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted: Result<Accepted, std::io::Error> = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        match accepted {
            Ok(accepted) => match limits.take(accepted.address()) {
                Ok(place) => {
                    let ends = Ends { closing: closing.clone(), _place: place };
                    connections.spawn(connection::serve(accepted, router.clone(), ends));
                }
                Err(full) => accepted.refuse(full),
            },
            // What goes wrong does so again at once, most of all a want of descriptors.
            Err(_for_now) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
