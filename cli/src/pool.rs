//! The pool that a command runs its code on, as its options ask for it.

use std::{fs, path::Path};

use anyhow::{Context as _, anyhow};
use ostler::{Runtime, RuntimeBuilder, WorkerSpec};

use crate::{args::PoolArgs, exit::Fatal, signals::Stopping};

/// Settings of a pool that acts for the user: in their folder, with their environment, without a deadline.
pub(crate) fn builder(args: &PoolArgs, cwd: &Path) -> Result<RuntimeBuilder, Fatal> {
    let spec = WorkerSpec::python_at(&args.python).cwd(cwd).inherit_env();
    let builder = Runtime::builder(spec).deadline(None).grace(args.grace);
    match &args.warmup {
        None => Ok(builder),
        Some(warmup) => Ok(builder.warmup(warmup_code(warmup).map_err(Fatal::usage)?)),
    }
}

/// Starts it, unless the user stops the program first: `None`.
pub(crate) async fn start(builder: RuntimeBuilder, stop: &Stopping) -> Result<Option<Runtime>, Fatal> {
    tokio::select! {
        runtime = builder.start() => runtime.map(Some).map_err(Fatal::not_started),
        () = stop.told() => Ok(None),
    }
}

/// The folder that the user is in.
pub(crate) fn working_folder() -> Result<std::path::PathBuf, Fatal> {
    std::env::current_dir()
        .context("the working folder is gone; change into one that exists")
        .map_err(Fatal::usage)
}

fn warmup_code(warmup: &str) -> anyhow::Result<String> {
    match warmup.strip_prefix('@') {
        None => Ok(warmup.to_owned()),
        Some(file) => {
            fs::read_to_string(file).map_err(|error| anyhow!("cannot read warmup file `{file}`: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warmup_is_code_or_a_file() {
        assert_eq!(warmup_code("import math").unwrap(), "import math");
        let error = warmup_code("@/no/such.py").unwrap_err().to_string();
        assert!(error.starts_with("cannot read warmup file `/no/such.py`: "), "{error}");
    }
}
