use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    config::{JsonRpc, MCP_VERSIONS, WorkerSpec},
    machine::{
        budget::MemoryLimits,
        session::Broken,
        unstarted::{Loss, Unstarted},
    },
    outcome::{self, Completion, Event, Exit, Failure, LostCause},
    protocol::{
        RpcError, Value,
        rpc::{Id, Incoming, METHOD_NOT_FOUND},
    },
};

mod cancel;
mod question;
mod story;

const GRACE: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(30);

fn spec(spec: WorkerSpec) -> Arc<JsonRpc> {
    spec.server.expect("it is a server")
}

fn limits(server: Arc<JsonRpc>) -> Limits {
    Limits {
        server,
        ready_timeout: Duration::from_secs(10),
        ready_in: Duration::from_secs(9),
        grace: GRACE,
        heartbeat_timeout: HEARTBEAT,
        memory: MemoryLimits { soft: None, hard: None },
    }
}

fn map(key: &str, value: impl Into<Value>) -> Value {
    [(key, value.into())].into_iter().collect()
}

fn id(number: u64) -> ExecutionId {
    ExecutionId(number)
}

/// A session and what it asked for.
struct Driver {
    machine: Rpc,
    effects: Vec<Effect>,
}

impl Driver {
    fn new(server: WorkerSpec) -> Self {
        let mut effects = Vec::new();
        let machine = Rpc::new(limits(spec(server)), &mut effects);
        Self { machine, effects }
    }

    /// An MCP server that is ready.
    fn mcp() -> Self {
        let mut driver = Self::new(WorkerSpec::mcp("server"));
        let version = map("protocolVersion", MCP_VERSIONS[0]);
        assert!(driver.answer(Id::Own(1), Ok(version)).contains(&Effect::Ready));
        driver
    }

    fn plain() -> Self {
        let mut driver = Self::new(WorkerSpec::json_rpc("server"));
        assert!(driver.take().contains(&Effect::Ready));
        driver
    }

    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        self.effects.clear();
        self.machine.step(input, &mut self.effects);
        self.take()
    }

    fn answer(&mut self, id: Id, answer: Result<Value, RpcError>) -> Vec<Effect> {
        self.step(Input::Incoming(Incoming::Answer { id, answer }))
    }

    /// A call that was written.
    fn call(&mut self, number: u64) {
        self.call_on(number, Terms::default());
    }

    fn call_on(&mut self, number: u64, terms: Terms) {
        assert_eq!(self.step(Input::Assign(id(number), terms)), [Effect::Send(id(number))]);
        assert_eq!(self.step(Input::Sent(id(number)))[0], Effect::Started(id(number)));
    }

    fn notified(&mut self, method: &str, params: Value) -> Vec<Effect> {
        self.step(Input::Incoming(Incoming::Notification { method: method.into(), params }))
    }

    fn asked(&mut self, method: &str) -> Vec<Effect> {
        let (id, params) = ("\"q\"".into(), Value::None);
        self.step(Input::Incoming(Incoming::Request { id, method: method.into(), params }))
    }

    /// Looks at the server, a second after the last look, until it is told to die.
    fn looks_until_killed(&mut self, most: u32) -> Option<u32> {
        (1..=most).find(|_| self.step(Input::Look(None)).contains(&Effect::Kill))
    }

    /// Of what it was given, it was not given the whole of what the machine does not know as sent.
    fn exited(&mut self) -> Vec<Effect> {
        let unsent = self.machine.calls.iter().filter(|(_, call)| !call.sent);
        let unwritten = unsent.filter_map(|(id, _)| Some((*id, Unstarted::ungiven(false)?))).collect();
        self.step(Input::Exited { exit: Exit::Signal(9), stderr: "bye".into(), unwritten })
    }

    fn death(&mut self) -> DeathCause {
        let effects = self.exited();
        match effects.into_iter().next() {
            Some(Effect::Terminated(death)) => death.cause,
            other => panic!("no death, but {other:?}"),
        }
    }
}

