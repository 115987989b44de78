//! The pool's figures, for whichever recorder of the `metrics` facade the host has installed. Published once in each
//! [`LOOK_EVERY`](crate::config::LOOK_EVERY); the names are a promise, and are listed in the book (`docs/src/operating.md`).

use ::metrics::{counter, gauge};

use crate::status::PoolStatus;

/// Publishes all figures of a pool.
pub(crate) fn publish(pool: &str, status: &PoolStatus) {
    let pool = pool.to_owned();
    let totals = &status.totals;
    for (name, value) in [
        ("ostler_requests_accepted_total", totals.accepted),
        ("ostler_requests_requeued_total", totals.requeued),
        ("ostler_late_frames_total", totals.late_frames),
        ("ostler_stray_lines_total", totals.stray_lines),
        ("ostler_unclaimed_total", totals.unclaimed),
        ("ostler_output_dropped_bytes_total", totals.dropped_bytes),
        ("ostler_workers_spawned_total", status.spawned),
        ("ostler_workers_recycled_total", status.recycled),
        ("ostler_workers_left_over_total", status.left_over),
    ] {
        counter!(name, "pool" => pool.clone()).absolute(value);
    }
    for (outcome, value) in [
        ("completed", totals.completed),
        ("failed", totals.failed),
        ("cancelled", totals.cancelled),
        ("timed_out", totals.timed_out),
        ("lost", totals.lost),
    ] {
        counter!("ostler_requests_ended_total", "pool" => pool.clone(), "outcome" => outcome).absolute(value);
    }
    for (cause, value) in &status.deaths {
        counter!("ostler_workers_ended_total", "pool" => pool.clone(), "cause" => *cause).absolute(*value);
    }
    let memory: u64 =
        status.sessions.iter().filter_map(|session| session.vitals).map(|seen| seen.memory).sum();
    for (name, value) in [
        ("ostler_requests_in_flight", totals.in_flight as f64),
        ("ostler_requests_queued", status.queued as f64),
        ("ostler_workers_memory_bytes", memory as f64),
    ] {
        gauge!(name, "pool" => pool.clone()).set(value);
    }
    for (state, value) in [
        ("idle", status.idle),
        ("busy", status.busy),
        ("leased", status.leased),
        ("starting", status.starting),
        ("retiring", status.retiring),
        ("backing_off", status.backing_off),
    ] {
        gauge!("ostler_sessions", "pool" => pool.clone(), "state" => state).set(value as f64);
    }
}
