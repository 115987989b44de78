//! Every state against every input, and stories (D1, D2, D5).
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever was not expected fails the test")]

use std::time::Duration;

use super::{Broken, Effect, Ending, Input, Limits, Noted, Session, Timer};
use crate::{
    config::LEFT_MAX,
    machine::{budget::MemoryLimits, unstarted::ChannelEnd},
    outcome::{Activity, DeathCause, Event, Exit, Failure, LostCause},
    protocol::{
        Codec, DecodeError, ErrorKind, ExecutionError, ExecutionId, ExecutionResult, FromWorker, Heartbeat,
        Init, Output, Ready, Started, Stream, ToWorker, VERSION,
    },
    status::SessionState,
};

mod exits;
mod question;
mod signs;
mod story;

use signs::unstarted;

const WARMUP: ExecutionId = ExecutionId(1);
const GRACE: Duration = Duration::from_secs(1);

/// A session, and what it asked for last.
struct Bench {
    session: Session,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(warmup: bool) -> Self {
        let limits = Limits {
            ready_timeout: Duration::from_secs(10),
            ready_in: Duration::from_secs(10),
            warmup_timeout: Duration::from_secs(60),
            grace: GRACE,
            heartbeat_timeout: Duration::from_secs(30),
            memory: MemoryLimits::default(),
        };
        let mut effects = Vec::new();
        let session = Session::new(limits, Init::new(VERSION), warmup.then_some(WARMUP), &mut effects);
        Self { session, effects }
    }

    /// A session that has come to this state by the shortest way, with an execution of this id if it is busy.
    fn in_state(state: SessionState, id: ExecutionId) -> Self {
        let mut bench = Self::new(state == SessionState::Warming);
        let way = match state {
            SessionState::Creating => vec![],
            SessionState::Warming | SessionState::Ready => vec![ready()],
            SessionState::Busy => vec![ready(), Input::Assign(id), started(id)],
            SessionState::Idle => vec![ready(), Input::Assign(id), started(id), result(id)],
            SessionState::ShuttingDown => {
                vec![ready(), Input::Assign(id), started(id), Input::Stop { leased: false }]
            }
            SessionState::Terminated => vec![ready(), Input::Assign(id), exited()],
        };
        for input in way {
            bench.step(input);
        }
        assert_eq!(bench.session.state(), state);
        bench
    }

    fn step(&mut self, input: Input) -> &[Effect] {
        self.effects.clear();
        self.session.step(input, &mut self.effects);
        &self.effects
    }
}

fn ready() -> Input {
    let mut ready = Ready::new(VERSION, 7_u32, Codec::MessagePack, "test");
    ready.capabilities.push("checkpoint".into());
    Input::Frame(FromWorker::Ready(ready))
}

fn started(id: ExecutionId) -> Input {
    Input::Frame(FromWorker::Started(Started::new(id)))
}

fn result(id: ExecutionId) -> Input {
    Input::Frame(FromWorker::Result(ExecutionResult::new(id, 0.5)))
}

fn error(id: ExecutionId, kind: ErrorKind) -> Input {
    Input::Frame(FromWorker::Error(ExecutionError::new(id, 0.5, kind)))
}

fn output(id: ExecutionId, seq: u64) -> Input {
    Input::Frame(FromWorker::Output(Output::new(id, Stream::Stdout, seq, &b"x"[..])))
}

fn heartbeat(seq: u64, running: Option<ExecutionId>) -> Input {
    let mut heartbeat = Heartbeat::new(1_u64, 0.0, 0_u64);
    (heartbeat.seq, heartbeat.running) = (Some(seq), running);
    Input::Frame(FromWorker::Heartbeat(heartbeat))
}

fn wrong_field(id: Option<ExecutionId>) -> Input {
    let (type_name, field, got) = ("result".into(), "execution_time".into(), "nothing".into());
    Input::Undecodable(DecodeError::Field { type_name, id, field, expected: "a number", got })
}

fn printed() -> Input {
    Input::Output(Event::Output { stream: Stream::Stdout, data: "printed".into() })
}

fn exited() -> Input {
    exited_with(ChannelEnd::Clean)
}

fn exited_with(channel: ChannelEnd) -> Input {
    Input::Exited { exit: Exit::Signal(9), stderr: String::new(), channel, unwritten: None }
}

