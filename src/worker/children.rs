//! The processes that a worker's code has started.

pub(super) mod naming;

use std::{collections::VecDeque, fs};

use rustix::process::{Pid, Signal, getpgid, kill_process};

#[cfg(feature = "conform")]
use super::vitals;
use crate::config::CHILDREN_TOLD;

/// Threads of a process that are asked for children.
const THREADS_ASKED: usize = 32;
/// Processes that one interrupt reaches.
const INTERRUPTED_MAX: usize = 1_000;

/// The children of this process, and theirs.
pub(super) fn of(pid: u32) -> Vec<u32> {
    below(pid, CHILDREN_TOLD)
}

/// What an interrupt of this process is for, too.
pub(super) fn to_interrupt(pid: u32) -> Vec<u32> {
    below(pid, INTERRUPTED_MAX)
}

/// Interrupts those of `found` that are in the group.
///
/// Not the process that leads it, which is asked to stop by a message: a signal that is late would interrupt what it does by
/// then, be that its clean-up or the next execution.
pub(super) fn interrupt(group: Pid, found: &[u32]) {
    // All were found before the first is told: what loses its parent is found no more.
    for pid in found {
        let Some(pid) = (*pid).try_into().ok().and_then(Pid::from_raw) else { continue };
        // So it lives, and its id is its own for a moment longer: ids come round after all others only.
        if getpgid(Some(pid)) == Ok(group) {
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

/// Whether this process may still run something in the group that this one leads.
#[cfg(feature = "conform")]
pub(crate) fn lives_in(leader: u32, pid: u32) -> bool {
    let [leader, raw] = [leader, pid].map(|pid| pid.try_into().ok().and_then(Pid::from_raw));
    raw.is_some_and(|raw| getpgid(Some(raw)).ok() == leader) && !vitals::is_ending(pid)
}

/// The ids of this many processes that it has started, its children first.
fn below(pid: u32, limit: usize) -> Vec<u32> {
    let mut found = Vec::new();
    let mut unasked = VecDeque::from([pid]);
    while let Some(parent) = unasked.pop_front() {
        for pid in of_one(parent) {
            if found.len() == limit {
                return found;
            }
            found.push(pid);
            unasked.push_back(pid);
        }
    }
    found
}

/// The main thread, which runs the code, comes first.
fn of_one(pid: u32) -> impl Iterator<Item = u32> {
    let told = move |task: String| {
        fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).unwrap_or_default()
    };
    let main = told(pid.to_string());
    let others = fs::read_dir(format!("/proc/{pid}/task")).ok();
    let others = others.into_iter().flatten().take(THREADS_ASKED).flatten();
    let others = others.filter_map(move |task| {
        let task = task.file_name().into_string().ok()?;
        (task != pid.to_string()).then(|| told(task))
    });
    let numbers =
        |children: String| children.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>();
    numbers(main).into_iter().chain(others.flat_map(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_none_has_no_children() {
        assert_eq!(of(u32::MAX), Vec::<u32>::new());
    }
}
