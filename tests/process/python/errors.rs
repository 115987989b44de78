//! Code that ends badly: told in Python's words, and no harm to what runs next (C4).

use ostler::{Exception, Failure, Outcome, Request, Value};

use super::{completed, one, shows};
use crate::support::wait::guarded;

const CHAIN: &str = "def inner(n):\n    return 1 / n\n\ndef outer():\n    try:\n        inner(0)\n    \
                     except ZeroDivisionError as error:\n        raise ValueError('no good') from error\n\nouter()";

fn exception(outcome: Outcome) -> Exception {
    let Outcome::Failed(Failure::Exception(exception)) = outcome else {
        panic!("not an exception: {outcome:?}")
    };
    *exception
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exception_has_a_structure_and_reads_like_a_python_traceback() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let report = runtime.run(Request::python(CHAIN).filename("chain.py")).await.unwrap();
        let text = report.outcome.to_string();
        assert!(text.starts_with("Traceback (most recent call last):\n  File \"chain.py\", line "), "{text}");
        assert!(
            text.contains("\nThe above exception was the direct cause of the following exception:\n"),
            "{text}"
        );
        assert!(text.contains("    return 1 / n\n"), "the source is shown: {text}");
        assert!(text.ends_with("\nValueError: no good"), "{text}");
        assert!(!text.contains("ostler"), "the worker's own frames are left out: {text}");

        let exception = exception(report.outcome);
        assert_eq!((&*exception.type_name, &*exception.message), ("ValueError", "no good"));
        let calls: Vec<_> = exception.frames.iter().map(|frame| (&*frame.name, frame.line)).collect();
        assert_eq!(calls, [("<module>", 10), ("outer", 8)]);
        let cause = exception.cause.expect("it was raised from another");
        assert_eq!((&*cause.type_name, &*cause.message), ("ZeroDivisionError", "division by zero"));
        assert_eq!(cause.frames.last().map(|frame| &*frame.name), Some("inner"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_does_not_compile_fails_where_python_says() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let report = runtime.run("x = 1\nif x\n    pass").await.unwrap();
        let text = report.outcome.to_string();
        // The second is what Python 3.9 says.
        let said = ["SyntaxError: expected ':'", "SyntaxError: invalid syntax"];
        assert!(said.iter().any(|said| text.ends_with(said)), "{text}");
        let exception = exception(report.outcome);
        assert_eq!(exception.type_name, "SyntaxError");
        assert_eq!(exception.frames.last().map(|frame| frame.line), Some(2));
    })
    .await;
}

/// C4: later executions work, whatever was raised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_survives_every_kind_of_error() {
    const ERRORS: [&str; 9] = [
        "1 / 0",
        "raise KeyboardInterrupt",
        "raise BaseException('base')",
        "raise GeneratorExit",
        "def f(): f()\nf()",
        "class Bad(Exception):\n    def __str__(self): raise RuntimeError('str')\nraise Bad",
        "class Worse(Exception):\n    __module__ = 7\nraise Worse",
        "error = ValueError('x' * 1_000_000); raise error",
        "error = ValueError(); error.__context__ = error.__cause__ = error; raise error",
    ];
    guarded(async {
        let runtime = one().start().await.unwrap();
        let session = runtime.session().await.unwrap();
        session.run("kept = 41").await.unwrap();
        for code in ERRORS {
            let report = session.run(code).await.unwrap();
            assert!(
                matches!(report.outcome, Outcome::Failed(Failure::Exception(_))),
                "{code}: {:?}",
                report.outcome
            );
            assert_eq!(shows(&session, "kept + 1").await, "42", "after {code}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_are_told_and_end_no_session() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let pid = session.pid();
        for code in ["import sys; sys.exit()", "raise SystemExit(0)", "exit()", "quit(0)"] {
            completed(&session.run(code).await.unwrap());
        }
        for (code, expected, text) in
            [("sys.exit(3)", 3, None), ("exit(-1)", -1, None), ("sys.exit('no luck')", 1, Some("no luck"))]
        {
            let outcome = session.run(format!("import sys\n{code}")).await.unwrap().outcome;
            let Outcome::Failed(Failure::Exit { code, message }) = outcome else {
                panic!("{code}: {outcome:?}")
            };
            assert_eq!(code, expected);
            assert_eq!(message.as_deref().filter(|_| text.is_some()), text);
        }
        let report = session.run("import os; os.getpid()").await.unwrap();
        assert_eq!(report.value().and_then(Value::as_u64), pid.map(u64::from));
    })
    .await;
}
