//! A pool, as one tenant has it.

use std::sync::Arc;

use super::Runtime;
use crate::request::{Request, Tenant};

impl Runtime {
    /// A handle of the same pool for one tenant: requests that name none are made on its behalf, and the sessions that it
    /// leases are this tenant's. Unless [`share_workers`](crate::PoolConfig::share_workers) is set, they get workers in
    /// which no other tenant's code has run.
    #[must_use]
    pub fn for_tenant(&self, tenant: impl Into<Tenant>) -> Self {
        Self { shared: Arc::clone(&self.shared), tenant: Some(tenant.into()) }
    }

    pub(super) fn of_tenant(&self, mut request: Request) -> Request {
        request.tenant = request.tenant.or_else(|| self.tenant.clone());
        request
    }
}
