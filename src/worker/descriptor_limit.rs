//! A process or a system that may open nothing more: it passes, as a rule, and what must be cleared away waits for that.

use std::{io, thread, time::Duration};

use rustix::io::Errno;

/// Between two attempts.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// One minute; then what cannot be cleared away is left, and said to be.
const ATTEMPTS: u32 = 600;

/// Whether it was for want of descriptors.
pub(super) fn is_one(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error).map(Some).contains(&error.raw_os_error())
}

/// Tries again and again while there are no descriptors. For threads that nobody waits for.
pub(super) fn outlast<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match work() {
            Err(error) if is_one(&error) => thread::sleep(AGAIN_AFTER),
            done => return done,
        }
    }
    work()
}
