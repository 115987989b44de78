//! The JavaScript worker, through the public API: the protocol knows no Python.

use std::time::Duration;

use ostler::{Codec, Event, Execution, Failure, Outcome, Report, Request, Runtime, Value, WorkerSpec};

use crate::support::wait::guarded;

mod ended;
mod ends;
mod scripts;
mod world;

/// Whether there is a `node`. In CI there has to be one.
pub(crate) fn node_is_there() -> bool {
    let there = std::process::Command::new("node").arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "`node` is not in PATH");
    there
}

/// Runs a test with a pool of one worker in each codec.
pub(super) async fn with_node<F: Future<Output = ()>>(test: impl Fn(Runtime) -> F) {
    if !node_is_there() {
        return println!("skipped: there is no `node`");
    }
    guarded(async {
        for codec in [Codec::MessagePack, Codec::Json] {
            let spec = WorkerSpec::node().codec(codec);
            let runtime = Runtime::builder(spec).max_sessions(1).min_idle(1).start().await.unwrap();
            test(runtime.clone()).await;
            runtime.shutdown(Duration::from_secs(5)).await;
        }
    })
    .await;
}

pub(super) fn value(report: &Report) -> &Value {
    match &report.outcome {
        Outcome::Completed(completion) => completion.value.as_ref().unwrap_or(&Value::None),
        other => panic!("{other}"),
    }
}

pub(super) fn text_of_failure(report: &Report) -> String {
    match &report.outcome {
        Outcome::Failed(failure) => failure.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn values_go_both_ways() {
    with_node(|runtime| async move {
        let code = "({ n: n + 1, big: 2n ** 62n, half: 0.5, none: null, list: [true, 'ü'], bytes, inf: -Infinity, nested })";
        let nested = Value::Map(vec![("a".into(), Value::List(vec![1.into(), Value::None]))]);
        let request = Request::new(code)
            .arg("n", 41)
            .arg("bytes", Value::Bytes(vec![0, 255].into()))
            .arg("nested", nested.clone());
        let report = runtime.execute(request).await.unwrap().report().await;
        let seen = value(&report);
        assert_eq!(seen.get("n"), Some(&42.into()));
        assert_eq!(seen.get("big"), Some(&(1_i64 << 62).into()));
        assert_eq!(seen.get("half"), Some(&0.5.into()));
        assert_eq!(seen.get("none"), Some(&Value::None));
        assert_eq!(seen.get("list"), Some(&Value::List(vec![true.into(), "ü".into()])));
        assert_eq!(seen.get("bytes"), Some(&Value::Bytes(vec![0, 255].into())));
        assert_eq!(seen.get("inf"), Some(&f64::NEG_INFINITY.into()));
        assert_eq!(seen.get("nested"), Some(&nested));
    })
    .await;
}

#[tokio::test]
async fn a_session_keeps_its_names_and_a_fresh_execution_has_its_own() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        session.run("let x = 1; const f = (y) => x + y; globalThis.g = 5").await.unwrap();
        // Names may be declared again, and `await` stands anywhere.
        let report = session.run("let x = await Promise.resolve(2); f(g)").await.unwrap();
        assert_eq!(value(&report), &7.into());
        drop(session);
        runtime.run("let x = 1; globalThis.y = 2").await.unwrap();
        let report = runtime.run("[typeof x, typeof y, typeof require, typeof process]").await.unwrap();

        let seen: Vec<_> = value(&report).as_list().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(seen, ["undefined", "undefined", "function", "object"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_thrown_is_told_with_its_calls_and_its_cause() {
    with_node(|runtime| async move {
        let code = "function f() { throw new RangeError('too far', { cause: new Error('because') }) }\n\nf()";
        let report = runtime.execute(Request::new(code).filename("far.js")).await.unwrap().report().await;
        let Outcome::Failed(Failure::Exception(exception)) = &report.outcome else { panic!("{report:?}") };
        assert_eq!((exception.type_name.as_str(), exception.message.as_str()), ("RangeError", "too far"));
        assert_eq!(exception.cause.as_ref().map(|cause| cause.message.as_str()), Some("because"));
        let calls: Vec<_> = exception.frames.iter().map(|call| (call.file.as_str(), call.line)).collect();
        assert_eq!(calls, [("far.js", 3), ("far.js", 1)]);
        assert!(
            text_of_failure(&report).starts_with("RangeError: too far\n    at f (far.js:1:22)"),
            "{report:?}"
        );

        let report = runtime.run("let ok = 1;\nlet q = ;").await.unwrap();
        assert!(
            text_of_failure(&report).ends_with(":2\nlet q = ;\n        ^\nSyntaxError: Unexpected token ';'")
        );
        let report = runtime.run("throw 5").await.unwrap();
        assert_eq!(text_of_failure(&report), "Uncaught 5");
        // Where nobody awaits it, too.
        let code = "setTimeout(() => { throw new Error('late') }, 5); await new Promise(() => {})";
        assert!(text_of_failure(&runtime.run(code).await.unwrap()).starts_with("Error: late"));
    })
    .await;
}

#[tokio::test]
async fn an_exit_ends_the_code_and_not_the_worker() {
    with_node(|runtime| async move {
        let pid = value(&runtime.run("process.pid").await.unwrap()).clone();
        let report =
            runtime.run("console.log('before'); process.exit(3); console.log('after')").await.unwrap();
        assert_eq!(report.stdout_text(), "before\n");
        assert!(matches!(report.outcome, Outcome::Failed(Failure::Exit { code: 3, .. })), "{report:?}");
        let report = runtime.run("process.exit()").await.unwrap();
        assert!(matches!(report.outcome, Outcome::Completed(_)), "{report:?}");
        assert_eq!(value(&runtime.run("process.pid").await.unwrap()), &pid);
    })
    .await;
}

pub(super) async fn prints(execution: &mut Execution, text: &str) {
    loop {
        match execution.next().await {
            Some(Event::Output { data, .. })
                if data.windows(text.len()).any(|part| part == text.as_bytes()) =>
            {
                return;
            }
            Some(_) => {}
            None => panic!("it ended without {text:?}"),
        }
    }
}

/// Wherever it is when the cancel comes: in a loop, behind an `await`, in a timer, waiting for what never comes, in a call.
#[tokio::test]
async fn code_is_stopped_wherever_it_is_and_the_state_stays() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        session.run("let kept = 'kept'").await.unwrap();
        for code in [
            "console.log('here'); while (true);",
            "await null; console.log('here'); while (true);",
            "setTimeout(() => { console.log('here'); while (true); }); await new Promise(() => {})",
            "console.log('here'); await new Promise(() => {})",
            "console.log('here'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
            "console.log('here'); try { while (true); } finally { while (true); }",
        ] {
            let mut execution = session.execute(Request::new(code)).await.unwrap();
            prints(&mut execution, "here").await;
            execution.cancel();
            let outcome = execution.outcome().await;
            assert!(matches!(outcome, Outcome::Cancelled(_)), "{code}: {outcome}");
            let report = session.run("kept").await.unwrap();
            assert_eq!(value(&report), &"kept".into(), "{code}: {report:?}");
        }
    })
    .await;
}

/// Often, because what ends the code may hit what is ours.
#[tokio::test]
async fn a_cancel_at_any_moment_costs_nothing_but_the_code() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        session.run("let count = 0").await.unwrap();
        for step in 0..100_u64 {
            let code = "count += 1; const end = performance.now() + 6; while (performance.now() < end); console.log('x')";
            let execution = session.execute(Request::new(code)).await.unwrap();
            tokio::time::sleep(Duration::from_micros(step * 150)).await;
            execution.cancel();
            let outcome = execution.outcome().await;
            assert!(matches!(outcome, Outcome::Cancelled(_) | Outcome::Completed(_)), "{step}: {outcome}");
            assert!(value(&session.run("count").await.unwrap()).as_i64().is_some_and(|count| count <= 100));
        }
    })
    .await;
}