/// D1: the moves that a session may make.
fn is_legal(old: SessionState, new: SessionState) -> bool {
    use SessionState as S;
    match old {
        S::Creating => matches!(new, S::Creating | S::Warming | S::Ready | S::ShuttingDown | S::Terminated),
        S::Warming => matches!(new, S::Warming | S::Ready | S::ShuttingDown | S::Terminated),
        S::Ready => matches!(new, S::Ready | S::Busy | S::ShuttingDown | S::Terminated),
        S::Busy => matches!(new, S::Busy | S::Idle | S::ShuttingDown | S::Terminated),
        S::Idle => matches!(new, S::Idle | S::Busy | S::ShuttingDown | S::Terminated),
        S::ShuttingDown => matches!(new, S::ShuttingDown | S::Terminated),
        S::Terminated => matches!(new, S::Terminated),
    }
}

const STATES: [SessionState; 7] = [
    SessionState::Creating,
    SessionState::Warming,
    SessionState::Ready,
    SessionState::Busy,
    SessionState::Idle,
    SessionState::ShuttingDown,
    SessionState::Terminated,
];

/// One of each kind of input, about the execution `id` or about another one.
fn inputs(id: ExecutionId) -> Vec<Input> {
    let garbage = |printed| Broken::Garbage { what: "no frame".into(), printed };
    let mut inputs = vec![
        ready(),
        printed(),
        exited(),
        Input::Stop { leased: true },
        Input::Kill(DeathCause::ShuttingDown),
    ];
    for id in [id, WARMUP, ExecutionId(99)] {
        inputs.extend([started(id), result(id), output(id, 0), output(id, 7), heartbeat(0, Some(id))]);
        inputs.extend(
            [ErrorKind::Cancelled, ErrorKind::Exit, ErrorKind::Exception].map(|kind| error(id, kind)),
        );
        inputs.extend([Input::Assign(id), Input::Cancel(id), Input::Interrupt(id), wrong_field(Some(id))]);
        inputs.push(Input::Send(id, ToWorker::Interrupt));
        inputs.extend([Input::Ask(id, question::SAVE), question::part(id, 0, true), question::restored(id)]);
    }
    inputs.extend(
        [Timer::Start, Timer::Force, Timer::Examine, Timer::Grace, Timer::Proof, Timer::Exit]
            .map(Input::Elapsed),
    );
    inputs.extend(
        [Broken::Closed, garbage(None), garbage(Some("hi".into())), Broken::NotReading].map(Input::Broken),
    );
    inputs.extend([wrong_field(None), heartbeat(0, None), Input::Frame(FromWorker::Bye)]);
    inputs.push(Input::Undecodable(DecodeError::Malformed { reason: "no map".into() }));
    inputs.push(Input::Undecodable(DecodeError::UnknownType { type_name: "novel".into(), id: None }));
    inputs
}

/// D1 and D5: every input in every state, and every input after that.
#[test]
fn every_move_is_legal_whatever_happens() {
    let id = ExecutionId(5);
    for state in STATES {
        for first in 0..inputs(id).len() {
            for second in 0..inputs(id).len() {
                let mut bench = Bench::in_state(state, id);
                for nth in [first, second] {
                    let input = inputs(id).swap_remove(nth);
                    let (old, told) = (bench.session.state(), format!("{input:?}"));
                    bench.step(input);
                    let new = bench.session.state();
                    assert!(is_legal(old, new), "{old} -> {new} by {told}");
                }
            }
        }
    }
}

/// No outside request runs while the session warms up, or beside another; what is given then goes back.
#[test]
fn an_assignment_is_taken_when_the_session_is_free_and_returned_otherwise() {
    for state in STATES {
        let mut bench = Bench::in_state(state, ExecutionId(5));
        let effects = bench.step(Input::Assign(ExecutionId(6)));
        let free = matches!(state, SessionState::Ready | SessionState::Idle);
        let dead = matches!(state, SessionState::ShuttingDown | SessionState::Terminated);
        match effects {
            [Effect::Execute(ExecutionId(6))] => assert!(free, "{state}"),
            // It dies with the worker, unrun.
            [Effect::Returned(ExecutionId(6), LostCause::Died(_))] => assert!(dead, "{state}"),
            [Effect::Returned(ExecutionId(6), LostCause::SessionEnded)] => assert!(!dead && !free, "{state}"),
            other => panic!("{state}: {other:?}"),
        }
    }
}

