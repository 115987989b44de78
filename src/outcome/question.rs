//! What a worker asks in the middle of an execution, beyond a line of input.

use crate::protocol::Value;

/// What a JSON-RPC server asks its client; answer with [`Execution::answer`](crate::Execution::answer). Only for requests
/// that [allow it](crate::Request::allow_input), and while the server has no other request.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Which question this is; the answer names it.
    pub request: u64,
    /// What it asks for.
    pub method: String,
    /// With what.
    pub params: Value,
}
