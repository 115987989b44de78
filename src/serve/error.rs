//! How the function of a worker says that a request ended otherwise.

use std::fmt;

use crate::protocol::Exception;

/// How a request ended, if not well. Any error becomes one by `?`.
///
/// It is no [`std::error::Error`] itself, so that all of those can become one.
pub enum Error {
    /// The host asked for a stop, and the code obeyed.
    Stopped,
    /// The code asked to exit with this status: 0 is a good end. The worker goes on.
    Exit(i32),
    /// The code failed.
    Raised(Box<Exception>),
    /// The code is no code of this language, and did not run.
    Syntax(Box<Exception>),
}

/// The host has cancelled the request, or interrupted it. Pass it on with `?`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by the host")]
pub struct Stopped;

impl Error {
    /// A failure with a name, such as `ValueError`, and what it says.
    #[must_use]
    pub fn new(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Raised(Box::new(Exception::new(type_name, message)))
    }

    /// Code that cannot be understood, and why.
    #[must_use]
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::Syntax(Box::new(Exception::new("SyntaxError", message)))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("Stopped"),
            Self::Exit(code) => write!(f, "Exit({code})"),
            Self::Raised(exception) | Self::Syntax(exception) => {
                write!(f, "{}: {}", exception.type_name, exception.message)
            }
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        if (&error as &(dyn std::error::Error + 'static)).is::<Stopped>() {
            return Self::Stopped;
        }
        let name = std::any::type_name::<E>();
        let (module, name) = name.rsplit_once("::").unwrap_or(("", name));
        let mut exception = exception(name, &error);
        exception.module = Some(module.to_owned()).filter(|module| !module.is_empty());
        Self::Raised(Box::new(exception))
    }
}

/// The error with what it came from.
fn exception(name: &str, error: &dyn std::error::Error) -> Exception {
    let mut exception = Exception::new(name, error.to_string());
    exception.cause = error.source().map(|source| Box::new(self::exception("Error", source)));
    exception
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_name_its_words_and_what_it_came_from() {
        #[derive(Debug, thiserror::Error)]
        #[error("no number")]
        struct NoNumber(#[source] std::num::ParseIntError);

        let error = Error::from(NoNumber("x".parse::<i32>().unwrap_err()));
        let Error::Raised(exception) = error else { panic!("{error:?}") };
        assert_eq!((exception.type_name.as_str(), exception.message.as_str()), ("NoNumber", "no number"));
        assert!(exception.module.as_ref().is_some_and(|module| module.contains("serve::error")));
        assert_eq!(
            exception.cause.as_ref().map(|cause| cause.message.as_str()),
            Some("invalid digit found in string")
        );
    }

    #[test]
    fn a_stop_that_is_passed_on_stays_a_stop() {
        let stop = || -> Result<(), Error> { Err(Stopped)? };
        assert!(matches!(stop(), Err(Error::Stopped)));
    }
}
