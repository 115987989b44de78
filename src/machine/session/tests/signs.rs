//! What is a sign that the code of an execution has begun, and what proves that it has not (P5).

use super::{
    Bench, Broken, ChannelEnd, Codec, DeathCause, DecodeError, Effect, Ending, ExecutionId, Exit, FromWorker,
    Input, Ready, SessionState, Timer, VERSION, exited, exited_with, heartbeat, output, printed, result,
    started, wrong_field,
};
use crate::{
    config::UNKNOWN_TOLD_MAX,
    machine::unstarted::Unstarted,
    protocol::{InputRequest, ToWorker},
};

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

/// Whose output it is that comes on a pipe: that of what runs, also while its worker is killed, until its caller has heard
/// its end. A warmup has no caller.
#[test]
fn what_is_printed_on_a_pipe_belongs_to_what_runs_as_long_as_that_is_told_anything() {
    let id = ExecutionId(5);
    let kill = || Input::Kill(DeathCause::Disobeyed);
    let busy = || Bench::in_state(SessionState::Busy, id);
    for (mut bench, then, is_its) in [
        (busy(), None, true),
        (busy(), Some(kill()), true),
        (busy(), Some(wrong_field(Some(id))), false),
        (busy(), Some(result(id)), false),
        (Bench::in_state(SessionState::Ready, id), None, false),
        (Bench::in_state(SessionState::Warming, id), None, false),
        (Bench::in_state(SessionState::Warming, id), Some(kill()), false),
    ] {
        let told = format!("{} {then:?}", bench.session.state());
        if let Some(input) = then {
            bench.step(input);
        }
        let (Input::Output(event), Input::Output(again)) = (printed(), printed()) else { unreachable!() };
        let expected = if is_its { Effect::Event(id, event) } else { Effect::Background(event) };
        assert_eq!(bench.step(Input::Output(again)), [expected], "{told}");
    }
}

/// A worker may send messages of unknown types without end, and read none of the complaints about them.
#[test]
fn only_so_many_messages_of_unknown_types_are_answered() {
    let mut bench = Bench::in_state(SessionState::Ready, ExecutionId(5));
    for number in 1..=UNKNOWN_TOLD_MAX + 10 {
        let unknown = DecodeError::UnknownType { type_name: "novel".into(), id: None };
        let effects = bench.step(Input::Undecodable(unknown));
        assert!(matches!(effects[0], Effect::Noted(_)), "{effects:?}");
        let answers = usize::from(number <= UNKNOWN_TOLD_MAX);
        assert_eq!(effects.len(), 1 + answers, "message {number}: {effects:?}");
        assert!(
            effects[1..].iter().all(|effect| matches!(effect, Effect::Write(ToWorker::ProtocolError(_))))
        );
    }
}

/// To any other worker, SIGINT is death. It comes behind the message that says why, and not with the forced ones.
#[test]
fn only_a_worker_that_expects_sigint_is_sent_one() {
    let id = ExecutionId(7);
    for offers in [true, false] {
        let mut bench = Bench::new(false);
        let mut ready = Ready::new(VERSION, 7_u32, Codec::MessagePack, "test");
        ready.capabilities.extend(offers.then(|| "sigint".into()));
        for input in [Input::Frame(FromWorker::Ready(ready)), Input::Assign(id), started(id)] {
            bench.step(input);
        }
        let inputs = [Input::Interrupt(id), Input::Cancel(id), Input::Elapsed(Timer::Force)];
        let signals = inputs.map(|input| {
            let effects = bench.step(input);
            let written = effects.iter().position(|it| matches!(it, Effect::Write(_)));
            let signal = effects.iter().position(|it| *it == Effect::Signal);
            signal.is_some_and(|signal| written < Some(signal))
        });
        assert_eq!(signals, [offers, offers, false]);
    }
}
