//! What the session of a JSON-RPC server may do next, decided without doing it.
//!
//! ```text
//! Opening ─> Serving        every state ─> ShuttingDown ─> Terminated
//! ```
//! Many calls are in flight on one server, in a table by their ids. JSON-RPC acknowledges nothing before the answer, so a
//! request counts as started when the whole of it was written. A server that several callers share is not killed
//! because it does not obey one of them: the call is abandoned, and the server goes on while it says anything at all.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    config::{LATE_IDS_MAX, LOOK_EVERY, Opening},
    machine::{
        health::{Health, Sign},
        session::Ending,
    },
    outcome::{CancelStage, Death, DeathCause},
    protocol::{
        ExecutionId, RpcError,
        rpc::{METHOD_NOT_FOUND, Outgoing},
    },
    status::{SessionState, Vitals},
};

mod answer;
mod end;
mod io;
#[cfg(test)]
mod tests;

pub(crate) use io::{Effect, Input, Limits, Noted, Terms, Timer};

/// The machine. `step` is total.
#[derive(Debug)]
pub(crate) struct Rpc {
    phase: Phase,
    limits: Limits,
    calls: BTreeMap<ExecutionId, Call>,
    /// What the server asked and was not answered yet, by our numbers.
    questions: BTreeMap<u64, Question>,
    /// Calls that are over, the last ones.
    ended: VecDeque<ExecutionId>,
    /// The last of our own requests, and the last question.
    own: u64,
    asked: u64,
    /// Bytes of the ids of the questions that are open.
    question_ids: usize,
    wrong: u32,
    /// Whether it has answered a call.
    used: bool,
    health: Health,
    /// Looks since a call was abandoned by a server that said nothing then, and has said nothing since.
    deaf: Option<u32>,
    /// Looks since the server has read anything of what others wait behind.
    stuck: u32,
    /// How the server ended.
    death: Option<Box<Death>>,
}

#[derive(Debug)]
enum Phase {
    /// What it is still to be told, and the number of what it was asked and has not answered.
    Opening {
        left: VecDeque<Opening>,
        waits_for: u64,
    },
    Serving,
    ShuttingDown {
        cause: DeathCause,
    },
    Terminated,
}

/// A call in flight.
#[derive(Debug)]
struct Call {
    terms: Terms,
    sent: bool,
    cancelled: Option<Notice>,
}

/// What is known of a cancel that the server was told.
#[derive(Debug)]
struct Notice {
    /// The server has said something since.
    answers: bool,
    ping: Ping,
}

/// What was sent behind the notice, to see that the server has heard that.
#[derive(Debug, PartialEq, Eq)]
enum Ping {
    /// It has no `ping`.
    Not,
    /// Under this number.
    Sent(u64),
    Answered,
}

/// What the server asked.
#[derive(Debug)]
struct Question {
    /// Whose caller was asked.
    call: ExecutionId,
    /// What the server calls it.
    id: Box<str>,
}

impl Rpc {
    /// A session whose server was just started: it is told what comes first.
    pub(crate) fn new(limits: Limits, effects: &mut Vec<Effect>) -> Self {
        let left = limits.server.whole_opening().into();
        let ready_in = limits.ready_in;
        let mut this = Self {
            phase: Phase::Opening { left, waits_for: 0 },
            limits,
            calls: BTreeMap::new(),
            questions: BTreeMap::new(),
            ended: VecDeque::new(),
            own: 0,
            asked: 0,
            question_ids: 0,
            wrong: 0,
            used: false,
            health: Health::default(),
            deaf: None,
            stuck: 0,
            death: None,
        };
        effects.push(Effect::Arm(Timer::Start, ready_in));
        this.open(effects);
        this
    }

    /// The state, in the public words.
    pub(crate) fn state(&self) -> SessionState {
        match &self.phase {
            Phase::Opening { waits_for: 0 | 1, .. } => SessionState::Creating,
            Phase::Opening { .. } => SessionState::Warming,
            Phase::Serving if !self.calls.is_empty() => SessionState::Busy,
            Phase::Serving if self.used => SessionState::Idle,
            Phase::Serving => SessionState::Ready,
            Phase::ShuttingDown { .. } => SessionState::ShuttingDown,
            Phase::Terminated => SessionState::Terminated,
        }
    }