fn completed(value: Value) -> Ending {
    Ending::Completed(Box::new(Completion { value: Some(value), ..Completion::default() }))
}

fn reply(answer: Result<Value, RpcError>) -> Effect {
    Effect::Say(Outgoing::Reply { id: "\"q\"".into(), answer })
}

#[test]
fn an_mcp_server_is_initialised_before_it_is_offered() {
    let mut driver = Driver::new(WorkerSpec::mcp("server"));
    assert_eq!(driver.machine.state(), SessionState::Creating);
    let [Effect::Arm(Timer::Start, _), Effect::Say(Outgoing::Ask { own: 1, method, params })] =
        &driver.take()[..]
    else {
        panic!("it is not asked to initialise");
    };
    assert_eq!(method, "initialize");
    assert!(params.as_deref().unwrap().contains("\"clientInfo\":{\"name\":\"ostler\""), "{params:?}");
    let effects = driver.answer(Id::Own(1), Ok(map("protocolVersion", MCP_VERSIONS[3])));
    let initialized = Outgoing::Note { method: "notifications/initialized".into(), params: None };
    assert_eq!(effects, [Effect::Say(initialized), Effect::Disarm(Timer::Start), Effect::Ready]);
    assert_eq!(driver.machine.state(), SessionState::Ready);
}

/// A10, fault 7: refused with both versions named.
#[test]
fn a_server_of_another_version_is_refused_with_both_named() {
    for (answer, named) in [
        (map("protocolVersion", "1999-01-01"), "1999-01-01"),
        (map("protocolVersion", 5), "5"),
        (Value::None, "none"),
    ] {
        let mut driver = Driver::new(WorkerSpec::mcp("server"));
        assert_eq!(driver.answer(Id::Own(1), Ok(answer)), [Effect::Kill]);
        let text = driver.death().to_string();
        assert!(
            text.contains(&format!("version {named} of MCP")) && text.contains(MCP_VERSIONS[0]),
            "{text}"
        );
    }
}

#[test]
fn what_is_asked_first_must_be_answered_well_and_in_time() {
    let opening =
        || WorkerSpec::json_rpc("s").first_ask("open", map("a", 1)).first_notify("opened", Value::None);
    let mut refused = Driver::new(opening());
    let error = RpcError::new(-32601, "no method");
    assert_eq!(refused.answer(Id::Own(1), Err(error)), [Effect::Kill]);
    assert!(matches!(refused.death(), DeathCause::Warmup(what) if what.contains("no method")));

    let mut silent = Driver::new(opening());
    assert_eq!(silent.step(Input::Elapsed(Timer::Start)), [Effect::Kill]);
    assert_eq!(silent.death(), DeathCause::NotReady { after: Duration::from_secs(10) });

    let mut good = Driver::new(opening());
    let said = good.answer(Id::Own(1), Ok(Value::None));
    assert_eq!(said[0], Effect::Say(Outgoing::Note { method: "opened".into(), params: None }));
    assert_eq!(said.last(), Some(&Effect::Ready));
}

/// E2: answers come in any order, and each goes to its own.
#[test]
fn answers_out_of_order_go_to_their_own_calls() {
    let mut driver = Driver::plain();
    (1..=3).for_each(|number| driver.call(number));
    for number in [2, 3, 1] {
        let effects = driver.answer(Id::Call(id(number)), Ok(number.into()));
        assert_eq!(effects, [Effect::Idle(id(number)), Effect::Ended(id(number), completed(number.into()))]);
    }
    assert_eq!(driver.machine.state(), SessionState::Idle);
    let error = RpcError::new(1, "no");
    driver.call(4);
    let failed = Ending::Failed(Failure::Rpc(Box::new(error.clone())));
    assert_eq!(driver.answer(Id::Call(id(4)), Err(error))[1], Effect::Ended(id(4), failed));
}

