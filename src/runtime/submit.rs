//! How a request is encoded, on the caller's time, and offered to the supervisor.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Retract, Shared, next_id};
use crate::{
    actor::{
        mailbox::mailbox,
        messages::{Accepted, Job, Submission, SupervisorMsg},
        obligation::{Obligation, Reply},
        sink::Sink,
    },
    error::SubmitError,
    execution::{Execution, Handling, Parts, ScriptInput},
    machine::{rpc::Terms, supervisor::LeaseId},
    protocol::ExecutionId,
    request::{Deadline, Request},
};

impl Shared {
    pub(crate) async fn submit(
        self: Arc<Self>,
        request: Request,
        lease: Option<LeaseId>,
    ) -> Result<Execution, SubmitError> {
        let (job, stdin) = self.job(&request, lease.is_none())?;
        self.dispatch(job, lease, Handling { detached: request.detached, spill: request.spill, stdin }).await
    }

    pub(super) async fn dispatch(
        self: Arc<Self>,
        job: Job,
        lease: Option<LeaseId>,
        handling: Handling,
    ) -> Result<Execution, SubmitError> {
        let (id, label) = (job.id, job.label.clone());
        let (events, stream) = mailbox();
        let (reply, outcome) = oneshot::channel();
        let obligation = Obligation::new(id, Reply::Handle(reply), Arc::clone(&self.ledger));
        let accepted = self.offer(job, lease, obligation, Sink::Handle(events)).await?;
        let max_report_bytes = self.max_report_bytes;
        Ok(Execution::new(Parts {
            id,
            label,
            events: stream,
            outcome,
            accepted,
            handling,
            max_report_bytes,
            keep: self,
        }))
    }

    /// Encodes a request, once, on the caller's time.
    pub(super) fn job(
        &self,
        request: &Request,
        fresh: bool,
    ) -> Result<(Job, Option<ScriptInput>), SubmitError> {
        let (script, stdin) = self.script(request, fresh)?;
        let id = ExecutionId(next_id());
        let (frame, terms) = match &self.server {
            Some(server) => Self::message(server, id, request)?,
            None if script.is_some() => (Bytes::new(), Terms::default()),
            None => (self.execute_frame(id, request, fresh)?, Terms::default()),
        };
        let deadline = match request.deadline {
            None => self.deadline,
            Some(Deadline::Never) => None,
            Some(Deadline::After(after)) => Some(after),
        };
        let job = Job {
            id,
            label: request.label.clone(),
            tenant: request.tenant.clone(),
            affinity: request.affinity.clone(),
            frame,
            deadline,
            limits: request.limits,
            question: None,
            state_job: false,
            expects: request.expects,
            terms,
            script,
        };
        Ok((job, stdin))
    }

    pub(super) async fn offer(
        &self,
        job: Job,
        lease: Option<LeaseId>,
        obligation: Obligation,
        sink: Sink,
    ) -> Result<Accepted, SubmitError> {
        let (accepted, answer) = oneshot::channel();
        let reason = Some("its submission was dropped".to_owned());
        let cancel = SupervisorMsg::Cancel { id: job.id, reason, found: oneshot::channel().0 };
        let submission = Box::new(Submission { job, lease, obligation, sink, accepted });
        self.supervisor.cast(SupervisorMsg::Submit(submission)).map_err(|_gone| SubmitError::ShuttingDown)?;
        let waiting = Retract::new(&self.supervisor, cancel);
        let answer = answer.await.unwrap_or(Err(SubmitError::ShuttingDown));
        waiting.answered();
        answer
    }
}
