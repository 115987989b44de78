//! Bad servers: each has a clear outcome, and the pool goes on.

use std::time::Duration;

use ostler::{
    CallError, DeathCause, Exit, Failure, Lost, LostCause, Outcome, Request, Runtime, StartError, Value,
    WorkerSpec,
};

use super::{framed, map, mcp, one, plain};
use crate::support::{
    processes,
    wait::{guarded, pool_is},
};

/// What the server says in the place of an answer; `$ID` is the id of the request. Lines are ended here.
fn raw(text: &str) -> Request {
    Request::rpc(
        "raw",
        [("text", Value::from(text)), ("answer", false.into())].into_iter().collect::<Value>(),
    )
}

/// As [`raw`], and then it dies.
fn last_words(text: &str) -> Request {
    Request::rpc("raw", [("text", Value::from(text)), ("die", true.into())].into_iter().collect::<Value>())
}

async fn lost(runtime: &Runtime, request: Request) -> Lost {
    match runtime.run(request).await.unwrap().outcome {
        Outcome::Lost(lost) => lost,
        other => panic!("{other}"),
    }
}

/// Why the server ended under a request, which must have been sent.
async fn protocol_error(runtime: &Runtime, request: Request) -> String {
    match lost(runtime, request).await {
        Lost { started: true, cause: LostCause::Died(death) } => match death.cause {
            DeathCause::Protocol(what) => what,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

/// The pool goes on: with a new server, if the old one had to go.
async fn goes_on(runtime: &Runtime, crashed: u64) {
    assert_eq!(runtime.call("echo", map("still", "there")).await.unwrap(), expected());
    assert_eq!(runtime.status().await.crashed, crashed);
}

fn expected() -> Value {
    map("still", "there")
}

#[tokio::test]
async fn lines_of_a_log_between_the_messages_are_counted_and_kept_for_the_story() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        let chatty = "starting up\n{\"level\":\"info\",\"id\":1}\n\n[WARN] odd\n{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":5}\n";
        let report = runtime.run(raw(chatty)).await.unwrap();
        assert_eq!(report.value(), Some(&Value::from(5)));
        assert_eq!(runtime.status().await.totals.stray_lines, 3);
        goes_on(&runtime, 0).await;
        let Lost { cause: LostCause::Died(death), .. } = lost(&runtime, last_words("last words\n")).await else {
            panic!("it died");
        };
        assert!(death.stderr.contains("[WARN] odd\n") && death.stderr.ends_with("last words\n"), "{death}");
        assert_eq!((death.cause, death.exit), (DeathCause::Itself, Exit::Code(3)));
        goes_on(&runtime, 1).await;
    })
    .await;
}

/// Faults 24 and 25: the first answer stands.
#[tokio::test]
async fn f24_f25_an_id_that_is_answered_twice_is_counted_and_ends_nothing() {
    guarded(async {
        let runtime = one(mcp()).start().await.unwrap();
        let answer = |result| format!("{{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{result}}}\n");
        let report = runtime.run(raw(&format!("{}{}", answer(1), answer(2)))).await.unwrap();
        assert_eq!(report.value(), Some(&Value::from(1)));
        goes_on(&runtime, 0).await;
        assert_eq!(runtime.status().await.totals.late_frames, 1);
    })
    .await;
}

/// E2, fault 26: an id that was never issued ends that server, and no other notices.
#[tokio::test]
async fn f26_an_answer_to_what_was_never_asked_ends_that_server_only() {
    guarded(async {
        for (id, named) in [("987654", "987654"), ("\"mine\"", "mine"), ("null", "null"), ("1.5", "1.5")] {
            let runtime = Runtime::builder(plain()).max_sessions(2).min_idle(2).start().await.unwrap();
            pool_is(&runtime, "both are ready", |pool| pool.idle == 2).await;
            let other = runtime.session().await.unwrap();
            other.call("count", Value::None).await.unwrap();
            let liar = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":1}}\n");
            let what = protocol_error(&runtime, raw(&liar)).await;
            assert!(what.contains("answered") && what.contains(named), "{what}");
            assert_eq!(
                other.call("count", Value::None).await.unwrap(),
                Value::from(2),
                "the other one lives on"
            );
            goes_on(&runtime, 1).await;
        }
    })
    .await;
}

