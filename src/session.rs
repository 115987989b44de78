//! The exclusive lease on one stateful session.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    actor::{
        messages::{Granted, Keep, SessionMsg, SupervisorMsg},
        sink::Fed,
    },
    checkpoint::{Checkpoint, Restored},
    error::{StateError, SubmitError},
    execution::Execution,
    machine::supervisor::{LeaseId, Moment},
    outcome::{Activity, Generation, SessionRestored},
    protocol::{ExecutionId, Stream, Value, Variable},
    report::Report,
    request::Request,
    runtime::keeper::Kept,
};

/// Something that happens in a leased session while no execution of its holder runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A thread or a background task printed.
    Background {
        /// Where to.
        stream: Stream,
        /// What.
        data: Bytes,
    },
    /// Code has ended and left something running in the session; see [`Event::Left`](crate::Event::Left), which tells the
    /// same to the execution, unless that had its outcome already.
    Left {
        /// Which execution.
        execution: ExecutionId,
        /// What.
        what: Vec<String>,
    },
    /// Its worker had died, and it goes on in a new one. The next code is told [too](crate::Event::SessionRestored).
    Restored(Box<SessionRestored>),
    /// A JSON-RPC server reported something.
    Notification {
        /// What it is about.
        method: String,
        /// What it says.
        params: Value,
    },
    /// The session has ended, and its worker is dead; its state is gone. The last event.
    Ended {
        /// How.
        why: String,
        /// Whether its worker was asked to end and had to be killed: what its code left running did not end within the
        /// pool's grace.
        killed: bool,
    },
}

/// The names of a session.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Variables {
    /// In the order in which they were made, at most [`VARS_MAX`](crate::config::VARS_MAX).
    pub list: Vec<Variable>,
    /// How many there are.
    pub total: usize,
}

/// A worker of one's own, whose namespace persists from one execution to the next.
///
/// Executions run one after another; up to the pool's `session_queue` of them may wait. Dropping the lease lets what was
/// submitted run to its end and then replaces the worker: it never serves another caller. What a session with a name has
/// not saved by then is saved first, without anybody who waits for it.
///
/// When its worker dies, it ends; or it goes on in another one, if the pool says so: see
/// [`OnDeath`](crate::OnDeath).
pub struct Session {
    granted: watch::Receiver<Granted>,
    events: mpsc::Receiver<Fed>,
    lease: Lease,
}

/// Releases when it is dropped.
struct Lease {
    id: LeaseId,
    kept: Arc<Kept>,
    keep: Keep,
}

