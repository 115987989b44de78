//! How long things took, in a fixed room: a histogram whose buckets grow with the time they hold.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::status::Latency;

/// Buckets to each doubling. One bucket is an eighth of its lower end wide, so its middle is within 6.25 % of the truth.
const PARTS: u64 = 8;
/// 40 times as many: up to 2^42 µs, 51 days. What is longer is in the last one.
const BUCKETS: usize = 320;

/// Counts times, in microseconds.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    total: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            total: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    pub(super) fn record(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Relaxed);
        self.total.fetch_add(micros, Relaxed);
        self.max.fetch_max(micros, Relaxed);
    }

    pub(super) fn latency(&self) -> Latency {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let (count, max) = (counts.iter().sum(), self.max.load(Relaxed));
        let quantile = |part: f64| Duration::from_micros(at(&counts, part, count).min(max));
        Latency {
            count,
            total: Duration::from_micros(self.total.load(Relaxed)),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: Duration::from_micros(max),
        }
    }
}

/// Below 8 µs one for each; from there on, the doubling and the part of it.
fn bucket(micros: u64) -> usize {
    let index = match micros.checked_ilog2() {
        None | Some(0..3) => micros,
        Some(doubling) => {
            let shift = u64::from(doubling) - 3;
            (shift + 1) * PARTS + (micros >> shift) % PARTS
        }
    };
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The middle of a bucket, in microseconds.
fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let shift = bucket / PARTS - 1;
    ((PARTS + bucket % PARTS) << shift) + ((1 << shift) >> 1)
}

/// The smallest time that at least this part of all do not exceed.
fn at(counts: &[u64], part: f64, count: u64) -> u64 {
    let mut left = (count as f64 * part).ceil();
    for (bucket, found) in counts.iter().enumerate() {
        left -= *found as f64;
        if *found > 0 && left <= 0.0 {
            return middle(bucket);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_bucket_is_within_the_documented_error() {
        for micros in (0..100_000_u64).chain((17..42).map(|doubling| (1_u64 << doubling) + 12_345)) {
            let error = micros.abs_diff(middle(bucket(micros))) as f64;
            assert!(error <= micros as f64 * 0.0625, "{micros} is told as {}", middle(bucket(micros)));
        }
        assert_eq!(
            (bucket(u64::MAX), bucket(0), bucket(7), bucket(8), bucket(16)),
            (BUCKETS - 1, 0, 7, 8, 16)
        );
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let histogram = Histogram::default();
        assert_eq!(histogram.latency(), Latency::default());
        (1..=100).for_each(|millis| histogram.record(Duration::from_millis(millis)));
        let latency = histogram.latency();
        assert_eq!((latency.count, latency.total), (100, Duration::from_millis(5050)));
        assert_eq!(latency.max, Duration::from_millis(100));
        for (got, expected) in [(latency.p50, 50.0), (latency.p90, 90.0), (latency.p99, 99.0)] {
            let error = (got.as_secs_f64() * 1e3 - expected).abs() / expected;
            assert!(error <= 0.0625, "{got:?}, and {expected} ms is right");
        }
    }
}
