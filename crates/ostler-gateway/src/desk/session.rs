//! One session that callers know by its handle: awake with a worker, or asleep as a saved state.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use ostler::{Checkpoint, Restored, Runtime, Session, StateError};
use tokio::time::Instant;

/// Bytes of the state of a session without a name that may sleep: it is kept in memory.
pub(crate) const ASLEEP_MAX: usize = 256 << 10;

/// One session that callers know by its handle.
#[derive(Debug)]
pub(crate) struct SessionEntry {
    pub(crate) handle: Arc<str>,
    /// What its caller calls it.
    pub(crate) name: Option<Arc<str>>,
    /// What the library calls it.
    pub(crate) disk_name: Option<String>,
    /// When it was made, in RFC 3339.
    pub(crate) at: String,
    /// Held while it wakes, falls asleep or ends, so that each happens once.
    pub(crate) state: tokio::sync::Mutex<SessionState>,
    /// What lists show of it.
    summary: Mutex<Summary>,
    /// Requests that need it awake.
    uses: AtomicUsize,
}

/// Where the state of a session is.
#[derive(Debug)]
pub(crate) enum SessionState {
    /// In a worker.
    Awake(Arc<Session>),
    /// On disk, under its name; or nowhere yet.
    OnDisk,
    /// In memory.
    InMemory(Box<Checkpoint>),
    Ended,
}

/// What lists show of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) state: &'static str,
    pub(crate) generation: u64,
    pub(crate) used: Instant,
}

/// Keeps a session awake.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) entry: Arc<SessionEntry>,
    pub(crate) session: Arc<Session>,
}

impl Drop for Use {
    fn drop(&mut self) {
        self.entry.update_summary(|summary| summary.used = Instant::now());
        self.entry.uses.fetch_sub(1, Relaxed);
    }
}

impl SessionEntry {
    pub(crate) fn new(
        handle: Arc<str>,
        name: Option<Arc<str>>,
        disk_name: Option<String>,
        at: String,
        state: SessionState,
    ) -> Self {
        let shown = if matches!(state, SessionState::Awake(_)) { "awake" } else { "asleep" };
        let summary = Mutex::new(Summary { state: shown, generation: 0, used: Instant::now() });
        let (state, uses) = (tokio::sync::Mutex::new(state), AtomicUsize::new(0));
        Self { handle, name, disk_name, at, state, summary, uses }
    }

    pub(crate) fn summary(&self) -> Summary {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update_summary(&self, change: impl FnOnce(&mut Summary)) {
        change(&mut self.summary.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The session with its worker, and what came back if it had to be woken; `None` if it has ended. Waits for a worker
    /// as [`Runtime::session_named`] does.
    pub(crate) async fn wake(
        self: &Arc<Self>,
        runtime: &Runtime,
    ) -> Result<Option<(Use, Option<Restored>)>, StateError> {
        let mut state = self.state.lock().await;
        let (session, restored) = match (&*state, &self.disk_name) {
            (SessionState::Awake(session), _) => return Ok(Some((self.uses(session), None))),
            (SessionState::Ended, _) => return Ok(None),
            (SessionState::InMemory(checkpoint), _) => {
                let (session, restored) = runtime.session_from(checkpoint).await?;
                (session, Some(restored))
            }
            (SessionState::OnDisk, Some(name)) => runtime.session_named(name).await?,
            (SessionState::OnDisk, None) => (runtime.session().await?, None),
        };
        let session = Arc::new(session);
        let used = self.uses(&session);
        *state = SessionState::Awake(session);
        Ok(Some((used, restored)))
    }

    fn uses(self: &Arc<Self>, session: &Arc<Session>) -> Use {
        self.uses.fetch_add(1, Relaxed);
        let generation = session.generation().0;
        self.update_summary(|summary| {
            *summary = Summary { state: "awake", generation, used: Instant::now() }
        });
        Use { entry: Arc::clone(self), session: Arc::clone(session) }
    }

    /// Saves the state of a session that nobody uses, and gives its worker back. Returns whether it sleeps.
    pub(crate) async fn sleep(&self) -> Result<bool, StateError> {
        // One that wakes or ends is used.
        let Ok(mut state) = self.state.try_lock() else { return Ok(false) };
        let SessionState::Awake(session) = &*state else { return Ok(false) };
        if self.uses.load(Relaxed) > 0 {
            return Ok(false);
        }
        let asleep = if self.disk_name.is_some() {
            session.save().await?;
            SessionState::OnDisk
        } else {
            let checkpoint = session.checkpoint().await?;
            if checkpoint.data().len() > ASLEEP_MAX || checkpoint.skipped().next().is_some() {
                return Ok(false);
            }
            SessionState::InMemory(Box::new(checkpoint))
        };
        self.update_summary(|summary| summary.state = "asleep");
        *state = asleep;
        Ok(true)
    }

    /// Ends it, and saves it first if it has a name. What is asleep is saved already.
    pub(crate) async fn end(&self, save: bool) -> Result<(), StateError> {
        let mut state = self.state.lock().await;
        let saved = match &*state {
            SessionState::Awake(session) if save && self.disk_name.is_some() => {
                session.save().await.map(drop)
            }
            SessionState::Awake(_)
            | SessionState::OnDisk
            | SessionState::InMemory(_)
            | SessionState::Ended => Ok(()),
        };
        self.update_summary(|summary| summary.state = "ended");
        *state = SessionState::Ended;
        saved
    }
}
