//! What a conversation waits for.

use std::future;

use ostler::{Session, SessionEvent};
use tokio::time::Instant;

use crate::{exit::Exit, signals::Signals};

/// What happens in the session while nothing runs.
pub(crate) async fn next_event(session: &mut Option<Session>) -> Option<SessionEvent> {
    match session {
        Some(session) => session.next_event().await,
        None => None,
    }
}

/// Resolves at this time; never, while there is none.
pub(crate) async fn passed(limit: Option<Instant>) {
    match limit {
        Some(limit) => tokio::time::sleep_until(limit).await,
        None => future::pending().await,
    }
}

/// A signal that ends the program; Ctrl-C at the prompt is the editor's.
pub(crate) async fn told_to_end(signals: &mut Signals) -> Exit {
    loop {
        match signals.next().await {
            Signals::INTERRUPT => {}
            signal => return Exit::Signal(signal),
        }
    }
}
