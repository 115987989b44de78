//! Stories: most of each makes sense, and some comes late, twice or from nowhere. After each beat the promises hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{
    question::{SAVE, part},
    signs::is_about,
    *,
};
use crate::{config::EXAMINE_LIMIT, outcome::Activity, status::Vitals};

/// What happens next; about what runs now, or about something that is over.
#[derive(Clone, Copy, Debug)]
enum Beat {
    Ready,
    Assign,
    Ask,
    Part,
    Started,
    Output,
    WrongOutput,
    Result,
    Fails,
    Stops,
    Proof,
    NoProof,
    Cancel,
    StaleCancel,
    Interrupt,
    Send,
    WrongField,
    LateOutput,
    LateResult,
    Stranger,
    Printed,
    Elapses(u8),
    StaleTimer(u8),
    Metered,
    Measured(u8),
    Examined,
    Closes,
    StopsReading,
    Stop,
    Kill,
    Exits,
}

fn beat() -> impl Strategy<Value = Beat> {
    prop_oneof![
        6 => Just(Beat::Ready),
        8 => Just(Beat::Assign),
        3 => Just(Beat::Ask),
        2 => Just(Beat::Part),
        8 => Just(Beat::Started),
        4 => Just(Beat::Output),
        8 => Just(Beat::Result),
        2 => Just(Beat::Fails),
        3 => Just(Beat::Stops),
        2 => Just(Beat::Proof),
        1 => Just(Beat::NoProof),
        4 => Just(Beat::Cancel),
        1 => Just(Beat::StaleCancel),
        1 => Just(Beat::Interrupt),
        1 => Just(Beat::Send),
        2 => Just(Beat::WrongField),
        2 => Just(Beat::LateOutput),
        3 => Just(Beat::Printed),
        3 => any::<u8>().prop_map(Beat::Elapses),
        1 => any::<u8>().prop_map(Beat::StaleTimer),
        1 => Just(Beat::Examined),
        1 => Just(Beat::Metered),
        2 => any::<u8>().prop_map(Beat::Measured),
        1 => prop_oneof![
            Just(Beat::WrongOutput), Just(Beat::LateResult), Just(Beat::Stranger), Just(Beat::Closes),
            Just(Beat::StopsReading), Just(Beat::Stop), Just(Beat::Kill), Just(Beat::Exits)
        ],
    ]
}

/// What has become of each execution that was handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fate {
    sent: bool,
    started: bool,
    begun: bool,
    told: u32,
    freed: u32,
}

struct Story {
    bench: Bench,
    fates: BTreeMap<ExecutionId, Fate>,
    /// What the worker was last given, and the number of its next output.
    current: ExecutionId,
    seq: u64,
    /// Whether that is a question, and the number of the next part of its answer.
    part: Option<u64>,
    probe: u64,
    armed: BTreeSet<String>,
    killed: bool,
    deaths: u32,
}

const TIMERS: [Timer; 7] =
    [Timer::Start, Timer::Force, Timer::Examine, Timer::Grace, Timer::Proof, Timer::Budget, Timer::Exit];

impl Story {
    fn new(warmup: bool) -> Self {
        let bench = Bench::new(warmup);
        let armed = BTreeSet::from([format!("{:?}", Timer::Start)]);
        let current = if warmup { WARMUP } else { ExecutionId(2) };
        let fates = BTreeMap::new();
        Self { bench, fates, current, seq: 0, part: None, probe: 0, armed, killed: false, deaths: 0 }
    }

    /// Something that ended before what runs now.
    fn stale(&self) -> ExecutionId {
        let over = self.fates.iter().find(|(id, fate)| **id != self.current && fate.freed > 0);
        over.map_or(ExecutionId(99), |(id, _)| *id)
    }