/// Faults 14 and 21: half a message, and then death.
#[tokio::test]
async fn f21_half_a_line_and_then_death_is_named() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        let half = "{\"jsonrpc\":\"2.0\",\"id\":$ID,\"resu";
        let what = protocol_error(&runtime, last_words(half)).await;
        assert!(what.starts_with("the stream ended inside a message: got "), "{what}");
        // A whole message without an end is none: more could have come.
        let whole = "{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":1}";
        assert!(protocol_error(&runtime, last_words(whole)).await.contains("ended inside a message"));
        goes_on(&runtime, 2).await;

        let runtime = one(framed()).start().await.unwrap();
        let what = protocol_error(&runtime, last_words("Content-Length: 500\r\n\r\n{\"json")).await;
        assert!(what.contains("stream ended inside a message"), "{what}");
        goes_on(&runtime, 1).await;
    })
    .await;
}

/// Fault 22, A11: the limit is named, and it can be set.
#[tokio::test]
async fn f22_a_message_of_ten_megabytes_arrives_or_is_past_a_limit_that_is_named() {
    guarded(async {
        for spec in [plain(), framed()] {
            let runtime = one(spec.clone()).start().await.unwrap();
            let long = runtime.call("long", map("bytes", 10 << 20)).await.unwrap();
            assert_eq!(long.as_str().map(str::len), Some(10 << 20));
            goes_on(&runtime, 0).await;

            let runtime = one(spec.max_message(1 << 20)).start().await.unwrap();
            let what = protocol_error(&runtime, Request::rpc("long", map("bytes", 10 << 20))).await;
            assert!(what.contains("1048576"), "{what}");
            goes_on(&runtime, 1).await;
        }
    })
    .await;
}

/// Fault 23: a line that was to be a message.
#[tokio::test]
async fn f23_a_broken_message_ends_the_server_and_says_what_came() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        for (crashed, broken) in [
            "{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":\n",
            "progress... {\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":1}\n",
            "{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":\"\u{ff}\"}\n",
        ]
        .into_iter()
        .enumerate()
        {
            let what = protocol_error(&runtime, raw(broken)).await;
            assert!(what.contains("not JSON as expected") && what.contains("jsonrpc"), "{what}");
            goes_on(&runtime, crashed as u64 + 1).await;
        }
        let runtime = one(framed()).start().await.unwrap();
        let what = protocol_error(&runtime, raw("INFO a line of a log\r\n")).await;
        assert!(what.contains("expected a header with `Content-Length`, got \"INFO a line"), "{what}");
        goes_on(&runtime, 1).await;
    })
    .await;
}

/// C12: a member that is missing or wrong fails that call; the third such message ends the server.
#[tokio::test]
async fn a_wrong_answer_fails_its_call_and_repeated_offence_ends_the_server() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for (wrong, named) in [
            ("{\"jsonrpc\":\"2.0\",\"id\":$ID}\n", "expected a member `result` or `error`, got neither"),
            (&format!("{{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{deep}}}\n"), "member `result`"),
        ] {
            match runtime.run(raw(wrong)).await.unwrap().outcome {
                Outcome::Failed(Failure::Protocol { what }) => assert!(what.contains(named), "{what}"),
                other => panic!("{other}"),
            }
            goes_on(&runtime, 0).await;
        }
        let what = protocol_error(&runtime, raw("{\"jsonrpc\":\"1.0\",\"id\":$ID,\"result\":1}\n")).await;
        assert!(what.starts_with("3 wrong messages, the last: member `jsonrpc`: expected \"2.0\""), "{what}");
        goes_on(&runtime, 1).await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_answers_is_taken_apart() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        let batch =
            "[{\"jsonrpc\":\"2.0\",\"method\":\"note\"},{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":4}]\n";
        assert_eq!(runtime.run(raw(batch)).await.unwrap().value(), Some(&Value::from(4)));
        goes_on(&runtime, 0).await;
    })
    .await;
}

