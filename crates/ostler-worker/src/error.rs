//! How the function of a worker says that a request ended otherwise.

use std::fmt;

use ostler_protocol::Exception;

/// How many errors of a chain are told: a message nests only so deep.
const CAUSES: usize = 32;

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
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by the host")
    }
}

impl std::error::Error for Stopped {}

ostler_protocol::readable! {
    Stopped,
}

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

    /// A failure of any kind, which Rust does not convert by `?`: `|error| Error::boxed(error.into())` does it for
    /// `anyhow`, too. The name of its type is not known any more.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "to be used where an error is mapped")]
    pub fn boxed(error: Box<dyn std::error::Error>) -> Self {
        match is_stop(&*error) {
            true => Self::Stopped,
            false => Self::Raised(Box::new(exception("Error".into(), &*error))),
        }
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
        if is_stop(&error) {
            return Self::Stopped;
        }
        let (module, name) = names(std::any::type_name::<E>());
        let mut exception = exception(name, &error);
        exception.module = module;
        Self::Raised(Box::new(exception))
    }
}

/// Whether an error comes from [`Stopped`], whatever it was wrapped in on its way.
fn is_stop(error: &(dyn std::error::Error + 'static)) -> bool {
    let stop = |error: &(dyn std::error::Error + 'static)| {
        // An error of `std::io` shows what is behind its content as its source, and not the content.
        let content = error.downcast_ref().and_then(std::io::Error::get_ref);
        error.is::<Stopped>() || content.is_some_and(|content| content.is::<Stopped>())
    };
    chain(error).any(stop)
}

/// An error and what it came from; somebody's may come from itself, for ever.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source()).take(CAUSES)
}

/// The error with what it came from.
fn exception(name: String, error: &(dyn std::error::Error + 'static)) -> Exception {
    let causes: Vec<_> = chain(error).skip(1).map(ToString::to_string).collect();
    let cause = causes.into_iter().rfold(None, |cause, message| {
        let exception = Exception { cause, ..Exception::new("Error", message) };
        Some(Box::new(exception))
    });
    Exception { cause, ..Exception::new(name, error.to_string()) }
}

/// Takes the modules off the full name of a type and off the names in it: `std::sync::mpsc` and `SendError<String>`.
fn names(full: &str) -> (Option<String>, String) {
    let (mut module, mut short) = (None, String::with_capacity(full.len()));
    // Where the innermost path that is being read begins in `short`, and behind it those around it.
    let (mut start, mut around) = (0, Vec::new());
    let mut letters = full.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            ':' if letters.next_if(|(_, next)| *next == ':').is_some() => {
                if around.is_empty() && start == 0 {
                    module = Some(full[..at].to_owned());
                }
                short.truncate(start);
                continue;
            }
            _ => short.push(letter),
        }
        match letter {
            '<' | '(' | '[' | '{' => around.push(std::mem::replace(&mut start, short.len())),
            // Not that of an arrow.
            '>' | ')' | ']' | '}' if !short.ends_with("->") => start = around.pop().unwrap_or(short.len()),
            _ if letter.is_alphanumeric() || letter == '_' => {}
            _ => start = short.len(),
        }
    }
    (module, short)
}

#[cfg(test)]
mod tests {
    use ostler_protocol::{Codec, ErrorKind, ExecutionError, ExecutionId, FromWorker};

    use super::*;

    fn raised(error: impl Into<Error>) -> Exception {
        let error = error.into();
        let Error::Raised(exception) = error else { panic!("{error:?}") };
        *exception
    }

