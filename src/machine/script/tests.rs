use super::*;
use crate::outcome::LostCause;

const LIMITS: Limits =
    Limits { grace: Duration::from_secs(1), cpu: None, memory: MemoryLimits { soft: None, hard: None } };

fn running() -> Script {
    let mut effects = Vec::new();
    let script = Script::new(LIMITS, &mut effects);
    assert_eq!(effects, [Effect::Started]);
    script
}

fn step(script: &mut Script, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    script.step(input, &mut effects);
    effects
}

fn exited(exit: Exit) -> Input {
    Input::Exited { exit, stderr: "its last words".into(), after: Duration::from_secs(3) }
}

fn ending(effects: &[Effect]) -> &Ending {
    match effects {
        [Effect::Terminated(_), Effect::Ended(ending)] => ending,
        other => panic!("it ended with {other:?}"),
    }
}

/// As the log says why a state was left.
#[test]
fn each_input_is_named() {
    for (input, name) in [
        (Input::Cancel, "cancel"),
        (Input::Interrupt, "interrupt"),
        (Input::Terminate, "terminate"),
        (Input::Measured(None), "processor time"),
        (Input::Elapsed(Timer::Grace), "end of grace"),
        (Input::Look(None), "health check"),
        (Input::Kill(DeathCause::Retired), "kill"),
        (exited(Exit::Unknown), "exit"),
    ] {
        assert_eq!(input.name(), name);
    }
}

#[test]
fn how_its_process_ends_is_its_outcome() {
    for (exit, expected) in [
        (Exit::Code(0), "completed"),
        (Exit::Code(3), "failed 3"),
        (Exit::Signal(11), "lost"),
        (Exit::OutOfMemory, "lost"),
        (Exit::Unknown, "lost"),
    ] {
        let effects = step(&mut running(), exited(exit));
        let told = match ending(&effects) {
            Ending::Completed(completion) => {
                assert_eq!(completion.usage.execution_time, Duration::from_secs(3));
                "completed".to_owned()
            }
            Ending::Failed(Failure::Exit { code, .. }) => format!("failed {code}"),
            Ending::Lost(lost) if lost.unstarted.is_none() => "lost".to_owned(),
            other @ (Ending::Failed(_) | Ending::Stopped(_) | Ending::Lost(_)) => panic!("{other:?}"),
        };
        assert_eq!(told, expected, "{exit:?}");
    }
}

#[test]
fn a_cancel_interrupts_then_terminates_then_looks_and_kills() {
    let mut script = running();
    let Escalation { force: _, examine, kill } = Escalation::new(LIMITS.grace);
    let expected = [
        Effect::Shed,
        Effect::Signal(Signal::Interrupt),
        Effect::Arm(Timer::Force, kill / 2),
        Effect::Arm(Timer::Examine, examine),
        Effect::Arm(Timer::Grace, kill),
    ];
    assert_eq!(step(&mut script, Input::Cancel), expected);
    assert_eq!(step(&mut script, Input::Cancel), [], "one is enough");
    let terminated = [Effect::Signal(Signal::Terminate)];
    assert_eq!(step(&mut script, Input::Elapsed(Timer::Force)), terminated);
    assert_eq!(step(&mut script, Input::Elapsed(Timer::Examine)), [Effect::Examine]);
    assert_eq!(step(&mut script, Input::Elapsed(Timer::Grace)), [Effect::Shed, Effect::Kill]);
    assert_eq!(step(&mut script, Input::Elapsed(Timer::Force)), [], "it is dying");
    let seen = Activity { running_for: Some(Duration::from_secs(1)), ..Activity::default() };
    assert_eq!(step(&mut script, Input::Examined(Box::new(seen.clone()))), [], "also behind the kill");
    let effects = step(&mut script, exited(Exit::Signal(9)));
    let Ending::Lost(Loss { cause: LostCause::Died(death), .. }) = ending(&effects) else {
        panic!("{effects:?}")
    };
    assert_eq!((&death.cause, death.activity.as_deref()), (&DeathCause::Disobeyed, Some(&seen)));
}

/// What obeyed, and what had a reason to end well.
#[test]
fn an_exit_behind_a_cancel_says_whether_it_ran_to_its_end() {
    for (exit, completed) in [(Exit::Code(0), true), (Exit::Code(130), false), (Exit::Signal(2), false)] {
        let mut script = running();
        step(&mut script, Input::Cancel);
        let effects = step(&mut script, exited(exit));
        match ending(&effects) {
            Ending::Completed(_) => assert!(completed, "{exit:?}"),
            Ending::Stopped(stage) => assert!(!completed && *stage == CancelStage::Interrupt, "{exit:?}"),
            other @ (Ending::Failed(_) | Ending::Lost(_)) => panic!("{exit:?}: {other:?}"),
        }
    }
}

/// An exit during the last look is no kill.
#[test]
fn what_stops_while_it_is_looked_at_was_not_killed() {
    let mut script = running();
    for input in [Input::Cancel, Input::Elapsed(Timer::Force), Input::Elapsed(Timer::Examine)] {
        step(&mut script, input);
    }
    let effects = step(&mut script, exited(Exit::Code(1)));
    assert_eq!(*ending(&effects), Ending::Stopped(CancelStage::Force));
}

#[test]
fn the_first_reason_to_kill_stands_and_nothing_is_told_twice() {
    let mut script = running();
    assert_eq!(step(&mut script, Input::Kill(DeathCause::ShuttingDown)), [Effect::Shed, Effect::Kill]);
    assert_eq!(step(&mut script, Input::Kill(DeathCause::Retired)), [Effect::Kill]);
    for input in [Input::Cancel, Input::Interrupt, Input::Terminate, Input::Elapsed(Timer::Grace)] {
        assert_eq!(step(&mut script, input), []);
    }
    let effects = step(&mut script, exited(Exit::Signal(9)));
    let [Effect::Terminated(death), Effect::Ended(Ending::Lost(_))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(death.cause, DeathCause::ShuttingDown);
    assert_eq!(step(&mut script, exited(Exit::Code(0))), []);
    assert_eq!(step(&mut script, Input::Kill(DeathCause::Retired)), []);
}

#[test]
fn a_stopped_script_is_killed_and_a_silent_one_is_not() {
    let mut script = running();
    let seen = |stopped| Input::Look(Some(Vitals { memory: 1, cpu_time: Duration::ZERO, stopped }));
    for _ in 0..1_000 {
        assert_eq!(step(&mut script, seen(false)), []);
    }
    let mut effects = Vec::new();
    for _ in 0..10 {
        effects.extend(step(&mut script, seen(true)));
    }
    assert_eq!(effects[..2], [Effect::Shed, Effect::Kill]);
}
