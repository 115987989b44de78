//! Whether the kernel has killed something because memory ran out.
//!
//! A process that dies of that dies of SIGKILL, as it does of anybody's `kill -9`. The kernel counts: for our cgroup in
//! `memory.events` (see the kernel's cgroup-v2 document), and for the machine in `/proc/vmstat`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The file that counts, and the count that was seen last.
static COUNT: LazyLock<(PathBuf, AtomicU64)> = LazyLock::new(|| {
    let file = file();
    let count = AtomicU64::new(read(&file));
    (file, count)
});

/// Begins to count. Called before the first worker is started.
pub(super) fn watch() {
    LazyLock::force(&COUNT);
}

/// Whether the kernel has killed anything for memory since it was asked last.
pub(super) fn struck() -> bool {
    let (file, last) = &*COUNT;
    let now = read(file);
    last.swap(now, Relaxed) < now
}

fn file() -> PathBuf {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let events = Path::new("/sys/fs/cgroup").join(path).join("memory.events");
    if events.exists() { events } else { "/proc/vmstat".into() }
}

fn read(file: &Path) -> u64 {
    count(&fs::read_to_string(file).unwrap_or_default())
}

fn count(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 17, through the seam: no cgroup is delegated to tests.
    #[test]
    fn kills_for_memory_are_counted_in_both_files() {
        assert_eq!(count("low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(count("nr_free_pages 5\noom_kill 12\n"), 12);
        assert_eq!(count(""), 0);
        assert!(file().exists(), "{:?} does not exist", file());
        watch();
        assert!(!struck(), "nothing was killed meanwhile");
    }
}
