//! Waiting for facts, with a limit on everything.

use std::time::Duration;

use ostler::{PoolStatus, Runtime};
use tokio::time::Instant;

use crate::support::log;

/// Ends a test that hangs, on however busy a machine.
const GUARD: Duration = Duration::from_secs(120);
/// How often a fact is looked at again.
const AGAIN_AFTER: Duration = Duration::from_millis(2);
/// How long a fact may take that should come at once.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Runs a test, and fails it when it hangs.
pub(crate) async fn guarded<T>(test: impl Future<Output = T>) -> T {
    guarded_for(GUARD, test).await
}

/// As [`guarded`], for a test that does a lot.
pub(crate) async fn guarded_for<T>(limit: Duration, test: impl Future<Output = T>) -> T {
    log::show();
    match tokio::time::timeout(limit, test).await {
        Ok(done) => done,
        Err(_elapsed) => panic!("the test hung: its guard of {limit:?} went off"),
    }
}

/// Waits until `holds`, and returns how long that took.
pub(crate) async fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    begun.elapsed()
}

/// Waits until the pool is as `holds` wants it.
pub(crate) async fn pool_is(
    runtime: &Runtime,
    what: &str,
    holds: impl Fn(&PoolStatus) -> bool,
) -> PoolStatus {
    let begun = Instant::now();
    loop {
        let status = runtime.status().await;
        if holds(&status) {
            return status;
        }
        assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}; the pool is {status:#?}");
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}
