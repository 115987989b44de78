//! Values that go in and come back.

use ostler::{Outcome, Request, Value};

use super::{completed, one};
use crate::support::wait::guarded;

/// E10, the second of three steps: connect, execute, answer input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_prints_and_gives_a_value() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let report = runtime.run("print('hello')\n6 * 7").await.unwrap();
        assert_eq!(report.stdout_text(), "hello\n");
        assert_eq!(report.value(), Some(&Value::from(42)));
        let Outcome::Completed(completion) = report.outcome else { panic!("{}", report.outcome) };
        assert_eq!(completion.repr.as_deref(), Some("42"));
        assert!(completion.usage.memory_usage.is_some_and(|bytes| bytes > 1 << 20), "{completion:?}");
        assert!(!completion.usage.execution_time.is_zero());
    })
    .await;
}

fn map(entries: Vec<(&str, Value)>) -> Value {
    entries.into_iter().collect()
}

/// Every kind of value, as Python writes it and as it must arrive.
fn values() -> Vec<(&'static str, Value)> {
    vec![
        ("None", Value::None),
        ("True", true.into()),
        ("False", false.into()),
        ("0", 0.into()),
        ("-1", (-1).into()),
        ("2**63 - 1", i64::MAX.into()),
        ("-2**63", i64::MIN.into()),
        ("2**64 - 1", u64::MAX.into()),
        ("0.1", 0.1.into()),
        ("1e308", 1e308.into()),
        ("float('inf')", f64::INFINITY.into()),
        ("''", "".into()),
        ("'ä ∑ 🐍 \\n \\0'", "ä ∑ 🐍 \n \0".into()),
        ("bytes(range(256))", (0..=255).collect::<Vec<u8>>().as_slice().into()),
        (
            "[1, 'two', [3.0, None]]",
            Value::List(vec![1.into(), "two".into(), Value::List(vec![3.0.into(), Value::None])]),
        ),
        (
            "{'a': 1, 'b': {'c': [b'd']}}",
            map(vec![("a", 1.into()), ("b", map(vec![("c", Value::List(vec![b"d".as_slice().into()]))]))]),
        ),
        ("[]", Value::List(vec![])),
        ("{}", map(vec![])),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_come_back_as_they_went_in() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        for (python, value) in values() {
            let request = Request::python(format!("given == ({python}) and type(given) is type({python})"));
            let report = runtime.run(request.arg("given", value.clone())).await.unwrap();
            assert_eq!(report.value(), Some(&Value::from(true)), "{python} went in as {value:?}");

            let report = runtime.run(Request::python("given").arg("given", value.clone())).await.unwrap();
            completed(&report);
            let came = report.value().cloned().unwrap_or_default();
            assert_eq!(came, value, "{python} came back");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_expressed_is_shown_by_its_repr() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        for (code, shown) in
            [("{1, 2}", "{1, 2}"), ("object", "<class 'object'>"), ("2**64", "18446744073709551616")]
        {
            let report = runtime.run(code).await.unwrap();
            assert_eq!(report.value(), None, "{code}");
            assert_eq!(report.outcome.to_string(), shown);
        }
        let report = runtime.run("list(range(100_000))").await.unwrap();
        assert_eq!(report.value(), None, "a value too large to send is only shown");
        assert!(report.outcome.to_string().starts_with("[0, 1, 2, "));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_many_formats_is_displayed_in_all_of_them() {
    let code = "class Rich:\n    def __repr__(self): return 'plain'\n    def _repr_html_(self): return '<b>rich</b>'\n    \
                def _repr_png_(self): return b'\\x89PNG'\ndisplay(Rich(), display_id='here')\nRich()";
    guarded(async {
        let runtime = one().start().await.unwrap();
        let report = runtime.run(Request::python(code).mime(true)).await.unwrap();
        completed(&report);
        let [display] = &report.displays[..] else { panic!("{:?}", report.displays) };
        assert_eq!(display.id.as_deref(), Some("here"));
        let formats: Vec<_> = display.mime.0.iter().map(|(format, _)| format.as_str()).collect();
        assert_eq!(formats, ["text/html", "image/png", "text/plain"]);
        let Outcome::Completed(completion) = &report.outcome else { panic!("{}", report.outcome) };
        let mime = completion.mime.as_ref().expect("the request asked for rich formats");
        assert!(mime.get("text/html").is_some(), "{mime:?}");
    })
    .await;
}
