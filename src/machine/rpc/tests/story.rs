//! Any story of a server: whatever comes when, each call is told one end, and nothing is told to one that has ended.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::Config};

use super::*;

/// Something that happens. Numbers choose among the calls in flight, or among those that ended.
#[derive(Clone, Copy, Debug)]
enum Beat {
    Assign { notify: bool, answers: bool },
    Sent(usize),
    Answer(usize, bool),
    Late(usize),
    Foreign,
    Wrong(Option<usize>),
    Broken,
    Progress(usize),
    Note,
    Asked,
    Reply(usize, u64),
    Ping,
    Pong,
    Cancel(usize),
    Withdraw(usize),
    Grace(usize),
    Heard(usize),
    Look,
    Stuck(bool),
    Stop,
    Kill,
    Exit,
}

fn beat() -> impl Strategy<Value = Beat> {
    use Beat::*;
    let any_of = 0..8_usize;
    prop_oneof![
        10 => (any::<bool>(), any::<bool>()).prop_map(|(notify, answers)| Assign { notify: notify && answers, answers }),
        10 => any_of.clone().prop_map(Sent),
        8 => (any_of.clone(), any::<bool>()).prop_map(|(which, good)| Answer(which, good)),
        3 => any_of.clone().prop_map(Late),
        1 => Just(Foreign),
        1 => proptest::option::of(any_of.clone()).prop_map(Wrong),
        1 => Just(Broken),
        3 => any_of.clone().prop_map(Progress),
        2 => Just(Note),
        3 => Just(Asked),
        3 => (any_of.clone(), 1..4_u64).prop_map(|(which, request)| Reply(which, request)),
        2 => Just(Ping),
        4 => Just(Pong),
        6 => any_of.clone().prop_map(Cancel),
        3 => any_of.clone().prop_map(Withdraw),
        5 => any_of.clone().prop_map(Grace),
        3 => any_of.prop_map(Heard),
        5 => Just(Look),
        5 => prop::bool::weighted(0.9).prop_map(Stuck),
        1 => Just(Stop),
        1 => Just(Kill),
        1 => Just(Exit),
    ]
}

/// What the rest of the system knows.
#[derive(Default)]
struct World {
    next: u64,
    open: BTreeMap<ExecutionId, bool>,
    ended: Vec<ExecutionId>,
    asked: usize,
    replied: usize,
    armed: BTreeSet<u64>,
    heard: BTreeSet<u64>,
    own: u64,
    freed: Vec<ExecutionId>,
    dead: bool,
    refused: Vec<ExecutionId>,
}

impl World {
    fn pick(&self, which: usize) -> Option<ExecutionId> {
        self.open.keys().nth(which % self.open.len().max(1)).copied()
    }

    fn input(&mut self, beat: Beat) -> Option<Input> {
        let old = |which: usize| self.ended.get(which % self.ended.len().max(1)).copied();
        let answer = |id, good: bool| {
            let answer = if good { Ok(Value::None) } else { Err(RpcError::new(1, "no")) };
            Input::Incoming(Incoming::Answer { id, answer })
        };
        Some(match beat {
            Beat::Assign { notify, answers } => {
                self.next += 1;
                self.open.insert(id(self.next), false);
                Input::Assign(id(self.next), Terms { notify, answers, ..Terms::default() })
            }
            Beat::Sent(which) => Input::Sent(self.pick(which)?),
            Beat::Answer(which, good) => answer(Id::Call(self.pick(which)?), good),
            Beat::Late(which) => answer(Id::Call(old(which)?), true),
            Beat::Foreign => answer(Id::Call(id(1_000_000)), true),
            Beat::Wrong(which) => {
                let call = which.and_then(|which| self.pick(which));
                Input::Incoming(Incoming::Wrong { call, what: "wrong".into() })
            }
            Beat::Broken => Input::Incoming(Incoming::Broken("broken".into())),
            Beat::Progress(which) => {
                let params = map("progressToken", self.pick(which).or_else(|| old(which))?.get());
                Input::Incoming(Incoming::Notification { method: "notifications/progress".into(), params })
            }
            Beat::Note => {
                Input::Incoming(Incoming::Notification { method: "note".into(), params: Value::None })
            }
            Beat::Asked => {
                self.asked += 1;
                Input::Incoming(Incoming::Request {
                    id: "1".into(),
                    method: "ask".into(),
                    params: Value::None,
                })
            }
            Beat::Reply(which, request) => {
                Input::Reply { id: self.pick(which)?, request, answer: Ok(Value::None) }
            }
            Beat::Ping => answer(Id::Own(1), true),
            Beat::Pong => answer(Id::Own(self.own.max(1)), true),
            Beat::Cancel(which) => Input::Cancel(self.pick(which).or_else(|| old(which))?),
            Beat::Withdraw(which) => {
                let waits = |id: &ExecutionId| self.open.get(id) == Some(&false);
                Input::Withdrawn(self.pick(which).filter(waits)?)
            }
            Beat::Grace(which) => Input::Elapsed(Timer::Grace(self.pick(which).or_else(|| old(which))?)),
            Beat::Heard(which) => {
                let waits = |id: &ExecutionId| self.heard.contains(&id.get());
                Input::Elapsed(Timer::Heard(self.pick(which).filter(waits)?))
            }
            Beat::Look => Input::Look(None),
            Beat::Stuck(stuck) => Input::Stuck(stuck),
            Beat::Stop => Input::Stop,
            Beat::Kill => Input::Kill(DeathCause::Retired),
            Beat::Exit => {
                let unsent = self.open.iter().filter(|(_, sent)| !**sent);
                let unwritten =
                    unsent.filter_map(|(id, _)| Some((*id, Unstarted::ungiven(false)?))).collect();
                Input::Exited { exit: Exit::Code(0), stderr: String::new(), unwritten }
            }
        })
    }

