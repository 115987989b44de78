//! Which settings of a pool go with which workers.

use super::RuntimeBuilder;
use crate::{
    config::{OnDeath, PoolConfig},
    error::ConfigError,
};

impl RuntimeBuilder {
    /// What only workers that run code can do.
    pub(super) fn validate_together(&self) -> Result<(), ConfigError> {
        let refuse = |key, why: &str| Err(ConfigError { key, why: why.into() });
        match (&self.spec.server, &self.config) {
            (None, _) => Ok(()),
            (Some(_), PoolConfig { warmup: Some(_), .. }) => {
                refuse("warmup", "it is code, and a JSON-RPC server runs none; give its spec a `first_ask`")
            }
            (Some(_), PoolConfig { record: Some(_), .. }) => {
                refuse("record", "what a JSON-RPC server says cannot be recorded; leave it out")
            }
            (Some(_), PoolConfig { state_dir: Some(_), .. }) => {
                refuse("state_dir", "a JSON-RPC server has no state that can be saved; leave it out")
            }
            (Some(_), PoolConfig { on_death: OnDeath::Restore, .. }) => {
                refuse("on_death", "a JSON-RPC server has no state that can be restored; leave it at `fail`")
            }
            (Some(_), PoolConfig { soft_memory: Some(_), .. }) => {
                refuse("soft_memory", "requests share a JSON-RPC server; give it `hard_memory`")
            }
            (Some(_), _) => Ok(()),
        }
    }
}
