//! Whether a program is a worker: it is driven through the protocol, well and badly, and what it does is compared with
//! `PROTOCOL.md` (feature `conform`).
//!
//! Each check starts a worker of its own, so that one failure is one failure. What needs code in the language of the
//! worker takes it from [`Probes`]; without a probe such a check is skipped, and says so.
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use ostler::{WorkerSpec, conform::{Conformance, Probes}};
//!
//! let report = Conformance::new(WorkerSpec::command("./my-worker"))
//!     .probes(Probes::new().say("print conform").spin("loop forever"))
//!     .run()
//!     .await;
//! print!("{report}");
//! assert!(report.conforms());
//! # Ok(()) }
//! ```

#![expect(clippy::wildcard_enum_match_arm, reason = "a check names what it expects, and all else is wrong")]

mod asking;
mod damage;
mod effects;
mod ending;
mod fault;
mod input;
mod peer;
mod probes;
mod report;
mod running;
mod starting;
mod stopping;

use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use crate::{
    config::WorkerSpec,
    protocol::Ready,
    worker::{ProcessSpawner, Spawner as _},
};

use self::{fault::Fault, peer::Peer};
pub use self::{
    probes::Probes,
    report::{Check, Report, Verdict},
};

/// How long the worker has for each answer, unless set.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at something that is to happen.
const LOOKS_EVERY: Duration = Duration::from_millis(1);

/// Counts workers, so that each has a tag of its own.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// A worker to be judged.
#[derive(Debug, Clone)]
pub struct Conformance {
    spec: WorkerSpec,
    probes: Option<Probes>,
    patience: Duration,
    only: Option<String>,
}

/// What a check is given.
#[derive(Debug)]
pub(crate) struct Kit {
    spawner: ProcessSpawner,
    probes: Probes,
    patience: Duration,
    /// What it said first, if it got so far.
    ready: Option<Ready>,
}

/// One thing to check.
struct Item {
    name: &'static str,
    /// Where `PROTOCOL.md` speaks of it.
    section: &'static str,
    run: for<'a> fn(&'a Kit) -> Checking<'a>,
}

type Checking<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>>;

/// A list of checks: what, where it is written, and the function.
macro_rules! items {
    ($($name:literal => $section:literal => $check:path;)+) => {
        pub(super) const ITEMS: &[$crate::conform::Item] = &[
            $($crate::conform::Item { name: $name, section: $section, run: |kit| Box::pin($check(kit)) }),+
        ];
    };
}
use items;

/// Every check, in its order.
const LISTS: [&[Item]; 8] = [
    starting::ITEMS,
    running::ITEMS,
    effects::ITEMS,
    stopping::ITEMS,
    input::ITEMS,
    asking::ITEMS,
    damage::ITEMS,
    ending::ITEMS,
];

impl Conformance {
    /// Judges workers of this spec, in its codec and on its transport.
    #[must_use]
    pub fn new(spec: WorkerSpec) -> Self {
        Self { spec, probes: None, patience: PATIENCE, only: None }
    }

    /// The code to try it with. Default: what is known for the language that it names in `ready`.
    #[must_use]
    pub fn probes(mut self, probes: Probes) -> Self {
        self.probes = Some(probes);
        self
    }

    /// How long it has for each answer. Default: [`PATIENCE`].
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs only the checks with these words in their names, for whoever mends a worker. Default: all.
    #[must_use]
    pub fn only(mut self, words: impl Into<String>) -> Self {
        self.only = Some(words.into());
        self
    }

    /// Runs every check, one after another. Takes at most a few times the patience for each; usually milliseconds.
    /// Dropping the future ends the worker of the moment.
    pub async fn run(&self) -> Report {
        let mut kit = Kit {
            spawner: ProcessSpawner::new(self.spec.clone()),
            probes: Probes::new(),
            patience: self.patience,
            ready: None,
        };
        // What it announces decides what is asked of it.
        kit.ready = match Peer::start(&kit).await {
            Ok(mut peer) => peer.ready().await.ok(),
            Err(_told_by_the_first_check) => None,
        };
        let language = kit.ready.as_ref().map_or("", |ready| ready.language.as_str());
        kit.probes = self.probes.clone().unwrap_or_default().or(Probes::of(language));
        let wanted = |item: &Item| self.only.as_ref().is_none_or(|words| item.name.contains(words.as_str()));
        let mut checks = Vec::new();
        for item in LISTS.iter().copied().flatten().filter(|item| wanted(item)) {
            let done = (item.run)(&kit).await;
            checks.push(Check { name: item.name, section: item.section, verdict: done.into() });
            if kit.ready.is_none() {
                // Nothing else can be said of a program that does not get through its start.
                break;
            }
        }
        kit.spawner.settled().await;
        Report { codec: self.spec.codec, transport: self.spec.transport, worker: kit.ready, checks }
    }
}

impl Kit {
    fn tag() -> String {
        format!("conform-{}-{}.0.1", std::process::id(), STARTED.fetch_add(1, Relaxed))
    }

    /// Skips what the worker does not offer.
    fn needs(&self, capability: &'static str) -> Result<(), Fault> {
        let offered =
            self.ready.as_ref().is_some_and(|ready| ready.capabilities.iter().any(|one| one == capability));
        if offered { Ok(()) } else { Err(Fault::Skip(format!("it does not offer `{capability}`"))) }
    }
}

/// Whether it is so within this time.
async fn until(patience: Duration, mut so: impl FnMut() -> bool) -> bool {
    let looks = async {
        while !so() {
            sleep(LOOKS_EVERY).await;
        }
    };
    timeout(patience, looks).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/PROTOCOL.md"));

    /// The names under which the page's headings are found: of two alike the second has a number.
    fn anchors() -> Vec<String> {
        let mut seen = BTreeMap::new();
        let headings = PAGE.lines().filter_map(|line| line.strip_prefix('#')?.split_once(' '));
        let slugs = headings.map(|(_, heading)| {
            let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        });
        slugs
            .map(|slug| {
                let times = seen.entry(slug.clone()).and_modify(|times| *times += 1).or_insert(0);
                if *times == 0 { slug } else { format!("{slug}-{times}") }
            })
            .collect()
    }

    #[test]
    fn each_check_points_to_a_section_of_the_page() {
        let anchors = anchors();
        for item in LISTS.iter().copied().flatten() {
            assert!(anchors.iter().any(|anchor| anchor == item.section), "no section `{}`", item.section);
        }
    }
}
