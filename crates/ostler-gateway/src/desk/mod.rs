//! Who owns what: executions, sessions and checkpoints by their handles, keys, and principals.
//!
//! What is decided is decided in [`table`] and [`keys`], under one lock that is never held over a wait; what is done is done
//! here, through the public API of the library. No face of the gateway is known here.

mod checkpoints;
mod drain;
mod keys;
pub(crate) mod principal;
pub(crate) mod run;
pub(crate) mod session;
mod sessions;
mod submit;
pub(crate) mod table;
pub(crate) mod time;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ostler::Runtime;
use tokio::{sync::watch, time::Instant};

pub(crate) use self::{checkpoints::Kept, submit::Submitted};
use self::{
    keys::Keys,
    principal::{Principal, Principals},
    run::Run,
    session::SessionEntry,
    table::{Found, Retention, Table},
};
use crate::{
    config::{self, GatewayConfig},
    wire::{
        bearer::{random, random_hex},
        handle::{self, HandleKey, Kind},
        problem::Problem,
    },
};

/// Longer than anything is kept.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Everything that callers have.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) runtime: Runtime,
    pub(crate) config: GatewayConfig,
    pub(crate) principals: Principals,
    /// The one who started the server.
    pub(crate) owner: Arc<Principal>,
    /// New at each start.
    pub(crate) server_id: String,
    /// When the server was started, in RFC 3339.
    pub(crate) started_at: String,
    handles: HandleKey,
    tables: Mutex<Tables>,
    /// Whether it is ending.
    draining: watch::Sender<bool>,
}

/// What is where.
#[derive(Debug)]
struct Tables {
    runs: Table<Arc<Run>>,
    keys: Keys,
    sessions: Table<Arc<SessionEntry>>,
    checkpoints: Table<Arc<Kept>>,
}

impl Desk {
    pub(crate) fn new(
        runtime: Runtime,
        config: GatewayConfig,
        others: Vec<Principal>,
    ) -> std::io::Result<Arc<Self>> {
        let owner = Principal::owner(config.token.as_deref());
        let principals = Principals::new(std::iter::once(owner.clone()).chain(others));
        let runs = Retention {
            running_max: config::EXECUTIONS_MAX,
            keep: config.keep_ended,
            weight_max: config::LOGS_MAX,
        };
        let kept = |running_max| Retention { running_max, keep: FOR_EVER, weight_max: usize::MAX };
        let tables = Tables {
            runs: Table::new(runs),
            keys: Keys::default(),
            sessions: Table::new(kept(config::SESSIONS_MAX)),
            checkpoints: Table::new(kept(config::CHECKPOINTS_MAX)),
        };
        let key = config.handle_key.map_or_else(random, Ok)?;
        let desk = Arc::new(Self {
            handles: HandleKey::new(key),
            runtime,
            config,
            principals,
            owner: Arc::new(owner),
            server_id: random_hex::<16>()?,
            started_at: time::now(),
            tables: Mutex::new(tables),
            draining: watch::Sender::new(false),
        });
        let swept = Arc::downgrade(&desk);
        drop(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(config::SWEEP_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(desk) = swept.upgrade() else { return };
                desk.sweep();
            }
        }));
        Ok(desk)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Each change is whole when it is made.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool, as this principal has it.
    pub(crate) fn runtime_of(&self, who: &Principal) -> Runtime {
        if who.is_tenant { self.runtime.for_tenant(Arc::clone(&who.name)) } else { self.runtime.clone() }
    }

    /// Finds an execution of this principal.
    pub(crate) fn run(&self, who: &Principal, handle: &str) -> Result<Arc<Run>, Problem> {
        let found = self.tables().runs.find(&who.name, handle);
        self.found(who, found, Kind::Execution, handle)
    }

    /// What was found, or the problem that it was not.
    fn found<T>(&self, who: &Principal, found: Found<T>, kind: Kind, handle: &str) -> Result<T, Problem> {
        match found {
            Found::Here(thing) => Ok(thing),
            Found::Gone(tombstone) => {
                Err(Problem::gone(format!("{kind} `{handle}`"), tombstone.at, &tombstone.why))
            }
            Found::Never if self.handles.made(kind, &who.name, handle) => {
                let detail = format!(
                    "{kind} `{handle}` ended with an earlier server, or too long ago to be remembered; this server was \
                     started at {}, and of earlier ones only sessions with a name are there",
                    self.started_at
                );
                Err(Problem::new(410, "gone", detail))
            }
            Found::Never => {
                let shown: String = handle.chars().take(handle::NAME_MAX).collect();
                Err(Problem::not_found(format!("{kind} {shown:?}"), kind.made_by()))
            }
        }
    }

    fn new_handle(&self, kind: Kind, who: &Principal) -> Result<Arc<str>, Problem> {
        self.handles.make(kind, &who.name).map(Into::into).map_err(no_handle)
    }

    /// The executions of this principal that are there.
    pub(crate) fn runs(&self, who: &Principal) -> Vec<Arc<Run>> {
        self.tables().runs.of(&who.name).into_iter().map(|(_, run)| run).collect()
    }

    /// How many executions run, how many have ended and are kept, and how many sessions there are.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let tables = self.tables();
        let ((running, kept), (sessions, _)) = (tables.runs.counts(), tables.sessions.counts());
        [running, kept, sessions]
    }

    fn sweep(self: &Arc<Self>) {
        let now = Instant::now();
        let left = {
            let mut tables = self.tables();
            let left = tables.runs.sweep(now, time::now);
            for run in &left {
                tables.keys.forget(&run.handle);
            }
            left
        };
        // Their logs are freed without the lock.
        drop(left.into_iter().map(|run| run.value).collect::<Vec<_>>());
        self.put_to_sleep(now);
    }
}

/// The kernel gave no random numbers.
fn no_handle(error: std::io::Error) -> Problem {
    Problem::unavailable(
        "no-random-numbers",
        format!("the kernel gives no random numbers: {error}; try again"),
    )
}
