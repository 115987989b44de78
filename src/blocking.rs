//! Work that takes a while, off the runtime's threads. Not by `spawn_blocking`: when there is no room for another thread,
//! that panics, or waits until there is.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tokio::sync::oneshot;

use ostler_protocol::contain::contained;

/// Performs `work` on a thread of its own, or here, if none can be started: it takes as long, and holds up others.
/// `None`: it panicked. If the caller stops waiting, what `work` returns is dropped there.
pub(crate) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (reply, answered) = oneshot::channel();
    let work = Arc::new(Mutex::new(Some((work, reply))));
    let perform = move || {
        let taken = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((work, reply)) = taken {
            // Of a panic the panic hook has told, and the answer that nobody sends tells the caller.
            let _ = contained(work).map(|done| reply.send(done));
        }
    };
    if thread::Builder::new().name("ostler-apart".into()).spawn(perform.clone()).is_err() {
        perform();
    }
    answer(answered).await
}

/// Waits for what another thread sends. `None`: it sends nothing.
pub(crate) async fn answer<T: Send + 'static>(answer: oneshot::Receiver<T>) -> Option<T> {
    // A clock that is paused jumps when nobody in the runtime has anything to do; this keeps it where it is.
    #[cfg(feature = "testing")]
    if clock_stands() {
        return tokio::task::spawn_blocking(move || answer.blocking_recv().ok()).await.ok().flatten();
    }
    answer.await.ok()
}

/// Whether this is a test that has paused tokio's clock.
#[cfg(feature = "testing")]
fn clock_stands() -> bool {
    let first = tokio::time::Instant::now();
    (0..1_000).all(|_| tokio::time::Instant::now() == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_apart_is_told_and_harms_nobody() {
        assert_eq!(apart(|| 7).await, Some(7));
        assert_eq!(apart(|| -> u32 { panic!("as it should") }).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_waits_for_what_is_done_apart() {
        let work = apart(|| thread::sleep(std::time::Duration::from_millis(20)));
        let hour = std::time::Duration::from_secs(3_600);
        tokio::time::timeout(hour, work).await.expect("no time has passed").expect("it did not panic");
    }
}
