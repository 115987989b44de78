//! What a dead worker leaves behind: processes that left its group, and its scratch folder.
//!
//! Processes are known by the tag in their environment, which children inherit. One that cleared its environment and
//! left the group is not found; only a PID namespace would hold it.

use std::{
    fs::{self, File},
    io::{self, Read},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{environment::TAG, process::Stray, scratch::Scratch, shortage, unsettled::Pending};

/// Scans in a row that must find nothing. A process that forks behind the scan and ends before it is reached is in neither
/// of its places; its child is in the next scan.
const EMPTY_SCANS: u32 = 2;
/// Scans for one batch of dead workers. A process may fork while it is being looked for.
const SCANS_MAX: u32 = 8;
/// How long killed processes may take to be gone before the next scan.
const DYING: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// A process that is being replaced by `execve` shows no environment for a moment, which is long on a busy machine: it
/// is asked again this often …
const UNDECIDED_AFTER: Duration = Duration::from_millis(5);
/// … and this many times.
const UNDECIDED_MAX: u32 = 100;

/// What is left to be cleared once a worker is dead.
#[derive(Debug)]
pub(super) struct Estate {
    /// In the environment of the worker and of its children.
    pub(super) tag: String,
    /// The worker's own folder.
    pub(super) scratch: Option<Scratch>,
}

/// Clears estates until nobody can send any. One scan serves all that have come meanwhile.
pub(super) fn run(estates: &mpsc::Receiver<(Estate, Pending)>) {
    while let Ok(first) = estates.recv() {
        let mut batch = vec![first];
        batch.extend(estates.try_iter());
        let tags: Vec<_> = batch.iter().map(|(estate, _)| estate.tag.as_bytes()).collect();
        kill_tagged(&tags);
        // Nothing writes to the folders any more.
        for (estate, pending) in batch {
            if let Some(scratch) = estate.scratch {
                scratch.remove(pending);
            }
        }
    }
}

/// Kills every process that has one of `tags` in its environment.
fn kill_tagged(tags: &[&[u8]]) {
    let mut scan = Scan { tags, environ: Vec::new() };
    let mut empty = 0;
    for _ in 0..SCANS_MAX {
        let killed = shortage::outlast(|| scan.kill()).unwrap_or_else(|error| {
            crate::log::warn!(%error, "no /proc to sweep: processes of dead workers may be left");
            Vec::new()
        });
        if !killed.is_empty() {
            wait(&killed);
            empty = 0;
        } else if empty + 1 == EMPTY_SCANS {
            return;
        } else {
            empty += 1;
        }
    }
    crate::log::warn!(scans = SCANS_MAX, "processes of dead workers are still being found");
}

struct Scan<'a> {
    tags: &'a [&'a [u8]],
    environ: Vec<u8>,
}

impl Scan<'_> {
    /// Looks at every process once, and at those that are just being replaced until they have been.
    fn kill(&mut self) -> io::Result<Vec<Stray>> {
        let mut found = Vec::new();
        let looked = self.look(&mut found);
        found.iter().for_each(Stray::kill);
        // Those that are held take descriptors, too: with them gone, the next scan sees more.
        match looked {
            Err(error) if found.is_empty() => Err(error),
            Ok(()) | Err(_) => Ok(found),
        }
    }

    fn look(&mut self, found: &mut Vec<Stray>) -> io::Result<()> {
        let mut undecided = Vec::new();
        for pid in pids()? {
            if !self.decide(pid, found)? {
                undecided.push(pid);
            }
        }
        for _ in 0..UNDECIDED_MAX {
            if undecided.is_empty() {
                break;
            }
            thread::sleep(UNDECIDED_AFTER);
            let mut still = Vec::new();
            for pid in undecided {
                if !self.decide(pid, found)? {
                    still.push(pid);
                }
            }
            undecided = still;
        }
        Ok(())
    }

    /// Holds a process that is tagged. It is looked at again when it is held: its id could have become a stranger's.
    /// False if it has to be asked later, for it is just being replaced by another program.
    fn decide(&mut self, pid: u32, found: &mut Vec<Stray>) -> io::Result<bool> {
        let is_tagged = self.is_tagged(pid)?;
        if is_tagged != Some(true) {
            return Ok(is_tagged.is_some());
        }
        let Some(stray) = Stray::hold(pid)? else { return Ok(true) };
        let is_tagged = self.is_tagged(pid)?;
        found.extend((is_tagged == Some(true)).then_some(stray));
        Ok(is_tagged.is_some())
    }

    /// `None`: it is just being replaced by another program. An error is only that this process may open nothing.
    fn is_tagged(&mut self, pid: u32) -> io::Result<Option<bool>> {
        self.environ.clear();
        let mut file = match File::open(format!("/proc/{pid}/environ")) {
            Ok(file) => file,
            Err(error) if shortage::is_one(&error) => return Err(error),
            // Not ours to read, or gone.
            Err(_) => return Ok(Some(false)),
        };
        if file.read_to_end(&mut self.environ).is_err() {
            return Ok(Some(false));
        }
        Ok(match self.environ.is_empty() {
            true if is_being_replaced(pid) => None,
            true | false => Some(has_tag(&self.environ, self.tags)),
        })
    }
}

/// Whether a process is within an `execve`: it has a program, and no place for its environment yet. A zombie or a thread
/// of the kernel has neither; an environment that is empty has a place.
fn is_being_replaced(pid: u32) -> bool {
    /// The end of the environment, counted from the state, which follows the name in brackets.
    const ENV_END: usize = 48;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let env_end = stat.rsplit(") ").next().and_then(|fields| fields.split_whitespace().nth(ENV_END));
    env_end == Some("0") && fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

/// Whether an environment, as the kernel shows it, has one of `tags`.
fn has_tag(environ: &[u8], tags: &[&[u8]]) -> bool {
    environ
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(TAG.as_bytes())?.strip_prefix(b"="))
        .any(|tag| tags.contains(&tag))
}

fn pids() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Waits until all of them are dead, within `DYING`.
fn wait(killed: &[Stray]) {
    let mut alive: Vec<_> =
        killed.iter().map(|stray| PollFd::from_borrowed_fd(stray.pidfd(), PollFlags::IN)).collect();
    while !alive.is_empty() {
        match poll(&mut alive, Some(&DYING)) {
            Ok(0) | Err(_) => return,
            Ok(_) => alive.retain(|stray| stray.revents().is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_as_a_whole_and_at_the_start_of_a_variable_only() {
        let tags = [b"7-a.0.1".as_slice(), b"7-a.0.2".as_slice()];
        for (environ, expected) in [
            (b"PATH=/bin\0OSTLER_TAG=7-a.0.1\0HOME=/\0".as_slice(), true),
            (b"OSTLER_TAG=7-a.0.2", true),
            (b"OSTLER_TAG=7-a.0.11\0", false),
            (b"OSTLER_TAG=7-a.0\0", false),
            (b"OSTLER_TAG\0OSTLER_TAGS=7-a.0.1\0", false),
            (b"X=OSTLER_TAG=7-a.0.1\0", false),
            (b"", false),
        ] {
            assert_eq!(has_tag(environ, &tags), expected, "{}", environ.escape_ascii());
        }
    }
}
