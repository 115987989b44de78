//! What the host does with our words and figures is the host's affair, and costs no request: a log or a recorder that
//! panics is left alone with it. Each is called outside our locks, on the thread where something happened; one that
//! blocks holds up that thread.

use ostler_protocol::contain::contained;

/// Performs what may be code of the host. Of a panic the panic hook has told already.
pub(crate) fn aside(work: impl FnOnce()) {
    let _ = contained(work);
}

macro_rules! debug_aside {
    ($($event:tt)*) => { $crate::log::aside(|| ::tracing::debug!($($event)*)) };
}
macro_rules! info_aside {
    ($($event:tt)*) => { $crate::log::aside(|| ::tracing::info!($($event)*)) };
}
macro_rules! trace_aside {
    ($($event:tt)*) => { $crate::log::aside(|| ::tracing::trace!($($event)*)) };
}
macro_rules! warn_aside {
    ($($event:tt)*) => { $crate::log::aside(|| ::tracing::warn!($($event)*)) };
}
pub(crate) use {debug_aside as debug, info_aside as info, trace_aside as trace, warn_aside as warn};
