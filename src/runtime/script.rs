//! What is made of a request for a script before it is submitted.

use std::sync::Arc;

use super::Shared;
use crate::{
    config::Language,
    error::SubmitError,
    execution::ScriptInput,
    request::{
        Request, Stdio,
        script::{Script, What},
    },
    worker::{self, Launched},
};

impl Shared {
    /// The script of a request, and where its input is written to if that is piped.
    pub(super) fn script(
        &self,
        request: &Request,
        fresh: bool,
    ) -> Result<(Option<Arc<Launched>>, Option<ScriptInput>), SubmitError> {
        let Some(script) = request.script.as_deref() else { return Ok((None, None)) };
        if let Some(why) = self.unfit(request, script, fresh) {
            return Err(SubmitError::Unfit { why: why.into() });
        }
        let piped = matches!(script.stdin, Stdio::Piped);
        let pipe = piped.then(worker::input).transpose();
        let pipe = pipe.map_err(|error| SubmitError::Unfit {
            why: format!(
                "no pipe can be made for its standard input: {error}; try again, or give it another one"
            ),
        })?;
        let (stdin, input) = pipe.unzip();
        let launched = Launched { script: script.clone(), input, cwd: request.cwd.clone() };
        Ok((Some(Arc::new(launched)), stdin.map(ScriptInput::new)))
    }

    fn unfit(&self, request: &Request, script: &Script, fresh: bool) -> Option<&'static str> {
        let module = matches!(script.what, What::Module(_));
        Some(match self.language {
            None => {
                "it is a script, and the workers are no interpreters that run files; use `WorkerSpec::python` or `node`"
            }
            Some(Language::Node) if module => "Node runs no modules by their name; give it the file",
            Some(_) if !fresh => {
                "a script has a process of its own and runs in no session; submit it to the runtime"
            }
            Some(_) if !request.args.is_empty() => {
                "a script has no namespace before it runs; pass its arguments with `Script::args`"
            }
            Some(Language::Python | Language::Node) => return None,
        })
    }
}
