//! Where a panic of somebody else's code ends. The only file that catches one.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs code that may panic; returns what it said if it did. The panic hook has told of it already.
///
/// What it panicked with is a stranger's, too: it may panic again when it is dropped, and does not get out either.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let said = said(&*payload).to_owned();
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // This one might go on for ever: it is left where it is.
            mem::forget(another);
        }
        said
    })
}

fn said(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref().map(String::as_str)).unwrap_or("a panic without a text")
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Panics when it is dropped, with something that does the same, and so on.
    struct Endless;

    impl Drop for Endless {
        fn drop(&mut self) {
            panic_any(Self);
        }
    }

    #[test]
    fn a_panic_ends_here_whatever_its_payload_does() {
        assert_eq!(contained(|| 7), Ok(7));
        assert_eq!(contained(|| panic!("a text")), Err::<(), _>("a text".into()));
        assert_eq!(contained(|| panic!("number {}", 3)), Err::<(), _>("number 3".into()));
        assert_eq!(contained(|| panic_any(7)), Err::<(), _>("a panic without a text".into()));
        assert_eq!(contained(|| panic_any(Endless)), Err::<(), _>("a panic without a text".into()));
    }
}
