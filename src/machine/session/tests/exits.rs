//! Code that asks to exit.

use super::{
    Bench, Effect, Ending, ErrorKind, ExecutionError, ExecutionId, Failure, FromWorker, Input, SessionState,
};
use crate::protocol::Exception;

/// `sys.exit`: with 0 a good end; a text is told and exits with 1; of a number there is nothing more to tell.
#[test]
fn an_exit_says_what_it_was_asked_to_say() {
    let id = ExecutionId(3);
    for (code, message, told) in [
        (1, "no such table", Some("no such table")),
        (1, "1", None),
        (1, "True", None),
        (1, "", None),
        (3, "3", None),
    ] {
        let mut bench = Bench::in_state(SessionState::Busy, id);
        let mut error = ExecutionError::new(id, 0.5, ErrorKind::Exit);
        error.exit_code = Some(code);
        error.exception = Some(Box::new(Exception::new("SystemExit", message)));
        let effects = bench.step(Input::Frame(FromWorker::Error(error)));
        let expected = Failure::Exit { code: i32::try_from(code).unwrap(), message: told.map(Into::into) };
        assert!(
            effects.contains(&Effect::Ended(id, Ending::Failed(expected))),
            "{code} {message:?}: {effects:?}"
        );
    }
}