/// P2, P5: what was in flight on a server that dies is lost, and says whether it was sent; no other server notices.
#[tokio::test]
async fn a_server_that_dies_loses_only_what_was_in_flight_on_it() {
    guarded(async {
        let runtime = Runtime::builder(mcp()).max_sessions(2).min_idle(2).start().await.unwrap();
        pool_is(&runtime, "both are ready", |pool| pool.idle == 2).await;
        let calls: Vec<_> = (0..6)
            .map(|_| {
                let runtime = runtime.clone();
                tokio::spawn(async move { runtime.call("sleep", map("s", 0.5)).await })
            })
            .collect();
        pool_is(&runtime, "six calls are in flight", |pool| pool.totals.in_flight == 6).await;
        let dying = runtime.call("die", map("after", 0.05)).await.unwrap_err();
        assert!(dying.was_sent(), "{dying}");
        let mut answered = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(answer) => {
                    assert_eq!(answer.as_str(), Some("slept"));
                    answered += 1;
                }
                Err(error) => {
                    assert!(error.was_sent(), "{error}");
                    let CallError::Unanswered(outcome) = error else { panic!("{error}") };
                    let Outcome::Lost(Lost { started: true, cause: LostCause::Died(death) }) = *outcome
                    else {
                        panic!("{outcome}");
                    };
                    assert_eq!(death.exit, Exit::Code(7));
                }
            }
        }
        assert_eq!(answered, 3, "those of the other server");
        goes_on(&runtime, 1).await;
    })
    .await;
}

/// P5: a request that was not written is given to another server, once.
#[tokio::test]
async fn what_was_not_written_when_the_server_died_goes_to_another_one() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        // It reads nothing more, and what follows is larger than its pipe.
        let blocked = runtime.execute(Request::rpc("block", map("s", 60))).await.unwrap();
        let large = "x".repeat(4 << 20);
        let waiting: Vec<_> = (0..3)
            .map(|n| {
                let (runtime, params) = (runtime.clone(), map("large", large.clone()));
                tokio::spawn(async move { (n, runtime.call("echo", params).await) })
            })
            .collect();
        pool_is(&runtime, "all are in flight", |pool| pool.totals.in_flight == 4).await;
        let pid = runtime.status().await.sessions[0].pid.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(processes::signal(pid, rustix::process::Signal::KILL));
        for call in waiting {
            let (n, answer) = call.await.unwrap();
            assert_eq!(
                answer.unwrap().get("large").and_then(Value::as_str).map(str::len),
                Some(4 << 20),
                "{n}"
            );
        }
        let Outcome::Lost(Lost { started: true, .. }) = blocked.outcome().await else {
            panic!("it was sent")
        };
        let status = runtime.status().await;
        assert_eq!((status.totals.requeued, status.crashed), (3, 1));
    })
    .await;
}

/// F9: the command is checked before anything is started.
#[tokio::test]
async fn a_server_that_is_not_there_or_no_program_is_named_with_its_path() {
    guarded(async {
        for (program, said) in [
            ("no-such-server-anywhere", "worker program `no-such-server-anywhere` was not found in PATH"),
            ("/etc/passwd", "worker program `/etc/passwd` cannot be executed: it has no execute permission"),
            ("/tmp", "worker program `/tmp` cannot be executed: it is a folder"),
        ] {
            for spec in [WorkerSpec::mcp(program), WorkerSpec::json_rpc(program)] {
                let error = Runtime::builder(spec).start().await.unwrap_err();
                assert!(matches!(error, StartError::Spawn(_)), "{error}");
                assert!(error.to_string().starts_with(said), "{error}");
            }
        }
    })
    .await;
}

/// A10, faults 7 and 8: what a server says in the place of a handshake is in the error.
#[tokio::test]
async fn a_server_that_does_not_shake_hands_is_refused_with_what_it_said() {
    guarded(async {
        let error = one(mcp().arg("--version=1999-01-01")).start().await.unwrap_err().to_string();
        assert!(error.contains("speaks version 1999-01-01 of MCP, this host speaks 2025-06-18"), "{error}");
        let traceback = "import sys; print('Traceback: no module x'); sys.stdout.flush(); sys.stdin.read()";
        let silent = WorkerSpec::mcp("python3").arg("-c").arg(traceback);
        let error = one(silent).ready_timeout(Duration::from_secs(2)).start().await.unwrap_err().to_string();
        assert!(
            error.contains("was not ready after 2s") && error.contains("Traceback: no module x"),
            "{error}"
        );
        let dead = WorkerSpec::mcp("python3").arg("-c").arg("import sys; sys.exit('no licence')");
        let error = one(dead).start().await.unwrap_err().to_string();
        assert!(error.contains("exit code 1") && error.contains("no licence"), "{error}");
    })
    .await;
}
