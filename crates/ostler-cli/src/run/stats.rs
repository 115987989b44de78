//! What `--stats` prints: figures of the whole run, for a person.

use std::time::Duration;

use ostler::{Latency, PoolStatus};

/// A short table, without the end of its last line.
pub(crate) fn text(status: &PoolStatus, duration: Duration) -> String {
    let totals = &status.totals;
    let ended = totals.accepted - totals.in_flight;
    let outcomes: Vec<String> = [
        (totals.completed, "completed"),
        (totals.failed, "failed"),
        (totals.timed_out, "timed out"),
        (totals.cancelled, "cancelled"),
        (totals.lost, "lost"),
        (totals.in_flight, "without an outcome"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    let outcomes = if outcomes.is_empty() { "none".into() } else { outcomes.join(", ") };
    let rate = ended as f64 / duration.as_secs_f64().max(1e-9);
    let workers = match status.spawned {
        0 if totals.accepted > 0 => "not known after a stop".into(),
        spawned => format!("{spawned} started, {} crashed, {} recycled", status.crashed, status.recycled),
    };
    let memory =
        status.peak_memory.map_or_else(|| "not seen; workers are looked at once a second".into(), bytes);
    format!(
        "requests    {outcomes}
throughput  {rate:.1} a second, over {}
            {:>9} {:>9} {:>9} {:>9}
queue wait  {}
run time    {}
workers     {workers}
memory      {memory}{}",
        time(duration),
        "p50",
        "p90",
        "p99",
        "max",
        row(&status.queue_wait),
        row(&status.run_time),
        if status.peak_memory.is_some() { " at most, in one worker" } else { "" },
    )
}

fn row(latency: &Latency) -> String {
    if latency.count == 0 {
        return "nothing was timed".into();
    }
    [latency.p50, latency.p90, latency.p99, latency.max].map(|it| format!("{:>9}", time(it))).join(" ")
}

/// A time with three digits or so.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1e-3 {
        format!("{} µs", time.as_micros())
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 600.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

/// A size with three digits or so.
pub(crate) fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    if bytes < 1 << 10 {
        format!("{bytes} B")
    } else if bytes < 1 << 20 {
        format!("{:.0} KiB", value / 1024.0)
    } else if bytes < 1 << 30 {
        format!("{:.1} MiB", value / (1 << 20) as f64)
    } else {
        format!("{:.2} GiB", value / (1 << 30) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_short() {
        for (micros, expected) in
            [(12, "12 µs"), (1_500, "1.5 ms"), (2_340_000, "2.3 s"), (900_000_000, "15 min")]
        {
            assert_eq!(time(Duration::from_micros(micros)), expected);
        }
        for (size, expected) in [(12, "12 B"), (2048, "2 KiB"), (3 << 19, "1.5 MiB"), (5 << 29, "2.50 GiB")] {
            assert_eq!(bytes(size), expected);
        }
    }

    #[test]
    fn a_run_of_nothing_is_said_too() {
        let text = text(&PoolStatus::default(), Duration::from_millis(20));
        let expected = "\
requests    none
throughput  0.0 a second, over 20.0 ms
                  p50       p90       p99       max
queue wait  nothing was timed
run time    nothing was timed
workers     0 started, 0 crashed, 0 recycled
memory      not seen; workers are looked at once a second";
        assert_eq!(text, expected);
    }
}
