//! Questions about the state of a session: they take the place of an execution (C7).

use super::*;
use crate::{
    machine::session::Question,
    protocol::{CheckpointData, NameFailure, Restored},
};

pub(super) const SAVE: Question = Question::Save { max_bytes: 10 };

pub(super) fn part(id: ExecutionId, number: u64, last: bool) -> Input {
    let mut part = CheckpointData::new(id, number, last);
    part.data = b"abc"[..].into();
    Input::Frame(FromWorker::CheckpointData(Box::new(part)))
}

pub(super) fn restored(id: ExecutionId) -> Input {
    let mut restored = Restored::new(id, vec!["x".to_owned()]);
    restored.failed.push(NameFailure::new("f", "gone"));
    Input::Frame(FromWorker::Restored(restored))
}

fn asked(question: Question) -> Bench {
    let mut bench = Bench::in_state(SessionState::Ready, ExecutionId(5));
    let effects = bench.step(Input::Ask(ExecutionId(6), question));
    assert_eq!(effects, [Effect::Execute(ExecutionId(6)), Effect::Started(ExecutionId(6))]);
    assert_eq!(bench.session.state(), SessionState::Busy);
    bench
}

#[test]
fn a_question_is_taken_when_the_session_is_free_and_returned_otherwise() {
    for state in STATES {
        let mut bench = Bench::in_state(state, ExecutionId(5));
        let effects = bench.step(Input::Ask(ExecutionId(6), SAVE));
        let free = matches!(state, SessionState::Ready | SessionState::Idle);
        match free {
            true => assert_eq!(effects[0], Effect::Execute(ExecutionId(6)), "{state}"),
            false => {
                assert!(matches!(effects, [Effect::Returned(ExecutionId(6), _)]), "{state}: {effects:?}");
            }
        }
    }
}

#[test]
fn an_answer_comes_in_parts_and_nothing_runs_before_the_last() {
    let id = ExecutionId(6);
    let mut bench = asked(SAVE);
    for number in 0..2 {
        assert!(matches!(bench.step(part(id, number, false)), [Effect::Answer(ExecutionId(6), _)]));
        let returned = Effect::Returned(ExecutionId(7), LostCause::SessionEnded);
        assert_eq!(bench.step(Input::Assign(ExecutionId(7))), [returned]);
    }
    let effects = bench.step(part(id, 2, true));
    assert!(
        matches!(&effects[0], Effect::Answer(ExecutionId(6), last) if last.type_name() == "checkpoint_data")
    );
    assert_eq!(effects.last(), Some(&Effect::Ended(id, Ending::Completed(Box::default()))));
    assert!(effects.contains(&Effect::Idle(id)));
    assert_eq!(bench.session.state(), SessionState::Idle);
    assert_eq!(bench.step(part(id, 3, true)), [Effect::Noted(Noted::Late(id))]);

    let mut bench = asked(Question::Restore);
    assert!(matches!(bench.step(restored(id)), [Effect::Answer(..), .., Effect::Ended(..)]));
}

/// The host's memory is bounded by what it asked for, whatever a worker sends.
#[test]
fn a_wrong_answer_ends_the_worker() {
    let id = ExecutionId(6);
    let wrong = |answer: &str| format!("it answered question 6 with `{answer}`, which was not asked for");
    for (question, answers, why) in [
        (SAVE, vec![part(id, 1, false)], "checkpoint 6 out of sequence: expected part 0, got 1".into()),
        (
            SAVE,
            vec![part(id, 0, false), part(id, 1, false), part(id, 2, false), part(id, 3, true)],
            "checkpoint 6 is too long: at most 10 bytes were asked for, 12 came".into(),
        ),
        (SAVE, vec![restored(id)], wrong("restored")),
        (SAVE, vec![result(id)], wrong("result")),
        (Question::Restore, vec![part(id, 0, true)], wrong("checkpoint_data")),
        (SAVE, vec![started(id)], "it started execution 6 twice".into()),
    ] {
        let mut bench = asked(question);
        for answer in answers {
            bench.step(answer);
        }
        assert!(bench.effects.contains(&Effect::Kill), "{why}");
        let effects = bench.step(exited());
        let Some(Effect::Terminated(death)) = effects.first() else { panic!("{effects:?}") };
        assert_eq!(death.cause, DeathCause::Protocol(why));
    }
}

/// A death answers it, an error too, and so does the grace of its cancel.
#[test]
fn a_question_ends_as_an_execution_does() {
    let id = ExecutionId(6);
    let mut bench = asked(SAVE);
    assert!(!unstarted(&mut bench, exited()), "it acknowledges nothing, and the values' code may have run");
    let mut bench = asked(SAVE);
    bench.step(part(id, 0, false));
    assert!(!unstarted(&mut bench, exited()));

    let mut bench = asked(SAVE);
    bench.step(part(id, 0, false));
    let effects = bench.step(error(id, ErrorKind::Request));
    assert!(matches!(effects.last(), Some(Effect::Ended(_, Ending::Failed(Failure::Protocol { .. })))));
    assert_eq!(bench.session.state(), SessionState::Idle);

    let mut bench = asked(Question::Restore);
    assert!(bench.step(Input::Cancel(id)).contains(&Effect::Interrupt));
    let effects = bench.step(error(id, ErrorKind::Cancelled));
    assert!(matches!(effects.last(), Some(Effect::Ended(_, Ending::Stopped(_)))));
}

#[test]
fn a_worker_that_cannot_save_is_not_asked() {
    let id = ExecutionId(6);
    let mut bench = Bench::new(false);
    bench.step(Input::Frame(FromWorker::Ready(Ready::new(VERSION, 7_u32, Codec::MessagePack, "test"))));
    let effects = bench.step(Input::Ask(id, SAVE));
    let [Effect::Idle(ExecutionId(6)), Effect::Ended(_, Ending::Failed(Failure::Protocol { what }))] =
        effects
    else {
        panic!("{effects:?}")
    };
    assert_eq!(what, "the worker does not offer `checkpoint`: its state cannot be saved or restored");
    assert_eq!(bench.session.state(), SessionState::Ready);
}

/// Of copies that say no secret the first process that comes would be taken for one.
#[test]
fn a_worker_whose_copies_prove_nothing_is_not_forked() {
    for (offered, lacks) in
        [(&["fork", "secret"][..], None), (&["fork"], Some("secret")), (&["secret"], Some("fork"))]
    {
        let mut bench = Bench::new(false);
        let mut ready = Ready::new(VERSION, 7_u32, Codec::MessagePack, "test");
        ready.capabilities = offered.iter().copied().map(Into::into).collect();
        bench.step(Input::Frame(FromWorker::Ready(ready)));
        let effects = bench.step(Input::Ask(ExecutionId(6), Question::Fork));
        match (lacks, effects) {
            (None, [Effect::Execute(_), Effect::Started(_)]) => {}
            (
                Some(lacks),
                [Effect::Idle(_), Effect::Ended(_, Ending::Failed(Failure::Protocol { what }))],
            ) => {
                assert_eq!(*what, format!("the worker does not offer `{lacks}`: it cannot be forked"));
            }
            other => panic!("{other:?}"),
        }
    }
}
