//! Requests to JSON-RPC servers, and how requests are written for workers of either kind.

use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::{Runtime, Shared};
use crate::{
    config::{FRAME_LEN_MAX, JsonRpc},
    error::{CallError, SubmitError},
    machine::rpc::Terms,
    outcome::{Failure, Outcome},
    protocol::{
        EncodeError, Execute, ExecutionId, ToWorker, Value,
        rpc::{self, Style},
    },
    request::{Request, Rpc},
    session::Session,
};

impl Runtime {
    /// Calls a method of a [JSON-RPC server](crate::WorkerSpec::json_rpc), and waits for its answer: as
    /// [`execute`](Self::execute) of [`Request::rpc`], with the pool's deadline. Dropping the future cancels the call.
    ///
    /// # Errors
    /// The call was not accepted, the server answered with an error, or there was no answer.
    pub async fn call(
        &self,
        method: impl Into<String>,
        params: impl Into<Value>,
    ) -> Result<Value, CallError> {
        self.call_with(Request::rpc(method, params)).await
    }

    /// As [`call`](Self::call), with a request that says more, such as its deadline or its affinity.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_with(&self, request: Request) -> Result<Value, CallError> {
        answer(self.execute(request).await?.outcome().await)
    }
}

impl Session {
    /// As [`Runtime::call`], in this session: what it asks a server to remember is remembered here.
    ///
    /// # Errors
    /// As [`Runtime::call`].
    pub async fn call(
        &self,
        method: impl Into<String>,
        params: impl Into<Value>,
    ) -> Result<Value, CallError> {
        answer(self.execute(Request::rpc(method, params)).await?.outcome().await)
    }

    /// Notifies a JSON-RPC server, and waits until that is written. There is no answer.
    ///
    /// # Errors
    /// It was not accepted, or not written.
    pub async fn notify(&self, method: impl Into<String>, params: impl Into<Value>) -> Result<(), CallError> {
        answer(self.execute(Request::notification(method, params)).await?.outcome().await).map(drop)
    }
}

fn answer(outcome: Outcome) -> Result<Value, CallError> {
    match outcome {
        Outcome::Completed(completion) => Ok(completion.value.unwrap_or_default()),
        Outcome::Failed(Failure::Rpc(error)) => Err(CallError::Rpc(*error)),
        Outcome::Failed(_) | Outcome::Cancelled(_) | Outcome::TimedOut(_) | Outcome::Lost(_) => {
            Err(CallError::Unanswered(Box::new(outcome)))
        }
    }
}

impl Shared {
    /// What a server is sent for a request.
    pub(super) fn message(
        server: &JsonRpc,
        id: ExecutionId,
        request: &Request,
    ) -> Result<(Bytes, Terms), SubmitError> {
        let unfit = |why: &str| SubmitError::Unfit { why: why.into() };
        let Some(Rpc { method, params, notify }) = request.rpc.as_deref() else {
            return Err(unfit(
                "it is code, and the workers are JSON-RPC servers; make it with `Request::rpc`",
            ));
        };
        if request.limits.cpu.is_some() {
            return Err(unfit("`max_cpu` cannot be told apart in a server that several requests share"));
        }
        // A cancel of it would leave the connection without a version.
        if server.style == Style::Mcp && method == "initialize" {
            return Err(unfit("the session has initialised the MCP server already"));
        }
        let written = rpc::encode_call(server.style, server.framing, id, *notify, method, params);
        let (message, tokens) =
            written.map_err(|error| SubmitError::Unfit { why: format!("`{method}`: {error}") })?;
        let limit = FRAME_LEN_MAX;
        if message.len() > limit {
            return Err(SubmitError::TooLarge { len: message.len(), limit });
        }
        Ok((message, Terms { notify: *notify, answers: request.allow_input, tokens }))
    }

    /// What a worker that runs code is sent for a request.
    pub(super) fn execute_frame(
        &self,
        id: ExecutionId,
        request: &Request,
        fresh: bool,
    ) -> Result<Bytes, SubmitError> {
        if let Some(call) = &request.rpc {
            let why = format!("`{}` is a call, and the workers are no JSON-RPC servers", call.method);
            return Err(SubmitError::Unfit { why });
        }
        let mut frame = BytesMut::new();
        let message = ToWorker::Execute(execute_message(id, request, fresh)?);
        self.codec.encode(&message, &mut frame).map_err(|error| match error {
            EncodeError::TooLong { len, limit } => SubmitError::TooLarge { len, limit },
            EncodeError::TooDeep => SubmitError::TooLarge { len: request.code.len(), limit: FRAME_LEN_MAX },
        })?;
        Ok(frame.freeze())
    }
}

fn execute_message(id: ExecutionId, request: &Request, fresh: bool) -> Result<Execute, SubmitError> {
    let mut execute = Execute::new(id, request.code.clone());
    execute.fresh = fresh;
    execute.filename = request.filename.clone();
    execute.silent = request.silent;
    execute.allow_stdin = request.allow_input;
    execute.mime = request.mime;
    execute.cwd = request.cwd.as_deref().map(told).transpose()?;
    execute.args = request.args.clone();
    execute.sys_path = request.sys_path.clone();
    Ok(execute)
}

/// A folder as a worker is told it: as text, exactly or not at all.
fn told(folder: &Path) -> Result<String, SubmitError> {
    folder.to_str().map(str::to_owned).ok_or_else(|| SubmitError::Unfit {
        why: format!(
            "the name of its working folder, {folder:?}, is no UTF-8; start them there by `WorkerSpec::cwd`"
        ),
    })
}