/// D2: Ready after the warmup, Idle after the first execution and ever after.
#[test]
fn a_session_is_ready_once_and_idle_ever_after() {
    let mut bench = Bench::new(true);
    bench.step(ready());
    assert_eq!(bench.session.state(), SessionState::Warming);
    bench.step(started(WARMUP));
    assert!(bench.step(result(WARMUP)).contains(&Effect::Ready));
    assert_eq!(bench.session.state(), SessionState::Ready);
    for number in 5..8 {
        let id = ExecutionId(number);
        bench.step(Input::Assign(id));
        bench.step(started(id));
        assert_eq!(bench.session.state(), SessionState::Busy);
        let effects = bench.step(result(id));
        assert!(effects.contains(&Effect::Idle(id)) && !effects.contains(&Effect::Ready));
        assert_eq!(bench.session.state(), SessionState::Idle);
    }
}

/// It is told before its outcome, and to the supervisor before it counts the worker as free.
#[test]
fn what_code_has_left_is_told_before_its_outcome_and_before_the_worker_is_free() {
    let id = ExecutionId(5);
    let left = vec!["timer".to_owned(); LEFT_MAX + 1];
    let mut bench = Bench::in_state(SessionState::Busy, id);
    let mut result = ExecutionResult::new(id, 0.5);
    result.left = left;
    let effects = bench.step(Input::Frame(FromWorker::Result(result)));
    let told: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Event(_, Event::Left { what }) => Some(format!("event {}", what.len())),
            Effect::Left(_, what) => Some(format!("left {}", what.len())),
            Effect::Idle(_) => Some("idle".into()),
            Effect::Ended(..) => Some("ended".into()),
            _other => None,
        })
        .collect();
    assert_eq!(told, ["event 32", "left 32", "idle", "ended"]);
}

/// What ends a session, by state: the cause that is told, and whether what ran had started.
#[test]
fn a_worker_that_goes_wrong_is_killed_and_its_execution_is_told_when_it_is_dead() {
    let id = ExecutionId(5);
    let protocol = |what: &str| DeathCause::Protocol(what.into());
    for (input, cause) in [
        (ready(), protocol("it said `ready` twice")),
        (started(id), protocol("it started execution 5 twice")),
        (result(ExecutionId(99)), protocol("it spoke of execution 99, which it was never given")),
        (output(id, 3), protocol("output of execution 5 out of sequence: expected number 0, got 3")),
        (Input::Broken(Broken::NotReading), DeathCause::NotReading),
        (Input::Kill(DeathCause::ShuttingDown), DeathCause::ShuttingDown),
        (Input::Stop { leased: true }, DeathCause::Retired),
    ] {
        let mut bench = Bench::in_state(SessionState::Busy, id);
        let told = format!("{input:?}");
        assert!(bench.step(input).contains(&Effect::Kill), "{told}");
        assert!(
            !bench.effects.iter().any(|effect| matches!(effect, Effect::Ended(..))),
            "not before it is dead"
        );
        let effects = bench.step(exited());
        // In this order: whoever hears of the loss finds that the session has ended.
        let [Effect::Terminated(death), Effect::Ended(ExecutionId(5), Ending::Lost(lost))] = effects else {
            panic!("{told}: {effects:?}")
        };
        assert_eq!((&lost.unstarted, &death.cause), (&None, &cause), "{told}");
        match cause {
            DeathCause::ShuttingDown => assert_eq!(lost.cause, LostCause::ShuttingDown),
            _other => assert_eq!(lost.cause, LostCause::Died((**death).clone())),
        }
    }
}

