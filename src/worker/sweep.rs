//! What a dead worker leaves behind: processes that left its group, and its scratch folder.
//!
//! Processes are known by the tag in their environment, which children inherit. One that cleared its environment and
//! left the group is not found; only a PID namespace would hold it.

mod look;

use std::{fs, io, os::unix::fs::MetadataExt, process, sync::mpsc, thread, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    param::clock_ticks_per_second,
    process::geteuid,
};

use self::look::{Found, Looker, Tags};
use super::{cleanup::Pending, descriptor_limit, environment::TAG, process::Orphan, scratch::Scratch};
use crate::log;

/// Scans in a row that must find nothing. A process that forks behind the scan and ends before it is reached is in neither
/// of its places; its child is in the next scan.
const EMPTY_SCANS: u32 = 2;
/// Scans for one batch of dead workers. A process may fork while it is being looked for.
const SCANS_MAX: u32 = 8;
/// How long killed processes may take to be gone before the next scan.
const DYING: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// The same, behind the last scan: those that become children of ours are to be collected.
const DYING_AT_LAST: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Seconds by which a process may be older than the worker whose tag it has: a copy of a worker is younger than its keeper.
const OLDER_BY: u64 = 10;
/// A process that is being replaced by `execve` shows no environment for a moment, which is long on a busy machine: it
/// is asked again this often …
const UNDECIDED_AFTER: Duration = Duration::from_millis(5);
/// … and this many times.
const UNDECIDED_MAX: u32 = 100;

/// What is left to be cleared once a worker is dead.
#[derive(Debug)]
pub(super) struct Footprint {
    /// In the environment of the worker and of its children.
    pub(super) tag: String,
    /// The worker's own folder.
    pub(super) scratch: Option<Scratch>,
}

/// A dead worker and what it left.
#[derive(Debug)]
pub(super) struct Remains {
    pub(super) footprint: Footprint,
    /// Its process id, which was that of its group.
    pub(super) group: u32,
    /// When it was started, see [`Stat::born`]; 0 if that is not known.
    pub(super) born: u64,
    pub(super) pending: Pending,
}

/// Clears footprints until nobody can send any. One scan serves all that have come meanwhile.
pub(super) fn run(remains: &mpsc::Receiver<Remains>) {
    let mut looker = Looker::new();
    while let Ok(first) = remains.recv() {
        let mut batch = vec![first];
        batch.extend(remains.try_iter());
        Scan::new(&mut looker, &batch).kill_all();
        // Nothing writes to the folders any more.
        for Remains { footprint, pending, .. } in batch {
            if let Some(scratch) = footprint.scratch {
                scratch.remove(pending);
            }
        }
    }
}

/// The search for what a batch of dead workers left.
struct Scan<'a> {
    looker: &'a mut Looker,
    tags: Tags,
    groups: Vec<u32>,
    /// What was started before is none of theirs.
    since: u64,
    us: u32,
    user: u32,
}

impl<'a> Scan<'a> {
    fn new(looker: &'a mut Looker, batch: &[Remains]) -> Self {
        let oldest = batch.iter().map(|remains| remains.born).min().unwrap_or_default();
        Self {
            looker,
            tags: batch.iter().map(|remains| remains.footprint.tag.clone().into_bytes()).collect(),
            groups: batch.iter().map(|remains| remains.group).collect(),
            since: oldest.saturating_sub(OLDER_BY * clock_ticks_per_second()),
            us: process::id(),
            user: geteuid().as_raw(),
        }
    }

    /// Kills every process that has one of the tags in its environment.
    fn kill_all(mut self) {
        let mut dying = Vec::new();
        let mut empty = 0;
        for _ in 0..SCANS_MAX {
            let killed = descriptor_limit::outlast(|| self.kill()).unwrap_or_else(|error| {
                log::warn!(%error, "not all processes were looked at: some of dead workers may be left");
                Vec::new()
            });
            if !killed.is_empty() {
                dying.extend(killed);
                bury(&mut dying, DYING);
                empty = 0;
            } else if empty + 1 == EMPTY_SCANS {
                return bury(&mut dying, DYING_AT_LAST);
            } else {
                empty += 1;
            }
        }
        bury(&mut dying, DYING_AT_LAST);
        log::warn!(scans = SCANS_MAX, "processes of dead workers are still being found");
    }

    /// Looks at every process once, and at those that are just being replaced until they have been.
    fn kill(&mut self) -> io::Result<Vec<Orphan>> {
        let mut killed = Vec::new();
        let looked = self.look(&mut killed);
        // Those that are held take descriptors, too: with them gone, the next scan sees more.
        match looked {
            Err(error) if killed.is_empty() => Err(error),
            Ok(()) | Err(_) => Ok(killed),
        }
    }

