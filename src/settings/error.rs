//! What can be wrong with settings, and where.

use std::{fmt, io, path::PathBuf};

use crate::error::ConfigError;

/// Settings that cannot be read or cannot work.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read settings file `{}`", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The text is no TOML.
    #[error("{place}: not valid TOML: {why}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser expected.
        why: String,
    },
    /// No key is called so.
    #[error("{place}: unknown key `{key}`; {advice}")]
    Unknown {
        /// Where.
        place: Place,
        /// The whole path of the key.
        key: String,
        /// The nearest key that is known, or all that are.
        advice: String,
    },
    /// The value is of the wrong kind.
    #[error("{place}: `{key}` is {got}; give {expected}")]
    Wrong {
        /// Where.
        place: Place,
        /// The whole path of the key.
        key: &'static str,
        /// What it takes, with an example.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// The settings do not work together.
    #[error("{}{error}", .place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Unworkable {
        /// Where it was given; `None` when it is a default.
        place: Option<Place>,
        /// Which one, and why.
        error: ConfigError,
    },
}

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// In what.
    pub source: Source,
    /// The line and the column, from 1 on, where they are known.
    pub position: Option<(usize, usize)>,
}

/// What settings were read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A text that the program had.
    Text,
    /// This file.
    File(PathBuf),
    /// This variable of the environment.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, self.position) {
            (Source::Text, None) => f.write_str("the settings"),
            (Source::Text, Some((line, column))) => write!(f, "line {line}, column {column}"),
            (Source::File(file), None) => write!(f, "{}", file.display()),
            (Source::File(file), Some((line, column))) => write!(f, "{}:{line}:{column}", file.display()),
            (Source::Variable(name), _) => write!(f, "variable {name}"),
        }
    }
}
