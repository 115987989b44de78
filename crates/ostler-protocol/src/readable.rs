//! What `{:?}` prints of the errors of these crates: what `main` prints of the one that it returns, and `expect` of the one
//! that it finds.
//!
//! It is the sentence, and behind it those of what it came from. So no error derives `Debug`, and a new one does not
//! compile before it stands in the list of its crate.

use std::{error::Error, fmt, iter::successors};

/// How many errors of a chain are told: one of a host's may come from itself.
const CAUSES: usize = 32;

/// Implements `Debug` for errors, each named by its path.
#[doc(hidden)]
#[macro_export]
macro_rules! readable {
    ($($(#[$feature:meta])* $error:path,)+) => {
        $(
            $(#[$feature])*
            impl ::std::fmt::Debug for $error {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    $crate::readable::debug(self, f)
                }
            }
        )+
    };
}

readable! {
    crate::rpc::CallError,
    crate::DecodeError,
    crate::EncodeError,
    crate::FrameError,
    crate::ParseIdError,
    crate::RpcError,
    crate::UnknownCodec,
}

/// Writes an error and what it came from.
///
/// # Errors
/// The formatter's.
pub fn debug(error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut causes = successors(error.source(), |&error| error.source()).take(CAUSES).enumerate().peekable();
    if causes.peek().is_some() {
        f.write_str("\n\nCaused by:")?;
    }
    let several = error.source().is_some_and(|cause| cause.source().is_some());
    causes.try_for_each(|(number, cause)| {
        let sentence = cause.to_string().replace('\n', "\n    ");
        if several { write!(f, "\n    {number}: {sentence}") } else { write!(f, "\n    {sentence}") }
    })
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fmt};

    struct Level(u8, Option<Box<Self>>);

    impl fmt::Display for Level {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "level {}", self.0)
        }
    }

    impl Error for Level {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    readable! { Level, }

    #[test]
    fn an_error_is_told_with_what_it_came_from() {
        let below = |number, cause: Option<Level>| Level(number, cause.map(Box::new));
        let one = below(1, None);
        assert_eq!(format!("{one:?}"), "level 1");
        let two = below(1, Some(below(2, None)));
        assert_eq!(format!("{two:#?}"), "level 1\n\nCaused by:\n    level 2");
        let three = below(1, Some(below(2, Some(below(3, None)))));
        assert_eq!(format!("{three:?}"), "level 1\n\nCaused by:\n    0: level 2\n    1: level 3");
    }
}
