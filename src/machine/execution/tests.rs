//! Which outcome follows from what happened: a table, and stories.

use std::time::Duration;

use proptest::prelude::*;

use super::{Effect, Execution, Input};
use crate::{
    machine::{
        session::Ending,
        unstarted::{Loss, Unstarted},
    },
    outcome::{
        CancelStage, Cancelled, Completion, Death, DeathCause, Exit, Failure, Lost, LostCause, Outcome,
        Phase, TimedOut,
    },
};

const AFTER: Duration = Duration::from_secs(3);

fn completed() -> Input {
    Input::Ended(Ending::Completed(Box::default()))
}

fn stopped() -> Input {
    Input::Ended(Ending::Stopped(CancelStage::Interrupt))
}

fn death(cause: DeathCause) -> LostCause {
    LostCause::Died(Death::new(cause, Exit::Signal(9)))
}

fn lost(started: bool, cause: DeathCause) -> Input {
    Input::Ended(Ending::Lost(loss(started, death(cause))))
}

fn loss(started: bool, cause: LostCause) -> Loss {
    Loss { unstarted: Unstarted::ungiven(started), cause }
}

fn withdrawn() -> Input {
    Input::Withdrawn(Unstarted::ungiven(false))
}

fn cancel() -> Input {
    Input::Cancel { reason: None }
}

fn seen() -> Input {
    Input::Seen(None)
}

fn deadline() -> Input {
    Input::Deadline { after: AFTER }
}

/// What the caller hears, in one word.
fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed(_) | Outcome::Failed(_) => outcome.kind().into(),
        Outcome::Cancelled(Cancelled { stage, .. }) => format!("cancelled {stage:?}"),
        Outcome::TimedOut(TimedOut { phase, .. }) => format!("timed out {phase:?}"),
        Outcome::Lost(Lost { started, .. }) => format!("lost {started}"),
    }
}

fn words(effects: Vec<Effect>) -> String {
    let word = |effect| match effect {
        Effect::Withdraw => "withdraw".into(),
        Effect::Stop => "stop".into(),
        Effect::Look => "look".into(),
        Effect::Requeue(_proof) => "requeue".into(),
        Effect::Settle(outcome) => word(&outcome),
        Effect::Finish => "finish".to_owned(),
    };
    let words: Vec<_> = effects.into_iter().map(word).collect();
    if words.is_empty() { "-".into() } else { words.join(", ") }
}

