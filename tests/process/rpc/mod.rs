//! JSON-RPC servers as workers: many requests on one process, and every way in which a server can be bad.

mod bad;
mod calls;
mod cancel;
mod events;
mod liberal;
mod pool;
mod real;

use std::path::Path;

use ostler::{Runtime, RuntimeBuilder, Value, WorkerSpec};

/// The server of these tests, which does what its requests say.
fn script() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/rpc/server.py").to_string_lossy().into_owned()
}

/// A server that speaks JSON-RPC and nothing more.
pub(crate) fn plain() -> WorkerSpec {
    WorkerSpec::json_rpc("python3").arg("-u").arg(script())
}

/// An MCP server.
pub(crate) fn mcp() -> WorkerSpec {
    WorkerSpec::mcp("python3").arg("-u").arg(script()).arg("--mcp")
}

/// A server with the framing and the customs of language servers.
pub(crate) fn framed() -> WorkerSpec {
    WorkerSpec::json_rpc("python3").arg("-u").arg(script()).arg("--framed").content_length()
}

/// A pool of one server.
pub(crate) fn one(spec: WorkerSpec) -> RuntimeBuilder {
    Runtime::builder(spec).max_sessions(1)
}

/// A map of one entry.
pub(crate) fn map(key: &str, value: impl Into<Value>) -> Value {
    [(key, value.into())].into_iter().collect()
}
