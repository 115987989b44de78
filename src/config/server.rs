//! How a JSON-RPC server is spoken with.

use std::sync::Arc;

use crate::{
    config::{FRAME_LEN_MAX, Program, Transport, WorkerSpec},
    error::ConfigError,
    protocol::{
        Value,
        rpc::{Framing, Style},
    },
};

/// The versions of the Model Context Protocol that this host speaks, the one it offers first.
pub const MCP_VERSIONS: [&str; 4] = ["2025-06-18", "2025-11-25", "2025-03-26", "2024-11-05"];

/// What a program that is a worker speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The worker protocol.
    #[default]
    Ostler,
    /// JSON-RPC 2.0, one message a line.
    JsonRpc,
    /// The Model Context Protocol.
    Mcp,
    /// JSON-RPC 2.0, framed as language servers do it.
    ContentLength,
}

impl Dialect {
    /// The spec of a program that speaks it.
    #[must_use]
    pub fn spec(self, program: impl Into<std::path::PathBuf>) -> WorkerSpec {
        match self {
            Self::Ostler => WorkerSpec::command(program),
            Self::JsonRpc => WorkerSpec::json_rpc(program),
            Self::Mcp => WorkerSpec::mcp(program),
            Self::ContentLength => WorkerSpec::json_rpc(program).content_length(),
        }
    }
}

/// How a JSON-RPC server is spoken with: made by [`WorkerSpec::json_rpc`] and [`WorkerSpec::mcp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonRpc {
    pub(crate) style: Style,
    pub(crate) framing: Framing,
    /// What it is told before it is offered.
    pub(crate) opening: Vec<Opening>,
    pub(crate) max_message: usize,
    /// What this host tells an MCP server that it can do, as JSON.
    capabilities: String,
}

/// Something that a server is told before it is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Whether it must be answered, and well.
    pub(crate) asks: bool,
    pub(crate) method: String,
    /// As JSON.
    pub(crate) params: Result<Option<String>, String>,
}

impl JsonRpc {
    fn new(style: Style) -> Self {
        let framing = Framing::Lines;
        Self { style, framing, opening: Vec::new(), max_message: FRAME_LEN_MAX, capabilities: "{}".into() }
    }

    /// Whether the server answers `ping`.
    pub(crate) fn has_ping(&self) -> bool {
        self.style == Style::Mcp
    }

    /// Everything that the server is told before it is offered.
    pub(crate) fn whole_opening(&self) -> Vec<Opening> {
        let mut whole = Vec::new();
        if self.style == Style::Mcp {
            let [version, ..] = MCP_VERSIONS;
            let params = format!(
                "{{\"protocolVersion\":\"{version}\",\"capabilities\":{},\
                 \"clientInfo\":{{\"name\":\"ostler\",\"version\":\"{}\"}}}}",
                self.capabilities,
                env!("CARGO_PKG_VERSION")
            );
            whole.push(Opening { asks: true, method: "initialize".into(), params: Ok(Some(params)) });
            let method = "notifications/initialized".into();
            whole.push(Opening { asks: false, method, params: Ok(None) });
        }
        whole.extend(self.opening.iter().cloned());
        whole
    }

    /// Whether requests that were written for the one can be sent to the other.
    pub(crate) fn reads_the_same(&self, other: &Self) -> bool {
        (self.style, self.framing) == (other.style, other.framing)
    }
}

/// Servers that speak JSON-RPC 2.0.
impl WorkerSpec {
    /// A server that speaks JSON-RPC 2.0 on its stdin and stdout, one message a line. Its requests are
    /// [`Request::rpc`](crate::Request::rpc), and [`Runtime::call`](crate::Runtime::call) makes one.
    ///
    /// One process answers up to [`PoolConfig::in_flight`](crate::PoolConfig::in_flight) requests at once, in whatever
    /// order. Lines of its stdout that are no messages are kept for the story of its death, and counted.
    #[must_use]
    pub fn json_rpc(program: impl Into<std::path::PathBuf>) -> Self {
        Self::server(program, JsonRpc::new(Style::Plain))
    }

