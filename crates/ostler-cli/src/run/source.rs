//! What is to be run, and what the interpreter is told of it.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{anyhow, bail};
use ostler::Script;

use crate::args::RunArgs;

/// Something to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file, as it was named.
    File(PathBuf),
    /// Code from the command line.
    Code(OsString),
    /// Code from standard input.
    Stdin,
}

impl Source {
    /// Everything that the command line names, in its order.
    ///
    /// # Errors
    /// Something cannot be run: nothing has run yet, so the user can put it right.
    pub(crate) fn all(args: &RunArgs) -> anyhow::Result<Vec<Self>> {
        if let Some(code) = &args.code {
            return Ok(vec![Self::Code(code.clone())]);
        }
        let mut sources = Vec::with_capacity(args.files.len());
        for file in &args.files {
            if file.as_os_str() == "-" {
                if sources.contains(&Self::Stdin) {
                    bail!("standard input (`-`) is named twice, but can be read once; name it once");
                }
                sources.push(Self::Stdin);
            } else {
                // What follows a first file and does not exist was likely meant for it.
                let hint = if sources.is_empty() { "" } else { "; arguments for the code follow `--`" };
                check(file, hint)?;
                sources.push(Self::File(file.clone()));
            }
        }
        Ok(sources)
    }

    /// What it is called in prefixes, events and the summary.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::File(file) => file.to_string_lossy().into_owned(),
            Self::Code(_) => "-c".into(),
            Self::Stdin => "-".into(),
        }
    }

    /// What the interpreter is to run, as its own command line would say it.
    pub(crate) fn script(&self, args: &[OsString]) -> Script {
        let script = match self {
            Self::File(file) => Script::file(file),
            Self::Code(code) => Script::code(code),
            Self::Stdin => Script::stdin_code(),
        };
        script.args(args)
    }
}

/// Whether the files are JavaScript, by their names. All are, or none.
///
/// # Errors
/// Some are and some are not: one pool runs one language.
pub(crate) fn is_javascript(args: &RunArgs) -> anyhow::Result<bool> {
    let named = |file: &&PathBuf| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("js" | "mjs" | "cjs" | "ts" | "mts" | "cts"))
            || file.is_dir() && !file.join("__main__.py").exists()
    };
    let (scripts, others): (Vec<_>, Vec<_>) = args.files.iter().partition(named);
    match (scripts.first(), others.first()) {
        (Some(script), Some(other)) => bail!(
            "`{}` is JavaScript and `{}` is not, and one run has one kind of worker; run them apart",
            script.display(),
            other.display()
        ),
        (script, _) => Ok(script.is_some() && args.pool.python.is_none()),
    }
}

fn check(file: &Path, hint: &str) -> anyhow::Result<()> {
    let found = fs::metadata(file).map_err(|error| anyhow!("{}{hint}", unreadable(file, &error)))?;
    if found.is_dir()
        && !["__main__.py", "index.js", "package.json"].iter().any(|main| file.join(main).exists())
    {
        bail!(
            "cannot run `{}`: it is a folder without a `__main__.py`; name the files in it",
            file.display()
        );
    }
    Ok(())
}

fn unreadable(file: &Path, error: &io::Error) -> anyhow::Error {
    let file = file.display();
    if error.kind() == io::ErrorKind::NotFound {
        anyhow!("cannot run `{file}`: there is no such file; check its path")
    } else {
        anyhow!("cannot read `{file}`: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = check(Path::new("/no/such.py"), "").unwrap_err();
        assert_eq!(error.to_string(), "cannot run `/no/such.py`: there is no such file; check its path");
    }

    #[test]
    fn a_folder_is_not_run() {
        let error = check(Path::new("/"), "").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot run `/`: it is a folder without a `__main__.py`; name the files in it"
        );
    }
}