/// What happens, one after another, and what follows from each.
#[test]
fn each_course_of_events_has_one_outcome() {
    use Input::{Assigned, Refused, Started};
    let died = |started| lost(started, DeathCause::Itself);
    let killed = || lost(true, DeathCause::Disobeyed);
    for (inputs, expected) in [
        (vec![Started, completed()], "- | completed, finish"),
        (vec![completed()], "completed, finish"),
        (vec![Started, died(true)], "- | lost true, finish"),
        (vec![died(false), Started, completed()], "requeue | - | completed, finish"),
        (vec![died(false), died(false)], "requeue | lost false, finish"),
        (vec![died(false), cancel(), withdrawn()], "requeue | withdraw | cancelled Queued, finish"),
        (vec![cancel(), withdrawn()], "withdraw | cancelled Queued, finish"),
        (vec![cancel(), Input::Withdrawn(None)], "withdraw | lost true, finish"),
        (vec![Refused(loss(true, LostCause::ShuttingDown))], "lost true, finish"),
        (vec![cancel(), Assigned, stopped()], "withdraw | stop | cancelled Interrupt, finish"),
        (vec![cancel(), Started, stopped()], "withdraw | stop | cancelled Interrupt, finish"),
        (
            vec![cancel(), Assigned, Started, stopped()],
            "withdraw | stop | stop | cancelled Interrupt, finish",
        ),
        (vec![cancel(), died(false)], "withdraw | cancelled Queued, finish"),
        (vec![Started, cancel(), stopped()], "- | stop | cancelled Interrupt, finish"),
        (vec![Started, cancel(), cancel(), completed()], "- | stop | - | completed, finish"),
        (vec![Started, cancel(), killed()], "- | stop | cancelled Kill, finish"),
        (vec![Started, cancel(), died(true)], "- | stop | lost true, finish"),
        (vec![Started, stopped()], "- | failed, finish"),
        (vec![deadline(), withdrawn()], "withdraw | timed out Queued, finish"),
        (
            vec![deadline(), Assigned, seen(), stopped()],
            "withdraw | look, stop | timed out Assigned | finish",
        ),
        (vec![Started, deadline(), seen(), stopped()], "- | look, stop | timed out Running | finish"),
        (vec![Started, deadline(), completed(), seen()], "- | look, stop | - | timed out Running, finish"),
        (vec![Started, deadline(), died(true), seen()], "- | look, stop | - | timed out Running, finish"),
        (vec![Started, deadline(), seen(), killed()], "- | look, stop | timed out Running | finish"),
        (vec![Started, deadline(), seen(), cancel(), seen()], "- | look, stop | timed out Running | - | -"),
        (
            vec![Started, cancel(), deadline(), seen(), killed()],
            "- | stop | look | timed out Running | finish",
        ),
        (vec![deadline(), Started, seen(), stopped()], "withdraw | look, stop | timed out Running | finish"),
        (vec![cancel(), deadline(), withdrawn()], "withdraw | - | cancelled Queued, finish"),
        (vec![Refused(loss(false, LostCause::ShuttingDown))], "lost false, finish"),
        (vec![died(false), Refused(loss(false, LostCause::ShuttingDown))], "requeue | lost false, finish"),
    ] {
        let told = format!("{inputs:?}");
        let mut execution = Execution::new(true, None);
        let steps: Vec<_> = inputs
            .into_iter()
            .map(|input| {
                let mut effects = Vec::new();
                execution.step(input, &mut effects);
                words(effects)
            })
            .collect();
        assert_eq!(steps.join(" | "), expected, "{told}");
    }
}

/// Fault 30: however it ends once it was told to stop, that is why.
#[test]
fn code_that_prints_too_much_has_failed_by_that() {
    for (ending, fails) in [
        (completed(), true),
        (stopped(), true),
        (lost(true, DeathCause::Disobeyed), true),
        (lost(true, DeathCause::Itself), false),
    ] {
        let mut effects = Vec::new();
        let mut execution = Execution::new(true, None);
        execution.step(Input::Started, &mut effects);
        execution.step(Input::Exceeded(Failure::OutputLimit { limit: 10, printed: 12 }), &mut effects);
        assert_eq!(effects, [Effect::Stop]);
        execution.step(ending, &mut effects);
        let excess = Outcome::Failed(Failure::OutputLimit { limit: 10, printed: 12 });
        assert_eq!(effects.contains(&Effect::Settle(excess)), fails, "{effects:?}");
    }
}

/// A value that is too large is no value; anything else is not weighed.
#[test]
fn a_value_of_more_bytes_than_it_may_have_has_failed() {
    let completion = |text: &str| Completion { repr: Some(text.into()), ..Completion::default() };
    for (ending, limit, expected) in [
        (Ending::Completed(Box::new(completion("12345"))), Some(5), "completed, finish"),
        (Ending::Completed(Box::new(completion("123456"))), Some(5), "failed, finish"),
        (Ending::Completed(Box::new(completion("123456"))), None, "completed, finish"),
        (Ending::Stopped(CancelStage::Force), Some(0), "cancelled Force, finish"),
    ] {
        let mut execution = Execution::new(true, limit);
        execution.step(Input::Started, &mut Vec::new());
        if matches!(ending, Ending::Stopped(_)) {
            execution.step(cancel(), &mut Vec::new());
        }
        let mut effects = Vec::new();
        execution.step(Input::Ended(ending), &mut effects);
        assert_eq!(words(effects), expected, "{limit:?}");
    }
}

