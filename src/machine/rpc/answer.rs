//! What a session makes of what its server says.

use crate::{
    config::{FIELD_ERRORS_MAX, HEARD_CANCEL_LIMIT, MCP_VERSIONS, QUESTION_IDS_MAX, QUESTIONS_MAX},
    machine::{
        rpc::{Call, Effect, Noted, Notice, Phase, Ping, Question, Rpc, Timer},
        session::Ending,
    },
    outcome::{self, CancelStage, Completion, DeathCause, Event, Failure},
    protocol::{
        ExecutionId, RpcError, Value, excerpt,
        rpc::{Id, Incoming, METHOD_NOT_FOUND, Outgoing, Style, progress_of},
    },
};

impl Rpc {
    pub(super) fn said(&mut self, said: Incoming, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Terminated) {
            return;
        }
        if said == Incoming::NotAMessage {
            // Not a sign of life of what answers: any thread may print.
            return effects.push(Effect::Noted(Noted::NotAMessage));
        }
        self.heard();
        match said {
            Incoming::Answer { id, answer } => self.answered(id, answer, effects),
            Incoming::Notification { method, params } => self.notified(method, params, effects),
            Incoming::Request { id, method, params } => self.asked(id, method, params, effects),
            Incoming::Wrong { call, what } => self.wrong(call, what, effects),
            Incoming::Broken(what) => self.die(DeathCause::Protocol(what), effects),
            Incoming::NotAMessage => {}
        }
    }

    fn heard(&mut self) {
        self.health.heard();
        self.deaf = None;
        for call in self.calls.values_mut() {
            if let Some(notice) = &mut call.cancelled {
                notice.answers = true;
            }
        }
    }

    fn answered(&mut self, id: Id, answer: Result<Value, RpcError>, effects: &mut Vec<Effect>) {
        let ending = matches!(self.phase, Phase::ShuttingDown { .. } | Phase::Terminated);
        match (id, answer) {
            (Id::Call(id), answer) if self.calls.contains_key(&id) && !ending => {
                self.concluded(id, answer, effects);
            }
            (Id::Call(id), _) if ending || self.ended.contains(&id) => {
                effects.push(Effect::Noted(Noted::Late(Some(id))));
            }
            (Id::Call(id), _) => {
                let what = format!("it answered request {id}, which it was never given");
                self.die(DeathCause::Protocol(what), effects);
            }
            (Id::Own(own), answer) => self.own_answered(own, answer, effects),
            (Id::Null, Err(error)) => self.unread(error, effects),
            (Id::Null, Ok(_)) => {
                let what = "it answered without an id, or with `null`, which names no request".to_owned();
                self.die(DeathCause::Protocol(what), effects);
            }
            (Id::Foreign(id), _) => {
                let what = format!("it answered request {id}, which it was never given");
                self.die(DeathCause::Protocol(what), effects);
            }
        }
    }

    /// The server could not read something. With one request in flight it is that one, which nobody will answer now.
    fn unread(&mut self, error: RpcError, effects: &mut Vec<Effect>) {
        match (self.only_call().filter(|(_, call)| call.sent), &self.phase) {
            (Some((id, _)), _) => self.concluded(id, Err(error), effects),
            (None, Phase::Opening { .. }) => self.not_opened(&error, effects),
            (None, Phase::Serving | Phase::ShuttingDown { .. } | Phase::Terminated) => {
                let what =
                    format!("the server could not read what it was sent: {}", excerpt(error.to_string()));
                effects.push(Effect::Noted(Noted::Complaint(what)));
            }
        }
    }

    fn concluded(&mut self, id: ExecutionId, answer: Result<Value, RpcError>, effects: &mut Vec<Effect>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        // It has read what it answers, whatever our writer knows.
        if !std::mem::replace(&mut call.sent, true) {
            effects.push(Effect::Started(id));
        }
        let ending = match answer {
            Ok(value) => {
                Ending::Completed(Box::new(Completion { value: Some(value), ..Completion::default() }))
            }
            Err(_stopped) if call.cancelled.is_some() => Ending::Stopped(CancelStage::Interrupt),
            Err(error) => Ending::Failed(Failure::Rpc(Box::new(error))),
        };
        self.over(id, ending, effects);
    }

    /// The answer to a ping says that the server has read it, and what was sent before it.
    fn own_answered(&mut self, own: u64, answer: Result<Value, RpcError>, effects: &mut Vec<Effect>) {
        let known = own <= self.own;
        match &self.phase {
            Phase::Opening { waits_for, .. } if *waits_for == own => match answer {
                Ok(value) => self.opened(own, &value, effects),
                Err(error) => self.not_opened(&error, effects),
            },
            Phase::Serving if known => self.heard_of_cancels(own, effects),
            Phase::Opening { .. } | Phase::ShuttingDown { .. } | Phase::Terminated if known => {}
            Phase::Opening { .. } | Phase::Serving | Phase::ShuttingDown { .. } | Phase::Terminated => {
                let what = format!("it answered request `ostler-{own}`, which it was never given");
                self.die(DeathCause::Protocol(what), effects);
            }
        }
    }

    fn not_opened(&mut self, error: &RpcError, effects: &mut Vec<Effect>) {
        let error = excerpt(error.to_string());
        let what = format!("the server answered what it is asked first with an error: {error}");
        self.die(DeathCause::Warmup(what), effects);
    }

    /// Servers do not answer what was cancelled, if they keep to what MCP asks for: one that has heard of it and might
    /// answer all the same does so at once.
    fn heard_of_cancels(&mut self, own: u64, effects: &mut Vec<Effect>) {
        for (id, call) in &mut self.calls {
            if let Some(Notice { ping, .. }) = &mut call.cancelled
                && matches!(ping, Ping::Sent(number) if *number <= own)
            {
                *ping = Ping::Answered;
                effects.push(Effect::Arm(Timer::Heard(*id), HEARD_CANCEL_LIMIT));
            }
        }
    }

    /// The first answer of an MCP server says which version it speaks.
    fn opened(&mut self, own: u64, value: &Value, effects: &mut Vec<Effect>) {
        if own == 1 && self.limits.server.style == Style::Mcp {
            let version = value.get("protocolVersion");
            if !version.and_then(Value::as_str).is_some_and(|version| MCP_VERSIONS.contains(&version)) {
                let got = version.map_or_else(
                    || "none".into(),
                    |version| version.as_str().map_or_else(|| version.to_string(), Into::into),
                );
                let expected = MCP_VERSIONS.join(", ");
                return self.die(DeathCause::McpVersion { expected, got }, effects);
            }
        }
        self.open(effects);
    }

    /// The only call in flight, if there is one: what else the server says belongs to it.
    fn only_call(&self) -> Option<(ExecutionId, &Call)> {
        let mut calls = self.calls.iter();
        match (calls.next(), calls.next()) {
            (Some((id, call)), None) if matches!(self.phase, Phase::Serving) => Some((*id, call)),
            (Some(_) | None, _) => None,
        }
    }

    /// Progress names its call. Nobody knows whose the rest is, unless there is only one.
    fn notified(&mut self, method: String, mut params: Value, effects: &mut Vec<Effect>) {
        let named = match self.limits.server.style {
            Style::Plain => None,
            Style::Mcp | Style::Lsp => progress_of(&method, &params),
        };
        let call = match named {
            Some(id) => self.calls.get(&id).map(|call| (id, call)),
            None => self.only_call(),
        };
        effects.push(match call {
            Some((id, call)) => {
                call.terms.tokens.restore(&method, &mut params);
                Effect::Event(id, Event::Notification { method, params })
            }
            None if named.is_some() => Effect::Noted(Noted::Late(named)),
            None => Effect::Background { method, params },
        });
    }

    /// A question goes to the caller of the only call in flight, if that answers questions. Otherwise the server is told
    /// at once: it never waits for nobody.
    fn asked(&mut self, id: Box<str>, method: String, params: Value, effects: &mut Vec<Effect>) {
        if method == "ping" && self.limits.server.has_ping() {
            let answer = Ok(Value::Map(Vec::new()));
            return effects.push(Effect::Say(Outgoing::Reply { id, answer }));
        }
        let full = self.questions.len() >= QUESTIONS_MAX || self.question_ids + id.len() > QUESTION_IDS_MAX;
        if let Some((call, _)) = self.only_call().filter(|(_, call)| call.terms.answers && !full) {
            self.asked += 1;
            let request = self.asked;
            self.question_ids += id.len();
            self.questions.insert(request, Question { call, id });
            let question = outcome::Question { request, method, params };
            return effects.push(Effect::Event(call, Event::Asked(question)));
        }
        let why = match self.calls.len() {
            0 => "no request is in flight",
            1 if full => "too many questions are open already",
            1 => "the caller answers no questions",
            _ => "several requests are in flight, and it is not known whose this is",
        };
        let method = excerpt(method);
        let answer = Err(RpcError::new(METHOD_NOT_FOUND, format!("`{method}` cannot be answered: {why}")));
        effects.extend([Effect::Say(Outgoing::Reply { id, answer }), Effect::Noted(Noted::Unasked(method))]);
    }

    /// Answers what the server asked, if that is still open.
    pub(super) fn reply(&mut self, request: u64, answer: Result<Value, RpcError>, effects: &mut Vec<Effect>) {
        if let Some(Question { id, .. }) = self.questions.remove(&request) {
            self.question_ids -= id.len();
            effects.push(Effect::Say(Outgoing::Reply { id, answer }));
        }
    }

    /// Whoever asked in this call has nobody to wait for any more.
    pub(super) fn refuse_questions(&mut self, call: ExecutionId, effects: &mut Vec<Effect>) {
        let open: Vec<u64> = self
            .questions
            .iter()
            .filter(|(_, asked)| asked.call == call)
            .map(|(number, _)| *number)
            .collect();
        for number in open {
            let error = RpcError::new(METHOD_NOT_FOUND, "the request that was asked about is over");
            self.reply(number, Err(error), effects);
        }
    }

    /// A message with a wrong member fails the call that it answers. Repeated offence ends the server.
    fn wrong(&mut self, call: Option<ExecutionId>, what: String, effects: &mut Vec<Effect>) {
        self.wrong += 1;
        if self.wrong > FIELD_ERRORS_MAX {
            let what = format!("{} wrong messages, the last: {what}", self.wrong);
            return self.die(DeathCause::Protocol(what), effects);
        }
        match call.filter(|call| self.calls.contains_key(call) && matches!(self.phase, Phase::Serving)) {
            Some(call) => self.over(call, Ending::Failed(Failure::Protocol { what }), effects),
            None if matches!(self.phase, Phase::Opening { .. }) => {
                self.die(DeathCause::Protocol(what), effects);
            }
            None => effects.push(Effect::Noted(Noted::Complaint(what))),
        }
    }
}
