//! JavaScript files, each in a process of its own.

use std::time::Duration;

use ostler::{CancelStage, Outcome, Report, Runtime, Script, WorkerSpec};

use super::{exit_code, node_is_there, prints};
use crate::support::wait::guarded;

/// Runs a test with a pool of such processes.
async fn with_scripts<F: Future<Output = ()>>(test: impl FnOnce(Runtime) -> F) {
    if !node_is_there() {
        return println!("skipped: there is no `node`");
    }
    guarded(async {
        let pool = Runtime::builder(WorkerSpec::node()).max_sessions(2).min_idle(0);
        let runtime = pool.grace(Duration::from_secs(3_600)).start().await.unwrap();
        test(runtime.clone()).await;
        runtime.shutdown(Duration::from_secs(5)).await;
    })
    .await;
}

/// Runs a script file of this name and text.
async fn script(runtime: &Runtime, name: &str, code: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, code).unwrap();
    runtime.run(Script::file(file).args(["arg"])).await.unwrap()
}

/// As Node ends a program: when nothing is left to do, with what it does last, and with its exit code.
#[tokio::test]
async fn a_script_ends_as_node_ends_it() {
    with_scripts(|runtime| async move {
        let thread = "new (require('worker_threads').Worker)('setTimeout(() => {}, 30)', { eval: true })";
        for (name, code, printed, exit) in [
            ("a.js", "setTimeout(() => console.log(process.argv[2]), 30)", "arg\n", 0),
            ("a.mjs", "setTimeout(() => console.log('late'), 30)", "late\n", 0),
            ("b.mjs", "console.log(1); await new Promise(() => {})", "1\n", 13),
            ("c.js", "require('zlib').gzip('a', () => console.log('zipped'))", "zipped\n", 0),
            ("d.js", &format!("{thread}.on('exit', () => console.log('joined'))"), "joined\n", 0),
            ("e.js", "process.on('exit', (code) => console.log(code)); process.exitCode = 4", "4\n", 4),
            ("f.js", "process.on('exit', (code) => console.log(code)); process.exit(5)", "5\n", 5),
            ("g.js", "process.on('exit', () => { process.exitCode = 6 })", "", 6),
            ("h.js", "console.log(process.exitCode)", "undefined\n", 0),
            ("i.js", "process.on('beforeExit', () => console.log('last'))", "last\n", 0),
            ("j.js", "setTimeout(() => process.exit(7), 10); setInterval(() => {}, 1000)", "", 7),
        ] {
            let report = script(&runtime, name, code).await;
            assert_eq!((report.stdout_text().as_ref(), exit_code(&report)), (printed, exit), "{name}");
        }
    })
    .await;
}

/// Node says last which version it is.
#[tokio::test]
async fn an_error_that_nothing_caught_is_named() {
    with_scripts(|runtime| async move {
        for (code, error) in [
            ("throw new TypeError('bad\\nmore', { cause: new Error('inner') })", "TypeError: bad"),
            ("Promise.reject(Object.assign(new Error('late'), { code: 'E' }))", "Error: late"),
            ("let x = = 1", "SyntaxError: Unexpected token '='"),
            ("console.error('said'); process.exit(1)", "said"),
        ] {
            let outcome = script(&runtime, "a.js", code).await.outcome;
            assert_eq!(outcome.to_string(), format!("the code asked to exit with code 1: {error}"));
        }
    })
    .await;
}

/// A cancel is a real SIGINT: Node dies of it, and code that handles it ends in its own way.
#[tokio::test]
async fn a_cancelled_script_ends_as_node_ends_it() {
    with_scripts(|runtime| async move {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.js");
        let last = "process.on('exit', () => console.log('last'));\n";
        let handles = format!("process.on('SIGINT', () => process.exit(3));\n{last}");
        for (begin, printed) in [(last, ""), (&*handles, "last\n")] {
            std::fs::write(&file, format!("{begin}console.log('here'); setTimeout(() => {{}}, 60_000)"))
                .unwrap();
            let mut execution = runtime.execute(Script::file(&file)).await.unwrap();
            prints(&mut execution, "here").await;
            execution.cancel();
            let report = execution.report().await;
            let Outcome::Cancelled(cancelled) = &report.outcome else { panic!("{report:?}") };
            assert_eq!(
                (cancelled.stage, report.stdout_text().as_ref()),
                (CancelStage::Interrupt, printed),
                "{begin}"
            );
        }
    })
    .await;
}
