//! What has ended does not run on: not in its session, not in its worker, and not in the report of anybody else.

use std::{fs, path::Path, time::Duration};

use ostler::{Event, Failure, Outcome, Request, Runtime, SessionEvent, Value, WorkerSpec};

use super::{node_is_there, prints, text_of_failure, value, with_node};
use crate::support::wait::{eventually, guarded, pool_is};

const LIMIT: Duration = Duration::from_secs(20);

/// Ways to run on that end by themselves never: each appends to `FILE`, and prints.
const RUNS_ON: [&str; 9] = [
    "for (;;) { await new Promise((next) => setTimeout(next, 5)); tick() }",
    "setInterval(tick, 5).unref(); await new Promise(() => {})",
    "const again = () => { tick(); setImmediate(again) }; again(); await new Promise(() => {})",
    "for (;;) { await fs.promises.readFile('/dev/null'); tick() }",
    "for (;;) { await fs.promises.access('/'); tick() }",
    "for (;;) { await new Promise((next) => fs.stat('/', next)); tick() }",
    "for (;;) { await crypto.subtle.digest('SHA-1', Buffer.from('a')); tick() }",
    "for (;;) { tick(); await null }",
    "require('child_process').spawn('sh', ['-c', `while :; do printf x >> ${file}; sleep 0.01; done`]); \
        tick(); await new Promise(() => {})",
];

/// Code that begins with what `RUNS_ON` needs, and says once that it runs.
fn ticking(file: &Path, code: &str) -> String {
    let file = file.display();
    format!(
        "{{ const fs = require('fs'), file = '{file}'; let said = 0; \
         const tick = () => {{ fs.appendFileSync(file, 'x'); if (said++ < 3) console.log('here') }}; {code} }}"
    )
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |file| file.len())
}

/// Longer than anything in `RUNS_ON` waits for.
const A_WHILE: &str = "await new Promise((done) => setTimeout(done, 150)); kept";

#[tokio::test]
async fn what_was_cancelled_in_a_session_does_not_run_on_and_the_state_stays() {
    with_node(|runtime| async move {
        let folder = tempfile::tempdir().unwrap();
        let session = runtime.session().await.unwrap();
        session.run("let kept = 'kept'").await.unwrap();
        for (number, code) in RUNS_ON.iter().enumerate() {
            let file = folder.path().join(number.to_string());
            let mut execution = session.execute(Request::new(ticking(&file, code))).await.unwrap();
            prints(&mut execution, "here").await;
            execution.cancel();
            let outcome = execution.outcome().await;
            assert!(matches!(outcome, Outcome::Cancelled(_)), "{code}: {outcome}");
            let at_its_outcome = size(&file);
            let next = session.run(A_WHILE).await.unwrap();
            assert_eq!(value(&next), &"kept".into(), "{code}");
            assert_eq!((next.stdout_text().as_ref(), size(&file)), ("", at_its_outcome), "{code}");
        }
    })
    .await;
}

/// Node itself may print, for nobody, while what an execution has begun is being ended, and the next one waits. Here the
/// worker is made to do so behind every execution.
#[tokio::test]
async fn what_is_printed_for_nobody_between_two_executions_belongs_to_neither() {
    const WORKER: &str = include_str!("../../../workers/node/ostler_worker.js");
    const ENDED: &str = "    running = { id: null };\n    ask();\n";
    const PRINTS: &str = "    running = { id: null };\n    setTimeout(ask, 200);\n    setTimeout(() => port.emit('message', \
                          { output: Buffer.from('of nobody'), id: null, stream: 'stdout', weight: 0 }), 100);\n";
    const AT_ONCE: &str = "    if (!made || parked) return settled();\n";
    if !node_is_there() {
        return println!("skipped: there is no `node`");
    }
    guarded(async {
        assert!(WORKER.contains(ENDED) && WORKER.contains(AT_ONCE), "this test follows the worker");
        let worker = WORKER.replacen(ENDED, PRINTS, 1).replacen(AT_ONCE, "", 1);
        let spec = WorkerSpec::command("node").arg("--no-force-async-hooks-checks").arg("--expose-internals");
        let runtime = Runtime::builder(spec.arg("-e").arg(worker)).max_sessions(1).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        for _ in 0..2 {
            let report = session.run("1 + 1").await.unwrap();
            assert_eq!((value(&report), report.stdout_text().as_ref()), (&Value::from(2), ""));
        }
        runtime.shutdown(Duration::from_secs(5)).await;
    })
    .await;
}

