//! The Python stacks of a worker, as its interpreter writes them on a signal.
//!
//! The shipped worker has `faulthandler` write the stacks of all threads on SIGUSR2: from C, so also while other C code
//! holds the interpreter. They go to a file in memory that bears [`NAME`], where no output of the user can hold them up,
//! and where we find it among its descriptors. A process without one is not signalled: to it, the signal would be death.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::AsRawFd,
    time::Duration,
};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::process::Process;
use crate::{
    config::STACKS_LIMIT,
    outcome::{Call, Stack},
};

/// What the link in `/proc` to the worker's file says.
const NAME: &str = "/memfd:ostler-stacks (deleted)";
/// How often the file is looked at. It is complete when two looks find it equally long.
const STEP: Duration = Duration::from_millis(2);
/// More than a hundred threads with a hundred calls each are not written; their lines are cut at 500 characters.
const LEN_MAX: u64 = 1 << 20;
/// Descriptors of a worker among which the file is looked for. It was opened among the first.
const DESCRIPTORS_ASKED: usize = 1_024;
/// How the names of the worker's own files begin in a traceback.
const OURS: &str = "<ostler_worker/";

/// Asks for the stacks, and returns where they will be. `None` if this process cannot tell them.
pub(super) fn ask(process: &Process) -> Option<File> {
    let file = process.look(find)??;
    // What an earlier question left. The worker appends.
    file.set_len(0).ok()?;
    // The shipped worker writes its stacks then.
    process.alert(Signal::USR2);
    Some(file)
}

fn find(pid: u32) -> Option<File> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    if !catches(&status) {
        return None;
    }
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let entry = entries.take(DESCRIPTORS_ASKED).flatten().find(|entry| is_ours(&entry.path()))?;
    let file = File::options().read(true).write(true).open(entry.path()).ok()?;
    // The code may have put another file in its place meanwhile.
    is_ours(format!("/proc/self/fd/{}", file.as_raw_fd()).as_ref()).then_some(file)
}

fn is_ours(link: &std::path::Path) -> bool {
    fs::read_link(link).is_ok_and(|name| name.as_os_str() == NAME)
}

/// Whether a process has a handler for SIGUSR2: bit 11 of the mask of what it catches, see proc_pid_status(5).
fn catches(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << 11) != 0)
}

/// Waits until the stacks are there, at most [`STACKS_LIMIT`].
pub(super) async fn read(mut file: File) -> Vec<Stack> {
    let end = Instant::now() + STACKS_LIMIT;
    let mut last = 0;
    while Instant::now() < end {
        sleep(STEP).await;
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        if len > 0 && len == last {
            break;
        }
        last = len;
    }
    let mut text = Vec::new();
    // The file is memory: reading does not wait. What could not be read is not told.
    let _ = (&mut file).take(LEN_MAX).read_to_end(&mut text);
    parse(&String::from_utf8_lossy(&text))
}

/// Understands what `faulthandler` writes, which is made for people and the same since CPython 3.3:
///
/// ```text
/// Thread 0x00007f1c… (most recent call first):
///   File "job.py", line 3 in wait
/// ```
fn parse(text: &str) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = Vec::new();
    for line in text.lines() {
        if let Some(thread) = line.strip_suffix(" (most recent call first):") {
            let thread = thread.strip_prefix("Current thread ").or(thread.strip_prefix("Thread "));
            let thread = thread.unwrap_or_default().to_owned();
            stacks.push(Stack { thread, main: false, calls: Vec::new() });
        } else if let (Some(stack), Some(call)) = (stacks.last_mut(), call(line)) {
            stack.calls.push(call);
        }
    }
    // The main thread has our `main` below; unless it is deeper than what is written. It is the oldest: written last.
    let our_main = |stack: &Stack| {
        stack.calls.iter().position(|call| call.file.starts_with(OURS) && call.function == "main")
    };
    let main = stacks.iter().position(|stack| our_main(stack).is_some()).or(stacks.len().checked_sub(1));
    for (at, stack) in stacks.iter_mut().enumerate() {
        stack.main = Some(at) == main;
        // What called it started the worker.
        stack.calls.truncate(our_main(stack).unwrap_or(usize::MAX));
        stack.calls.retain(|call| !call.file.starts_with(OURS));
    }
    stacks.sort_by_key(|stack| !stack.main);
    stacks
}

fn call(line: &str) -> Option<Call> {
    let (file, rest) = line.strip_prefix("  File \"")?.rsplit_once("\", line ")?;
    let (line, function) = rest.split_once(" in ")?;
    Some(Call { file: file.to_owned(), line: line.parse().ok()?, function: function.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_understood_and_ours_are_left_out() {
        let text = "Current thread 0x00007f0e8a1ff6c0 [poller] (most recent call first):\n  \
                      File \"<ostler_worker/output.py>\", line 90 in write\n  \
                      File \"/usr/lib/python3.11/threading.py\", line 324 in wait\n\n\
                    Thread 0x00007f0e8b2d1740 (most recent call first):\n  \
                      File \"a \", line 1 in b\", line 3 in f\n  \
                      File \"<execution 1>\", line 9 in <module>\n  \
                      File \"<ostler_worker/main.py>\", line 17 in main\n  \
                      File \"<string>\", line 20 in <module>\n\n\
                    Thread 0x00007f0e8b2d1741 (most recent call first):\n  \
                      File \"c\", line 3 in d\n  ...\n";
        let told = |text| {
            let stacks = parse(text).into_iter();
            let calls =
                |stack: Stack| stack.calls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            stacks.map(|stack| (stack.main, stack.thread.clone(), calls(stack))).collect::<Vec<_>>()
        };
        let stack = |main, thread: &str, calls: &str| (main, thread.to_owned(), calls.to_owned());
        let expected = [
            stack(true, "0x00007f0e8b2d1740", "a \", line 1 in b:3 in f, <execution 1>:9 in <module>"),
            stack(false, "0x00007f0e8a1ff6c0 [poller]", "/usr/lib/python3.11/threading.py:324 in wait"),
            stack(false, "0x00007f0e8b2d1741", "c:3 in d"),
        ];
        assert_eq!(told(text), expected);
        let deep = "Thread 0x1 (most recent call first):\n  File \"a\", line 1 in b\n\n\
                    Thread 0x2 (most recent call first):\n  File \"c\", line 1 in d\n  ...\n";
        assert_eq!(told(deep), [stack(true, "0x2", "c:1 in d"), stack(false, "0x1", "a:1 in b")]);
        assert_eq!(told("Segmentation fault\n  File \"x\", line 1 in y\n"), []);
    }

    #[test]
    fn only_a_process_with_a_handler_is_asked() {
        assert!(catches("Name:\tpython3\nSigCgt:\t0000000000000800\n"));
        assert!(!catches("SigCgt:\t00000001000004ff\n"));
        assert!(!catches(""));
    }
}
