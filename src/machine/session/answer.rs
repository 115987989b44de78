//! What a session makes of what its worker says.

use crate::{
    config::{FIELD_ERRORS_MAX, LEFT_LEN_MAX, LEFT_MAX, UNKNOWN_TOLD_MAX},
    machine::session::{Effect, Ending, Noted, Phase, Run, Session, Speaker, Timer, Told},
    outcome::{CancelStage, Completion, DeathCause, Event, Failure, InputRequest, Usage},
    protocol::{
        self, Cancel, DecodeError, ErrorKind, ExecutionError, ExecutionId, ExecutionResult, FromWorker,
        Heartbeat, Ready, ToWorker, excerpt,
    },
};

impl Session {
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other message is about an execution")]
    pub(super) fn frame(&mut self, frame: FromWorker, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Creating)
            && !matches!(frame, FromWorker::Ready(_) | FromWorker::Log(_))
        {
            return self.die(DeathCause::Protocol("its first message was not `ready`".into()), effects);
        }
        match frame {
            FromWorker::Ready(ready) => self.ready(ready, effects),
            FromWorker::Heartbeat(heartbeat) => self.heartbeat(&heartbeat, effects),
            FromWorker::Log(log) => {
                effects.push(Effect::Noted(Noted::Log { level: log.level, message: excerpt(log.message) }));
            }
            FromWorker::ProtocolError(error) => {
                effects.push(Effect::Noted(Noted::Complaint(excerpt(complaint(&error)))));
            }
            FromWorker::CancelAck(_) | FromWorker::Bye => {}
            about => match about.execution_id() {
                Some(id) => self.about(id, about, effects),
                None => effects.push(Effect::Noted(Noted::UnknownType("a message without an id".into()))),
            },
        }
    }

    /// A message about an execution: the one that runs, one that has ended, or one that never was.
    fn about(&mut self, id: ExecutionId, frame: FromWorker, effects: &mut Vec<Effect>) {
        let terminal = matches!(frame, FromWorker::Result(_) | FromWorker::Error(_));
        let known = self.ended.contains(&id);
        if self.runs(id) {
            self.current(id, frame, effects);
        } else if matches!(self.phase, Phase::ShuttingDown { .. } | Phase::Terminated)
            && !(known && matches!(frame, FromWorker::Output(_)))
        {
            // What a killed worker had still sent is a sign, and nothing more.
            if !matches!(frame, FromWorker::Started(_)) {
                effects.push(Effect::Noted(Noted::Late(id)));
            }
        } else if !known {
            self.die(
                DeathCause::Protocol(format!("it spoke of execution {id}, which it was never given")),
                effects,
            );
        } else if terminal {
            self.die(DeathCause::Protocol(format!("it ended execution {id} twice")), effects);
        } else {
            effects.push(Effect::Noted(Noted::Late(id)));
            // What it left running prints: that is the session's, if somebody leases it.
            if let FromWorker::Output(protocol::Output { stream, data, .. }) = frame {
                effects.push(Effect::Background(Event::Output { stream, data }));
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "answers to questions that are never asked")]
    fn current(&mut self, id: ExecutionId, frame: FromWorker, effects: &mut Vec<Effect>) {
        let told = self.run().is_some_and(|run| run.told != Told::Running);
        match frame {
            FromWorker::Started(_) => self.started(id, effects),
            FromWorker::Result(_) if self.asks() => self.wrong_answer(id, "result", effects),
            FromWorker::CheckpointData(part) if self.asks() => self.part(id, part, effects),
            FromWorker::Restored(_) | FromWorker::Forked(_) | FromWorker::VarsResult(_) if self.asks() => {
                self.replied(id, frame, effects);
            }
            FromWorker::Result(result) => self.completed(id, result, effects),
            FromWorker::Error(error) => self.failed(id, error, effects),
            _late if told => effects.push(Effect::Noted(Noted::Late(id))),
            FromWorker::Output(output) => self.numbered(id, output, effects),
            FromWorker::Display(display) => self.event(id, super::display(display), effects),
            FromWorker::InputRequest(request) => {
                let protocol::InputRequest { request, prompt, password, .. } = request;
                self.event(id, Event::Input(InputRequest { request, prompt, password }), effects);
            }
            other => {
                let what = format!("unexpected answer: `{}`", other.type_name());
                effects.push(Effect::Noted(Noted::Complaint(what)));
            }
        }
    }

    fn ready(&mut self, ready: Ready, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Creating) {
            return self.die(DeathCause::Protocol("it said `ready` twice".into()), effects);
        }
        if ready.protocol != protocol::VERSION {
            let (expected, got) = (protocol::VERSION.into(), ready.protocol.into());
            return self.die(DeathCause::Version { expected, got }, effects);
        }
        self.pid = Some(ready.pid);
        self.speaker = Speaker::from(&ready);
        effects.push(Effect::Write(ToWorker::Init((*self.init).clone())));
        match self.warmup {
            None => self.warmed(effects),
            Some(warmup) => {
                effects
                    .extend([Effect::Arm(Timer::Start, self.limits.warmup_timeout), Effect::Execute(warmup)]);
                self.phase = Phase::Warming(Run::new(warmup));
            }
        }
    }

    fn warmed(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Ready;
        effects.extend([Effect::Disarm(Timer::Start), Effect::Ready]);
    }

    fn started(&mut self, id: ExecutionId, effects: &mut Vec<Effect>) {
        let warming = self.is_warming();
        let Some(run) = self.run() else { return };
        if std::mem::replace(&mut run.started, true) {
            self.die(DeathCause::Protocol(format!("it started execution {id} twice")), effects);
        } else if !warming && run.told == Told::Running {
            effects.push(Effect::Started(id));
        }
    }

    fn numbered(&mut self, id: ExecutionId, output: protocol::Output, effects: &mut Vec<Effect>) {
        let Some(run) = self.run() else { return };
        let (expected, got) = (run.next_seq, output.seq);
        if expected != got {
            let what =
                format!("output of execution {id} out of sequence: expected number {expected}, got {got}");
            return self.die(DeathCause::Protocol(what), effects);
        }
        run.next_seq += 1;
        self.event(id, Event::Output { stream: output.stream, data: output.data }, effects);
    }

    fn event(&mut self, id: ExecutionId, event: Event, effects: &mut Vec<Effect>) {
        effects.push(if self.is_warming() { Effect::Background(event) } else { Effect::Event(id, event) });
    }

    /// Output on a pipe belongs to what runs when it is read; the fence keeps it before the end of what wrote it.
    pub(super) fn output(&mut self, event: Event, effects: &mut Vec<Effect>) {
        let id = match &self.phase {
            Phase::Busy(run) | Phase::ShuttingDown { run: Some(run), .. }
                if run.told == Told::Running && Some(run.id) != self.warmup =>
            {
                Some(run.id)
            }
            Phase::Creating
            | Phase::Warming(_)
            | Phase::Ready
            | Phase::Busy(_)
            | Phase::Idle
            | Phase::ShuttingDown { .. }
            | Phase::Terminated => None,
        };
        effects.push(match id {
            Some(id) => Effect::Event(id, event),
            None => Effect::Background(event),
        });
    }

    /// What an execution began and did not end: told to its caller, if it is still told anything, and to the supervisor.
    /// What a warmup leaves is there for whoever comes.
    fn left(&mut self, id: ExecutionId, mut what: Vec<String>, effects: &mut Vec<Effect>) {
        if what.is_empty() || self.is_warming() {
            return;
        }
        what.truncate(LEFT_MAX);
        for one in &mut what {
            *one = one.chars().take(LEFT_LEN_MAX).collect();
        }
        if self.run().is_some_and(|run| run.told == Told::Running) {
            effects.push(Effect::Event(id, Event::Left { what: what.clone() }));
        }
        effects.push(Effect::Left(id, what));
    }

    fn completed(&mut self, id: ExecutionId, result: ExecutionResult, effects: &mut Vec<Effect>) {
        self.left(id, result.left, effects);
        let usage = Usage {
            execution_time: seconds(result.execution_time),
            cpu_time: result.cpu_time.map(seconds),
            memory_usage: result.memory_usage,
            namespace_size: result.namespace_size,
            tainted: result.tainted,
        };
        let completion = Completion {
            value: result.value,
            repr: result.repr,
            mime: result.mime.map(|it| *it),
            exited: false,
            usage,
        };
        self.over(id, Ending::Completed(Box::new(completion)), effects);
    }

    fn failed(&mut self, id: ExecutionId, mut error: ExecutionError, effects: &mut Vec<Effect>) {
        self.left(id, std::mem::take(&mut error.left), effects);
        let stage = self.run().and_then(|run| run.stage);
        let ending = match error.kind {
            ErrorKind::Cancelled => Ending::Stopped(stage.unwrap_or(CancelStage::Interrupt)),
            ErrorKind::Exit => exit(error),
            ErrorKind::Request => Ending::Failed(Failure::Protocol {
                what: error.exception.map_or_else(|| "it refused the request".into(), |why| why.message),
            }),
            ErrorKind::Exception | ErrorKind::Syntax | ErrorKind::Other(_) => match error.exception {
                Some(exception) => Ending::Failed(Failure::Exception(exception)),
                None => {
                    Ending::Failed(Failure::Protocol { what: "an `error` without an `exception`".into() })
                }
            },
        };
        self.over(id, ending, effects);
    }

    /// The terminal message of what runs. The worker is idle behind it.
    pub(super) fn over(&mut self, id: ExecutionId, ending: Ending, effects: &mut Vec<Effect>) {
        if self.is_warming() {
            return match ending {
                Ending::Completed(_) => {
                    self.ended.push_back(id);
                    self.warmed(effects);
                }
                Ending::Failed(failure) => self.die(DeathCause::Warmup(failure.to_string()), effects),
                Ending::Stopped(_) | Ending::Lost(_) => {
                    self.die(DeathCause::Warmup("it was stopped".into()), effects);
                }
            };
        }
        let untold = self.run().is_some_and(|run| run.told == Told::Running);
        self.conclude(id, effects);
        // Last: whoever asks again on hearing it finds this session free.
        if untold {
            effects.push(Effect::Ended(id, ending));
        }
    }

    fn heartbeat(&mut self, heartbeat: &Heartbeat, effects: &mut Vec<Effect>) {
        let Some(run) = self.run() else { return };
        let id = run.id;
        let proves = match &run.told {
            Told::Ended { proof } => proof.is(heartbeat, id),
            Told::Running => false,
        };
        if proves {
            self.conclude(id, effects);
        }
    }

    pub(super) fn undecodable(&mut self, error: DecodeError, effects: &mut Vec<Effect>) {
        let text = error.to_string();
        match error {
            DecodeError::Malformed { .. } | DecodeError::ForeignId { .. } => {
                self.die(DeathCause::Protocol(text), effects);
            }
            DecodeError::UnknownType { type_name, id } => {
                let what = format!("unknown type `{type_name}`");
                let answer = protocol::ProtocolError { what, expected: None, got: None, id };
                effects.push(Effect::Noted(Noted::UnknownType(type_name)));
                // One that sends many may read none of the answers.
                if self.unknown_told < UNKNOWN_TOLD_MAX {
                    self.unknown_told += 1;
                    effects.push(Effect::Write(ToWorker::ProtocolError(answer)));
                }
            }
            DecodeError::Field { id, .. } => self.field_error(id, text, effects),
        }
    }

    /// A message with a wrong field fails the execution that it is about. The worker must prove that it is idle.
    fn field_error(&mut self, id: Option<ExecutionId>, what: String, effects: &mut Vec<Effect>) {
        self.field_errors += 1;
        let (grace, (proof, ping)) = (self.limits.grace, self.probes.idle());
        let errors = self.field_errors;
        let creating = matches!(self.phase, Phase::Creating);
        let concerns = |run: &&mut Run| id.is_none_or(|id| id == run.id) && run.told == Told::Running;
        let busy = matches!(self.phase, Phase::Busy(_));
        match self.run().filter(concerns) {
            _ if errors > FIELD_ERRORS_MAX => {
                let what = format!("{errors} messages with wrong fields, the last: {what}");
                self.die(DeathCause::Protocol(what), effects);
            }
            Some(run) if busy => {
                let id = run.id;
                run.told = Told::Ended { proof };
                effects.extend([
                    Effect::Ended(id, Ending::Failed(Failure::Protocol { what })),
                    Effect::Shed,
                    Effect::Write(ToWorker::Cancel(Cancel { id, force: true, reason: None })),
                    Effect::Interrupt,
                    Effect::Write(ping),
                    Effect::Arm(Timer::Proof, grace),
                ]);
            }
            Some(_) => self.die(DeathCause::Protocol(what), effects),
            None if creating => self.die(DeathCause::Protocol(what), effects),
            None => effects.push(Effect::Noted(Noted::Complaint(what))),
        }
    }
}

/// `sys.exit(0)` is a good end; any other code is a failure.
fn exit(error: ExecutionError) -> Ending {
    let code = error.exit_code.unwrap_or(0);
    if code == 0 {
        let usage = Usage { execution_time: seconds(error.execution_time), ..Usage::default() };
        return Ending::Completed(Box::new(Completion { usage, exited: true, ..Completion::default() }));
    }
    // Only a text exits with 1 and says something else; of a number the message is the number.
    let text = |message: &String| code == 1 && !matches!(message.as_str(), "" | "1" | "True");
    let message = error.exception.map(|exception| exception.message).filter(text);
    Ending::Failed(Failure::Exit { code: i32::try_from(code).unwrap_or(1), message })
}

/// A peer chooses this number: what is no time is none.
fn seconds(seconds: f64) -> std::time::Duration {
    std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn complaint(error: &protocol::ProtocolError) -> String {
    let mut text = format!("the worker did not understand us: {}", error.what);
    for (name, detail) in [("expected", &error.expected), ("got", &error.got)] {
        if let Some(detail) = detail {
            text.push_str(&format!(", {name} {detail}"));
        }
    }
    text
}
