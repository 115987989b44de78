//! Whether new work would be done.

use ostler::PoolStatus;

/// Why new work would not be done; `None` if it would.
pub(crate) fn why_not(status: &PoolStatus, draining: bool) -> Option<&'static str> {
    let alive = status.idle + status.busy + status.leased;
    if draining {
        Some("the server is ending")
    } else if status.shutting_down {
        Some("the pool has ended")
    } else if status.failed.is_some() {
        Some("the pool gave up on its workers; `GET /v1/pool` says why")
    } else if alive == 0 && status.trouble.is_some() {
        Some("no worker becomes ready; `GET /v1/pool` says why")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G33: one fact after the other.
    #[test]
    fn it_is_ready_as_long_as_somebody_would_do_the_work() {
        let mut status = PoolStatus::default();
        assert_eq!(why_not(&status, false), None, "workers start when they are needed");
        assert!(why_not(&status, true).is_some());
        status.trouble = Some("no such interpreter".into());
        assert!(why_not(&status, false).is_some());
        status.busy = 1;
        assert_eq!(why_not(&status, false), None, "one works, though another does not start");
        status.failed = Some("five deaths".into());
        assert!(why_not(&status, false).is_some());
    }
}
