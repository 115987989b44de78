//! What the kernel says of a worker: its memory, its processor time, its state, and how it ended. Linux tells it in
//! `/proc`; see proc_pid_stat(5) and proc_pid_statm(5).

use std::{fs, io::ErrorKind, time::Duration};

use rustix::{
    io::Errno,
    param::{clock_ticks_per_second, page_size},
};

use super::process::Process;
use crate::{outcome::Exit, status::Vitals};

/// `None` once it is collected, and where there is no `/proc`.
pub(super) fn of(process: &Process) -> Option<Vitals> {
    process.look(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let statm = fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
        parse(&stat, &statm)
    })?
}

fn parse(stat: &str, statm: &str) -> Option<Vitals> {
    // The name of the program stands in parentheses and may hold any of them itself.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let mut ticks = fields.skip(10).map(str::parse::<u64>);
    let used = ticks.next()?.ok()? + ticks.next()?.ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(Vitals {
        memory: pages * page_size() as u64,
        cpu_time: Duration::from_secs_f64(used as f64 / clock_ticks_per_second() as f64),
        stopped: matches!(state, "T" | "t"),
    })
}

/// Whether every thread of it is past its last instruction. The kernel marks them before it closes what they had open. Not,
/// where it cannot be read.
pub(super) fn is_ending(id: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else { return false };
    threads.into_iter().all(|thread| {
        match thread.and_then(|thread| fs::read_to_string(thread.path().join("stat"))) {
            Ok(stat) => is_exiting(&stat),
            // Gone since the folder was read, so past it too.
            Err(error) => {
                error.kind() == ErrorKind::NotFound || Errno::from_io_error(&error) == Some(Errno::SRCH)
            }
        }
    })
}

fn is_exiting(stat: &str) -> bool {
    /// `PF_EXITING` among the flags, and where they are, counted from the state.
    const EXITING: u64 = 0x4;
    const FLAGS: usize = 6;
    let flags = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(FLAGS)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & EXITING != 0)
}

/// How a process ended that is dead and not collected, whosever child it is. `None` if it is anything else.
pub(super) fn exit(id: u32) -> Option<Exit> {
    exit_told(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

fn exit_told(stat: &str) -> Option<Exit> {
    /// What wait(2) would tell, counted from behind the state.
    const EXIT_CODE: usize = 48;
    let fields = stat.rsplit_once(") ")?.1.trim_end().strip_prefix("Z ")?;
    let status: i32 = fields.split(' ').nth(EXIT_CODE)?.parse().ok()?;
    Some(match status & 0x7f {
        0 => Exit::Code(status >> 8 & 0xff),
        signal => Exit::Signal(signal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_of_the_dead_only() {
        let between = "1 ".repeat(48);
        for (start, status, expected) in [
            ("42 (a) Z 1 2) Z", 768, Some(Exit::Code(3))),
            ("42 (python3) Z", 9, Some(Exit::Signal(9))),
            ("42 (python3) Z", 139, Some(Exit::Signal(11))),
            ("42 (python3) Z", 0, Some(Exit::Code(0))),
            ("42 (python3) S", 0, None),
        ] {
            let stat = format!("{start} {between}{status}\n");
            assert_eq!(exit_told(&stat), expected, "{stat}");
        }
        assert_eq!(exit_told("42 (python3) Z 1 1\n"), None);
    }

    #[test]
    fn a_thread_is_ending_when_its_flags_say_so() {
        for (flags, expected) in [("4194560", false), ("4194564", true), ("4", true), ("x", false)] {
            let stat = format!("42 (a) R (4) ) R 1 42 42 0 -1 {flags} 93 0 0 0\n");
            assert_eq!(is_exiting(&stat), expected, "{stat}");
        }
        assert!(!is_exiting("") && !is_ending(std::process::id()));
    }

    #[test]
    fn the_fields_are_found_whatever_the_program_is_called() {
        let stat = "42 (a) T (b) ) T 1 42 42 0 -1 4194560 93 0 0 0 150 50 9 9 20 0 1 0 8 1 2 3\n";
        let vitals = parse(stat, "900 300 100 1 0 80 0\n").unwrap();
        assert_eq!((vitals.memory, vitals.stopped), (300 * page_size() as u64, true));
        assert_eq!(vitals.cpu_time, Duration::from_secs_f64(200.0 / clock_ticks_per_second() as f64));
        assert_eq!(parse("", ""), None);
    }
}
