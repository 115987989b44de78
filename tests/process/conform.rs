//! The conformance kit: the workers that come with Ostler pass it, and broken ones fail it for the right reason.

use std::{path::PathBuf, time::Duration};

use ostler::{
    Codec, Transport, WorkerSpec,
    conform::{Conformance, Probes, Report, Verdict},
};

use crate::support::wait::guarded;

const PAGE: &str = include_str!("../../PROTOCOL.md");

/// Longer than any honest answer takes on a machine that is busy with other things.
const PATIENT: Duration = Duration::from_secs(60);
/// What a worker that never answers is given.
const SHORT: Duration = Duration::from_secs(5);

fn judge(spec: WorkerSpec) -> Conformance {
    Conformance::new(spec.inherit_env()).patience(PATIENT)
}

/// Each codec on each transport.
fn ways(spec: &WorkerSpec) -> Vec<WorkerSpec> {
    let codecs = [Codec::MessagePack, Codec::Json];
    let way = |transport| codecs.map(|codec| spec.clone().codec(codec).transport(transport));
    [Transport::Stdio, Transport::Socket].map(way).concat()
}

/// A2, A10, C11, C12, E2: each message, each promise of the page, under both codecs.
fn passes_all(report: &Report, not_offered: &[&str]) {
    assert!(report.conforms(), "{report}");
    let skipped = report.checks.iter().filter_map(|check| match &check.verdict {
        Verdict::Skipped { why } => Some(why.as_str()),
        Verdict::Passed | Verdict::Failed { .. } => None,
    });
    let expected: Vec<_> = not_offered.iter().map(|one| format!("it does not offer `{one}`")).collect();
    assert_eq!(skipped.collect::<Vec<_>>(), expected, "{report}");
}

#[tokio::test]
async fn the_python_worker_conforms() {
    guarded(async {
        for spec in ways(&WorkerSpec::python()) {
            passes_all(&judge(spec).run().await, &[]);
        }
    })
    .await;
}

/// The example of `ostler-worker`, which a build of all targets of the workspace leaves beside the tests.
pub(crate) fn example_worker() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.set_file_name("examples");
    path.push("worker");
    assert!(path.exists(), "build it with `cargo build -p ostler-worker --examples`: {}", path.display());
    path
}

#[tokio::test]
async fn a_worker_in_rust_conforms() {
    let probes = Probes::new()
        .say("say conform")
        .value("sum 40 2")
        .fail("sum one")
        .spin("spin")
        .ask("ask ?")
        .flood("count 20000")
        .keep("keep it conform")
        .kept("tell it")
        .warn("warn conform")
        .arg("tell conform")
        .exit("exit 3")
        .syntax("no such word")
        .mark("mark {file}")
        .die("die {file}")
        .child("child");
    guarded(async {
        for spec in ways(&WorkerSpec::command(example_worker())) {
            passes_all(
                &judge(spec).probes(probes.clone()).run().await,
                &["vars", "complete", "reset", "checkpoint"],
            );
        }
    })
    .await;
}

#[tokio::test]
async fn the_javascript_worker_conforms() {
    if !crate::node::node_is_there() {
        return println!("skipped: there is no `node`");
    }
    guarded(async {
        for codec in [Codec::MessagePack, Codec::Json] {
            passes_all(&judge(WorkerSpec::node().codec(codec)).run().await, &["reset", "checkpoint"]);
        }
    })
    .await;
}

/// The worker of the page, changed at one place.
fn smallest(from: &str, to: &str) -> String {
    let code = PAGE.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(code.contains(from), "the smallest worker of the page has no {from:?}");
    code.replacen(from, to, 1)
}

fn judge_code(code: &str) -> Conformance {
    let spec = WorkerSpec::command("python3").arg("-c").arg(code).codec(Codec::Json);
    judge(spec).probes(Probes::new().say("conform\n"))
}

#[tokio::test]
async fn the_smallest_worker_of_the_page_conforms() {
    guarded(async {
        let report = judge_code(&smallest("", "")).run().await;
        assert!(report.conforms(), "{report}");
        let passed = report.checks.iter().filter(|check| check.verdict == Verdict::Passed).count();
        assert!(passed >= 25, "{report}");
    })
    .await;
}

/// Plants a fault in it, and expects that this check fails, with such words.
async fn fails(from: &str, to: &str, name: &str, words: &str) {
    let report = judge_code(&smallest(from, to)).only(name).run().await;
    let Some(Verdict::Failed { expected, got }) = report.failures().next().map(|check| &check.verdict) else {
        panic!("`{name}` did not fail: {report}")
    };
    assert!(got.contains(words) || expected.contains(words), "{name}: {words:?} in {report}");
}

const RESULT: &str = r#"    send("result", id=id, execution_time=time.monotonic() - begin)"#;
const RUNS: &str = "runs code, and streams what it prints";