    #[test]
    fn an_error_keeps_its_name_its_words_and_what_it_came_from() {
        #[derive(Debug, thiserror::Error)]
        #[error("no number")]
        struct NoNumber(#[source] std::num::ParseIntError);

        let exception = raised(NoNumber("x".parse::<i32>().unwrap_err()));
        assert_eq!((exception.type_name.as_str(), exception.message.as_str()), ("NoNumber", "no number"));
        assert!(exception.module.as_ref().is_some_and(|module| module.contains("ostler_worker::error")));
        assert_eq!(
            exception.cause.as_ref().map(|cause| cause.message.as_str()),
            Some("invalid digit found in string")
        );
    }

    #[test]
    fn the_name_of_an_error_is_that_of_its_type_whatever_is_in_it() {
        let (sent, _) = std::sync::mpsc::channel::<String>();
        let exception = raised(sent.send("lost".into()).unwrap_err());
        assert_eq!(
            (exception.type_name.as_str(), exception.module.as_deref()),
            ("SendError<String>", Some("std::sync::mpsc"))
        );
        assert_eq!(
            raised(std::sync::Arc::<dyn std::error::Error>::from(Box::<dyn std::error::Error>::from("x")))
                .type_name,
            "Arc<dyn Error>"
        );
        for (full, module, short) in [
            ("Plain", None, "Plain"),
            ("a::b::C", Some("a::b"), "C"),
            ("a::E<b::F<c::G>, d::H>", Some("a"), "E<F<G>, H>"),
            ("a::E<&b::F>", Some("a"), "E<&F>"),
            (
                "a::E<&'static mut dyn b::F<X = c::G> + d::Send>",
                Some("a"),
                "E<&'static mut dyn F<X = G> + Send>",
            ),
            ("a::E<(b::F, [c::G; 3], [d::H])>", Some("a"), "E<(F, [G; 3], [H])>"),
            ("a::E<fn(b::F) -> c::G>", Some("a"), "E<fn(F) -> G>"),
            ("a::E<a::f<b::F>::{{closure}}>", Some("a"), "E<{{closure}}>"),
            ("a::f::{{closure}}::E", Some("a::f::{{closure}}"), "E"),
            ("<a::B<b::F> as c::D>::f::E<d::H>", Some("<a::B<b::F> as c::D>::f"), "E<H>"),
            ("&a::E", None, "&E"),
            (">>)a::E<", None, ">>)E<"),
            ("", None, ""),
        ] {
            assert_eq!(names(full), (module.map(Into::into), short.into()), "{full}");
        }
    }

    #[test]
    fn a_stop_that_is_passed_on_stays_a_stop_whatever_it_is_wrapped_in() {
        #[derive(Debug, thiserror::Error)]
        #[error("the line broke off")]
        struct Broken(#[source] Stopped);

        let stop = || -> Result<(), Error> { Err(Stopped)? };
        assert!(matches!(stop(), Err(Error::Stopped)));
        let wrapped: [Error; 4] = [
            Broken(Stopped).into(),
            std::io::Error::other(Stopped).into(),
            std::io::Error::other(Broken(Stopped)).into(),
            Error::boxed(anyhow::Error::from(Stopped).context("while it waited").into()),
        ];
        assert!(wrapped.iter().all(|error| matches!(error, Error::Stopped)), "{wrapped:?}");
        assert_eq!(raised(Error::boxed("no words".into())).message, "no words");
    }

    #[test]
    fn an_error_that_comes_from_itself_is_told_to_a_depth_that_a_message_holds() {
        #[derive(Debug)]
        struct Ouroboros;
        impl fmt::Display for Ouroboros {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("again")
            }
        }
        impl std::error::Error for Ouroboros {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(self)
            }
        }

        let exception = raised(Ouroboros);
        let depth = std::iter::successors(Some(&exception), |exception| exception.cause.as_deref()).count();
        assert_eq!(depth, CAUSES);
        let mut error = ExecutionError::new(ExecutionId(1), 0.0, ErrorKind::Exception);
        error.exception = Some(Box::new(exception));
        for codec in [Codec::Json, Codec::MessagePack] {
            let mut frame = bytes::BytesMut::new();
            codec.encode_from_worker(&FromWorker::Error(error.clone()), &mut frame).unwrap();
        }
    }
}