/// A leased session cannot be replaced: nothing is handed to another.
#[test]
fn an_execution_of_a_leased_session_is_not_requeued() {
    let mut execution = Execution::new(false, None);
    let mut effects = Vec::new();
    execution.step(lost(false, DeathCause::Itself), &mut effects);
    assert_eq!(words(effects), "lost false, finish");
}

/// It waits for another worker, and there is none: what is told is how the first one died, unless there is more to say.
#[test]
fn what_was_requeued_in_vain_is_lost_by_the_death_of_its_worker() {
    for (refusal, dies) in [(LostCause::SessionEnded, true), (LostCause::ShuttingDown, false)] {
        let mut execution = Execution::new(true, None);
        let mut effects = Vec::new();
        execution.step(lost(false, DeathCause::Itself), &mut effects);
        assert!(matches!(effects[..], [Effect::Requeue(_)]), "{effects:?}");
        effects.clear();
        execution.step(Input::Refused(loss(false, refusal)), &mut effects);
        let [Effect::Settle(Outcome::Lost(lost)), Effect::Finish] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!((lost.started, matches!(lost.cause, LostCause::Died(_))), (false, dies), "{lost}");
    }
}

/// A session that lives and gave it back would give it back again.
#[test]
fn what_a_living_session_did_not_take_is_not_requeued() {
    let mut execution = Execution::new(true, None);
    let mut effects = Vec::new();
    let back = loss(false, LostCause::SessionEnded);
    execution.step(Input::Ended(Ending::Lost(back)), &mut effects);
    assert_eq!(words(effects), "lost false, finish");
}

fn input() -> impl Strategy<Value = u8> {
    prop_oneof![6 => 0_u8..2, 4 => 2_u8..9, 3 => 9_u8..13]
}

fn nth(number: u8) -> Input {
    match number {
        0 => Input::Started,
        1 => Input::Assigned,
        2 => completed(),
        3 => Input::Ended(Ending::Failed(Failure::Protocol { what: "x".into() })),
        4 => stopped(),
        5 => lost(false, DeathCause::Itself),
        6 => lost(true, DeathCause::Itself),
        7 => lost(true, DeathCause::Disobeyed),
        8 => withdrawn(),
        9 => cancel(),
        10 => deadline(),
        11 => seen(),
        _ => Input::Refused(loss(false, LostCause::PoolFailed)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, in whatever order: at most one outcome, at most one second try, one after the other, and an
    /// end that has an outcome.
    #[test]
    fn in_every_story_there_is_one_outcome(numbers in prop::collection::vec(input(), 1..30)) {
        let mut execution = Execution::new(true, None);
        let (mut settled, mut requeued, mut finished, mut started, mut looks) = (0, 0, false, false, false);
        for number in numbers {
            if finished {
                break;
            }
            let mut effects = Vec::new();
            let input = nth(number);
            started |= matches!(input, Input::Started);
            let reached = matches!(input, Input::Deadline { .. }) && execution.phase != Phase::Queued;
            let answered = matches!(input, Input::Seen(_)) && looks;
            execution.step(input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Settle(outcome) => {
                        settled += 1;
                        let ran_not = matches!(&outcome, Outcome::TimedOut(it) if it.phase == Phase::Queued);
                        prop_assert!(!(ran_not && started && requeued == 0), "{outcome:?}, and it had started");
                    }
                    Effect::Requeue(_) => {
                        requeued += 1;
                        prop_assert_eq!(settled, 0, "who has an outcome does not run again");
                    }
                    Effect::Finish => finished = true,
                    Effect::Look => looks = true,
                    Effect::Withdraw | Effect::Stop => {}
                }
            }
            prop_assert!(settled <= 1 && requeued <= 1);
            prop_assert!(!reached || settled == 1 || looks, "a deadline is told when it passes");
            prop_assert!(!answered || settled == 1, "it waits for nothing else than the look");
            prop_assert!(!finished || settled == 1, "an end without an outcome");
        }
    }
}
