//! How the supervisor takes requests in, and forgets them.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::time::Instant;

use crate::{
    actor::{
        assignment::Returning,
        execution,
        messages::{Accepted, ExecutionMsg, ForkRequest, Job, Submission, SupervisorMsg},
        question::Question,
        supervisor::{State, Ticket},
    },
    config::OnDeath,
    machine::supervisor::{Asked, Effect, Input, Sort, Want},
    protocol::ExecutionId,
};

impl State {
    pub(super) async fn submit(&mut self, myself: &ActorRef<SupervisorMsg>, submission: Submission) {
        let id = submission.job.id;
        let mut effects = std::mem::take(&mut self.effects);
        let Job { tenant, affinity, deadline, state_job, expects, question, script, .. } = &submission.job;
        let sort = question.as_ref().map_or(Sort::Code, Question::sort);
        let (tenant, affinity) = (tenant.clone(), affinity.clone());
        let (state_job, expects, lease) = (*state_job, *expects, submission.lease);
        // Whoever restores a state has it in hand until it is restored.
        let bytes = if sort == Sort::Restore { 0 } else { submission.job.frame.len() };
        let script = script.is_some();
        let want =
            Want { lease, tenant, affinity, deadline: *deadline, bytes, sort, script, state_job, expects };
        let input = Input::Submit(id, want);
        self.pool.step(input, Instant::now().into_std(), self.jitter.next(), &mut effects);
        let refused =
            effects.iter().position(|effect| matches!(effect, Effect::Refuse(refused, _) if *refused == id));
        match refused.map(|index| effects.remove(index)) {
            Some(Effect::Refuse(_, error)) => drop(submission.accepted.send(Err(error))),
            _ => self.accept(myself, submission),
        }
        self.effects = effects;
        self.perform_all(myself).await;
    }

    /// Returns whether there is such an execution.
    pub(super) fn cancel(&self, id: ExecutionId, reason: Option<String>) -> bool {
        let ticket = self.tickets.get(&id);
        ticket.is_some_and(|it| it.execution.cast(ExecutionMsg::Cancel { reason }).is_ok())
    }

    fn accept(&mut self, myself: &ActorRef<SupervisorMsg>, submission: Submission) {
        let Submission { job, lease, mut obligation, sink, accepted } = submission;
        obligation.accept();
        let arguments = execution::Arguments {
            id: job.id,
            label: job.label.clone(),
            deadline: job.deadline,
            limits: job.limits,
            // What is asked of a session is about the worker that it has.
            may_requeue: lease.is_none()
                || self.config.on_death == OnDeath::Restore && job.question.is_none(),
            obligation,
            sink,
            supervisor: myself.clone(),
            ledger: Arc::clone(&self.ledger),
        };
        let (execution, task) = execution::start(arguments);
        let ticket =
            Ticket { job, lease, execution: execution.clone(), accepted: Instant::now(), waits: true };
        self.tickets.insert(ticket.job.id, ticket);
        let _ = accepted.send(Ok(Accepted { execution, task }));
    }

    pub(super) async fn fork(&mut self, myself: &ActorRef<SupervisorMsg>, fork: ForkRequest) {
        let ForkRequest { of, request, order } = fork;
        let lease = request.lease;
        self.leases.insert(lease, request);
        self.forks.insert(lease, order);
        self.step(myself, Input::Fork { of, lease }).await;
    }

    /// What its worker died before it started is of the same tenant wherever it goes.
    pub(super) async fn requeue(&mut self, myself: &ActorRef<SupervisorMsg>, returning: Returning) {
        let Some(ticket) = self.tickets.get_mut(&returning.id) else { return };
        ticket.waits = true;
        let Job { tenant, affinity, expects, script, .. } = &ticket.job;
        let (tenant, affinity) = (tenant.clone(), affinity.clone());
        let asked = Asked { tenant, affinity, bytes: 0, script: script.is_some() };
        let (lease, expects) = (ticket.lease, *expects);
        let execution = returning.take();
        self.step(myself, Input::Requeue { execution, lease, asked, expects }).await;
    }

    pub(super) fn forget(&mut self, id: ExecutionId) {
        if let Some(mut ticket) = self.tickets.remove(&id) {
            ticket.waits = false;
        }
    }
}
