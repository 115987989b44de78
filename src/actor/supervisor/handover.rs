//! How the supervisor hands over: executions to sessions, sessions to leases, and last words to those who wait.

use ractor::ActorRef;
use tokio::sync::watch;

use crate::{
    actor::{
        assignment::{Assignment, PendingStateJob},
        mailbox::Sender,
        messages::{ExecutionMsg, Granted, SessionMsg, SupervisorMsg},
        sink::{Feed, LastEvent},
        supervisor::State,
    },
    log::info,
    machine::supervisor::{Input, LeaseId, StateJob},
    outcome::{Generation, SessionRestored},
    protocol::ExecutionId,
    session::SessionEvent,
};

/// Who leases a session.
pub(super) struct Holder {
    events: Feed,
    duties: Sender<PendingStateJob>,
    granted: watch::Sender<Granted>,
    /// What was just told of its restore, until the machine says that it counts.
    heard: Option<Box<SessionRestored>>,
    /// What the next code that it runs is told first.
    news: Option<Box<SessionRestored>>,
}

impl State {
    /// A session that is gone, or goes before it reads this, drops the assignment: that hands the execution back.
    pub(super) fn assign(&mut self, slot: usize, id: ExecutionId) {
        let Some(ticket) = self.tickets.get_mut(&id) else { return };
        ticket.waits = false;
        match (&ticket.job.question, ticket.lease) {
            (Some(question), Some(lease)) => question.asked_at(self.pool.moment(lease)),
            (None, Some(lease)) => {
                if let Some(news) = self.holders.get_mut(&lease).and_then(|holder| holder.news.take()) {
                    let _ = ticket.execution.cast(ExecutionMsg::Restored(news));
                }
            }
            (_, None) => {}
        }
        let assignment = Assignment::new(&ticket.job, ticket.execution.clone());
        self.tell(slot, SessionMsg::Assign(Box::new(assignment)));
    }

    /// Tells an execution that waits its last word.
    pub(super) fn dismiss(&mut self, id: ExecutionId, word: ExecutionMsg) {
        if let Some(mut ticket) = self.tickets.remove(&id) {
            ticket.waits = false;
            let _ = ticket.execution.cast(word);
        }
    }

    pub(super) fn grant(&mut self, myself: &ActorRef<SupervisorMsg>, lease: LeaseId, slot: usize) {
        let (Some(request), Some(granted)) = (self.leases.remove(&lease), self.granted(slot)) else {
            return drop(myself.cast(SupervisorMsg::Release(lease)));
        };
        self.tell(slot, SessionMsg::Leased(request.events.clone()));
        let (granted, seen) = watch::channel(granted);
        if request.granted.send(Ok(seen)).is_err() {
            // Whoever asked has left.
            return drop(myself.cast(SupervisorMsg::Release(lease)));
        }
        let (events, duties) = (request.events, request.duties);
        self.holders.insert(lease, Holder { events, duties, granted, heard: None, news: None });
    }

    fn granted(&self, slot: usize) -> Option<Granted> {
        let live = self.sessions.get(&slot)?;
        let pid = live.gauge.get().pid;
        Some(Granted { slot, generation: live.generation, pid, session: live.session.clone() })
    }

    /// Hands the next worker of a leased session to its holder.
    pub(super) fn regrant(&mut self, lease: LeaseId, slot: usize) {
        let (Some(granted), Some(holder)) = (self.granted(slot), self.holders.get(&lease)) else { return };
        let feed = SessionMsg::Leased(holder.events.clone());
        holder.granted.send_replace(granted);
        self.tell(slot, feed);
    }

    /// Has something done to the state of a session. Nobody there to do it drops the duty, which says so.
    pub(super) fn tend(&mut self, myself: &ActorRef<SupervisorMsg>, lease: LeaseId, state_job: StateJob) {
        let duty = PendingStateJob::new(lease, state_job, myself.clone());
        if let Some(holder) = self.holders.get(&lease) {
            let _ = holder.duties.cast(duty);
        }
    }

    pub(super) async fn restored(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        lease: LeaseId,
        generation: Generation,
        fate: Result<(u64, Box<SessionRestored>), String>,
    ) {
        let fate = fate.map(|(covers, news)| {
            if let Some(holder) = self.holders.get_mut(&lease) {
                holder.heard = Some(news);
            }
            covers
        });
        self.step(myself, Input::Restored { lease, generation, fate }).await;
    }

    /// Its holder is told at once, and so is the code that runs next.
    pub(super) fn announce(&mut self, lease: LeaseId, unsaved: u64) {
        let Some(holder) = self.holders.get_mut(&lease) else { return };
        let Some(mut news) = holder.heard.take() else { return };
        news.unsaved = unsaved;
        if let Some(untold) = holder.news.take() {
            *news = news.after(&untold);
        }
        let (generation, unsaved, lost) = (news.generation, news.unsaved, news.lost.len());
        info!(%generation, unsaved, lost, "a session was restored in a new worker");
        holder.events.offer(SessionEvent::Restored(news.clone()));
        holder.news = Some(news);
    }

    /// Whoever keeps its state has nothing more to do. Its holder is told when its worker is dead, too.
    pub(super) fn lease_ended(&mut self, lease: LeaseId, why: String) {
        if let Some(holder) = self.holders.remove(&lease) {
            let last = LastEvent::new(holder.events, why);
            // A session that is gone is what has ended.
            let _ = holder.granted.borrow().session.cast(SessionMsg::Released(last));
        }
    }

    pub(super) fn tell(&mut self, slot: usize, message: SessionMsg) {
        if let Some(live) = self.sessions.get(&slot) {
            // A session that is gone has nothing left to end.
            let _ = live.session.cast(message);
        }
    }
}
