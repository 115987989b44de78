//! A snapshot in words and columns, the same on the terminal and in plain text.

use std::time::Duration;

use ostler::monitor::{SessionLine, Snapshot, Times};

use crate::run::stats::{bytes, time};

/// The heads of the columns of [`row`], with their widths.
pub(super) const COLUMNS: [(&str, u16); 10] = [
    ("SLOT", 4),
    ("GEN", 4),
    ("PID", 8),
    ("STATE", 14),
    ("AGE", 8),
    ("RUNS", 6),
    ("MEMORY", 10),
    ("CPU", 6),
    ("NOTE", 12),
    ("LAST DEATH", 30),
];

/// What stands above the sessions, line by line.
pub(super) fn head(pool: &Snapshot) -> Vec<String> {
    let mut lines = vec![
        format!("pool of process {}, seen for {}{}", pool.pid, seconds(pool.uptime), health(pool)),
        format!(
            "sessions  {} busy, {} leased, {} idle, {} starting, {} backing off, {} ending, of at most {}",
            pool.busy,
            pool.leased,
            pool.idle,
            pool.starting,
            pool.backing_off,
            pool.retiring,
            pool.max_sessions
        ),
        format!(
            "requests  {} queued, {} in flight, {} completed, {} failed, {} timed out, {} cancelled, {} lost; {:.1} a second",
            pool.queued,
            pool.in_flight,
            pool.completed,
            pool.failures,
            pool.timed_out,
            pool.cancelled,
            pool.lost,
            pool.rate
        ),
        format!("waiting   {}", quantiles(&pool.queue_wait)),
        format!("running   {}", quantiles(&pool.run_time)),
        format!(
            "workers   {} started, {} crashed, {} recycled; the largest held {}",
            pool.spawned,
            pool.crashed,
            pool.recycled,
            pool.peak_memory.map_or_else(|| "-".into(), bytes)
        ),
    ];
    lines.extend(pool.trouble.iter().map(|why| format!("trouble   {}", first_line(why))));
    lines
}

fn health(pool: &Snapshot) -> String {
    match &pool.failed {
        Some(why) => format!(": FAILED: {}", first_line(why)),
        None if pool.shutting_down => ": shutting down".into(),
        None => String::new(),
    }
}

fn quantiles(times: &Times) -> String {
    if times.count == 0 {
        return "nothing was timed".into();
    }
    let [p50, p90, p99, max] = [times.p50, times.p90, times.p99, times.max].map(seconds);
    format!("p50 {p50}, p90 {p90}, p99 {p99}, max {max}")
}

/// The cells of a session.
pub(super) fn row(session: &SessionLine) -> [String; 10] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let state = if session.leased { format!("{}, leased", session.state) } else { session.state.clone() };
    let note = match session.retry_in {
        _ if session.unresponsive => "unresponsive".into(),
        Some(wait) => format!("in {}", seconds(wait)),
        None => "-".into(),
    };
    [
        session.slot.to_string(),
        session.generation.to_string(),
        or_dash(session.pid.map(|pid| pid.to_string())),
        state,
        seconds(session.age),
        session.executions.to_string(),
        or_dash(session.memory.map(bytes)),
        or_dash(session.cpu.map(|cpu| format!("{cpu:.0}%"))),
        note,
        or_dash(session.last_death.as_deref().map(first_line)),
    ]
}

/// What happened, the latest first.
pub(super) fn events(pool: &Snapshot) -> impl Iterator<Item = String> {
    pool.events
        .iter()
        .rev()
        .map(|event| format!("{:>8} ago  {}", seconds((pool.uptime - event.at).max(0.0)), event.what))
}

/// All of it as plain text.
pub(super) fn snapshot(pool: &Snapshot) -> String {
    let mut lines = head(pool);
    lines.push(String::new());
    lines.push(columns(COLUMNS.map(|(name, _)| name.to_owned())));
    lines.extend(pool.sessions.iter().map(|session| columns(row(session))));
    lines.push(String::new());
    lines.extend(events(pool));
    lines.join("\n").trim_end().to_owned() + "\n"
}

fn columns(cells: [String; 10]) -> String {
    let cell =
        |(text, (_, width)): (&String, &(&str, u16))| format!("{text:<width$}", width = usize::from(*width));
    let cells: Vec<String> = cells.iter().zip(&COLUMNS).map(cell).collect();
    cells.join(" ").trim_end().to_owned()
}

fn seconds(value: f64) -> String {
    time(Duration::try_from_secs_f64(value).unwrap_or_default())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use ostler::monitor::Moment;

    use super::*;

    /// A pool with something in each place.
    pub(in crate::top) fn sample() -> Snapshot {
        let mut session = SessionLine::default();
        (session.slot, session.generation, session.pid) = (1, 3, Some(4242));
        (session.state, session.age, session.executions) = ("busy".into(), 61.5, 7);
        (session.memory, session.cpu, session.unresponsive) = (Some(3 << 20), Some(99.7), true);
        session.last_death = Some("signal 9, SIGKILL\nmore".into());
        let mut pool = Snapshot::default();
        (pool.pid, pool.uptime, pool.busy, pool.max_sessions) = (77, 90.0, 1, 2);
        (pool.completed, pool.rate) = (12, 1.5);
        pool.run_time = Times { count: 12, p50: 0.012, p90: 0.1, p99: 1.5, max: 2.0 };
        pool.sessions = vec![session];
        pool.events = vec![Moment { at: 30.0, what: "slot 1: worker 4242 started, generation 3".into() }];
        pool
    }

    #[test]
    fn a_snapshot_is_a_page_of_text() {
        let expected = "\
pool of process 77, seen for 90.0 s
sessions  1 busy, 0 leased, 0 idle, 0 starting, 0 backing off, 0 ending, of at most 2
requests  0 queued, 0 in flight, 12 completed, 0 failed, 0 timed out, 0 cancelled, 0 lost; 1.5 a second
waiting   nothing was timed
running   p50 12.0 ms, p90 100.0 ms, p99 1.5 s, max 2.0 s
workers   0 started, 0 crashed, 0 recycled; the largest held -

SLOT GEN  PID      STATE          AGE      RUNS   MEMORY     CPU    NOTE         LAST DEATH
1    3    4242     busy           61.5 s   7      3.0 MiB    100%   unresponsive signal 9, SIGKILL

  60.0 s ago  slot 1: worker 4242 started, generation 3
";
        assert_eq!(snapshot(&sample()), expected);
    }
}
