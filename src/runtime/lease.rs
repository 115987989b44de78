//! How a session is leased, and who keeps its state.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    Retract, Runtime,
    keeper::{self, Kept},
    next_id,
};
use crate::{
    actor::{
        mailbox::mailbox,
        messages::{LeaseRequest, SupervisorMsg},
        sink::feed,
    },
    error::SubmitError,
    machine::supervisor::LeaseId,
    session::Session,
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
        let (events, background) = feed();
        let (granted, answer) = oneshot::channel();
        let (tend, duties) = mailbox();
        let request = Box::new(LeaseRequest { lease, events, duties: tend, granted });
        let shared = &self.shared;
        shared.supervisor.cast(SupervisorMsg::Lease(request)).map_err(|_gone| SubmitError::ShuttingDown)?;
        let waiting = Retract::new(&shared.supervisor, SupervisorMsg::Release(lease));
        let after = shared.lease_timeout;
        match tokio::time::timeout(after, answer).await {
            Ok(Ok(answer)) => {
                waiting.answered();
                let (granted, kept) = (answer?, Arc::new(kept));
                if shared.restores || kept.name().is_some() {
                    let tending = keeper::tend(Arc::downgrade(shared), Arc::clone(&kept), duties);
                    // Refused only when the runtime is shutting down and waits for those that there are.
                    let alive = Arc::clone(&shared.keepers).try_read_owned();
                    drop(tokio::spawn(async move {
                        tending.await;
                        drop(alive);
                    }));
                }
                Ok(Session::new(lease, granted, background, kept, Arc::clone(shared)))
            }
            Ok(Err(_gone)) => Err(SubmitError::ShuttingDown),
            Err(_elapsed) => {
                let (sessions, limit) = (self.status().await.sessions.len(), shared.max_sessions);
                Err(SubmitError::NoSession { after, sessions, limit })
            }
        }
    }
}
