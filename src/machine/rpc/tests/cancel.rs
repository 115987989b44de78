//! Cancels, and what becomes of the server.

use super::*;

/// A line that is no message says nothing about whether the server answers.
#[test]
fn stray_lines_are_counted_and_are_no_sign_of_life() {
    let mut driver = Driver::plain();
    driver.call(1);
    driver.step(Input::Cancel(id(1)));
    assert_eq!(driver.step(Input::Said(Said::Stray)), [Effect::Noted(Noted::Stray)]);
    assert_eq!(driver.step(Input::Elapsed(Timer::Grace(id(1)))), [Effect::Kill]);
}

#[test]
fn a_cancel_is_told_in_the_words_of_the_protocol_and_the_answer_ends_it() {
    let mut driver = Driver::mcp();
    driver.call(1);
    let effects = driver.step(Input::Cancel(id(1)));
    let ping = Saying::Ask { own: 2, method: "ping".into(), params: None };
    let arm = Effect::Arm(Timer::Grace(id(1)), GRACE);
    assert_eq!(effects, [Effect::Say(Saying::Cancel(id(1))), Effect::Say(ping), arm]);
    assert_eq!(driver.step(Input::Cancel(id(1))), [], "once");
    let effects = driver.answer(Id::Call(id(1)), Err(RpcError::new(-32800, "cancelled")));
    let stopped = Effect::Ended(id(1), Ending::Stopped(Rung::Interrupt));
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
    let abandoned = Effect::Ended(id(1), Ending::Stopped(Rung::Abandoned));
    assert_eq!(effects, [Effect::Disarm(Timer::Grace(id(1))), Effect::Idle(id(1)), abandoned]);
    assert_eq!(driver.answer(Id::Call(id(1)), Ok(1.into())), [Effect::Noted(Noted::Late(Some(id(1))))]);
    assert_eq!(driver.looks_until_killed(100), None, "it has answered");
    assert_eq!(driver.answer(Id::Call(id(2)), Ok(1.into()))[1], Effect::Ended(id(2), completed(1.into())));
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
    let abandoned = Effect::Ended(id(1), Ending::Stopped(Rung::Abandoned));
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