/// Faults 24 and 25: the first answer stands, a second one is counted and touches nobody.
#[test]
fn f24_f25_a_second_answer_is_late_and_touches_nobody() {
    let mut driver = Driver::plain();
    driver.call(1);
    driver.call(2);
    driver.answer(Id::Call(id(1)), Ok(Value::None));
    let late = [Effect::Noted(Noted::Late(Some(id(1))))];
    assert_eq!(driver.answer(Id::Call(id(1)), Ok(5.into())), late);
    assert_eq!(driver.answer(Id::Call(id(2)), Ok(6.into()))[1], Effect::Ended(id(2), completed(6.into())));
}

/// E2, fault 26.
#[test]
fn f26_an_answer_to_what_was_never_asked_ends_the_server() {
    for foreign in [Id::Call(id(9)), Id::Own(99), Id::Foreign("\"x\"".into())] {
        let mut driver = Driver::mcp();
        driver.call(1);
        assert_eq!(driver.answer(foreign, Ok(Value::None)), [Effect::Kill]);
        let DeathCause::Protocol(what) = driver.death() else { panic!("another cause") };
        assert!(what.contains("which it was never given"), "{what}");
    }
}

/// An error without an id is about the only request that it can be about, or about something that is not known.
#[test]
fn an_error_without_an_id_is_of_the_only_call_and_otherwise_noted() {
    let error = RpcError::new(-32700, "cannot read this");
    let mut driver = Driver::plain();
    driver.call(1);
    let failed = Ending::Failed(Failure::Rpc(Box::new(error.clone())));
    assert_eq!(driver.answer(Id::Null, Err(error.clone()))[1], Effect::Ended(id(1), failed));
    driver.call(2);
    driver.call(3);
    for _ in 0..2 {
        let effects = driver.answer(Id::Null, Err(error.clone()));
        let [Effect::Noted(Noted::Complaint(what))] = effects.as_slice() else { panic!("{effects:?}") };
        assert!(what.contains("cannot read this"), "{what}");
    }
    assert_eq!(driver.answer(Id::Call(id(3)), Ok(3.into()))[1], Effect::Ended(id(3), completed(3.into())));
    let mut driver = Driver::new(WorkerSpec::mcp("server"));
    assert!(driver.answer(Id::Null, Err(error)).contains(&Effect::Kill), "it could not read `initialize`");
}

/// C12: a wrong message fails its call; repeated offence ends the server.
#[test]
fn a_wrong_answer_fails_its_call_and_the_third_ends_the_server() {
    let mut driver = Driver::plain();
    (1..=4).for_each(|number| driver.call(number));
    let wrong = |call| Input::Incoming(Incoming::Wrong { call, what: "it is wrong".into() });
    let failed = Ending::Failed(Failure::Protocol { what: "it is wrong".into() });
    assert_eq!(driver.step(wrong(Some(id(1))))[1], Effect::Ended(id(1), failed));
    assert_eq!(driver.step(wrong(None)), [Effect::Noted(Noted::Complaint("it is wrong".into()))]);
    assert_eq!(driver.step(wrong(Some(id(2)))), [Effect::Kill]);
    let effects = driver.exited();
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Ended(..))).count(), 3);
}

/// Faults 21 to 23: whatever breaks the stream ends the server, and everything in flight is told.
#[test]
fn f21_f22_f23_a_broken_stream_loses_what_is_in_flight_and_says_what_was_sent() {
    for (input, cause) in [
        (Input::Incoming(Incoming::Broken("half".into())), DeathCause::Protocol("half".into())),
        (
            Input::Broken(Broken::Garbage { what: "too long".into(), printed: None }),
            DeathCause::Protocol("too long".into()),
        ),
        (Input::Broken(Broken::NotReading), DeathCause::NotReading),
    ] {
        let mut driver = Driver::plain();
        driver.call(1);
        driver.step(Input::Assign(id(2), Terms::default()));
        assert_eq!(driver.step(input), [Effect::Kill]);
        let effects = driver.exited();
        assert!(
            matches!(effects[0], Effect::Terminated(_)),
            "who hears of a loss finds that the session has ended"
        );
        assert_eq!(effects.len(), 3, "{effects:?}");
        for (effect, (number, started)) in effects[1..].iter().zip([(1, true), (2, false)]) {
            let Effect::Ended(which, Ending::Lost(Loss { unstarted, cause: LostCause::Died(death) })) =
                effect
            else {
                panic!("{effect:?}");
            };
            assert_eq!((*which, unstarted.is_none()), (id(number), started));
            assert_eq!((&death.cause, &*death.stderr), (&cause, "bye"));
        }
    }
}