    /// The input that this beat is now; `None`: it makes no sense at this moment.
    fn input(&mut self, beat: Beat) -> Option<Input> {
        let id = self.current;
        let state = self.bench.session.state();
        let runs = matches!(state, SessionState::Busy | SessionState::Warming);
        Some(match beat {
            Beat::Ready => (state == SessionState::Creating).then(ready)?,
            Beat::Assign | Beat::Ask => {
                let last = self.fates.keys().next_back().map_or(9, |id| id.get());
                let id = ExecutionId(last + 1);
                self.fates.insert(id, Fate::default());
                let free = matches!(state, SessionState::Ready | SessionState::Idle);
                if free {
                    self.part = matches!(beat, Beat::Ask).then_some(0);
                }
                if matches!(beat, Beat::Ask) { Input::Ask(id, SAVE) } else { Input::Assign(id) }
            }
            Beat::Part => {
                let number = self.part.filter(|_| runs)?;
                self.part = Some(number + 1);
                part(id, number, false)
            }
            Beat::Result if runs && self.part.is_some() => part(id, self.part?, true),
            Beat::Started if self.part.is_some() => return None,
            Beat::Started => started(id),
            Beat::Output if runs => output(id, self.seq),
            Beat::WrongOutput if runs => output(id, self.seq + 2),
            Beat::Result if runs => result(id),
            Beat::Fails if runs => error(id, ErrorKind::Exception),
            Beat::Stops if runs => error(id, ErrorKind::Cancelled),
            Beat::Output | Beat::WrongOutput | Beat::Result | Beat::Fails | Beat::Stops => return None,
            Beat::Proof => heartbeat(self.probe, None),
            Beat::NoProof => heartbeat(self.probe, Some(id)),
            Beat::Cancel => Input::Cancel(id),
            Beat::StaleCancel => Input::Cancel(self.stale()),
            Beat::Interrupt => Input::Interrupt(id),
            Beat::Send => Input::Send(id, ToWorker::Interrupt),
            Beat::WrongField => wrong_field(Some(id)),
            Beat::LateOutput => output(self.stale(), 0),
            Beat::LateResult => result(self.stale()),
            Beat::Stranger => result(ExecutionId(99)),
            Beat::Printed => printed(),
            Beat::Elapses(which) => {
                let armed: Vec<_> =
                    TIMERS.iter().filter(|timer| self.armed.contains(&format!("{timer:?}"))).collect();
                let timer = **armed.get(usize::from(which) % armed.len().max(1))?;
                self.armed.remove(&format!("{timer:?}"));
                Input::Elapsed(timer)
            }
            Beat::StaleTimer(which) => Input::Elapsed(TIMERS[usize::from(which) % TIMERS.len()]),
            Beat::Metered => Input::Meter(Duration::from_millis(30)),
            Beat::Measured(used) => Input::Measured(Some(Vitals {
                memory: 1,
                cpu_time: Duration::from_millis(used.into()),
                stopped: false,
            })),
            Beat::Examined => Input::Examined(doing(id)),
            Beat::Closes => Input::Broken(Broken::Closed),
            Beat::StopsReading => Input::Broken(Broken::NotReading),
            Beat::Stop => Input::Stop { leased: true },
            Beat::Kill => Input::Kill(DeathCause::ShuttingDown),
            Beat::Exits => exited(),
        })
    }

    fn play(&mut self, input: Input) -> TestCaseResult {
        let old = self.bench.session.state();
        let told = format!("{input:?}");
        let about = is_about(&input, self.current);
        self.fates.entry(self.current).and_modify(|fate| fate.begun |= fate.sent && about);
        self.bench.step(input);
        let new = self.bench.session.state();
        prop_assert!(is_legal(old, new), "{old} -> {new} by {told}");
        for effect in std::mem::take(&mut self.bench.effects) {
            self.effect(effect, old)?;
        }
        self.timers(new)?;
        if new == SessionState::Idle {
            let fate = self.fates.get(&self.current).copied().unwrap_or_default();
            prop_assert_eq!((fate.told, fate.freed), (1, 1), "idle, and {} is {:?}", self.current, fate);
        }
        Ok(())
    }

