//! Where the session of a conversation comes from: a new one, or the one of a name with the state that it had.

use std::{fs, io, num::NonZeroU32, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use ostler::{
    Checkpoint, OnDeath, Restored, Runtime, RuntimeBuilder, Session, SessionRestored, StateError, Stream,
};

use crate::{
    args::{SessionsArgs, StateArgs},
    exit::{Exit, Fatal},
    output::Console,
    repl::editor::state_folder,
};

/// Statements after which the state of a named session is saved.
const SAVE_EVERY: NonZeroU32 = NonZeroU32::MIN;
/// Names that are told one by one.
const NAMES_TOLD: usize = 8;

/// The folder with a folder for each named session: so that several programs may have one each, at the same time.
fn states(args: &StateArgs) -> anyhow::Result<PathBuf> {
    let folder = args.state_dir.clone().or_else(|| Some(state_folder()?.join("sessions")));
    folder.context("there is no HOME to keep the states of sessions in; name a folder with --state-dir")
}

/// Lists the sessions whose state is kept.
pub(crate) async fn list(args: SessionsArgs, console: Console) -> Result<Exit, Fatal> {
    let folder = states(&args.state).map_err(Fatal::usage)?;
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Exit::Completed),
        Err(error) => return Err(Fatal::usage(anyhow!("cannot list `{}`: {error}", folder.display()))),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| folder.join(name).join(name).is_dir())
        .collect();
    names.sort_unstable();
    console.write(Stream::Stdout, names.into_iter().map(|name| name + "\n").collect::<String>()).await;
    console.flush().await;
    Ok(Exit::Completed)
}

/// A name becomes a folder, here and in the library.
fn is_plain(name: &str) -> bool {
    let plain =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_.".contains(letter);
    !name.starts_with('.') && !name.is_empty() && name.chars().all(plain)
}

/// Where sessions come from.
#[derive(Debug)]
pub(crate) struct Home {
    runtime: Runtime,
    name: Option<String>,
}

impl Home {
    /// What a pool needs to have sessions of a name.
    pub(crate) fn prepare(
        builder: RuntimeBuilder,
        name: Option<&str>,
        args: &StateArgs,
    ) -> anyhow::Result<RuntimeBuilder> {
        match name {
            None if args.state_dir.is_some() => Err(anyhow!("--state-dir is for a --session with a name")),
            None => Ok(builder),
            Some(name) if !is_plain(name) => Err(anyhow!(
                "`{name}` cannot be the name of a session: use small letters, digits, `-`, `_` and `.`, and no `.` first"
            )),
            Some(name) => Ok(builder
                .state_dir(states(args)?.join(name))
                .save_every(SAVE_EVERY)
                .on_death(OnDeath::Restore)),
        }
    }

    pub(crate) fn new(runtime: Runtime, name: Option<String>) -> Self {
        Self { runtime, name }
    }

    /// Ends the pool at once.
    pub(crate) async fn shutdown(&self) {
        self.runtime.shutdown(Duration::ZERO).await;
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// A session without a name, with a state that was saved.
    pub(crate) async fn lease_from(&self, saved: &Checkpoint) -> Result<(Session, Restored), StateError> {
        self.runtime.session_from(saved).await
    }

    /// A session, and what came back into it, in words.
    pub(crate) async fn lease(&self) -> anyhow::Result<(Session, Option<String>)> {
        match &self.name {
            None => Ok((self.runtime.session().await?, None)),
            Some(name) => {
                let (session, restored) = self.runtime.session_named(name).await?;
                Ok((session, restored.map(|restored| told(&format!("session `{name}` is back"), &restored))))
            }
        }
    }
}

/// What a session in a new worker has, in words.
pub(crate) fn revived(name: &str, news: &SessionRestored) -> String {
    format!("session `{name}` goes on in a new worker; {news}")
}

/// What came of a restore, in words.
pub(super) fn told(what: &str, restored: &Restored) -> String {
    let mut text = format!("{what}: {}", some(&restored.names));
    for why in &restored.passed_over {
        text.push_str(&format!("\n    a newer state could not be used: {why}"));
    }
    for lost in &restored.lost {
        text.push_str(&format!("\n    lost `{}`: {}", lost.name, lost.reason));
    }
    text
}

pub(super) fn some(names: &[String]) -> String {
    match names {
        [] => "no names".into(),
        names if names.len() <= NAMES_TOLD => names.join(", "),
        names => format!("{} and {} more", names[..NAMES_TOLD].join(", "), names.len() - NAMES_TOLD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (0..10).map(|number| format!("n{number}")).collect();
        assert_eq!(some(&names), "n0, n1, n2, n3, n4, n5, n6, n7 and 2 more");
        assert_eq!(some(&names[..2]), "n0, n1");
        assert_eq!(some(&[]), "no names");
    }
}