    /// An MCP server on its stdin and stdout. It is initialised before it is offered: a server that speaks none of
    /// [`MCP_VERSIONS`] is refused. It is kept alive by `ping`, and its requests are cancelled by `notifications/cancelled`.
    #[must_use]
    pub fn mcp(program: impl Into<std::path::PathBuf>) -> Self {
        Self::server(program, JsonRpc::new(Style::Mcp))
    }

    fn server(program: impl Into<std::path::PathBuf>, server: JsonRpc) -> Self {
        let program = Program::Command { program: program.into(), args: Vec::new() };
        Self { server: Some(Arc::new(server)), ..Self::new(program, Transport::Stdio) }
    }

    /// Frames the messages of a [`json_rpc`](Self::json_rpc) server as language servers do, each behind a header with its
    /// `Content-Length`. Its requests are then cancelled by `$/cancelRequest`, and it ends by `shutdown` and `exit`.
    #[must_use]
    pub fn content_length(mut self) -> Self {
        self.change(|server| (server.framing, server.style) = (Framing::ContentLength, Style::Lsp));
        self
    }

    /// Asks this of a server before it is offered, such as the `initialize` of a language server. It must not answer
    /// with an error. What is said before serving is said in the order of the calls; MCP servers have their
    /// `initialize` before all of it.
    #[must_use]
    pub fn first_ask(mut self, method: impl Into<String>, params: impl Into<Value>) -> Self {
        self.first(true, method.into(), params.into());
        self
    }

    /// Notifies a server of this before it is offered, such as the `initialized` of a language server.
    #[must_use]
    pub fn first_notify(mut self, method: impl Into<String>, params: impl Into<Value>) -> Self {
        self.first(false, method.into(), params.into());
        self
    }

    fn first(&mut self, asks: bool, method: String, params: Value) {
        let json = |given| serde_json::Value::try_from(given).map(|json| json.to_string());
        let params = if params.is_none() { Ok(None) } else { json(params).map(Some) };
        let params = params.map_err(|error| format!("`{method}`: {error}"));
        self.change(|server| server.opening.push(Opening { asks, method, params }));
    }

    /// Ends a server that sends a message of more than this many bytes. Default: [`FRAME_LEN_MAX`].
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.change(|server| server.max_message = bytes);
        self
    }

    /// Tells an MCP server what this host can do for it, as the `capabilities` of a client, such as
    /// `json!({"roots": {}})`. What it then asks comes as [`Event::Asked`](crate::Event::Asked) to requests that
    /// [allow it](crate::Request::allow_input). Default: nothing.
    #[must_use]
    pub fn capabilities(mut self, capabilities: impl Into<Value>) -> Self {
        let json = serde_json::Value::try_from(capabilities.into());
        let json = json.map_or_else(|error| format!("not JSON: {error}"), |json| json.to_string());
        self.change(|server| server.capabilities = json);
        self
    }

    fn change(&mut self, change: impl FnOnce(&mut JsonRpc)) {
        if let Some(server) = &mut self.server {
            change(Arc::make_mut(server));
        }
    }

    /// What can be said against the server without starting it.
    pub(super) fn validate_server(&self) -> Result<(), ConfigError> {
        let Some(server) = &self.server else { return Ok(()) };
        let refuse = |key, why: String| Err(ConfigError { key, why });
        if self.transport != Transport::Stdio {
            return refuse("transport", "JSON-RPC servers speak on stdin and stdout; leave it out".into());
        }
        if server.max_message == 0 {
            return refuse("max_message", "it is 0, so nothing could ever be said; give at least 1".into());
        }
        if !server.capabilities.starts_with('{') {
            return refuse("capabilities", format!("expected a map, got {}", server.capabilities));
        }
        match server.opening.iter().find_map(|opening| opening.params.as_ref().err()) {
            Some(why) => refuse("first_ask", why.clone()),
            None => Ok(()),
        }
    }
}
