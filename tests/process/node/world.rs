//! Code shares its world with the worker, and may do to it what it likes; and what it is given is there.

use std::{fs, time::Duration};

use ostler::{Outcome, Request, Value};

use super::{value, with_node};

/// Whatever code does to its own world, the next request is answered.
#[tokio::test]
async fn code_that_changes_its_world_breaks_no_later_request() {
    with_node(|runtime| async move {
        for code in [
            "Atomics.store = Atomics.load = Atomics.wait = Atomics.add = null",
            "Promise.race = null",
            "Promise.prototype.then = null",
            "require('worker_threads').Worker.prototype.postMessage = () => {}",
            "require('worker_threads').MessagePort.prototype.postMessage = () => {}",
            "require('inspector').Session.prototype.post = () => {}",
            "require('events').prototype.emit = () => {}",
            "Object.prototype.stopped = Object.prototype.threw = Object.prototype.exit = true",
            "Object.prototype.syntax = Object.prototype.fresh = Object.prototype.argv = {}",
            "Object.entries = Object.defineProperty = Object.keys = null",
            "Reflect.apply = Reflect.defineProperty = null",
            "Object.freeze(globalThis)",
            "process.cwd = process.chdir = process.listeners = process.on = null",
            "require('module').createRequire = null",
            "require('path').join = require('path').resolve = null",
            "{ const fs = require('fs'), gone = fs.mkdtempSync(require('os').tmpdir() + '/gone-'); \
                process.chdir(gone); fs.rmdirSync(gone); }",
            "process.removeAllListeners()",
            "require('fs').writeSync = null",
            "require('fs').closeSync(0); require('fs').closeSync(1); require('fs').closeSync(2)",
            "require('util').inspect = null",
            "Error.prepareStackTrace = () => { throw 1 }",
            "Error.stackTraceLimit = 0",
            "for (const name of Object.getOwnPropertyNames(String.prototype)) if (name !== 'constructor') String.prototype[name] = null",
            "for (const name of ['map', 'filter', 'slice', 'push', 'join', 'reverse', 'includes', 'forEach']) Array.prototype[name] = null",
            "Array.prototype[Symbol.iterator] = null",
            "Map.prototype.set = Map.prototype.get = Map.prototype.forEach = Map.prototype[Symbol.iterator] = null",
            "RegExp.prototype.exec = RegExp.prototype.test = null",
            "Function.prototype.call = Function.prototype.bind = null",
            "globalThis.setImmediate = globalThis.setTimeout = globalThis.clearTimeout = null",
            "Uint8Array.prototype.slice = Buffer.from = Buffer.prototype.slice = null",
        ] {
            let session = runtime.session().await.unwrap();
            let first = session.run(format!("{code}; 1")).await.unwrap();
            assert_eq!(value(&first), &1.into(), "{code}");
            let next = session.run("[41 + 1, { a: 'b' }]").await.unwrap();
            let told = Value::List(vec![42.into(), Value::Map(vec![("a".into(), "b".into())])]);
            assert_eq!(next.outcome.value(), Some(&told), "{code}: {}", next.outcome);
            let failed = session.run("throw new Error('told')").await.unwrap();
            assert!(matches!(failed.outcome, Outcome::Failed(_)), "{code}: {}", failed.outcome);
        }
    })
    .await;
}

/// The world of a stateless request is its own: what it does to the language, another does not meet.
#[tokio::test]
async fn a_stateless_request_finds_the_language_as_it_is() {
    with_node(|runtime| async move {
        let code = "Array.prototype.map = null; Object.prototype.evil = 1; Promise.prototype.then = null; 1";
        runtime.run(code).await.unwrap();
        let report =
            runtime.run("[[1].map((x) => x + 1)[0], ({}).evil, await Promise.resolve(3)]").await.unwrap();
        assert_eq!(value(&report), &Value::List(vec![2.into(), Value::None, 3.into()]));
    })
    .await;
}