    /// Takes one input and says what is to be done.
    pub(crate) fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Incoming(said) => self.said(said, effects),
            Input::Broken(broken) => self.broken(broken, effects),
            Input::Exited { exit, stderr, unwritten } => self.exited(exit, stderr, unwritten, effects),
            Input::Assign(id, terms) => self.assign(id, terms, effects),
            Input::Sent(id) => self.sent(id, effects),
            Input::Cancel(id) => self.cancel(id, effects),
            Input::Withdrawn(id) if matches!(self.phase, Phase::Serving) => {
                self.over(id, Ending::Stopped(CancelStage::Queued), effects);
            }
            // It is told at the end of the process, which is near.
            Input::Withdrawn(_) => {}
            Input::Reply { id, request, answer } => {
                if self.questions.get(&request).is_some_and(|question| question.call == id) {
                    self.reply(request, answer, effects);
                }
            }
            Input::NotAsked(request) => {
                let why = "it cannot be answered: its caller takes nothing";
                self.reply(request, Err(RpcError::new(METHOD_NOT_FOUND, why)), effects);
            }
            Input::Elapsed(timer) => self.elapsed(timer, effects),
            Input::Look(vitals) => self.look(vitals, effects),
            Input::Stuck(stuck) => self.stuck(stuck, effects),
            Input::Stop => self.stop(effects),
            Input::Kill(cause) => self.die(cause, effects),
        }
    }

    /// Says what comes before serving, up to something that has to be answered.
    fn open(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Opening { left, waits_for } = &mut self.phase else { return };
        while let Some(Opening { asks, method, params }) = left.pop_front() {
            // What is no JSON was refused before the pool started.
            let params = params.unwrap_or_default();
            if !asks {
                effects.push(Effect::Say(Outgoing::Note { method, params }));
                continue;
            }
            self.own += 1;
            *waits_for = self.own;
            return effects.push(Effect::Say(Outgoing::Ask { own: self.own, method, params }));
        }
        self.phase = Phase::Serving;
        effects.extend([Effect::Disarm(Timer::Start), Effect::Ready]);
    }

    /// How many may be in flight is the supervisor's to say.
    fn assign(&mut self, id: ExecutionId, terms: Terms, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Serving => {
                self.calls.insert(id, Call { terms, sent: false, cancelled: None });
                effects.push(Effect::Send(id));
            }
            Phase::Opening { .. } | Phase::ShuttingDown { .. } | Phase::Terminated => {
                effects.push(Effect::Returned(id, self.why_not()));
            }
        }
    }

    /// A notification is done when it is written.
    fn sent(&mut self, id: ExecutionId, effects: &mut Vec<Effect>) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.sent) else { return };
        call.sent = true;
        let notify = call.terms.notify;
        effects.push(Effect::Started(id));
        if notify && matches!(self.phase, Phase::Serving) {
            self.over(id, Ending::Completed(Box::default()), effects);
        }
    }

    /// Tells the server. It has the grace to answer, or `ping` to say that it heard.
    fn cancel(&mut self, id: ExecutionId, effects: &mut Vec<Effect>) {
        let serving = matches!(self.phase, Phase::Serving);
        let Some(call) = self.calls.get_mut(&id).filter(|call| serving && call.cancelled.is_none()) else {
            return;
        };
        let ping = if self.limits.server.has_ping() { Ping::Sent(self.own + 1) } else { Ping::Not };
        call.cancelled = Some(Notice { answers: false, ping });
        effects.push(Effect::Say(Outgoing::Cancel(id)));
        self.ping(effects);
        effects.push(Effect::Arm(Timer::Grace(id), self.limits.grace));
    }

    fn ping(&mut self, effects: &mut Vec<Effect>) {
        if self.limits.server.has_ping() {
            self.own += 1;
            let ping = Outgoing::Ask { own: self.own, method: "ping".into(), params: None };
            effects.push(Effect::Say(ping));
        }
    }

    /// Who has said something since the cancel goes on without this call. Who has not is killed if that hurts nobody
    /// else, and watched if it does.
    fn disobeyed(&mut self, id: ExecutionId, effects: &mut Vec<Effect>) {
        let serving = matches!(self.phase, Phase::Serving);
        let notice = self.calls.get(&id).and_then(|call| call.cancelled.as_ref()).filter(|_| serving);
        let Some(Notice { answers, .. }) = notice else { return };
        if !answers && self.calls.len() == 1 {
            return self.die(DeathCause::Disobeyed, effects);
        }
        if !answers {
            self.deaf.get_or_insert(0);
        }
        self.over(id, Ending::Stopped(CancelStage::Abandoned), effects);
    }

    fn elapsed(&mut self, timer: Timer, effects: &mut Vec<Effect>) {
        match (timer, &self.phase) {
            (Timer::Start, Phase::Opening { .. }) => {
                self.die(DeathCause::NotReady { after: self.limits.ready_timeout }, effects);
            }
            (Timer::Grace(id) | Timer::Heard(id), _) => self.disobeyed(id, effects),
            (Timer::Exit, Phase::Opening { .. } | Phase::Serving) => {
                self.die(DeathCause::ChannelClosed, effects);
            }
            (Timer::Exit, Phase::ShuttingDown { .. }) => effects.push(Effect::Kill),
            (Timer::Start, Phase::Serving | Phase::ShuttingDown { .. })
            | (Timer::Start | Timer::Exit, Phase::Terminated) => {}
        }
    }

    /// A server without `ping` is not asked whether it lives, so its silence says nothing.
    fn look(&mut self, vitals: Option<Vitals>, effects: &mut Vec<Effect>) {
        let limit = self.limits.heartbeat_timeout;
        if let Some(cause) = vitals.and_then(|vitals| self.limits.memory.broken(&vitals)) {
            return self.die(cause, effects);
        }
        if let Some(looks) = &mut self.deaf {
            *looks += 1;
            let after = LOOK_EVERY * *looks;
            if after >= limit {
                return self.die(DeathCause::Unresponsive { after }, effects);
            }
        }
        let serving = matches!(self.phase, Phase::Serving);
        let free = serving && self.calls.is_empty() && self.limits.server.has_ping();
        match self.health.look(vitals, free, limit) {
            Sign::Quiet if serving => self.ping(effects),
            Sign::Well | Sign::Quiet => {}
            Sign::Stopped => self.die(DeathCause::Stopped, effects),
            Sign::Dead { after } => self.die(DeathCause::Unresponsive { after }, effects),
        }
    }

    /// A server that reads, however slowly, has all the time that it wants.
    fn stuck(&mut self, stuck: bool, effects: &mut Vec<Effect>) {
        self.stuck = if stuck { self.stuck + 1 } else { 0 };
        if LOOK_EVERY * self.stuck >= self.limits.heartbeat_timeout {
            self.die(DeathCause::NotReading, effects);
        }
    }

    /// Whether the server owes a sign of life for longer than it may.
    pub(crate) fn is_unresponsive(&self) -> bool {
        self.limits.server.has_ping() && self.health.is_unresponsive(self.limits.heartbeat_timeout)
    }

    /// Nothing more will be told about this call.
    fn over(&mut self, id: ExecutionId, ending: Ending, effects: &mut Vec<Effect>) {
        let Some(call) = self.calls.remove(&id) else { return };
        if let Some(Notice { ping, .. }) = call.cancelled {
            effects.push(Effect::Disarm(Timer::Grace(id)));
            effects.extend((ping == Ping::Answered).then_some(Effect::Disarm(Timer::Heard(id))));
        }
        self.refuse_questions(id, effects);
        self.used = true;
        if self.ended.len() == LATE_IDS_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(id);
        // Last: whoever asks again on hearing it finds room in this session.
        effects.extend([Effect::Idle(id), Effect::Ended(id, ending)]);
    }
}