/// Also what has failed, or has exited, while something of it was under way.
#[tokio::test]
async fn what_has_failed_or_exited_in_a_session_does_not_run_on() {
    with_node(|runtime| async move {
        let folder = tempfile::tempdir().unwrap();
        let session = runtime.session().await.unwrap();
        session.run("let kept = 'kept'").await.unwrap();
        for (number, ends) in [
            "Promise.reject(new Error('mine'))",
            "setTimeout(() => { throw new Error('mine') }, 1)",
            "setTimeout(() => process.exit(3), 1)",
        ]
        .into_iter()
        .enumerate()
        {
            let file = folder.path().join(number.to_string());
            let code =
                format!("{ends}; for (;;) {{ await new Promise((next) => setTimeout(next, 5)); tick() }}");
            let report = session.run(Request::new(ticking(&file, &code))).await.unwrap();
            assert!(matches!(report.outcome, Outcome::Failed(_)), "{ends}: {}", report.outcome);
            assert_eq!(report.left, Vec::<String>::new(), "{ends}");
            let at_its_outcome = size(&file);
            let next = session.run(A_WHILE).await.unwrap();
            assert_eq!(value(&next), &"kept".into(), "{ends}");
            assert_eq!((next.stdout_text().as_ref(), size(&file)), ("", at_its_outcome), "{ends}");
        }
    })
    .await;
}

async fn pid(runtime: &Runtime) -> Value {
    value(&runtime.run("process.pid").await.unwrap()).clone()
}

/// Whatever it is, nobody else is served beside it: it ends with its worker.
#[tokio::test]
async fn a_stateless_execution_that_leaves_something_has_its_worker_replaced() {
    with_node(|runtime| async move {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ticks");
        for (replaced, (code, left)) in [
            ("setInterval(tick, 1)", "timer"),
            ("setInterval(tick, 1).unref()", "timer"),
            ("require('net').createServer().listen(0)", "listener"),
            ("require('child_process').spawn('sleep', ['60'])", "child process"),
            ("new (require('worker_threads').Worker)('setInterval(() => {}, 9)', { eval: true })", "thread"),
            ("process.on('SIGUSR1', tick)", "signal handler"),
            ("require('fs').watch('/')", "file watcher"),
            ("(async () => { for (;;) { await fs.promises.access('/'); tick() } })()", "file operation"),
        ]
        .into_iter()
        .enumerate()
        {
            let before = pid(&runtime).await;
            let report = runtime.run(Request::new(ticking(&file, code) + "; 1").tenant("a")).await.unwrap();
            assert_eq!(value(&report), &1.into(), "{code}");
            assert!(report.left.iter().any(|what| what.starts_with(left)), "{code}: {:?}", report.left);
            let at_its_outcome = size(&file);
            let next =
                runtime.run(Request::new("await new Promise((done) => setTimeout(done, 50)); 2").tenant("b"));
            let next = next.await.unwrap();
            assert_eq!((next.stdout_text().as_ref(), value(&next)), ("", &2.into()), "{code}");
            assert_eq!(size(&file), at_its_outcome, "{code}: it ran on");
            assert_ne!(pid(&runtime).await, before, "{code}");
            let status =
                pool_is(&runtime, "it is counted", |status| status.left_over > replaced as u64).await;
            assert_eq!(status.left_over, replaced as u64 + 1, "{code}");
        }
    })
    .await;
}

/// The same, if it was cancelled: its secret is in nobody's report.
#[tokio::test]
async fn what_was_cancelled_prints_into_the_request_of_nobody_else() {
    with_node(|runtime| async move {
        let code =
            "for (;;) { await new Promise((next) => setTimeout(next, 5)); console.log('secret of A') }";
        let mut execution = runtime.execute(Request::new(code).tenant("a")).await.unwrap();
        prints(&mut execution, "secret of A").await;
        execution.cancel();
        let outcome = execution.outcome().await;
        assert!(matches!(outcome, Outcome::Cancelled(_)), "{outcome}");
        let code = "await new Promise((done) => setTimeout(done, 200)); 1";
        let report = runtime.run(Request::new(code).tenant("b")).await.unwrap();
        assert_eq!(
            (report.stdout_text().as_ref(), report.outcome.value()),
            ("", Some(&1.into())),
            "{report:?}"
        );
    })
    .await;
}