#[test]
fn progress_goes_to_its_call_and_the_rest_to_the_only_one() {
    let mut driver = Driver::mcp();
    driver.call(1);
    let note = |number| {
        let (method, params) = ("note".to_owned(), map("n", 1));
        Effect::Event(id(number), Event::Notification { method, params })
    };
    assert_eq!(driver.notified("note", map("n", 1)), [note(1)]);
    driver.call(2);
    let nobody = Effect::Background { method: "note".into(), params: map("n", 1) };
    assert_eq!(driver.notified("note", map("n", 1)), [nobody], "nobody knows whose it is");
    let progress = driver.notified("notifications/progress", map("progressToken", 2));
    assert!(matches!(&progress[..], [Effect::Event(which, _)] if *which == id(2)), "{progress:?}");
    driver.answer(Id::Call(id(2)), Ok(Value::None));
    let late = driver.notified("notifications/progress", map("progressToken", 2));
    assert_eq!(late, [Effect::Noted(Noted::Late(Some(id(2))))]);
}

#[test]
fn a_notification_is_done_when_it_is_written() {
    let mut driver = Driver::plain();
    driver.step(Input::Assign(id(1), Terms { notify: true, ..Terms::default() }));
    let done = Effect::Ended(id(1), Ending::Completed(Box::default()));
    assert_eq!(driver.step(Input::Sent(id(1))), [Effect::Started(id(1)), Effect::Idle(id(1)), done]);
}

/// B18, F5: a server that has `ping` is asked for a sign of life when it is idle; one that has not is left alone.
#[test]
fn an_idle_server_is_asked_for_a_sign_of_life_if_it_has_one() {
    let vitals = Vitals { memory: 1, cpu_time: Duration::ZERO, stopped: false };
    let mut pings = 0;
    let mut driver = Driver::mcp();
    let killed = (1..=60).find(|_| {
        let effects = driver.step(Input::Look(Some(vitals)));
        pings += effects.iter().filter(|effect| matches!(effect, Effect::Say(_))).count();
        effects.contains(&Effect::Kill)
    });
    assert_eq!((pings, killed), (1, Some(30)));
    let mut driver = Driver::plain();
    assert!((1..=60).all(|_| driver.step(Input::Look(Some(vitals))).is_empty()));
    let stopped = Vitals { stopped: true, ..vitals };
    assert!((1..=3).any(|_| driver.step(Input::Look(Some(stopped))).contains(&Effect::Kill)), "F5");
}

#[test]
fn a_server_is_asked_to_go_by_the_end_of_what_it_reads() {
    let mut plain = Driver::plain();
    assert_eq!(plain.step(Input::Stop), [Effect::Close, Effect::Arm(Timer::Exit, GRACE)]);
    let late = LostCause::Died(Death::new(DeathCause::Retired, Exit::Unknown));
    assert_eq!(plain.step(Input::Assign(id(1), Terms::default())), [Effect::Returned(id(1), late)]);
    assert_eq!(plain.step(Input::Elapsed(Timer::Exit)), [Effect::Kill]);
    assert_eq!(plain.death(), DeathCause::Retired);
    let mut lsp = Driver::new(WorkerSpec::json_rpc("s").content_length());
    let said = lsp.step(Input::Stop);
    let [
        Effect::Say(Outgoing::Ask { method: first, .. }),
        Effect::Say(Outgoing::Note { method: then, .. }),
        ..,
    ] = &said[..]
    else {
        panic!("{said:?}");
    };
    assert_eq!((&**first, &**then), ("shutdown", "exit"));
    let mut busy = Driver::plain();
    busy.call(1);
    assert_eq!(busy.step(Input::Stop), [Effect::Kill]);
}
