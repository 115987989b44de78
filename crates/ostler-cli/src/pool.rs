//! The pool that a command runs its code on, as its options ask for it.

use std::{env, fs, path::Path};

use anyhow::{Context as _, anyhow};
use ostler::{DeathCause, Runtime, RuntimeBuilder, Settings, StartError};

use crate::{args::PoolArgs, exit::Fatal, signals::Stopping};

/// What the names of variables that are settings begin with.
const PREFIX: &str = "OSTLER_";
/// The variable that names the file of settings.
const FILE: &str = "OSTLER_CONFIG";

/// Settings of a pool that acts for the user: in their folder, with their environment, without a deadline.
pub(crate) fn defaults() -> Settings {
    let mut settings = Settings::default();
    settings.worker.inherit_env = true;
    settings.worker.cwd = Some(".".into());
    settings.pool.deadline = None;
    settings
}

/// The defaults, over them the file, over that the environment.
pub(crate) fn from_file_and_environment(file: Option<&Path>) -> anyhow::Result<Settings> {
    let mut settings = defaults();
    if let Some(file) = file {
        settings.apply_file(file)?;
    }
    settings.apply_env(PREFIX, env::vars_os())?;
    Ok(settings)
}

/// What the options ask for, over everything else.
pub(crate) fn settings(args: &PoolArgs, cwd: &Path) -> Result<Settings, Fatal> {
    let file =
        args.config.clone().or_else(|| env::var_os(FILE).filter(|file| !file.is_empty()).map(Into::into));
    let mut settings = from_file_and_environment(file.as_deref()).map_err(Fatal::usage)?;
    if let Some(python) = &args.python {
        settings.worker.python.clone_from(python);
        (settings.worker.command, settings.worker.node) = (None, None);
    }
    if let Some(node) = &args.node {
        settings.worker.node = Some(node.clone().unwrap_or_else(|| "node".into()));
        settings.worker.command = None;
    }
    if let Some(warmup) = &args.warmup {
        settings.pool.warmup = Some(warmup_code(warmup).map_err(Fatal::usage)?);
    }
    if let Some(modules) = &args.preload {
        settings.worker.preload = Some(modules.clone());
    }
    if let Some(grace) = args.grace {
        settings.pool.grace = grace;
    }
    settings.check().map_err(Fatal::usage)?;
    if let Some(folder) = &mut settings.worker.cwd {
        *folder = if folder.as_os_str() == "." { cwd.to_owned() } else { cwd.join(&folder) };
    }
    Ok(settings)
}

/// Starts it, unless the user stops the program first: `None`.
pub(crate) async fn start(builder: RuntimeBuilder, stop: &Stopping) -> Result<Option<Runtime>, Fatal> {
    tokio::select! {
        runtime = builder.start() => runtime.map(Some).map_err(not_started),
        () = stop.told() => Ok(None),
    }
}

/// Says what a user of the program can do about it.
pub(crate) fn not_started(error: StartError) -> Fatal {
    let slow =
        matches!(&error, StartError::Worker(death) if matches!(death.cause, DeathCause::NotReady { .. }));
    if !slow {
        return Fatal::not_started(error);
    }
    Fatal::not_started(anyhow!(
        "{error}\nIf it only needs longer, as what installs itself first does: set OSTLER_POOL_READY_TIMEOUT=2m, or give \
         `ostler call` --ready-timeout 2m."
    ))
}

/// The folder that the user is in.
pub(crate) fn working_folder() -> Result<std::path::PathBuf, Fatal> {
    env::current_dir()
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