/// An error that cannot be shown fails the code that it is of, and nobody else.
#[tokio::test]
async fn an_error_that_throws_when_it_is_looked_at_ends_nothing_else() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        let code = "setTimeout(() => { throw { message: 1, get name() { throw 2 } } }, 5); 0";
        assert_eq!(value(&session.run(code).await.unwrap()), &0.into());
        let next = session.run("await new Promise((done) => setTimeout(done, 50)); 42").await.unwrap();
        assert_eq!(next.outcome.value(), Some(&42.into()), "{}", next.outcome);
    })
    .await;
}

/// An argument is what the code finds under its name, whatever the session has called so.
#[tokio::test]
async fn no_name_of_a_session_hides_an_argument() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        session.run("let x = 1; globalThis.y = 1; var z = 1; function f() {}").await.unwrap();
        for name in ["x", "y", "z", "f", "new_one"] {
            let report = session.run(Request::new(name).arg(name, 5)).await.unwrap();
            assert_eq!(report.outcome.value(), Some(&5.into()), "{name}: {}", report.outcome);
        }
        // Also one that bears the name of what everything is made from.
        let report = session
            .run(Request::new("typeof setTimeout").arg("__proto__", Value::Map(vec![])))
            .await
            .unwrap();
        assert_eq!(value(&report), &"function".into());
        let nested = Value::Map(vec![("__proto__".into(), 7.into())]);
        let report = session.run(Request::new("Object.keys(deep)[0]").arg("deep", nested)).await.unwrap();
        assert_eq!(value(&report), &"__proto__".into());
        assert_eq!(value(&session.run("[1].map((x) => x + 1)[0]").await.unwrap()), &2.into());
    })
    .await;
}

fn resident(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// What nobody reads waits in the code: also displays, small and large.
#[tokio::test]
async fn displays_that_nobody_reads_wait() {
    with_node(|runtime| async move {
        for code in [
            "const s = 'x'.repeat(60000); let n = 0; for (;;) { display({ 'text/plain': s }); globalThis.shown = ++n }",
            "let m = 0; for (;;) { display({}); globalThis.shown = ++m }",
        ] {
            let session = runtime.session().await.unwrap();
            session.run("1").await.unwrap();
            let pid = session.pid().unwrap();
            let before = resident(pid);
            let execution = session.execute(Request::new(code).no_deadline()).await.unwrap();
            let mut most = 0;
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                most = most.max(resident(pid).saturating_sub(before));
            }
            assert!(most < 128 << 20, "{code}: the worker grew by {} MiB", most >> 20);
            execution.cancel();
            let outcome = execution.outcome().await;
            assert!(matches!(outcome, Outcome::Cancelled(_)), "{code}: {outcome}");
        }
    })
    .await;
}

/// The window of output is whole again, however the code was stopped that used it.
#[tokio::test]
async fn forced_cancels_use_up_no_window() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        session.run("globalThis.kept = 1").await.unwrap();
        for (round, print) in ["process.stdout.write(s)", "display({ 'text/plain': s })"]
            .into_iter()
            .cycle()
            .take(16)
            .enumerate()
        {
            let code = format!("{{ const s = 'x'.repeat(1 << 18); for (;;) {print}; }}");
            let mut execution = session.execute(Request::new(code)).await.unwrap();
            let canceller = execution.canceller();
            // Somewhere in the middle: in a wait for room, in a copy, in a message.
            for _ in 0..=round {
                execution.next().await;
            }
            canceller.cancel();
            while execution.next().await.is_some() {}
            let outcome = execution.outcome().await;
            assert!(matches!(outcome, Outcome::Cancelled(_)), "round {round}: {outcome}");
            let report = session.run("console.log('there'); kept").await.unwrap();
            assert_eq!(
                (report.stdout_text().as_ref(), value(&report)),
                ("there\n", &1.into()),
                "round {round}"
            );
        }
    })
    .await;
}
