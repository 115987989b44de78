//! An Ostler pool over HTTP: run code, follow and stop it, keep sessions, from any language. `ostler serve` is this crate on
//! a socket; a service in Rust mounts [`Gateway::router`] in its own.
//!
//! The book has a page for callers, `docs/src/http.md`. For those who change it, there are three layers, and each knows
//! only those below it:
//!
//! | folder | is |
//! |---|---|
//! | `rest` | the face: paths, methods, answers |
//! | `desk` | who owns which execution, session and checkpoint; acts through the public API of `ostler` |
//! | `wire` | parsing and framing, without a socket, a clock or a pool |
//!
//! `serve` is beside them: an accept loop over hyper with limits of time and size, which are all in [`config`].
//!
//! It is **not a sandbox**: whoever may run code has the rights of the user who runs the server.

pub mod config;
mod desk;
mod rest;
mod serve;
mod wire;

use std::{future::Future, io, sync::Arc};

use axum::Router;
use ostler::Runtime;

use crate::desk::Desk;
pub use crate::{
    config::GatewayConfig,
    desk::principal::{Principal, Scope},
    rest::Peer,
    serve::{Listener, Served},
    tokens::{Tokens, TokensError},
};

mod tokens;

/// A pool that callers reach over HTTP. Clones share it.
///
/// Dropping the last one, and the last router, drops what callers have: executions and sessions without a name end.
#[derive(Clone, Debug)]
pub struct Gateway {
    desk: Arc<Desk>,
}

impl Gateway {
    /// Puts a gateway before this pool. Sessions that an earlier one saved in the pool's `state_dir` are found again, asleep.
    /// It must be called in a tokio runtime with time enabled. Waits for the disk, at most the pool's `checkpoint_timeout`.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub async fn start(runtime: Runtime, config: GatewayConfig, others: Tokens) -> io::Result<Self> {
        let desk = Desk::new(runtime, config, others.principals)?;
        desk.find_saved().await;
        Ok(Self { desk })
    }

    /// All paths, for a service that has a listener of its own. Host, Origin and token of each request are checked. A
    /// request with the extension [`Peer::SameUser`] needs no token; limits of connections and of time are the service's.
    pub fn router(&self) -> Router {
        rest::router(Arc::clone(&self.desk))
    }

    /// Serves on these listeners until `stop` resolves, or somebody asks for it with `POST /v1/pool/drain`; then
    /// [drains](Self::drain), and closes what is open. The pool is not shut down. Dropping the future closes all at once.
    pub async fn serve(&self, listeners: Vec<Listener>, stop: impl Future<Output = ()>) -> Served {
        serve::serve(&self.desk, self.router(), listeners, stop).await
    }

    /// Ends in order: nothing new is taken, readers are told, what runs has the drain timeout to end, and named sessions are
    /// saved.
    pub async fn drain(&self) -> Served {
        let (saved, not_saved) = self.desk.drain().await;
        Served { saved, not_saved }
    }

    /// New at each start; `GET /v1/version` tells it.
    #[must_use]
    pub fn server_id(&self) -> &str {
        &self.desk.server_id
    }
}

/// The description of all paths by OpenAPI 3.1, as JSON; `GET /openapi.json` gives the same.
#[must_use]
pub fn openapi() -> &'static str {
    rest::document()
}

/// A new key for [`GatewayConfig::handle_key`].
///
/// # Errors
/// The kernel gives no random numbers.
pub fn new_handle_key() -> io::Result<[u8; 32]> {
    wire::bearer::random()
}

/// A new token of 256 bits, in hexadecimal digits.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn new_token() -> io::Result<String> {
    wire::bearer::new_token()
}
