//! How a session is leased, and who keeps its state.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Retract, Runtime, Shared,
    keeper::{self, Kept},
    next_id,
};
use crate::{
    actor::{
        assignment::PendingStateJob,
        mailbox::{Mailbox, mailbox},
        messages::{Granted, LeaseRequest, SupervisorMsg},
        sink::{Fed, feed},
    },
    error::SubmitError,
    machine::supervisor::LeaseId,
    session::Session,
    status::PoolStatus,
};

impl Runtime {
    /// Leases a session for oneself, and waits at most the pool's `lease_timeout` for one. Dropping the future leaves
    /// the line.
    ///
    /// # Errors
    /// No session became free in time, the queue is full, or the pool serves no more.
    pub async fn session(&self) -> Result<Session, SubmitError> {
        self.lease(Kept::default()).await
    }

    pub(super) async fn lease(&self, kept: Kept) -> Result<Session, SubmitError> {
        let lease = LeaseId(next_id());
        let (events, background) = feed(&self.shared.ledger);
        let (granted, answer) = oneshot::channel();
        let (tend, duties) = mailbox();
        let tenant = self.tenant.clone();
        let request = Box::new(LeaseRequest { lease, tenant, events, duties: tend, granted });
        let shared = &self.shared;
        shared.supervisor.cast(SupervisorMsg::Lease(request)).map_err(|_gone| SubmitError::ShuttingDown)?;
        let waiting = Retract::new(&shared.supervisor, SupervisorMsg::Release(lease));
        let after = shared.lease_timeout;
        match tokio::time::timeout(after, answer).await {
            Ok(Ok(answer)) => {
                waiting.answered();
                Ok(shared.tended(lease, answer?, background, kept, duties))
            }
            Ok(Err(_gone)) => Err(SubmitError::ShuttingDown),
            Err(_elapsed) => Err(shared.no_session(after).await),
        }
    }
}

impl Shared {
    /// What somebody is told who has waited for a session for so long.
    pub(super) async fn no_session(&self, after: Duration) -> SubmitError {
        let (reply, answer) = oneshot::channel();
        let _ = self.supervisor.cast(SupervisorMsg::Status(reply));
        match answer.await {
            Ok(PoolStatus { sessions, .. }) => {
                SubmitError::NoSession { after, sessions: sessions.len(), limit: self.max_sessions }
            }
            Err(_gone) => SubmitError::ShuttingDown,
        }
    }

    /// The handle of a session, with whoever sees to its state.
    pub(super) fn tended(
        self: &Arc<Self>,
        lease: LeaseId,
        granted: watch::Receiver<Granted>,
        background: mpsc::Receiver<Fed>,
        kept: Kept,
        duties: Mailbox<PendingStateJob>,
    ) -> Session {
        let kept = Arc::new(kept);
        if self.restores || kept.name().is_some() {
            let tending = keeper::tend(Arc::downgrade(self), Arc::clone(&kept), duties);
            // Refused only when the runtime is shutting down and waits for those that there are.
            let alive = Arc::clone(&self.keepers).try_read_owned();
            drop(tokio::spawn(async move {
                tending.await;
                drop(alive);
            }));
        }
        Session::new(lease, granted, background, kept, Arc::clone(self))
    }
}