    fn check(&mut self, effect: &Effect) {
        let of_the_dead = matches!(effect, Effect::Returned(..) | Effect::Ended(_, Ending::Lost(_)));
        assert!(!self.dead || of_the_dead, "{effect:?} of a dead session");
        match effect {
            Effect::Started(id) => {
                let told = self.open.insert(*id, true);
                assert_eq!(told, Some(false), "{id} starts, once, while it is in flight");
            }
            Effect::Event(id, _) => assert!(self.open.contains_key(id), "an event of {id}, which has ended"),
            Effect::Ended(id, ending) => {
                let started = self.open.remove(id);
                let started = started.unwrap_or_else(|| panic!("{id} ends, and is not in flight"));
                if let Ending::Lost(lost) = ending {
                    assert_eq!(lost.unstarted.is_none(), started, "{id} is lost");
                } else {
                    assert!(!self.heard.contains(&id.get()), "{id} is over, and somebody waits for it");
                    assert_eq!(self.freed.pop(), Some(*id), "its room is free before its caller knows");
                }
                self.ended.push(*id);
            }
            Effect::Returned(id, _) => {
                assert_eq!(self.open.remove(id), Some(false), "{id} comes back unsent");
                self.refused.push(*id);
            }
            Effect::Idle(id) => self.freed.push(*id),
            Effect::Arm(Timer::Grace(id), _) => {
                assert!(self.armed.insert(id.get()), "{id} is cancelled once");
            }
            Effect::Disarm(Timer::Grace(id)) => assert!(self.armed.remove(&id.get()), "{id} was cancelled"),
            Effect::Arm(Timer::Heard(id), _) => {
                assert!(
                    self.armed.contains(&id.get()) && self.heard.insert(id.get()),
                    "{id} is heard of once"
                );
            }
            Effect::Disarm(Timer::Heard(id)) => assert!(self.heard.remove(&id.get()), "{id} was heard of"),
            Effect::Say(Outgoing::Reply { .. }) => self.replied += 1,
            Effect::Say(Outgoing::Ask { own, .. }) => self.own = *own,
            Effect::Terminated(_) => self.dead = true,
            Effect::Send(_)
            | Effect::Say(_)
            | Effect::Close
            | Effect::Kill
            | Effect::Arm(..)
            | Effect::Disarm(_)
            | Effect::Background { .. }
            | Effect::Ready
            | Effect::Noted(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(300) })]
    /// P1, E2: each call has one end, room is given back once, and no question is left open or answered twice.
    #[test]
    fn every_call_has_one_end_and_every_question_one_answer(beats in proptest::collection::vec(beat(), 1..120)) {
        let mut driver = Driver::mcp();
        let mut world = World::default();
        for beat in beats.into_iter().chain([Beat::Exit]) {
            let Some(input) = world.input(beat) else { continue };
            for effect in driver.step(input) {
                world.check(&effect);
            }
            let waiting = driver.machine.questions.len();
            prop_assert!(world.dead || world.asked == world.replied + waiting, "{beat:?}");
            prop_assert_eq!(driver.machine.calls.len(), world.open.len());
            prop_assert!(!world.dead || world.open.is_empty(), "what was in flight is told together with the end");
            let open = |question: &Question| world.open.contains_key(&question.call);
            prop_assert!(world.dead || driver.machine.questions.values().all(open), "a question of nobody");
        }
        prop_assert!(world.dead && world.open.is_empty());
        prop_assert_eq!(world.ended.len() + world.refused.len(), usize::try_from(world.next).unwrap());
    }
}
