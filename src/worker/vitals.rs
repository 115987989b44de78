//! What the kernel says of a worker: its memory, its processor time, its state. Linux tells it in `/proc`; see
//! proc_pid_stat(5) and proc_pid_statm(5).

use std::{fs, time::Duration};

use rustix::param::{clock_ticks_per_second, page_size};

use super::process::Process;
use crate::status::Vitals;

/// `None` once it is collected, and where there is no `/proc`.
pub(super) fn of(process: &Process) -> Option<Vitals> {
    process.while_it_is_ours(|id| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_whatever_the_program_is_called() {
        let stat = "42 (a) T (b) ) T 1 42 42 0 -1 4194560 93 0 0 0 150 50 9 9 20 0 1 0 8 1 2 3\n";
        let vitals = parse(stat, "900 300 100 1 0 80 0\n").unwrap();
        assert_eq!((vitals.memory, vitals.stopped), (300 * page_size() as u64, true));
        assert_eq!(vitals.cpu_time, Duration::from_secs_f64(200.0 / clock_ticks_per_second() as f64));
        assert_eq!(parse("", ""), None);
    }
}
