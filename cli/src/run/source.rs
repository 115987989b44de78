//! What is to be run, and how Python would set it up.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use ostler::Request;

use crate::args::RunArgs;

/// Something to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file, as it was named.
    File(PathBuf),
    /// Code from the command line.
    Code(String),
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

    /// Reads it, and asks for what `python` would do with it.
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    pub(crate) fn request(&self, cwd: &Path, args: &[String]) -> anyhow::Result<Request> {
        let request = match self {
            Self::File(file) => {
                let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
                let code = decode(bytes).with_context(|| format!("cannot run `{}`", file.display()))?;
                // As Python does: the name in `sys.argv` is the one that was typed, `__file__` is absolute, and modules
                // are found next to the file that a link leads to.
                let named = text(file)?;
                let absolute = cwd.join(file);
                let real = fs::canonicalize(file).unwrap_or_else(|_| absolute.clone());
                let folder = text(real.parent().unwrap_or(cwd))?;
                Request::script(named, code, args.iter().cloned())
                    .filename(text(&absolute)?)
                    .sys_path([folder])
            }
            Self::Code(code) => {
                Request::script("-c", code.clone(), args.iter().cloned()).filename("<string>")
            }
            Self::Stdin => {
                let mut bytes = Vec::new();
                io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
                let code = decode(bytes).context("cannot run standard input")?;
                Request::script("-", code, args.iter().cloned()).filename("<stdin>").allow_input(false)
            }
        };
        Ok(request.cwd(cwd).label(self.label()))
    }
}

/// A path as code is told it.
fn text(path: &Path) -> anyhow::Result<String> {
    let told = path.to_str().map(str::to_owned);
    told.with_context(|| format!("cannot run `{}`: its path is no UTF-8; rename it", path.display()))
}

/// Whether the files are JavaScript, by their names. All are, or none.
///
/// # Errors
/// Some are and some are not: one pool runs one language.
pub(crate) fn is_javascript(args: &RunArgs) -> anyhow::Result<bool> {
    let named = |file: &&PathBuf| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("js" | "mjs" | "cjs"))
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
    if found.is_dir() {
        bail!("cannot run `{}`: it is a folder; name the files in it", file.display());
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

fn decode(mut bytes: Vec<u8>) -> anyhow::Result<String> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow!("line {line} is not UTF-8 (byte {:#04x}); save it as UTF-8", error.as_bytes()[at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_code() {
        assert_eq!(decode(b"\xEF\xBB\xBFprint(1)".to_vec()).unwrap(), "print(1)");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_named_with_their_line() {
        let error = decode(b"a = 1\nb = '\xE9'\n".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not UTF-8 (byte 0xe9); save it as UTF-8");
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = check(Path::new("/no/such.py"), "").unwrap_err();
        assert_eq!(error.to_string(), "cannot run `/no/such.py`: there is no such file; check its path");
    }

    #[test]
    fn a_folder_is_not_run() {
        let error = check(Path::new("/"), "").unwrap_err();
        assert_eq!(error.to_string(), "cannot run `/`: it is a folder; name the files in it");
    }
}
