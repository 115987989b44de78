//! What is a sign that the code of an execution has begun, and what proves that it has not (P5).

use super::{
    Bench, Broken, ChannelEnd, DeathCause, DecodeError, Effect, Ending, ExecutionId, Exit, FromWorker, Input,
    SessionState, exited, exited_with, heartbeat, output, printed, result, started, wrong_field,
};
use crate::{machine::unstarted::Unstarted, protocol::InputRequest};

/// What is known of the execution that a worker took with it.
pub(super) fn unstarted(bench: &mut Bench, exit: Input) -> bool {
    let effects = bench.step(exit);
    let Some(Effect::Ended(_, Ending::Lost(loss))) = effects.get(1) else { panic!("{effects:?}") };
    loss.unstarted.is_some()
}

/// Whether it says something of an execution, or prints, or says what nobody understands.
pub(super) fn is_about(input: &Input, id: ExecutionId) -> bool {
    match input {
        Input::Frame(frame) => frame.execution_id() == Some(id),
        other => matches!(other, Input::Output(_) | Input::Undecodable(_)),
    }
}

/// P5: whatever a worker says of an execution, or prints while it has it, or says that nobody understands, is a sign that
/// the code has begun; also when it was killed before. Only a death without any is proof that it has not.
#[test]
fn whatever_is_heard_is_a_sign_that_the_code_has_begun() {
    let id = ExecutionId(6);
    let unknown = |id| Input::Undecodable(DecodeError::UnknownType { type_name: "progress".into(), id });
    let garbage = || Input::Broken(Broken::Garbage { what: "x".into(), printed: None });
    let question = || InputRequest::new(id, 0_u64, "name?");
    let signs: [(&dyn Fn() -> Option<Input>, bool); 17] = [
        (&|| None, false),
        (&|| Some(heartbeat(7, None)), false),
        (&|| Some(output(ExecutionId(5), 0)), false),
        (&|| Some(unknown(None)), false),
        (&|| Some(unknown(Some(ExecutionId(5)))), false),
        (&|| Some(unknown(Some(id))), true),
        (&|| Some(started(id)), true),
        (&|| Some(output(id, 0)), true),
        (&|| Some(output(id, 3)), true),
        (&|| Some(Input::Frame(FromWorker::InputRequest(question()))), true),
        (&|| Some(heartbeat(7, Some(id))), true),
        (&|| Some(printed()), true),
        (&|| Some(wrong_field(None)), true),
        (&|| Some(wrong_field(Some(ExecutionId(5)))), true),
        (&|| Some(result(ExecutionId(99))), true),
        (&|| Some(result(id)), true),
        (&|| Some(garbage()), true),
    ];
    for killed in [false, true] {
        for (sign, begun) in &signs {
            let mut bench = Bench::in_state(SessionState::Idle, ExecutionId(5));
            bench.step(Input::Assign(id));
            if killed {
                bench.step(Input::Kill(DeathCause::Disobeyed));
            }
            let Some(input) = sign() else {
                assert!(unstarted(&mut bench, exited()));
                continue;
            };
            let told = format!("killed before: {killed}; {input:?}");
            let is_garbage = matches!(input, Input::Broken(_));
            if bench.step(input).iter().any(|effect| matches!(effect, Effect::Ended(..))) {
                continue; // Its caller has heard another end.
            }
            // The reader has found the garbage, and says so.
            let end = if is_garbage { ChannelEnd::Spoiled } else { ChannelEnd::Clean };
            assert_eq!(unstarted(&mut bench, exited_with(end)), !begun, "{told}");
        }
    }
}

/// P5: silence proves nothing if not all that was said was read. What was never wholly written cannot have run, whatever
/// the worker said.
#[test]
fn silence_is_proof_on_a_channel_that_was_read_to_its_end() {
    let id = ExecutionId(5);
    for (says, channel, is_written, expected) in [
        (false, ChannelEnd::Clean, true, true),
        (false, ChannelEnd::Spoiled, true, false),
        (true, ChannelEnd::Clean, true, false),
        (true, ChannelEnd::Spoiled, false, true),
    ] {
        let mut bench = Bench::in_state(SessionState::Ready, id);
        bench.step(Input::Assign(id));
        if says {
            bench.step(printed());
        }
        let (exit, stderr, unwritten) = (Exit::Signal(9), String::new(), Unstarted::ungiven(is_written));
        let exit = Input::Exited { exit, stderr, channel, unwritten };
        assert_eq!(unstarted(&mut bench, exit), expected, "{says} {channel:?} {is_written}");
    }
}