#[tokio::test]
async fn broken_workers_fail_for_the_right_reason() {
    let first = "starts, and says `ready` first";
    let pieces = "takes a frame in pieces of one byte";
    let unknown = "complains of a message of an unknown type, and goes on";
    let missing = "fails a request without its code, and goes on";
    let twice = format!("{RESULT}\n{RESULT}");
    let gives_up = "    elif kind == \"juggle\":\n        sys.exit(1)\n    elif kind == \"shutdown\":";
    let cases = [
        // The length the wrong way round: nothing can be said of it but that.
        (r#"struct.pack(">I","#, r#"struct.pack("<I","#, first, "64"),
        // One read is taken for one frame.
        ("payload = incoming.read(length)", "payload = incoming.read1(length)", pieces, "reads"),
        // It ends an execution twice.
        (RESULT, &twice, RUNS, "Result"),
        // Output is counted from one.
        ("seq=0", "seq=1", RUNS, "`seq` 0"),
        // A message of an unknown type ends it.
        ("    elif kind == \"shutdown\":", gives_up, unknown, "it ended with"),
        // A request without its code runs as if it were empty.
        (r#"message.get("code")"#, r#"message.get("code", "")"#, missing, "`result`"),
    ];
    guarded(async {
        for (from, to, name, words) in cases {
            fails(from, to, name, words).await;
        }
    })
    .await;
}

/// Effects, not words: the code of each liar leaves a byte in a file before the worker has written `started`.
#[tokio::test]
async fn workers_that_run_code_before_they_say_so_are_found_out() {
    const STARTS: &str = "    send(\"started\", id=id)\n";
    const RUNS: &str = "    exec(code)\n";
    let early = format!("{RUNS}    time.sleep(0.1)\n{STARTS}");
    let queued = format!(
        "    import threading\n    threading.Timer(0.1, lambda: send('started', id=id)).start()\n{RUNS}"
    );
    let honest = format!("{STARTS}{RUNS}");
    let probes = || {
        let byte = "open('{file}', 'a').write('x')";
        Probes::new().mark(byte).die(format!("{byte}.real and os._exit(3)"))
    };
    guarded(async {
        for (name, does, conforms) in [
            ("says `started` before the code runs", &honest, true),
            ("has written `started` when the code ends it", &honest, true),
            ("says `started` before the code runs", &early, false),
            ("says `started` before the code runs", &queued, false),
            ("has written `started` when the code ends it", &early, false),
            ("has written `started` when the code ends it", &queued, false),
        ] {
            let code = smallest(STARTS, does);
            let spec = WorkerSpec::command("python3").arg("-c").arg(code).codec(Codec::Json);
            let report = judge(spec).probes(probes()).only(name).run().await;
            assert_eq!(report.conforms(), conforms, "{name}: {report}");
            assert!(
                report.checks.iter().all(|check| !matches!(check.verdict, Verdict::Skipped { .. })),
                "{report}"
            );
        }
    })
    .await;
}

/// Effects, not words: each liar ends by itself as the page allows, and what its code has started lives on.
#[tokio::test]
async fn workers_that_end_without_their_group_are_found_out() {
    const PRINTS: &str = "    send(\"output\", id=id, stream=\"stdout\", seq=0, data=code)\n";
    const NAME: &str = "ends what its code has started when it ends with its host";
    let child = "import subprocess
child = subprocess.Popen(['sleep', '600'])
send('output', id=id, stream='stdout', seq=0, data=f'{child.pid}\\n')";
    guarded(async {
        for (ends, conforms, patience) in [
            ("os.killpg(0, 9)", true, PATIENT),
            ("pass", false, SHORT),
            ("os.kill(os.getpid(), 9)", false, SHORT),
        ] {
            let code = smallest("os.killpg(0, 9)", ends).replacen(PRINTS, "    exec(code)\n", 1);
            let conformance = judge_code(&code).probes(Probes::new().say("conform\n").child(child));
            let report = conformance.patience(patience).only(NAME).run().await;
            assert_eq!(report.checks.len(), 1, "{report}");
            let verdict = &report.checks[0].verdict;
            let right = match verdict {
                Verdict::Passed => conforms,
                Verdict::Failed { got, .. } => !conforms && got.contains("which its code started, lives on"),
                Verdict::Skipped { .. } => false,
            };
            assert!(right, "{ends}: {report}");
        }
        // All else that the page says of the end they do.
        for ends in ["pass", "os.kill(os.getpid(), 9)"] {
            let report =
                judge_code(&smallest("os.killpg(0, 9)", ends)).only("ends with its host").run().await;
            assert!(report.conforms(), "{ends}: {report}");
        }
    })
    .await;
}

#[tokio::test]
async fn workers_that_do_not_answer_are_found_out() {
    let cases = [
        // Deaf to the end of its host.
        ("os.killpg(0, 9)", "[time.sleep(1) for _ in range(1000)]", "ends with its host", "it lives on"),
        // It takes a host of another version for one of its own.
        (r#"message["protocol"] != 1"#, "False", "refuses a host of another version", "nothing for"),
        // It never says what became of a cancel.
        (
            r#"send("cancel_ack", id=id, hit=False)"#,
            "pass",
            "answers a cancel of what does not run",
            "nothing for",
        ),
    ];
    guarded(async {
        for (from, to, name, words) in cases {
            let report = judge_code(&smallest(from, to)).patience(SHORT).only(name).run().await;
            let failed = report.failures().find(|check| check.name == name).map(|check| &check.verdict);
            let right = matches!(failed, Some(Verdict::Failed { got, .. }) if got.contains(words));
            assert!(right, "{name}: {words:?} in {report}");
        }
    })
    .await;
}