    fn effect(&mut self, effect: Effect, old: SessionState) -> TestCaseResult {
        let of_the_living = matches!(
            effect,
            Effect::Execute(_)
                | Effect::Started(_)
                | Effect::Event(..)
                | Effect::Ended(_, Ending::Completed(_) | Ending::Failed(_) | Ending::Stopped(_))
                | Effect::Ready
                | Effect::Idle(_)
        );
        prop_assert!(self.deaths == 0 || !of_the_living, "after the end: {effect:?}");
        match effect {
            Effect::Execute(id) if id == WARMUP => prop_assert_eq!(old, SessionState::Creating),
            Effect::Execute(id) => {
                prop_assert!(matches!(old, SessionState::Ready | SessionState::Idle), "executed while {old}");
                self.fates.entry(id).or_default().sent = true;
                (self.current, self.seq) = (id, 0);
            }
            Effect::Started(id) => {
                let fate = self.fates.entry(id).or_default();
                prop_assert!(fate.sent && !fate.started && fate.told == 0, "{id} started: {fate:?}");
                fate.started = true;
            }
            Effect::Answer(id, _) => prop_assert_eq!(id, self.current),
            Effect::Event(id, _) | Effect::Exceeded(id, _) => {
                let fate = self.fates.get(&id).copied().unwrap_or_default();
                prop_assert!(id == self.current && fate.sent && fate.told == 0, "an event of {id}: {fate:?}");
            }
            Effect::Ended(id, ending) => self.ended(id, &ending)?,
            Effect::Returned(id, _) => {
                let fate = self.fates.entry(id).or_default();
                prop_assert!(!fate.sent && fate.told == 0, "{id} returned: {fate:?}");
                fate.told += 1;
            }
            Effect::Idle(id) => {
                prop_assert_eq!(id, self.current);
                self.fates.entry(id).or_default().freed += 1;
            }
            Effect::Arm(timer, _) => drop(self.armed.insert(format!("{timer:?}"))),
            Effect::Disarm(timer) => drop(self.armed.remove(&format!("{timer:?}"))),
            Effect::Kill => self.killed = true,
            Effect::Terminated(_) => self.deaths += 1,
            Effect::Write(ToWorker::Ping(ping)) => self.probe = ping.seq,
            Effect::Write(_)
            | Effect::Interrupt
            | Effect::Signal
            | Effect::Examine
            | Effect::Measure
            | Effect::Shed
            | Effect::Background(_)
            | Effect::Ready
            | Effect::Noted(_)
            | Effect::Left(..) => {}
        }
        Ok(())
    }

    /// Exactly once, and "it did not start" only if it did not.
    fn ended(&mut self, id: ExecutionId, ending: &Ending) -> TestCaseResult {
        let fate = self.fates.entry(id).or_default();
        prop_assert!(fate.sent && fate.told == 0, "{id} ended: {fate:?}");
        fate.told += 1;
        if let Ending::Lost(lost) = ending {
            prop_assert!(lost.unstarted.is_none() || !(fate.started || fate.begun), "{id}: {fate:?}");
        }
        Ok(())
    }

