//! What a worker asks in the middle of an execution, beyond a line of input.

use crate::protocol::Value;

/// What a JSON-RPC server asks its client.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Which question this is; the answer names it.
    pub request: u64,
    /// What it asks for.
    pub method: String,
    /// With what.
    pub params: Value,
}
