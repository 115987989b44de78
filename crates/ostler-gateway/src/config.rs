//! How a gateway behaves: every limit, named, with its unit.

use std::{fmt, time::Duration};

/// How long the head of a request may take from its first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the body of a request may take.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may stay open without a request.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a peer may not read what is sent to it before its connection is cut.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the head of a request. More is answered with 431.
pub const HEAD_MAX: usize = 16 << 10;
/// Headers of a request. More is answered with 431.
pub const HEADERS_MAX: usize = 100;
/// Bytes of the body of a request. More is answered with 413.
pub const BODY_MAX: usize = 8 << 20;
/// Bytes of events that are gathered into one piece of an event stream. One piece is written and one waits; the rest is in the log.
pub const PIECE_MAX: usize = 32 << 10;
/// Connections at once. One more is answered with 503 and closed.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Connections at once from one address. One more is answered with 503 and closed. Peers on a Unix socket are all this user's,
/// and have no such limit.
pub const CONNECTIONS_PER_PEER_MAX: usize = 64;
/// How often a silent event stream says that it is still there.
pub const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Bytes of memory for the events of one execution; what does not fit is left out of the middle.
pub const LOG_MAX: usize = 8 << 20;
/// Bytes of memory for the events of all executions that have ended. The oldest make room for new ones.
pub const LOGS_MAX: usize = 256 << 20;
/// How long an execution is kept after its end, with its events and its `Idempotency-Key`.
pub const KEEP_ENDED: Duration = Duration::from_secs(600);
/// Executions of one principal at once, in the queue and running.
pub const EXECUTIONS_MAX: usize = 256;
/// Sessions of one principal, awake and asleep.
pub const SESSIONS_MAX: usize = 10_000;
/// Checkpoints of one principal.
pub const CHECKPOINTS_MAX: usize = 64;
/// Bytes of the checkpoints of one principal.
pub const CHECKPOINT_BYTES_MAX: usize = 256 << 20;
/// How long a session may be idle before it is saved and its worker given back.
pub const SLEEP_AFTER: Duration = Duration::from_secs(300);
/// How long executions that run have to end when the server ends.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often ended executions and idle sessions are looked for.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How a gateway behaves.
#[derive(Clone)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// Names that requests may give as their host, besides `localhost`, `127.0.0.1` and `[::1]`. Default: none.
    pub hosts: Vec<String>,
    /// The token of the owner, who may do all. Default: none, and only peers of the same user on a Unix socket are the owner.
    pub token: Option<String>,
    /// Marks the handles that this gateway makes. A later gateway with the same key answers one that has ended with 410, and
    /// not with 404. Default: none, and each gateway has a key of its own.
    pub handle_key: Option<[u8; 32]>,
    /// See [`SLEEP_AFTER`], which is the default.
    pub sleep_after: Duration,
    /// See [`KEEP_ENDED`], which is the default.
    pub keep_ended: Duration,
    /// See [`DRAIN_TIMEOUT`], which is the default.
    pub drain_timeout: Duration,
}

/// Without what is secret.
impl fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, token: _, handle_key: _, sleep_after, keep_ended, drain_timeout } = self;
        f.debug_struct("GatewayConfig")
            .field("hosts", hosts)
            .field("sleep_after", sleep_after)
            .field("keep_ended", keep_ended)
            .field("drain_timeout", drain_timeout)
            .finish_non_exhaustive()
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            token: None,
            handle_key: None,
            sleep_after: SLEEP_AFTER,
            keep_ended: KEEP_ENDED,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}
