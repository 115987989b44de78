//! Cancels, and what becomes of the server.

use super::*;
use crate::config::HEARD_CANCEL_LIMIT;

/// A line that is no message says nothing about whether the server answers.
#[test]
fn stray_lines_are_counted_and_are_no_sign_of_life() {
    let mut driver = Driver::plain();
    driver.call(1);
    driver.step(Input::Cancel(id(1)));
    assert_eq!(driver.step(Input::Incoming(Incoming::NotAMessage)), [Effect::Noted(Noted::NotAMessage)]);
    assert_eq!(driver.step(Input::Elapsed(Timer::Grace(id(1)))), [Effect::Kill]);
}

#[test]
fn a_cancel_is_told_in_the_words_of_the_protocol_and_the_answer_ends_it() {
    let mut driver = Driver::mcp();
    driver.call(1);
    let effects = driver.step(Input::Cancel(id(1)));
    let ping = Outgoing::Ask { own: 2, method: "ping".into(), params: None };
    let arm = Effect::Arm(Timer::Grace(id(1)), GRACE);
    assert_eq!(effects, [Effect::Say(Outgoing::Cancel(id(1))), Effect::Say(ping), arm]);
    assert_eq!(driver.step(Input::Cancel(id(1))), [], "once");
    let effects = driver.answer(Id::Call(id(1)), Err(RpcError::new(-32800, "cancelled")));
    let stopped = Effect::Ended(id(1), Ending::Stopped(CancelStage::Interrupt));
    assert_eq!(effects, [Effect::Disarm(Timer::Grace(id(1))), Effect::Idle(id(1)), stopped]);
}

/// A cancel of one never kills what the others wait for, as long as the server says anything.
#[test]
fn a_call_that_does_not_stop_is_abandoned_and_its_server_goes_on() {
    let mut driver = Driver::mcp();
    driver.call(1);
    driver.call(2);
    driver.step(Input::Cancel(id(1)));
    driver.answer(Id::Own(2), Ok(Value::Map(vec![])));
    let effects = driver.step(Input::Elapsed(Timer::Grace(id(1))));
    let abandoned = Effect::Ended(id(1), Ending::Stopped(CancelStage::Abandoned));
    let [grace, heard] = [Timer::Grace(id(1)), Timer::Heard(id(1))].map(Effect::Disarm);
    assert_eq!(effects, [grace, heard, Effect::Idle(id(1)), abandoned]);
    assert_eq!(driver.answer(Id::Call(id(1)), Ok(1.into())), [Effect::Noted(Noted::Late(Some(id(1))))]);
    assert_eq!(driver.looks_until_killed(100), None, "it has answered");
    assert_eq!(driver.answer(Id::Call(id(2)), Ok(1.into()))[1], Effect::Ended(id(2), completed(1.into())));
}

/// MCP servers do not answer what was cancelled: nobody waits for that when one has shown that it heard.
#[test]
fn a_server_that_has_heard_of_a_cancel_has_little_time_to_answer() {
    let mut driver = Driver::mcp();
    driver.call(1);
    driver.step(Input::Cancel(id(1)));
    assert_eq!(driver.notified("note", Value::None).len(), 1, "it is alive, and may not have heard");
    let soon = [Effect::Arm(Timer::Heard(id(1)), HEARD_CANCEL_LIMIT)];
    assert_eq!(driver.answer(Id::Own(2), Ok(Value::None)), soon);
    assert_eq!(driver.answer(Id::Own(2), Ok(Value::None)), [], "once");
    let effects = driver.step(Input::Elapsed(Timer::Heard(id(1))));
    assert_eq!(effects.last(), Some(&Effect::Ended(id(1), Ending::Stopped(CancelStage::Abandoned))));
    assert_eq!(driver.machine.state(), SessionState::Idle, "it goes on");
}

/// Messages are read in order: a later answer proves what an earlier one does, and the answer to a ping that was sent
/// before the cancel proves nothing.
#[test]
fn only_a_ping_behind_the_cancel_shows_that_the_server_has_heard_of_it() {
    let mut driver = Driver::mcp();
    (1..=3).for_each(|number| driver.call(number));
    driver.step(Input::Cancel(id(1)));
    driver.step(Input::Cancel(id(2)));
    driver.step(Input::Cancel(id(3)));
    let soon = |number| Effect::Arm(Timer::Heard(id(number)), HEARD_CANCEL_LIMIT);
    assert_eq!(driver.answer(Id::Own(1), Ok(Value::None)), []);
    assert_eq!(driver.answer(Id::Own(3), Ok(Value::None)), [soon(1), soon(2)]);
    assert_eq!(driver.answer(Id::Own(4), Err(RpcError::new(-32601, "no ping"))), [soon(3)]);
}

#[test]
fn a_silent_server_is_killed_at_once_if_that_hurts_nobody_else() {
    let mut driver = Driver::mcp();
    driver.call(1);
    driver.step(Input::Cancel(id(1)));
    assert_eq!(driver.step(Input::Elapsed(Timer::Grace(id(1)))), [Effect::Kill]);
    assert_eq!(driver.death(), DeathCause::Disobeyed);
}

#[test]
fn a_silent_server_that_others_wait_for_has_the_heartbeat_timeout() {
    let mut driver = Driver::mcp();
    driver.call(1);
    driver.call(2);
    driver.step(Input::Cancel(id(1)));
    let abandoned = Effect::Ended(id(1), Ending::Stopped(CancelStage::Abandoned));
    assert!(driver.step(Input::Elapsed(Timer::Grace(id(1)))).contains(&abandoned));
    assert_eq!(driver.looks_until_killed(100), Some(30));
    assert_eq!(driver.death(), DeathCause::Unresponsive { after: HEARTBEAT });
}

#[test]
fn one_word_from_a_silent_server_saves_it() {
    let mut driver = Driver::mcp();
    driver.call(1);
    driver.call(2);
    driver.step(Input::Cancel(id(1)));
    driver.step(Input::Elapsed(Timer::Grace(id(1))));
    assert_eq!(driver.looks_until_killed(29), None);
    driver.notified("note", Value::None);
    assert_eq!(driver.looks_until_killed(100), None);
}

/// What still waits for room was never given to the server, which is not told of it.
#[test]
fn what_waits_for_room_is_withdrawn_at_once() {
    let mut driver = Driver::mcp();
    driver.call(1);
    assert_eq!(driver.step(Input::Assign(id(2), Terms::default())), [Effect::Send(id(2))]);
    let withdrawn = Effect::Ended(id(2), Ending::Stopped(CancelStage::Queued));
    assert_eq!(driver.step(Input::Withdrawn(id(2))), [Effect::Idle(id(2)), withdrawn]);
    assert_eq!(driver.step(Input::Withdrawn(id(2))), [], "once");
}

/// It may read as slowly as it likes, but not nothing at all for the heartbeat timeout.
#[test]
fn a_server_behind_which_something_waits_must_read() {
    let mut driver = Driver::plain();
    driver.call(1);
    let mut kills = |stuck: &[bool]| {
        stuck.iter().position(|stuck| driver.step(Input::Stuck(*stuck)).contains(&Effect::Kill))
    };
    let almost = [[true; 29].as_slice(), &[false]].concat();
    assert_eq!(kills(&almost.repeat(3)), None);
    assert_eq!(kills(&[true; 40]), Some(29));
    assert_eq!(driver.death(), DeathCause::NotReading);
}