    fn look(&mut self, killed: &mut Vec<Orphan>) -> io::Result<()> {
        let mut undecided = Vec::new();
        for pid in pids()? {
            if !self.decide(pid, killed)? {
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
                if !self.decide(pid, killed)? {
                    still.push(pid);
                }
            }
            undecided = still;
        }
        Ok(())
    }

    /// Kills a process that is tagged. False if it has to be asked later. What can be told without opening its memory, which
    /// may take long, is asked first.
    fn decide(&mut self, pid: u32, killed: &mut Vec<Orphan>) -> io::Result<bool> {
        if pid == self.us || self.is_anothers(pid) {
            return Ok(true);
        }
        let Some(stat) = Stat::of(pid) else { return Ok(true) };
        if !stat.has_memory {
            return self.collect(pid, &stat);
        }
        if stat.born < self.since {
            return Ok(true);
        }
        Ok(match self.looker.look(pid, stat.born, &self.tags)? {
            Found::Stranger => true,
            Found::Killed(stray) => {
                killed.push(stray);
                true
            }
            Found::Undecided => false,
        })
    }

    /// Whether its memory is not ours to read. What root may read is shown as its user's, or root's.
    fn is_anothers(&self, pid: u32) -> bool {
        self.user != 0 && fs::metadata(format!("/proc/{pid}")).is_ok_and(|folder| folder.uid() != self.user)
    }

    /// Collects what was killed with the group of a dead worker, if it has become a child of ours by that: in the first
    /// process of a container, and in others that inherit orphans. False if it is not dead yet. No other child is touched.
    fn collect(&self, pid: u32, stat: &Stat) -> io::Result<bool> {
        let is_one =
            |stat: &Stat| stat.parent == self.us && stat.group != pid && self.groups.contains(&stat.group);
        if !is_one(stat) {
            return Ok(true);
        }
        let Some(orphan) = Orphan::hold(pid)? else { return Ok(true) };
        Ok(!Stat::of(pid).is_some_and(|now| is_one(&now) && now.born == stat.born) || orphan.collect())
    }
}

/// Waits for so long until these are dead, and collects those that have become children of ours.
fn bury(dying: &mut Vec<Orphan>, within: Timespec) {
    wait(dying, within);
    dying.retain(|stray| !stray.collect());
}

/// What the kernel says of a process without looking into its memory; see proc_pid_stat(5).
#[derive(Debug)]
struct Stat {
    parent: u32,
    group: u32,
    /// When it was started, in ticks of the kernel's clock.
    born: u64,
    /// It is no zombie, and no thread of the kernel.
    has_memory: bool,
    /// Where its environment ends; 0 while it has none.
    env_end: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name of the program stands in parentheses and may hold any of them itself. The state follows.
        let fields: Vec<_> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let id = |at: usize| u32::try_from(number(at)?).ok();
        Some(Self {
            parent: id(1)?,
            group: id(2)?,
            born: number(19)?,
            has_memory: number(20)? > 0,
            env_end: number(48)?,
        })
    }
}

/// When this process was started, in ticks of the kernel's clock. 0 if nothing says so.
pub(super) fn born(pid: u32) -> u64 {
    Stat::of(pid).map_or(0, |stat| stat.born)
}

/// Whose child this process is, alive or not yet collected. `None` if nothing says so.
pub(super) fn parent(pid: u32) -> Option<u32> {
    Stat::of(pid).map(|stat| stat.parent)
}

/// Whether an environment, as the kernel shows it, has one of `tags`.
fn has_tag(environ: &[u8], tags: &[Vec<u8>]) -> bool {
    environ
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(TAG.as_bytes())?.strip_prefix(b"="))
        .any(|tag| tags.iter().any(|wanted| wanted == tag))
}

fn pids() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Waits until all of them are dead, within this.
fn wait(killed: &[Orphan], within: Timespec) {
    let mut alive: Vec<_> =
        killed.iter().map(|stray| PollFd::from_borrowed_fd(stray.pidfd(), PollFlags::IN)).collect();
    while !alive.is_empty() {
        match poll(&mut alive, Some(&within)) {
            Ok(0) | Err(_) => return,
            Ok(_) => alive.retain(|stray| stray.revents().is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_whatever_the_program_is_called() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let stat = Stat::parse(&format!("1 (a) S 7 8) {fields}")).unwrap();
        assert!(stat.has_memory && stat.env_end > 0 && stat.born > 0, "{stat:?}");
        assert_eq!(stat.parent, rustix::process::getppid().unwrap().as_raw_pid().unsigned_abs());
        assert!(Stat::parse("1 (a) Z 1").is_none() && Stat::parse("").is_none());
    }

    #[test]
    fn a_tag_is_found_as_a_whole_and_at_the_start_of_a_variable_only() {
        let tags = [b"7-a.0.1".to_vec(), b"7-a.0.2".to_vec()];
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