impl Lease {
    fn release(&self) {
        self.kept.is_left(&self.keep);
        // A supervisor that is gone has ended the session.
        let _ = self.keep.supervisor.cast(SupervisorMsg::Release(self.id));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("granted", &self.granted).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(
        id: LeaseId,
        granted: watch::Receiver<Granted>,
        events: mpsc::Receiver<Fed>,
        kept: Arc<Kept>,
        keep: Keep,
    ) -> Self {
        Self { granted, events, lease: Lease { id, kept, keep } }
    }

    /// From now on its state is saved before it ends.
    pub(crate) fn is_named(&self) {
        self.tell_supervisor(SupervisorMsg::Name(self.lease.id));
    }

    /// Restores the state that it begins with, and falls back to that when its worker dies. `newest`: it is not on disk.
    pub(crate) async fn begin_with(
        &self,
        checkpoint: &Checkpoint,
        newest: Option<Checkpoint>,
    ) -> Result<Restored, StateError> {
        let (restored, at) = self.lease.keep.clone().restore(self.lease.id, checkpoint, None).await?;
        self.saved(newest, at)?;
        Ok(restored)
    }

    fn saved(&self, newest: Option<Checkpoint>, at: Moment) -> Result<(), StateError> {
        self.lease.kept.holds(newest, at)?;
        self.tell_supervisor(SupervisorMsg::Saved {
            lease: self.lease.id,
            covers: Some(at.ran),
            state_job: false,
        });
        Ok(())
    }

    fn tell_supervisor(&self, message: SupervisorMsg) {
        // A supervisor that is gone has ended the session.
        let _ = self.lease.keep.supervisor.cast(message);
    }

    /// Submits a request to this session. It answers at once; the code runs when those before it have ended.
    ///
    /// # Errors
    /// No code ran: the session has ended, its queue is full, or the request is too large.
    pub async fn execute(&self, request: impl Into<Request>) -> Result<Execution, SubmitError> {
        self.lease.keep.clone().submit(request.into(), Some(self.lease.id)).await
    }

    /// Runs a request and collects what it prints. Waits until its outcome; dropping the future cancels it.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). How the code ends is in the report.
    pub async fn run(&self, request: impl Into<Request>) -> Result<Report, SubmitError> {
        Ok(self.execute(request).await?.report().await)
    }

    /// Saves the names of the session and their values, as far as they can be saved: what cannot is named in the
    /// checkpoint, with its reason. A large session is copied for that, where it can be [forked](Self::fork): it goes on
    /// after milliseconds, while the copy is at work on the state of that moment. Waits in the session's queue like an execution, at most `checkpoint_timeout`; then
    /// the saving is cancelled, and a worker that does not stop is killed after the grace. Dropping the future does the
    /// same.
    ///
    /// # Errors
    /// Nothing was saved, and the session goes on; unless its worker died of it, as [`StateError::Lost`] says.
    pub async fn checkpoint(&self) -> Result<Checkpoint, StateError> {
        let (checkpoint, at) = self.lease.keep.clone().save(self.lease.id, false).await?;
        if self.lease.keep.restores() {
            // The caller has it all the same if the session went on without it.
            let _ = self.lease.kept.holds(Some(checkpoint.clone()), at);
        }
        Ok(checkpoint)
    }

    /// Brings saved names back into the session, beside those that it has; one of the same name is replaced. Functions
    /// see the session's names as they are now. Waits as [`checkpoint`](Self::checkpoint) does.
    ///
    /// # Errors
    /// Nothing was brought back, and the session goes on; unless its worker died of it, as [`StateError::Lost`] says.
    /// That a part of the names did not come back is no error: see [`Restored::lost`].
    pub async fn restore(&self, checkpoint: &Checkpoint) -> Result<Restored, StateError> {
        Ok(self.lease.keep.clone().restore(self.lease.id, checkpoint, None).await?.0)
    }

    /// Forks the session: a session of its own with the same state, which shares memory with this one until either writes to
    /// it. The fork takes milliseconds, whatever the session holds, and objects that no checkpoint could save are there
    /// too. From then on neither sees what the other does, and one may die without the other.
    ///
    /// The copy has a worker, a lease and a place in the pool of its own, and a scratch folder of its own, which is empty;
    /// it has no name. Random numbers go on in both as they would have gone on in one. Files that are open are shared, as
    /// after `os.fork`: what is not written yet is written first, and both read and write at one position. Sockets are
    /// shared, too.
    ///
    /// Waits at most the pool's `lease_timeout` for a place, then in the session's queue as [`checkpoint`](Self::checkpoint)
    /// does. Cancel safe: a copy that nobody waits for ends.
    ///
    /// # Errors
    /// There is no copy, and the session goes on: the pool has no room, the worker is none that can be forked, or
    /// [`StateError::NotForked`] says why it must not be forked now: threads run in it, or tasks of asyncio; it has child
    /// processes, subinterpreters, or a GPU.
    pub async fn fork(&self) -> Result<Self, StateError> {
        self.lease.keep.clone().fork(self.lease.id).await
    }

    /// The names of the session, each with the type, the size and a short text of its value; names that begin with two
    /// underscores are not told. Waits in the session's queue as [`checkpoint`](Self::checkpoint) does, so code that runs is
    /// not disturbed; for what it does meanwhile see [`inspect`](Self::inspect). The texts are made by the values'
    /// own `__repr__`. Cancel safe.
    ///
    /// # Errors
    /// Nothing was told, and the session goes on; unless its worker died of it, as [`StateError::Lost`] says.
    pub async fn vars(&self) -> Result<Variables, StateError> {
        self.lease.keep.clone().vars(self.lease.id).await
    }

    /// The name that its state is kept under, if it was leased with [`Runtime::session_named`](crate::Runtime::session_named).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.lease.kept.name()
    }

