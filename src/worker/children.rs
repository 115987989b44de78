//! The processes that a worker's code has started.

use std::{collections::VecDeque, fs};

use crate::{config::CHILDREN_TOLD, outcome::Child};

/// Threads of a process that are asked for children.
const THREADS_ASKED: usize = 32;
/// Characters of a command line that are told.
const COMMAND_LEN: usize = 200;

/// The children of this process, and theirs.
pub(super) fn of(pid: u32) -> Vec<Child> {
    let mut found = Vec::new();
    let mut unasked = VecDeque::from([pid]);
    while let Some(parent) = unasked.pop_front() {
        for pid in of_one(parent) {
            if found.len() == CHILDREN_TOLD {
                return found;
            }
            found.push(Child { pid, command: command(pid) });
            unasked.push_back(pid);
        }
    }
    found
}

/// Whether any thread of the process has children.
pub(super) fn any(pid: u32) -> bool {
    of_one(pid).next().is_some()
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

/// As it was started, with blanks between the arguments. Empty once it is dead.
fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&line).replace('\0', " ");
    words.trim_end().chars().take(COMMAND_LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_children_has_none_and_neither_has_none() {
        assert_eq!(of(u32::MAX), []);
        assert!(!any(u32::MAX));
    }
}
