//! What a server asks.

use super::*;
use crate::config::QUESTION_IDS_MAX;

#[test]
fn a_question_is_asked_once_answered_once_and_never_left_open() {
    let mut driver = Driver::mcp();
    driver.call_on(1, Terms { answers: true, ..Terms::default() });
    let question = |request| outcome::Question { request, method: "roots/list".into(), params: Value::None };
    let asked = |request| [Effect::Event(id(1), Event::Asked(question(request)))];
    assert_eq!(driver.asked("roots/list"), asked(1));
    let answer = || Input::Reply { id: id(1), request: 1, answer: Ok(5.into()) };
    let stranger = Input::Reply { id: id(2), request: 1, answer: Ok(5.into()) };
    assert_eq!(driver.step(stranger), [], "somebody else's question");
    assert_eq!(driver.step(answer()), [reply(Ok(5.into()))]);
    assert_eq!(driver.step(answer()), [], "it is not open any more");

    assert_eq!(driver.asked("roots/list"), asked(2));
    let effects = driver.answer(Id::Call(id(1)), Ok(Value::None));
    let over = RpcError::new(METHOD_NOT_FOUND, "the request that was asked about is over");
    assert_eq!(effects[0], reply(Err(over)));
}

#[test]
fn a_question_that_nobody_can_be_asked_is_refused_at_once() {
    let refused = |effects: &[Effect], why: &str| {
        let [Effect::Say(Outgoing::Reply { answer: Err(error), .. }), Effect::Noted(_)] = effects else {
            panic!("{effects:?}");
        };
        assert_eq!(error.code, METHOD_NOT_FOUND);
        assert!(error.message.contains(why), "{error}");
    };
    let mut driver = Driver::mcp();
    refused(&driver.asked("roots/list"), "no request is in flight");
    driver.call(1);
    refused(&driver.asked("roots/list"), "answers no questions");
    driver.call_on(2, Terms { answers: true, ..Terms::default() });
    refused(&driver.asked("roots/list"), "not known whose this is");
    assert_eq!(driver.asked("ping"), [reply(Ok(Value::Map(vec![])))]);
}

#[test]
fn the_ids_of_open_questions_have_a_bound() {
    for (len, asked) in [(QUESTION_IDS_MAX - 1, true), (QUESTION_IDS_MAX, false)] {
        let mut driver = Driver::mcp();
        driver.call_on(1, Terms { answers: true, ..Terms::default() });
        let mut ask = |id: String| {
            let request =
                Incoming::Request { id: id.into(), method: "roots/list".into(), params: Value::None };
            matches!(driver.step(Input::Incoming(request))[0], Effect::Event(_, Event::Asked(_)))
        };
        assert!(ask("1".into()));
        assert_eq!(ask("2".repeat(len)), asked, "{len} bytes behind one");
    }
}
