//! Waits that come back as messages, at most one of each kind.

use std::time::Duration;

use tokio::task::JoinHandle;

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Calls `elapsed` after this wait, unless dropped before.
    pub(crate) fn after(wait: Duration, elapsed: impl FnOnce() + Send + 'static) -> Self {
        Self::spawn(async move {
            tokio::time::sleep(wait).await;
            elapsed();
        })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The armed waits of one actor. There are few kinds, so a list is searched.
#[derive(Debug)]
pub(crate) struct Timers<K>(Vec<(K, Task)>);

impl<K: PartialEq> Timers<K> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Arms a wait; one of the same kind is replaced.
    pub(crate) fn arm(&mut self, kind: K, wait: Duration, elapsed: impl FnOnce() + Send + 'static) {
        self.disarm(&kind);
        self.0.push((kind, Task::after(wait, elapsed)));
    }

    pub(crate) fn disarm(&mut self, kind: &K) {
        self.0.retain(|(armed, _)| armed != kind);
    }
}