    /// A wait is armed where one is needed, and none is left where none is.
    fn timers(&mut self, state: SessionState) -> TestCaseResult {
        let armed = |timer: Timer| self.armed.contains(&format!("{timer:?}"));
        match state {
            SessionState::Creating | SessionState::Warming => prop_assert!(armed(Timer::Start), "{state}"),
            SessionState::Ready | SessionState::Idle => {
                let left: Vec<_> = TIMERS[..6].iter().filter(|timer| armed(**timer)).collect();
                prop_assert!(left.is_empty(), "{state} with {left:?}");
            }
            SessionState::ShuttingDown => prop_assert!(self.killed || armed(Timer::Exit), "nothing ends it"),
            SessionState::Busy | SessionState::Terminated => {}
        }
        let told = self.fates.get(&self.current).is_some_and(|fate| fate.told > 0);
        if state == SessionState::Busy && told {
            prop_assert!(armed(Timer::Proof), "nothing waits for the proof");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_every_story_each_execution_ends_once_and_each_wait_ends(
        warmup in any::<bool>(),
        beats in prop::collection::vec(beat(), 1..60),
    ) {
        let mut story = Story::new(warmup);
        story.bench.effects.clear();
        for beat in beats {
            if let Some(input) = story.input(beat) {
                let counts = matches!(beat, Beat::Output | Beat::WrongOutput);
                story.play(input)?;
                story.seq += u64::from(counts);
            }
        }
        // Whatever was, it ends.
        story.play(Input::Kill(DeathCause::ShuttingDown))?;
        if story.deaths == 0 {
            story.play(exited())?;
        }
        prop_assert_eq!(story.deaths, 1);
        for (id, fate) in &story.fates {
            prop_assert_eq!(fate.told, 1, "{} was told {:?}", id, fate);
        }
    }

    /// A cancel ends: by the worker, or by its death at the end of the grace and no later, whether it was seen by then what
    /// it did or not. On a machine where each wait ends late, the kill is as late as one of them.
    #[test]
    fn a_cancel_always_ends_within_the_grace(obeys_after in 0_u32..10, seen_after in 0_u64..200, grace in 0_u64..2_000,
                                                 late in 0_u64..300) {
        let (id, grace, late) = (ExecutionId(5), Duration::from_millis(grace), Duration::from_millis(late));
        let mut bench = Bench::in_state(SessionState::Busy, id);
        bench.session.limits.grace = grace;
        let seen_after = Duration::from_millis(seen_after);
        // What comes, and when.
        let mut due = vec![(Duration::ZERO, Input::Cancel(id))];
        let mut interrupts = 0;
        let (now, killed) = loop {
            due.sort_by_key(|(at, _)| *at);
            let (now, input) = due.remove(0);
            for effect in bench.step(input) {
                match effect {
                    Effect::Arm(timer, wait) => due.push((now + *wait + late, Input::Elapsed(*timer))),
                    Effect::Interrupt => interrupts += 1,
                    Effect::Examine => due.push((now + seen_after, Input::Examined(doing(id)))),
                    Effect::Kill => due.clear(),
                    _other => {}
                }
            }
            if bench.effects.contains(&Effect::Kill) {
                break (now, true);
            }
            if interrupts > obeys_after {
                bench.step(error(id, ErrorKind::Cancelled));
                break (now, false);
            }
        };
        let end = grace.max(EXAMINE_LIMIT) + late;
        prop_assert!(now <= end, "{now:?}");
        if !killed {
            prop_assert_eq!(bench.session.state(), SessionState::Idle);
            return Ok(());
        }
        prop_assert_eq!(now, end, "not a moment earlier");
        // Of another one, and of this one, when it is late.
        bench.step(Input::Examined(doing(ExecutionId(99))));
        bench.step(Input::Examined(doing(id)));
        let effects = bench.step(exited());
        let Some(Effect::Terminated(death)) = effects.first() else { panic!("{effects:?}") };
        prop_assert_eq!(&death.cause, &DeathCause::Disobeyed);
        prop_assert_eq!(death.activity.as_deref(), Some(&*doing(id)));
    }

    /// A look that is late belongs to the execution that it was about, and to no other.
    #[test]
    fn what_an_obedient_execution_did_is_not_told_of_another(late in any::<bool>()) {
        let (id, next) = (ExecutionId(5), ExecutionId(6));
        let mut bench = Bench::in_state(SessionState::Busy, id);
        bench.step(Input::Cancel(id));
        bench.step(Input::Elapsed(Timer::Examine));
        if !late {
            bench.step(Input::Examined(doing(id)));
        }
        bench.step(error(id, ErrorKind::Cancelled));
        bench.step(Input::Assign(next));
        bench.step(Input::Cancel(next));
        if late {
            bench.step(Input::Examined(doing(id)));
        }
        bench.step(Input::Elapsed(Timer::Grace));
        let effects = bench.step(exited());
        let Some(Effect::Terminated(death)) = effects.first() else { panic!("{effects:?}") };
        prop_assert_eq!(death.activity.as_deref(), None);
    }
}

fn doing(id: ExecutionId) -> Box<Activity> {
    Box::new(Activity { execution: Some(id), ..Activity::default() })
}