/// What was waited for has ended: it costs no worker.
#[tokio::test]
async fn what_has_settled_costs_no_worker() {
    with_node(|runtime| async move {
        let before = pid(&runtime).await;
        for code in [
            "await new Promise((done) => setTimeout(done, 5))",
            "await require('fs').promises.readFile('/proc/self/stat')",
            "await new Promise((done) => require('zlib').gzip('a', done))",
            "await new Promise((done) => require('crypto').pbkdf2('a', 'b', 1, 8, 'sha512', done))",
            "await new Promise((done) => require('child_process').exec('true', done))",
            "require('child_process').execSync('true').length",
            "await new Promise((done) => { const all = require('fs').createReadStream('/proc/self/stat'); \
                all.resume(); all.on('close', done) })",
            "const at = require('net').createServer((it) => it.end('x')).listen(0); \
                await new Promise((done) => require('net').connect(at.address().port).on('close', done).resume()); \
                await new Promise((done) => at.close(done))",
            "const it = new (require('worker_threads').Worker)('', { eval: true }); \
                await new Promise((done) => it.on('exit', done))",
            "new MessageChannel(); structuredClone({ a: 1 }); setTimeout(() => {}, 60000).close(); clearInterval(setInterval(() => {}))",
            "throw new Error('failed')",
            "process.exit(0)",
        ] {
            let report = runtime.run(code).await.unwrap();
            assert_eq!(report.left, Vec::<String>::new(), "{code}: {}", report.outcome);
        }
        assert_eq!(pid(&runtime).await, before);
    })
    .await;
}

/// In a session it goes on, as it would in a program, and is nobody's but the session's.
#[tokio::test]
async fn what_goes_on_in_a_session_is_told_and_neither_prints_nor_fails_in_the_next_request() {
    with_node(|runtime| async move {
        let mut session = runtime.session().await.unwrap();
        let code = "setTimeout(() => console.log('of the first'), 50); \
            setTimeout(() => { throw new Error('of the first') }, 60); setTimeout(() => process.exit(3), 70); 1";
        let mut execution = session.execute(Request::new(code)).await.unwrap();
        let mut left = Vec::new();
        while let Some(event) = execution.next().await {
            if let Event::Left { what } = event {
                left = what;
            }
        }
        assert_eq!(left, ["timer"; 3]);
        let next = session.run("await new Promise((done) => setTimeout(done, 300)); console.log('next'); 42").await.unwrap();
        assert_eq!((value(&next), next.stdout_text().as_ref(), next.stderr_text().as_ref()), (&42.into(), "next\n", ""));
        let mut heard = String::new();
        let told = loop {
            match session.next_event().await.unwrap() {
                SessionEvent::Left { what, .. } => heard.push_str(&format!("left {}, ", what.len())),
                SessionEvent::Background { data, .. } => {
                    heard.push_str(&String::from_utf8_lossy(&data));
                    if heard.contains("Error: of the first") {
                        break heard;
                    }
                }
                other => panic!("{other:?}"),
            }
        };
        assert!(told.starts_with("left 3, of the first\n"), "{told}");
        assert_eq!(value(&session.run("'goes on'").await.unwrap()), &"goes on".into());
    })
    .await;
}

/// What was printed before a death is in the report.
#[tokio::test]
async fn the_last_words_of_code_that_ends_its_process_are_told() {
    with_node(|runtime| async move {
        for end in ["process.abort()", "process.kill(process.pid, 'SIGKILL')"] {
            let report = runtime.run(format!("console.log('last words'); {end}")).await.unwrap();
            assert!(matches!(report.outcome, Outcome::Lost(_)), "{end}: {}", report.outcome);
            assert_eq!(report.stdout_text(), "last words\n", "{end}");
        }
    })
    .await;
}

/// Children are of the code that has started them; they end with it.
#[tokio::test]
async fn the_children_of_cancelled_code_end_also_those_that_lead_a_group() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        let code = "const child = require('child_process').spawn('sleep', ['60'], { detached: true }); \
            console.log(`${child.pid} here`); await new Promise(() => {})";
        let mut execution = session.execute(Request::new(code)).await.unwrap();
        let mut printed = String::new();
        while !printed.contains("here") {
            if let Some(Event::Output { data, .. }) = execution.next().await {
                printed.push_str(&String::from_utf8_lossy(&data));
            }
        }
        execution.cancel();
        assert!(matches!(execution.outcome().await, Outcome::Cancelled(_)));
        let child = printed.split(' ').next().unwrap().to_owned();
        let gone = || {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        eventually("it has ended", LIMIT, gone).await;
        assert_eq!(value(&session.run("1").await.unwrap()), &1.into());
    })
    .await;
}

/// A failure is told in the words of the code that failed, whoever runs beside it.
#[tokio::test]
async fn an_error_that_nobody_caught_is_the_failure_of_the_code_that_it_is_of() {
    with_node(|runtime| async move {
        let session = runtime.session().await.unwrap();
        let code = "setTimeout(() => Promise.reject(new Error('early')), 30); 1";
        assert_eq!(value(&session.run(code).await.unwrap()), &1.into());
        let code = "setTimeout(() => { throw new Error('mine') }, 150); await new Promise(() => {})";
        let report = session.run(code).await.unwrap();
        assert!(matches!(report.outcome, Outcome::Failed(Failure::Exception(_))), "{}", report.outcome);
        assert!(text_of_failure(&report).starts_with("Error: mine"), "{}", report.outcome);
    })
    .await;
}
