//! The pool's figures in the text format of Prometheus. The names are those of the library's feature `metrics`.

use std::fmt::Write as _;

use ostler::PoolStatus;

/// The media type of the figures.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the gateway counts beside the pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Executions that have not ended.
    pub(crate) running: usize,
    /// Executions that have ended and are kept.
    pub(crate) kept: usize,
    /// Sessions, awake and asleep.
    pub(crate) sessions: usize,
}

/// All figures.
pub(crate) fn text(status: &PoolStatus, counts: Counts) -> String {
    let mut out = String::new();
    let totals = &status.totals;
    for (name, help, value) in [
        ("ostler_requests_accepted_total", "Requests accepted.", totals.accepted),
        ("ostler_requests_requeued_total", "Requests given to a second worker.", totals.requeued),
        ("ostler_late_frames_total", "Frames of executions that had ended.", totals.late_frames),
        ("ostler_stray_lines_total", "Lines of JSON-RPC servers that were no messages.", totals.stray_lines),
        ("ostler_unclaimed_total", "Notifications that belonged to nobody.", totals.unclaimed),
        ("ostler_output_dropped_bytes_total", "Bytes of output that nobody took.", totals.dropped_bytes),
        ("ostler_workers_spawned_total", "Workers started.", status.spawned),
        ("ostler_workers_recycled_total", "Workers replaced while they lived.", status.recycled),
        (
            "ostler_workers_left_over_total",
            "Workers replaced because code left something running.",
            status.left_over,
        ),
    ] {
        family(&mut out, name, help, "counter", [("", "", value)]);
    }
    let ended = [
        ("outcome", "completed", totals.completed),
        ("outcome", "failed", totals.failed),
        ("outcome", "cancelled", totals.cancelled),
        ("outcome", "timed_out", totals.timed_out),
        ("outcome", "lost", totals.lost),
    ];
    family(&mut out, "ostler_requests_ended_total", "Requests by outcome.", "counter", ended);
    let deaths = status.deaths.iter().map(|(cause, deaths)| ("cause", *cause, *deaths));
    family(&mut out, "ostler_workers_ended_total", "Workers ended, by cause.", "counter", deaths);
    let states = [
        ("idle", status.idle),
        ("busy", status.busy),
        ("leased", status.leased),
        ("starting", status.starting),
        ("retiring", status.retiring),
        ("backing_off", status.backing_off),
    ];
    let states = states.map(|(state, number)| ("state", state, number as u64));
    family(&mut out, "ostler_sessions", "Sessions of the pool, by state.", "gauge", states);
    let memory = status.sessions.iter().filter_map(|session| session.vitals).map(|seen| seen.memory).sum();
    for (name, help, value) in [
        ("ostler_requests_in_flight", "Requests without an outcome yet.", totals.in_flight),
        ("ostler_requests_queued", "Requests that wait for a session.", status.queued as u64),
        ("ostler_workers_memory_bytes", "Resident memory of all workers.", memory),
        ("ostler_gateway_executions_running", "Executions that have not ended.", counts.running as u64),
        ("ostler_gateway_executions_kept", "Executions that have ended and are kept.", counts.kept as u64),
        ("ostler_gateway_sessions", "Sessions of callers, awake and asleep.", counts.sessions as u64),
    ] {
        family(&mut out, name, help, "gauge", [("", "", value)]);
    }
    out
}

/// One name with its values by one label; without a label if that has no name.
fn family<'a>(
    out: &mut String,
    name: &str,
    help: &str,
    kind: &str,
    values: impl IntoIterator<Item = (&'a str, &'a str, u64)>,
) {
    let mut text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for (label, word, value) in values {
        // Writing to a string does not fail. The words are ours, and need no escapes.
        let _ = match label {
            "" => writeln!(text, "{name} {value}"),
            label => writeln!(text, "{name}{{{label}=\"{word}\"}} {value}"),
        };
    }
    out.push_str(&text);
}
