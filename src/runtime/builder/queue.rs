//! The settings of who may wait, and for how long.

use std::time::Duration;

use super::RuntimeBuilder;

impl RuntimeBuilder {
    /// See [`PoolConfig::in_flight`](crate::PoolConfig::in_flight).
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.config.in_flight = requests;
        self
    }

    /// See [`PoolConfig::queue`](crate::PoolConfig::queue).
    pub fn queue(mut self, requests: usize) -> Self {
        self.config.queue = requests;
        self
    }

    /// See [`PoolConfig::queue_bytes`](crate::PoolConfig::queue_bytes).
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.config.queue_bytes = bytes;
        self
    }

    /// See [`PoolConfig::tenant_queue`](crate::PoolConfig::tenant_queue).
    pub fn tenant_queue(mut self, requests: usize) -> Self {
        self.config.tenant_queue = requests;
        self
    }

    /// See [`PoolConfig::share_workers`](crate::PoolConfig::share_workers).
    pub fn share_workers(mut self, yes: bool) -> Self {
        self.config.share_workers = yes;
        self
    }

    /// See [`PoolConfig::queue_timeout`](crate::PoolConfig::queue_timeout).
    pub fn queue_timeout(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.config.queue_timeout = after.into();
        self
    }

    /// See [`PoolConfig::session_queue`](crate::PoolConfig::session_queue).
    pub fn session_queue(mut self, executions: usize) -> Self {
        self.config.session_queue = executions;
        self
    }
}
