//! Between which values each number of a pool must lie.

use std::{ops::RangeInclusive, time::Duration};

use crate::{config::PoolConfig, error::ConfigError};

/// Most sessions of one pool, and most workers beyond them.
pub const SESSIONS_MAX: usize = 1 << 16;
/// Most requests that may wait anywhere, or be at one server.
pub const WAITING_MAX: usize = 1 << 20;
/// Most workers that may be started within one second.
pub const START_RATE_MAX: u32 = 1 << 20;
/// The longest time that a setting may name: 100 years. Where there need be no limit, there is a word for that.
pub const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
/// The largest size that a setting may name, in bytes: 1 PiB.
pub const SIZE_MAX: u64 = 1 << 50;

/// What is named must be more than nothing.
const SOME: Duration = Duration::from_nanos(1);

impl PoolConfig {
    /// Names the first number that is out of its bounds, with its value and the bounds.
    pub(super) fn check_bounds(&self) -> Result<(), ConfigError> {
        for (key, value, bounds) in self.counts() {
            within(key, value, &bounds, ToString::to_string)?;
        }
        for (key, value, least) in self.times() {
            within(key, value, &(least..=TIME_MAX), |time| format!("{time:?}"))?;
        }
        for (key, value, least) in self.sizes() {
            within(key, value, &(least..=SIZE_MAX), |bytes| format!("{bytes} bytes"))?;
        }
        Ok(())
    }

    /// Those that only count up to them, such as `restart.intensity`, may be as large as a number of their kind.
    fn counts(&self) -> [(&'static str, u64, RangeInclusive<u64>); 9] {
        let (sessions, waiting) = (SESSIONS_MAX as u64, WAITING_MAX as u64);
        [
            ("max_sessions", self.max_sessions as u64, 1..=sessions),
            ("min_idle", self.min_idle as u64, 0..=sessions),
            ("surge", self.surge as u64, 0..=sessions),
            ("max_starting", self.max_starting as u64, 1..=sessions),
            ("start_rate", self.start_rate.into(), 1..=START_RATE_MAX.into()),
            ("in_flight", self.in_flight as u64, 1..=waiting),
            ("queue", self.queue as u64, 0..=waiting),
            ("tenant_queue", self.tenant_queue as u64, 0..=waiting),
            ("session_queue", self.session_queue as u64, 0..=waiting),
        ]
    }

    /// A `deadline` that no clock can count is none, as that of a request.
    fn times(&self) -> Vec<(&'static str, Duration, Duration)> {
        let (restart, recycle) = (&self.restart, &self.recycle);
        let times = [
            ("grace", self.grace, SOME),
            ("ready_timeout", self.ready_timeout, SOME),
            ("warmup_timeout", self.warmup_timeout, SOME),
            ("lease_timeout", self.lease_timeout, Duration::ZERO),
            ("checkpoint_timeout", self.checkpoint_timeout, SOME),
            ("heartbeat_timeout", self.heartbeat_timeout, SOME),
            ("restart.min_backoff", restart.min_backoff, Duration::ZERO),
            ("restart.max_backoff", restart.max_backoff, Duration::ZERO),
            ("restart.window", restart.window, SOME),
            ("restart.stable_after", restart.stable_after, Duration::ZERO),
            ("restart.probe_after", restart.probe_after, SOME),
        ];
        let limits = [
            ("queue_timeout", self.queue_timeout, Duration::ZERO),
            ("session_timeout", self.session_timeout, Duration::ZERO),
            ("idle_timeout", self.idle_timeout, Duration::ZERO),
            ("save_interval", self.save_interval, SOME),
            ("recycle.max_age", recycle.max_age, Duration::ZERO),
        ];
        let limits = limits.into_iter().filter_map(|(key, time, least)| Some((key, time?, least)));
        times.into_iter().chain(limits).collect()
    }

    fn sizes(&self) -> Vec<(&'static str, u64, u64)> {
        let sizes = [
            ("queue_bytes", Some(self.queue_bytes as u64), 0),
            ("max_report_bytes", Some(self.max_report_bytes as u64), 0),
            ("max_checkpoint_bytes", Some(self.max_checkpoint_bytes as u64), 1),
            ("soft_memory", self.soft_memory, 1),
            ("hard_memory", self.hard_memory, 1),
            ("recycle.max_memory", self.recycle.max_memory, 1),
        ];
        sizes.into_iter().filter_map(|(key, size, least)| Some((key, size?, least))).collect()
    }
}

fn within<T: PartialOrd>(
    key: &'static str,
    value: T,
    bounds: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<(), ConfigError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let (value, least, most) = (show(&value), show(bounds.start()), show(bounds.end()));
    Err(ConfigError { key, why: format!("it is {value}; give {least} to {most}") })
}