/// C12: told at once, and free only after the proof: an answer to this probe, from a worker that runs nothing.
#[test]
fn a_wrong_field_fails_the_execution_and_the_worker_proves_itself() {
    let id = ExecutionId(5);
    let mut bench = Bench::in_state(SessionState::Busy, id);
    let effects = bench.step(wrong_field(Some(id)));
    assert!(matches!(&effects[0], Effect::Ended(_, Ending::Failed(Failure::Protocol { .. }))), "{effects:?}");
    assert!(effects.contains(&Effect::Arm(Timer::Proof, GRACE)));
    for no_proof in [heartbeat(7, None), heartbeat(1, Some(id)), output(id, 0), Input::Cancel(id), printed()]
    {
        let told = format!("{no_proof:?}");
        bench.step(no_proof);
        assert_eq!(bench.session.state(), SessionState::Busy, "{told}");
        assert!(
            !bench.effects.iter().any(|effect| matches!(effect, Effect::Ended(..) | Effect::Event(..))),
            "{told}"
        );
    }
    let effects = bench.step(heartbeat(1, None));
    assert!(effects.contains(&Effect::Idle(id)) && effects.contains(&Effect::Disarm(Timer::Proof)));

    let mut bench = Bench::in_state(SessionState::Busy, id);
    bench.step(wrong_field(None));
    assert!(bench.step(Input::Elapsed(Timer::Proof)).contains(&Effect::Kill), "no proof within the grace");
}

/// A worker was asked whether it is alive, while it ran something. Its answer comes late, when it is to prove that it is
/// idle: it says nothing about that, whichever question came first.
#[test]
fn an_answer_to_another_question_proves_nothing() {
    let id = ExecutionId(5);
    let asked = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Write(ToWorker::Ping(ping)) => Some(ping.seq),
            _other => None,
        })
    };
    for alive_first in [true, false] {
        let mut bench = Bench::in_state(SessionState::Busy, id);
        let alive = |bench: &mut Bench| {
            let mut looks = std::iter::repeat_with(|| asked(bench.step(Input::Look(None))));
            looks.by_ref().take(100).find_map(|seq| seq).expect("a quiet worker is asked")
        };
        let proof = |bench: &mut Bench| asked(bench.step(wrong_field(Some(id)))).expect("it is to prove it");
        let (alive, proof) = match alive_first {
            true => (alive(&mut bench), proof(&mut bench)),
            false => {
                let proof = proof(&mut bench);
                (alive(&mut bench), proof)
            }
        };
        assert_ne!(alive, proof);
        bench.step(heartbeat(alive, None));
        assert_eq!(bench.session.state(), SessionState::Busy, "alive is not idle");
        bench.step(heartbeat(proof, None));
        assert_eq!(bench.session.state(), SessionState::Idle);
    }
}

/// What was seen of an execution that is over is not told of the next one.
#[test]
fn a_late_examination_is_about_nothing_any_more() {
    let (first, second) = (ExecutionId(5), ExecutionId(6));
    let seen = |of| Input::Examined(Box::new(Activity { execution: Some(of), ..Activity::default() }));
    for (late, told) in [(first, None), (second, Some(second))] {
        let mut bench = Bench::in_state(SessionState::Busy, first);
        bench.step(Input::Cancel(first));
        assert!(bench.step(Input::Elapsed(Timer::Examine)).contains(&Effect::Examine));
        bench.step(result(first));
        bench.step(Input::Assign(second));
        bench.step(Input::Cancel(second));
        bench.step(seen(late));
        assert!(bench.step(Input::Elapsed(Timer::Grace)).contains(&Effect::Kill));
        let death = bench.step(exited()).iter().find_map(|effect| match effect {
            Effect::Terminated(death) => Some(death.activity.as_ref().and_then(|seen| seen.execution)),
            _other => None,
        });
        assert_eq!(death, Some(told));
    }
}

/// Late frames: dropped and noted for one that ended here, and the end of the worker for any other.
#[test]
fn a_late_frame_is_noted_and_a_second_end_is_not_forgiven() {
    let id = ExecutionId(5);
    let mut bench = Bench::in_state(SessionState::Idle, id);
    // Output that comes late is the session's, and never that of the one that runs.
    let printed = Event::Output { stream: Stream::Stdout, data: "x".into() };
    let late = [Effect::Noted(Noted::Late(id)), Effect::Background(printed)];
    assert_eq!(bench.step(output(id, 0)), late);
    bench.step(Input::Assign(ExecutionId(6)));
    assert_eq!(bench.step(output(id, 0)), late, "also while another one runs");
    assert!(bench.step(result(id)).contains(&Effect::Kill));
    assert!(!unstarted(&mut bench, exited()), "it may have meant the one that runs");
}