    /// Saves the state of a named session on disk, and returns its generation, which counts the saves. When it returns,
    /// the state survives the host and the machine. Waits as [`checkpoint`](Self::checkpoint) does, and then for the disk,
    /// at most another `checkpoint_timeout`.
    ///
    /// Dropping the future takes back what has not begun to be written; what has begun is written to its end, the name is
    /// in use for as long, and the next save waits behind it.
    ///
    /// The worker hands over all of its state each time. Of 4 MiB or more, only the chunks are written, of about 1 MiB, that
    /// the state before did not have; but all of them the first time in this runtime, behind a save that failed, and every
    /// so often.
    ///
    /// # Errors
    /// What was saved before is as it was; behind [`StoreError::TimedOut`](crate::StoreError::TimedOut) this state may be
    /// there too, when the disk is done. See [`checkpoint`](Self::checkpoint).
    pub async fn save(&self) -> Result<u64, StateError> {
        let Lease { id, kept, keep } = &self.lease;
        kept.name().ok_or(StateError::Nameless)?;
        let (generation, at) = kept.save(keep.clone(), *id, false).await?;
        self.tell_supervisor(SupervisorMsg::Saved { lease: *id, covers: Some(at.ran), state_job: false });
        Ok(generation)
    }

    /// What came of the last save, also of one that nobody waited for; `None` before the first.
    #[must_use]
    pub fn last_save(&self) -> Option<Result<u64, StateError>> {
        self.lease.kept.last()
    }

    /// Saves a named session, and gives it back. Dropping it does the same, and nobody waits for it or hears of an error.
    ///
    /// # Errors
    /// As [`save`](Self::save); it is given back all the same.
    pub async fn end(self) -> Result<u64, StateError> {
        self.save().await
    }

    /// Begins the end of the session: it takes nothing more, and ends when what was submitted has ended. Its code then ends as
    /// a program does: threads that are no daemons come to their end, tasks are cancelled, exit handlers run, and files that
    /// are open are written. All that has the pool's grace; then the worker is killed. Returns at once;
    /// [`next_event`](Self::next_event) tells what is printed meanwhile, [`SessionEvent::Ended`] when the worker is dead, and
    /// `None` behind that.
    ///
    /// Dropping the session does the same, and nobody hears what is printed.
    pub fn close(&self) {
        self.lease.release();
    }

    /// What happens in the session while nothing runs; `None` after it has ended. Waits for ever if nothing happens.
    /// Cancel safe. A megabyte of output may wait to be taken; more is dropped and counted in the pool's totals.
    pub async fn next_event(&mut self) -> Option<SessionEvent> {
        self.events.recv().await.map(Fed::take)
    }

    /// What the worker is doing now, also while code runs: see [`Execution::inspect`]. `None` after the session has ended.
    /// Waits at most about [`STACKS_LIMIT`](crate::config::STACKS_LIMIT); cancel safe.
    pub async fn inspect(&self) -> Option<Activity> {
        let (asker, answer) = oneshot::channel();
        // A session that is gone drops the question.
        let _ = self.granted.borrow().session.cast(SessionMsg::Inspect(asker));
        answer.await.ok().map(|activity| *activity)
    }

    /// The worker's process id, where there is a process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.granted.borrow().pid
    }

    /// Which worker of its slot it is. It grows when the session is restored in a new one.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.granted.borrow().generation
    }

    /// Its place in the pool.
    #[must_use]
    pub fn slot(&self) -> usize {
        self.granted.borrow().slot
    }
}
