//! What this process holds, as the system counts it.

use std::{collections::BTreeMap, fs, time::Duration};

use ostler::{Runtime, RuntimeBuilder, WorkerSpec};

use crate::support::{
    processes::pool_tag,
    wait::{SOON, eventually},
};

/// How much more memory than before may be resident: allocators keep some.
pub(crate) const SLACK: u64 = 16 << 20;

/// Everything of this process that could leak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    descriptors: usize,
    threads: usize,
    children: usize,
}

impl Counts {
    pub(crate) fn now() -> Self {
        let entries = |folder: &str| fs::read_dir(folder).unwrap().count();
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let children = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
        Self {
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            children: children.map(|children| children.split_whitespace().count()).sum(),
        }
    }

    /// With so many workers more, each of which takes so many descriptors.
    pub(crate) fn and(&self, workers: usize, descriptors: usize) -> Self {
        Self {
            descriptors: self.descriptors + workers * descriptors,
            threads: self.threads,
            children: self.children + workers,
        }
    }

    /// Waits until there is no more than there was.
    pub(crate) async fn are_back(&self) {
        let mut last = Self::now();
        let back = |now: &Self| {
            now.descriptors <= self.descriptors
                && now.threads <= self.threads
                && now.children <= self.children
        };
        let begun = tokio::time::Instant::now();
        while !back(&last) {
            assert!(begun.elapsed() < SOON, "there were {self:?}, and now {last:?}: {:#?}", descriptors());
            tokio::time::sleep(Duration::from_millis(2)).await;
            last = Self::now();
        }
    }
}

/// What is open, counted by what it is.
fn descriptors() -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if let Ok(target) = fs::read_link(entry.path()) {
            let kind = target.to_string_lossy().split(":[").next().unwrap_or_default().to_owned();
            *kinds.entry(kind).or_default() += 1;
        }
    }
    kinds
}

/// Resident memory of this process, in bytes.
pub(crate) fn memory() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Processor time of a process, in ticks, and whether it sleeps.
fn activity(pid: u32) -> (u64, bool) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12), fields.first() == Some(&"S"))
}

/// Waits until a process has been asleep at ten looks in a row.
pub(crate) async fn sleeps(pid: u32) {
    let (mut looks, mut last) = (0, activity(pid).0);
    eventually("the worker waits", SOON, || {
        let (ticks, asleep) = activity(pid);
        looks = if asleep && ticks == last { looks + 1 } else { 0 };
        last = ticks;
        looks == 10
    })
    .await;
}

/// A pool of a few workers.
pub(crate) fn pool(sessions: usize) -> RuntimeBuilder {
    Runtime::builder(WorkerSpec::python()).max_sessions(sessions)
}

/// Starts a pool and says what its processes are known by.
pub(crate) async fn started(builder: RuntimeBuilder) -> (Runtime, String) {
    let runtime = builder.start().await.unwrap();
    let tag = pool_tag(runtime.status().await.sessions[0].pid.unwrap());
    (runtime, tag)
}

/// Starts and stops one pool, so that what lives as long as the process has been made.
pub(crate) async fn settled() -> Counts {
    let runtime = pool(1).start().await.unwrap();
    runtime.run("1").await.unwrap();
    runtime.shutdown(Duration::from_secs(1)).await;
    Counts::now()
}