#[tokio::test]
async fn output_and_children_come_in_order_and_input_is_asked_for() {
    with_node(|runtime| async move {
        let code = "console.log('out'); console.error('err'); process.stdout.write('no end');
            const name = prompt('name? '); console.log(`\\nhi ${name}`); prompt()";
        let mut execution = runtime.execute(Request::new(code)).await.unwrap();
        let mut printed = String::new();
        let mut answers = [Some("you".to_owned()), None].into_iter();
        while let Some(event) = execution.next().await {
            match event {
                Event::Output { data, .. } => printed.push_str(&String::from_utf8_lossy(&data)),
                Event::Input(request) => match answers.next().unwrap() {
                    Some(line) => execution.input(request.request, line),
                    None => execution.end_of_input(request.request),
                },
                _ => {}
            }
        }
        assert_eq!(printed, "out\nerr\nno end\nhi you\n");
        let outcome = execution.outcome().await;
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome}");
    })
    .await;
}

fn exit_code(report: &Report) -> i64 {
    match &report.outcome {
        Outcome::Completed(_) => 0,
        Outcome::Failed(Failure::Exit { code, .. }) => (*code).into(),
        other => panic!("{other}"),
    }
}

/// A list with places where nothing is, and a zero with a sign, are no news to JSON; four billion places are too many.
#[tokio::test]
async fn what_only_javascript_has_comes_as_what_is_nearest() {
    with_node(|runtime| async move {
        let report = runtime.run("[1, , 3]").await.unwrap();
        assert_eq!(value(&report), &Value::List(vec![1.into(), Value::None, 3.into()]));
        let report = runtime.run("-0").await.unwrap();
        assert!(value(&report).as_f64().is_some_and(f64::is_sign_negative), "{report:?}");
        let report = runtime.run("const far = []; far[4e9] = 1; far").await.unwrap();
        let Outcome::Completed(completion) = &report.outcome else { panic!("{report:?}") };
        assert_eq!(completion.value, None);
        assert!(completion.repr.as_ref().is_some_and(|repr| repr.contains("4000000000 empty items")));
    })
    .await;
}

