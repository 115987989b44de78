//! The only look at the clock on the wall: when something ended is a label, and nothing is decided by it.

use std::time::SystemTime;

/// Now, in RFC 3339.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
