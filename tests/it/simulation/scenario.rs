//! One simulation: a pool, its workers, its callers and what goes wrong, all from one seed; and the ledger at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use ostler::{
    CancelStage, Cancelled, DeathCause, LostCause, OnDeath, Outcome, Phase, PoolConfig, RestartPolicy,
    Runtime, SubmitError, TimedOut, Transport, WorkerSpec,
    testing::{ScriptedSpawner, supervisor_of},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use super::{
    caller::{Caller, Ending, To, Told},
    worker::{Act, Deed, World},
};
use crate::support::adds_up;

mod kills;

const REQUESTS: usize = 60;

/// What one seed led to, in words that do not change from one run to the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) told: Vec<(String, String, Duration)>,
    pub(crate) acts: Vec<(usize, Act, bool)>,
    pub(crate) spawned: usize,
    pub(crate) took: Duration,
}

/// How a simulation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    SupervisorDies,
    ShutsDown,
    HandlesDropped,
    Drains,
}

pub(crate) struct Scenario {
    chance: StdRng,
    config: PoolConfig,
    runtime: Runtime,
    workers: ScriptedSpawner,
    world: World,
    end: End,
    /// Whether actors are killed too: then nothing explains why an execution was lost.
    kills: bool,
    begun: Instant,
}

impl Scenario {
    /// `None`: its first worker could not be started, and that left nothing.
    pub(crate) async fn start(seed: u64) -> Option<Self> {
        let mut chance = StdRng::seed_from_u64(seed);
        let faults = *[0.0, 0.1, 0.3, 0.7].choose(&mut chance).expect("there are some");
        let start_faults = *[0.0, 0.0, 0.2, 0.5].choose(&mut chance).expect("there are some");
        let end =
            [End::SupervisorDies, End::ShutsDown, End::HandlesDropped, End::Drains, End::Drains, End::Drains];
        let end = *end.choose(&mut chance).expect("there are some");
        let config = config(&mut chance);
        // The first worker starts, as a rule: the faults come when the pool serves.
        let first = if chance.random_bool(0.1) { start_faults } else { 0.0 };
        let world = World {
            seed,
            faults: Arc::new(Mutex::new((faults, first))),
            deeds: Arc::new(Mutex::new(Vec::new())),
            starts: Arc::default(),
        };
        let workers = workers(&mut chance, &world);
        let kills = chance.random_bool(0.3);
        let begun = Instant::now();
        let builder = Runtime::builder(WorkerSpec::python()).config(config.clone()).seed(seed);
        let started = builder.spawner(workers.clone()).start().await;
        world.faults.lock().unwrap().1 = start_faults;
        match started {
            Ok(runtime) => Some(Self { chance, config, runtime, workers, world, end, kills, begun }),
            Err(error) => {
                assert!(first > 0.0, "without a fault it starts: {error}");
                assert_eq!(workers.live(), 0, "after {error}");
                None
            }
        }
    }

    pub(crate) async fn run(mut self) -> Trace {
        let mut callers = JoinSet::new();
        let killer = self.kills.then(|| tokio::spawn(self.kills_at_starts()));
        for number in 0..REQUESTS {
            let gap = Duration::from_millis(self.chance.random_range(0..80));
            tokio::time::sleep(gap).await;
            self.look().await;
            if self.kills && self.chance.random_bool(0.1) {
                self.kill_something(number, &mut callers).await;
            }
            self.next_caller(number, &mut callers);
            if number == REQUESTS / 2 {
                match self.end {
                    End::SupervisorDies => supervisor_of(&self.runtime).kill(),
                    End::ShutsDown => self.shut_down(),
                    End::HandlesDropped | End::Drains => {}
                }
            }
        }
        let mut told: Vec<Told> = callers.join_all().await.into_iter().flatten().collect();
        told.sort_by(|one, other| one.code.cmp(&other.code));
        killer.inspect(JoinHandle::abort);
        self.explain(&told);
        self.finish().await.trace(&told)
    }

    fn next_caller(&mut self, number: usize, callers: &mut JoinSet<Vec<Told>>) {
        let chance = StdRng::seed_from_u64(self.chance.random());
        let bound = self.config.grace + Duration::from_millis(250);
        let mut caller = Caller { name: format!("r{number:02}"), chance, bound, generation: None };
        let leases = self.chance.random_bool(0.2).then(|| self.chance.random_range(1..5));
        let runtime = self.runtime.clone();
        callers.spawn(async move {
            let Some(executions) = leases else { return vec![caller.asks(To::Pool(&runtime)).await] };
            let Ok(session) = runtime.session().await else { return Vec::new() };
            let name = caller.name.clone();
            let mut told = Vec::new();
            caller.generation = Some(session.generation());
            for execution in 0..executions {
                caller.name = format!("{name}.{execution}");
                told.push(caller.asks(To::Session(&session)).await);
                if caller.chance.random_bool(0.2) {
                    // Whatever comes of it, it comes, and the session goes on or has ended.
                    let _ = session.checkpoint().await;
                }
            }
            told
        });
    }

