//! What was written, before it is known what is expected there.

use std::fmt;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::{Place, SettingsError, Source},
    keys::SECTIONS,
};

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Self>),
    Table(Vec<(String, Self)>),
    /// What no setting takes: a date, or a number beyond all of them.
    Other(String),
}

/// A key with its value, and where it stands.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) path: String,
    pub(super) value: Given,
    pub(super) place: Place,
}

/// Everything that a text sets, in the order in which it stands there.
pub(super) fn read(text: &str, source: &Source) -> Result<Vec<Written>, SettingsError> {
    let place = |at: usize| Place { source: source.clone(), position: Some(position(text, at)) };
    let table = DeTable::parse(text).map_err(|error| SettingsError::Syntax {
        place: place(error.span().map_or(text.len(), |span| span.start)),
        why: error.message().trim().replace('\n', ", "),
    })?;
    let mut written = Vec::new();
    for (name, value) in table.get_ref() {
        let section = SECTIONS.iter().any(|(section, _)| section == name.get_ref());
        if let Some(keys) = value.get_ref().as_table().filter(|_| section) {
            let path = |key: &str| format!("{}.{key}", name.get_ref());
            written.extend(keys.iter().map(|(key, value)| (path(key.get_ref()), key, value)));
        } else {
            written.push((name.get_ref().to_string(), name, value));
        }
    }
    written.sort_by_key(|(_, name, _)| name.span().start);
    let found = |(path, name, value): (String, &Spanned<_>, &Spanned<DeValue<'_>>)| Written {
        path,
        value: Given::from(value.get_ref()),
        place: place(name.span().start),
    };
    Ok(written.into_iter().map(found).collect())
}

/// The line and the column of a byte, from 1 on; columns are characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

impl Given {
    /// A value alone, as a variable of the environment holds it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        DeValue::parse(text.trim()).ok().map(|value| Self::from(value.get_ref()))
    }
}

impl From<&DeValue<'_>> for Given {
    fn from(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_beyond| Self::Other(number.as_str().to_owned()), Self::Integer),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .map_or_else(|_beyond| Self::Other(number.as_str().to_owned()), Self::Float),
            DeValue::Boolean(value) => Self::Bool(*value),
            DeValue::Datetime(date) => Self::Other(date.to_string()),
            DeValue::Array(values) => {
                Self::List(values.iter().map(|value| Self::from(value.get_ref())).collect())
            }
            DeValue::Table(entries) => Self::Table(
                entries
                    .iter()
                    .map(|(name, value)| (name.get_ref().to_string(), Self::from(value.get_ref())))
                    .collect(),
            ),
        }
    }
}

/// For an error message.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "the text {text:?}"),
            Self::Integer(number) => write!(f, "the number {number}"),
            Self::Float(number) => write!(f, "the number {number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::List(values) => write!(f, "a list of {}", values.len()),
            Self::Table(entries) => write!(f, "a table of {}", entries.len()),
            Self::Other(text) => f.write_str(text),
        }
    }
}
