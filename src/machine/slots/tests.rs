//! The sets say what a walk over all places says, and a step touches a few places however many there are.

#![expect(clippy::wildcard_enum_match_arm, reason = "what has nothing to do with places")]

use std::time::Duration;

use super::*;
use crate::{
    machine::supervisor::{Effect, Input, LeaseId, Pool, Want},
    outcome::Generation,
    protocol::ExecutionId,
};

impl Slots {
    /// What a walk over all places finds to be different from what the sets say.
    pub(crate) fn wrong(&self) -> Option<String> {
        let mut fresh = Self {
            rules: self.rules.clone(),
            now: self.now,
            slots: Vec::new(),
            facts: Vec::new(),
            sets: [const { BTreeSet::new() }; Is::COUNT],
            idle: BTreeSet::new(),
            offers: BTreeSet::new(),
            warm: BTreeSet::new(),
            crews: HashMap::new(),
            due: BTreeSet::new(),
            touched: std::cell::Cell::new(0),
        };
        for slot in &self.slots {
            let Slot { generation, place, worker, last_death, heir } = slot;
            let (place, worker, last_death) = (place.clone(), worker.clone(), last_death.clone());
            fresh.slots.push(Slot { generation: *generation, place, worker, last_death, heir: *heir });
            fresh.facts.push(Facts::default());
        }
        fresh.follow_all();
        let same = fresh.facts == self.facts
            && fresh.sets == self.sets
            && (&fresh.idle, &fresh.due) == (&self.idle, &self.due)
            && (&fresh.offers, &fresh.warm) == (&self.offers, &self.warm)
            && fresh.crews == self.crews;
        (!same).then(|| format!("the sets are {self:?}\nand should be {fresh:?}"))
    }

    pub(crate) fn touched(&self) -> usize {
        self.touched.replace(0)
    }
}

/// A pool whose workers come as soon as they are asked for, and answer what they are told to.
struct Bench(Pool, Instant);

impl Bench {
    /// With so many sessions that are idle, as many that are leased if so, and so many executions for which all of the
    /// others are busy.
    fn new(sessions: usize, leased: bool, waiting: u64) -> Self {
        let busy = if waiting > 0 { sessions } else { 0 };
        let config = PoolConfig {
            max_sessions: sessions + busy + if leased { sessions } else { 0 },
            min_idle: 0,
            max_starting: usize::MAX,
            start_rate: u32::MAX,
            queue: usize::MAX,
            idle_timeout: Some(Duration::from_secs(3_600)),
            save_interval: Some(Duration::from_secs(60)),
            ..PoolConfig::default()
        };
        #[expect(clippy::disallowed_methods, reason = "some instant has to come first")]
        let now = Instant::now();
        let mut bench = Self(Pool::new(config, now), now);
        bench.step(Input::Begin);
        for lease in (0..sessions).filter(|_| leased) {
            bench.step(Input::Lease(LeaseId(lease as u64), None));
        }
        let mut placed = Vec::new();
        for number in 0..sessions as u64 {
            placed.extend(bench.submit(1_000_000 + number));
        }
        for number in 0..busy as u64 {
            bench.submit(2_000_000 + number);
        }
        for number in 0..waiting {
            assert_eq!(bench.submit(3_000_000 + number), None, "there is room for {number}");
        }
        for (slot, execution) in placed.into_iter().filter(|_| waiting == 0) {
            bench.step(Input::Idle { slot, generation: Generation(1), execution });
        }
        bench
    }

    /// Returns what was assigned to where, if something was.
    fn step(&mut self, input: Input) -> Option<(usize, ExecutionId)> {
        let (mut effects, mut assigned) = (Vec::new(), None);
        self.0.step(input, self.1, 0.0, &mut effects);
        for effect in effects {
            match effect {
                Effect::Assign { slot, execution } => assigned = Some((slot, execution)),
                Effect::Start { slot, generation } => {
                    assigned = assigned.or(self.step(Input::Ready { slot, generation }));
                }
                _ => {}
            }
        }
        assigned
    }

    fn submit(&mut self, number: u64) -> Option<(usize, ExecutionId)> {
        self.step(Input::Submit(ExecutionId(number), Want::default()))
    }

    /// How many places 100 executions touch, one after another, each of which is served and ends, or is withdrawn.
    fn touched(mut self) -> usize {
        self.0.slots_touched();
        for number in 0..100 {
            if let Some((slot, execution)) = self.submit(number) {
                self.step(Input::Idle { slot, generation: Generation(1), execution });
            } else {
                self.step(Input::Withdraw(ExecutionId(number)));
            }
        }
        self.0.slots_touched()
    }
}

#[test]
fn a_step_touches_as_many_places_of_a_large_pool_as_of_a_small_one() {
    for (leased, waiting) in [(false, 0), (true, 0), (false, 10_000), (true, 10_000)] {
        let [few, many] = [8, 1_000].map(|sessions| Bench::new(sessions, leased, waiting).touched());
        println!("leased too: {leased}, {waiting} wait: {few} places of 8 sessions, {many} of 1,000");
        assert!(many <= few && few <= 2_000, "{many} places, and {few} where there are few");
    }
}