/// Code that puts its own in the place of what Node has, or takes it away, has a session that goes on.
#[tokio::test]
async fn code_may_rename_its_world() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        for code in [
            "let process = 5, Map = 6; 42",
            "Promise = null; 42",
            "Object = Array = String = Number = Buffer = Atomics = undefined; 42",
            "globalThis.process = globalThis.require = globalThis.setTimeout = undefined; 42",
        ] {
            for code in [code, "({ a: [42n] }); await 42"] {
                let report = session.run(code).await.unwrap();
                assert_eq!(value(&report), &42.into(), "{code}: {report:?}");
            }
        }
        let code = "console.log('before'); throw new Error('still told')";
        let report = session.run(code).await.unwrap();
        assert!(text_of_failure(&report).starts_with("Error: still told\n    at"), "{report:?}");
        assert_eq!(report.stdout_text(), "before\n");
    })
    .await;
}

#[tokio::test]
async fn an_exit_cannot_be_caught_and_a_closed_output_is_open_for_the_next() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        let pid = value(&session.run("process.pid").await.unwrap()).clone();
        for code in [
            "try { process.exit(3) } catch (error) { console.log('caught'); process.exit(1) } console.log('on')",
            "try { await null; process.exit(3) } catch { console.log('caught') } finally { console.log('on') }",
            "setTimeout(() => { try { process.exit(3) } catch { console.log('caught') } }); await new Promise(() => {})",
        ] {
            let report = session.run(code).await.unwrap();
            assert_eq!((exit_code(&report), report.stdout_text().as_ref()), (3, ""), "{code}");
        }
        for close in ["end", "destroy"] {
            session.run(format!("process.stdout.{close}()")).await.unwrap();
            let report = session.run("console.log('open')").await.unwrap();
            assert_eq!(report.stdout_text(), "open\n", "{close}");
        }
        assert_eq!(value(&session.run("process.pid").await.unwrap()), &pid);
    })
    .await;
}

/// A request has its folder and its module path for itself, also in a session; where code goes by itself, its session is.
#[tokio::test]
async fn a_folder_and_a_module_path_are_lent() {
    with_node(|runtime| async move {
        let places =
            "[process.cwd(), require('module').globalPaths.includes('/no/where'), process.argv.length]";
        let session = runtime.session().await.unwrap();
        let home = value(&session.run(places).await.unwrap()).clone();
        let lent = Request::new(places).cwd("/proc").sys_path(["/no/where"]);
        let there = Value::List(vec!["/proc".into(), true.into(), 1.into()]);
        assert_eq!(value(&session.run(lent.clone()).await.unwrap()), &there);
        assert_eq!(value(&session.run(places).await.unwrap()), &home);
        let goes = Request::new("process.chdir('/dev'); 1").sys_path(["/no/where"]);
        session.run(goes).await.unwrap();
        let went = Value::List(vec!["/dev".into(), false.into(), 1.into()]);
        assert_eq!(value(&session.run(places).await.unwrap()), &went);
        let outcome = session.run(Request::new("1").cwd("/no/such/folder")).await.unwrap().outcome;
        let refused = matches!(&outcome, Outcome::Failed(Failure::Protocol { what }) if what.contains("/no/such/folder"));
        assert!(refused, "{outcome}");
        assert_eq!(value(&session.run(places).await.unwrap()), &went);
        drop(session);
        assert_eq!(value(&runtime.run(lent).await.unwrap()), &there, "a fresh one too");
    })
    .await;
}

/// What is thrown is part of one frame, whatever it is made of.
#[tokio::test]
async fn an_error_of_any_size_is_told() {
    with_node(|runtime| async move {
        for code in [
            "throw new Error('x'.repeat(35e6))",
            "throw new Error('x', { cause: 'y'.repeat(35e6) })",
            "const all = new AggregateError([]); all.errors = Array(20).fill(all); throw all",
        ] {
            let report = runtime.run(code).await.unwrap();
            let told = text_of_failure(&report);
            assert!(told.len() > 1 && told.len() < 1 << 20, "{code}: {} bytes", told.len());
        }
        assert_eq!(value(&runtime.run("42").await.unwrap()), &42.into());
    })
    .await;
}
