//! What this process holds, before and after.

use std::{env, fs, io, os::unix::process::CommandExt as _, process::Command, time::Duration};

use crate::{is_ours, numbers};

/// Of memory: what this program itself notes of a run, and what the allocator may keep.
const SLACK: u64 = 16 << 20;
/// With these the allocator of glibc gives back what is free; see mallopt(3). By default each thread keeps some 15 MiB.
const GIVE_BACK: [(&str, &str); 4] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
    ("MALLOC_TOP_PAD_", "0"),
];

/// Starts this program anew, once, so that what it holds is what it uses: the allocator reads its settings at the start.
pub(crate) fn give_memory_back() -> io::Result<()> {
    if GIVE_BACK.iter().all(|(name, _)| env::var_os(name).is_some()) {
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "it becomes this program")]
    let mut again = Command::new(env::current_exe()?);
    Err(again.args(env::args_os().skip(1)).envs(GIVE_BACK).exec())
}

/// What this process holds.
#[derive(Debug, Default)]
pub(crate) struct Census {
    descriptors: usize,
    threads: usize,
    processes: usize,
    folders: usize,
    memory: u64,
}

impl Census {
    pub(crate) fn take() -> Self {
        let entries = |folder: &str| fs::read_dir(folder).map_or(0, Iterator::count);
        let names = |folder: std::path::PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok())
        };
        let scratch = format!("ostler-{}-", std::process::id());
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
        Self {
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            processes: numbers("/proc").filter(|pid| is_ours(*pid)).count(),
            folders: names(env::temp_dir()).filter(|name| name.starts_with(&scratch)).count(),
            memory: pages * 4096,
        }
    }

    /// What there is more of than `before`, when things have come to rest.
    pub(crate) async fn settled(before: &Self) -> Self {
        let mut more = Self::default();
        for _ in 0..100 {
            let now = Self::take();
            more = Self {
                descriptors: now.descriptors.saturating_sub(before.descriptors),
                threads: now.threads.saturating_sub(before.threads),
                processes: now.processes,
                folders: now.folders,
                memory: now.memory.saturating_sub(before.memory),
            };
            if more.is_nothing() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        more
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.descriptors + self.threads + self.processes + self.folders == 0 && self.memory < SLACK
    }
}

impl std::fmt::Display for Census {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { descriptors, threads, processes, folders, memory } = self;
        let memory = memory >> 10;
        write!(
            f,
            "{descriptors} descriptors, {threads} threads, {processes} processes, {folders} folders, {memory} KiB of memory"
        )
    }
}