    /// P8 and P16, at any moment: the limit, the sums, and no request that waits while a session is idle.
    async fn look(&self) {
        let status = self.runtime.status().await;
        adds_up(&status);
        let live = self.workers.live();
        assert!(live <= self.config.max_sessions, "{live} workers: {status:?}");
        let waits_in_vain =
            status.idle > 0 && status.queued > 0 && status.leased == 0 && !status.shutting_down;
        assert!(!waits_in_vain, "a request waits while a session is idle: {status:?}");
    }

    fn shut_down(&mut self) {
        let grace = Duration::from_millis(self.chance.random_range(0..2_000));
        let runtime = self.runtime.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            runtime.shutdown(grace).await;
            assert!(begun.elapsed() <= grace + Duration::from_secs(1), "P10: {:?}", begun.elapsed());
        });
    }

    /// P5, and that what a caller was told is explained by what the workers did.
    fn explain(&self, told: &[Told]) {
        let deeds = self.world.deeds.lock().unwrap();
        let mut starts = BTreeSet::new();
        for deed in deeds.iter().filter(|deed| deed.started) {
            // The warmup has one id for all workers; requests have one each.
            let is_request = told.iter().any(|told| told.id == Some(deed.id));
            assert!(starts.insert(deed.id) || !is_request, "{} ran twice", deed.id);
        }
        for Told { code, id, ending, .. } in told {
            let (Some(id), Ending::Outcome(outcome)) = (id, ending) else { continue };
            let deed = deeds.iter().rev().find(|deed| deed.id == *id);
            let ran_not = match outcome {
                Outcome::Lost(lost) => !lost.started,
                Outcome::Cancelled(cancelled) => cancelled.stage == CancelStage::Queued,
                Outcome::TimedOut(timed_out) => timed_out.phase == Phase::Queued,
                Outcome::Completed(_) | Outcome::Failed(_) => false,
            };
            assert!(!ran_not || !starts.contains(id), "{code}: {deed:?} and {outcome:?}");
            if let Some(deed) = deed.filter(|_| !self.kills && self.end == End::Drains) {
                assert!(explains(deed, &deeds, outcome), "{code}: {deed:?} does not explain {outcome:?}");
            }
        }
    }

    /// The faults end, and the pool comes back to its full strength; or it ends, and leaves nothing.
    async fn finish(self) -> Self {
        self.world.end_of_faults();
        if self.end == End::Drains {
            self.recovers().await;
            self.runtime.shutdown(Duration::from_secs(5)).await;
            assert_eq!(self.workers.live(), 0, "after a shutdown");
        }
        if self.end == End::HandlesDropped {
            let Self { chance, config, runtime, workers, world, end, kills, begun } = self;
            drop(runtime);
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(workers.live(), 0, "after the last handle was dropped");
            let runtime =
                Runtime::builder(WorkerSpec::python()).min_idle(0).spawner(workers.clone()).start().await;
            let runtime = runtime.expect("an empty pool starts");
            return Self { chance, config, runtime, workers, world, end, kills, begun };
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(self.workers.live(), 0, "after {:?}", self.end);
        let totals = self.runtime.status().await.totals;
        assert_eq!(totals.in_flight, 0, "after {:?}: {totals:?}", self.end);
        let late = self.runtime.execute("late").await;
        assert!(matches!(late, Err(SubmitError::ShuttingDown)), "{late:?}");
        self
    }

    async fn recovers(&self) {
        let begun = Instant::now();
        loop {
            self.look().await;
            let status = self.runtime.status().await;
            if status.failed.is_some() {
                return;
            }
            let quiet = status.totals.in_flight == 0
                && status.leased == 0
                && status.busy == 0
                && status.starting == 0
                // With a queue of 0 nobody may wait for a place that is not free yet.
                && status.retiring + status.backing_off == 0;
            if quiet && status.idle >= self.config.min_idle {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "the pool does not recover: {status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut sessions = Vec::new();
        for _ in 0..self.config.max_sessions {
            sessions.push(self.runtime.session().await.expect("every slot serves again"));
        }
        assert_eq!(self.runtime.list().await, [], "nothing is listed that has ended");
    }

    fn trace(self, told: &[Told]) -> Trace {
        let told = told.iter().map(|told| (told.code.clone(), words(&told.ending), told.after)).collect();
        let deeds = self.world.deeds.lock().unwrap();
        let acts = deeds.iter().map(|deed| (deed.worker, deed.act, deed.started)).collect();
        Trace { told, acts, spawned: self.workers.spawned(), took: self.begun.elapsed() }
    }
}

fn config(chance: &mut StdRng) -> PoolConfig {
    let mut config = PoolConfig::default();
    config.max_sessions = chance.random_range(1..5);
    config.min_idle = chance.random_range(0..=config.max_sessions);
    config.queue = *[0, 3, 20, 60].choose(chance).expect("there are some");
    config.session_queue = chance.random_range(0..4);
    config.grace = Duration::from_millis(*[50, 500, 1_000].choose(chance).expect("there are some"));
    config.ready_timeout = Duration::from_millis(chance.random_range(500..3_000));
    config.lease_timeout = Duration::from_secs(5);
    config.session_timeout = chance.random_bool(0.3).then_some(Duration::from_millis(400));
    config.warmup = chance.random_bool(0.3).then(|| "warmup".to_owned());
    if chance.random_bool(0.6) {
        config.on_death = OnDeath::Restore;
        config.save_every = chance.random_bool(0.5).then(|| chance.random_range(1..4));
        config.save_interval =
            chance.random_bool(0.5).then(|| Duration::from_millis(chance.random_range(1..500)));
        config.checkpoint_timeout = Duration::from_secs(2);
    }
    config.restart = RestartPolicy::default();
    config.restart.max_backoff = Duration::from_millis(300);
    if chance.random_bool(0.8) {
        config.restart.intensity = 1_000_000;
    }
    config
}

fn workers(chance: &mut StdRng, world: &World) -> ScriptedSpawner {
    let (scripts, starts) = (world.clone(), world.clone());
    let transport = if chance.random_bool(0.5) { Transport::Socket } else { Transport::Stdio };
    let reaping = Duration::from_millis(*[0, 1, 80].choose(chance).expect("there are some"));
    let pipe_len = *[256, 4_096, 65_536].choose(chance).expect("there are some");
    ScriptedSpawner::new(move |stage| scripts.clone().worker(stage))
        .before_start(move |number| starts.clone().before_start(number))
        .transport(transport)
        .reaped_after(reaping)
        .pipe_len(pipe_len)
}

/// Whether what a worker did explains what the caller was told. A cancel or a deadline may always come first.
fn explains(deed: &Deed, deeds: &[Deed], outcome: &Outcome) -> bool {
    let is_last = |other: &&Deed| other.worker == deed.worker && other.id != deed.id;
    let before = deeds.iter().take_while(|other| other.id != deed.id).filter(is_last).last();
    let kind = outcome.kind();
    if matches!(kind, "cancelled" | "timed_out") {
        return true;
    }
    // The one behind a worker that was already broken may suffer for it.
    if before
        .is_some_and(|before| matches!(before.act, Act::Stutters | Act::DiesAfterResult | Act::SpeaksLate))
    {
        return true;
    }
    match deed.act {
        Act::Answers | Act::Dawdles | Act::Prints | Act::Shows | Act::Asks => kind == "completed",
        Act::Stutters | Act::DiesAfterResult | Act::PausesInFrame => kind == "completed",
        Act::SpeaksLate | Act::SaysSomethingNew => kind == "completed",
        Act::Raises | Act::LeavesOutField => {
            kind == "failed" || kind == "lost" && deed.act == Act::LeavesOutField
        }
        Act::Hangs | Act::ObeysLate | Act::Floods | Act::Ignores | Act::StopsReading => false,
        Act::DiesUnstarted
        | Act::BeginsUnheard
        | Act::BeginsInSilence
        | Act::DiesRunning
        | Act::DiesMidFrame
        | Act::Babbles
        | Act::AnnouncesTooMuch
        | Act::Lies
        | Act::Miscounts
        | Act::ClosesChannel
        | Act::ClosesInput
        | Act::SaysReadyAgain
        | Act::StartsTwice => kind == "lost",
    }
}

/// An ending without the numbers that differ from one run to the next.
fn words(ending: &Ending) -> String {
    let outcome = match ending {
        Ending::Left => return "left".into(),
        Ending::Refused(SubmitError::QueueFull { .. }) => return "QueueFull".into(),
        // Without what differs, which stands behind a number.
        Ending::Refused(refused) => {
            return refused.to_string().split(|letter: char| letter.is_ascii_digit()).collect();
        }
        Ending::Outcome(outcome) => outcome,
    };
    match outcome {
        Outcome::Lost(lost) => match &lost.cause {
            LostCause::Died(death) => {
                format!("lost {} {} {:?}", lost.started, cause(&death.cause), death.exit)
            }
            other => format!("lost {} {other:?}", lost.started),
        },
        Outcome::Cancelled(Cancelled { stage, reason, .. }) => format!("Cancelled {stage:?} {reason:?}"),
        Outcome::TimedOut(TimedOut { after, phase, .. }) => format!("TimedOut {after:?} {phase:?}"),
        Outcome::Completed(_) | Outcome::Failed(_) => outcome.kind().into(),
    }
}

fn cause(cause: &DeathCause) -> &'static str {
    match cause {
        DeathCause::Protocol(_) => "protocol",
        DeathCause::Itself => "itself",
        DeathCause::ChannelClosed => "channel closed",
        DeathCause::NotReading => "not reading",
        DeathCause::Disobeyed => "disobeyed",
        _other => "other",
    }
}

/// How often each act and each ending came, over many seeds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acts: BTreeMap<Act, usize>,
    pub(crate) endings: BTreeMap<String, usize>,
    pub(crate) took: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, trace: &Trace) {
        for (_, act, _) in &trace.acts {
            *self.acts.entry(*act).or_default() += 1;
        }
        for (_, ending, _) in &trace.told {
            let kind = ending.split([' ', '(', '{']).next().unwrap_or_default();
            *self.endings.entry(kind.to_owned()).or_default() += 1;
        }
        self.took += trace.took;
    }
}
