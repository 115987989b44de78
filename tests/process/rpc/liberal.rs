//! Servers that write in their own way: nothing that they say is lost, and nobody waits for ever.

use std::time::Duration;

use ostler::{Failure, Outcome, PlainJson, Request, RpcError, Runtime, Value, WorkerSpec};

use super::{map, mcp, one, plain};
use crate::support::wait::guarded;

/// What the server says in the place of an answer; `$ID` is the id of the request.
async fn said(runtime: &Runtime, text: &str) -> Outcome {
    let params: Value =
        [("text", Value::from(format!("{text}\n"))), ("answer", false.into())].into_iter().collect();
    runtime.run(Request::rpc("raw", params)).await.unwrap().outcome
}

/// On one and the same server, which goes on after each.
#[tokio::test]
async fn every_answer_in_its_own_way_reaches_its_caller() {
    guarded(async {
        for spec in [plain(), mcp()] {
            let runtime = one(spec).start().await.unwrap();
            for (text, result) in [
                (r#"{"jsonrpc":"2.0","id":$ID.0,"result":5}"#, "5"),
                (r#"{"jsonrpc":"2.0","id":"$ID","result":5}"#, "5"),
                (
                    r#"{"jsonrpc":"2.0","id":$ID,"result":{"text":"cut here: \ud83d"}}"#,
                    "{\"text\":\"cut here: \u{FFFD}\"}",
                ),
                (
                    r#"{"jsonrpc":"2.0","id":$ID,"result":[12345678901234567890123]}"#,
                    "[12345678901234567890123]",
                ),
                (r#"{"jsonrpc":"2.0","id":$ID,"result":{"old":1},"result":{"new":2}}"#, "{\"new\":2}"),
                (r#"{"jsonrpc":"2.0","id":$ID,"method":"raw","result":1}"#, "1"),
                ("\u{EF}\u{BB}\u{BF}{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":1,\"error\":null}", "1"),
            ] {
                let outcome = said(&runtime, text).await;
                let value = outcome.value().unwrap_or_else(|| panic!("{text}: {outcome}"));
                assert_eq!(serde_json::to_string(&PlainJson(value)).unwrap(), result, "{text}");
            }
            for (text, code, message) in [
                (
                    r#"{"code":"ENOENT","message":"no such file: a.txt"}"#,
                    RpcError::NO_CODE,
                    "ENOENT: no such file: a.txt",
                ),
                (r#"{"code":-32000.0,"message":"no"}"#, -32000, "no"),
                (r#""quota used up""#, RpcError::NO_CODE, "quota used up"),
            ] {
                let error = || Outcome::Failed(Failure::Rpc(Box::new(RpcError::new(code, message))));
                for text in [
                    format!(r#"{{"jsonrpc":"2.0","id":$ID,"error":{text}}}"#),
                    format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":null,"error":{text}}}"#),
                    format!(r#"{{"jsonrpc":"2.0","id":null,"error":{text}}}"#),
                    format!(r#"{{"jsonrpc":"2.0","error":{text}}}"#),
                ] {
                    assert_eq!(said(&runtime, &text).await, error(), "{text}");
                }
            }
            let both = r#"{"jsonrpc":"2.0","id":$ID,"result":1,"error":{"code":1,"message":"quota"}}"#;
            match said(&runtime, both).await {
                Outcome::Failed(Failure::Protocol { what }) => {
                    assert!(what.contains("the error is: quota"), "{what}");
                }
                other => panic!("{other}"),
            }
            // A result for nobody ends the server, and so the wait for it.
            let outcome = said(&runtime, r#"{"jsonrpc":"2.0","result":1}"#).await;
            assert!(outcome.to_string().contains("it answered without an id"), "{outcome}");
            assert_eq!(runtime.call("echo", map("on", 1)).await.unwrap(), map("on", 1));
            assert_eq!(runtime.status().await.crashed, 1);
        }
    })
    .await;
}

/// A number that no machine holds goes out as it came in.
#[tokio::test]
async fn a_long_number_comes_back_as_it_was_sent() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        let sent = r#"{"wei":[12345678901234567890123,-98765432109876543210]}"#;
        let answer = runtime.call("echo", Value::from_json(sent).unwrap()).await.unwrap();
        assert_eq!(serde_json::to_string(&PlainJson(&answer)).unwrap(), sent);
    })
    .await;
}

/// A server that forgets the CR, and ends its messages with a line that it does not count.
const LINE_FEEDS: &str = r#"
import json, sys
size = None
for line in sys.stdin.buffer:
    if line.lower().startswith(b"content-length:"):
        size = int(line.split(b":")[1])
    elif not line.strip() and size is not None:
        asked = json.loads(sys.stdin.buffer.read(size))
        size = None
        if "id" in asked:
            body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": asked.get("params")})
            print(eval(sys.argv[1]), end="", flush=True)
"#;

#[tokio::test]
async fn headers_in_their_own_way_frame_their_messages() {
    guarded(async {
        for written in [
            "f'Content-Length: {len(body)}\\n\\n{body}'",
            "f'content-length:{len(body)}\\r\\n\\n{body}\\n'",
            "f'X-Unknown: 1\\nCONTENT-LENGTH: {len(body)}\\nContent-Type: x; charset=utf-8\\n\\r\\n{body}\\r\\n'",
        ] {
            let spec = WorkerSpec::json_rpc("python3").arg("-c").arg(LINE_FEEDS).arg(written).content_length();
            let runtime = one(spec).start().await.unwrap();
            for n in 0..3 {
                assert_eq!(runtime.call("echo", map("n", n)).await.unwrap(), map("n", n), "{written}");
            }
            runtime.shutdown(Duration::from_secs(1)).await;
        }
        let lines = "f'{body}\\n'";
        let spec = WorkerSpec::json_rpc("python3").arg("-c").arg(LINE_FEEDS).arg(lines).content_length();
        let error = one(spec).start().await.unwrap().call("echo", map("n", 1)).await.unwrap_err().to_string();
        assert!(error.contains("expected a header with `Content-Length`, got"), "{error}");
    })
    .await;
}

/// What a server answers to `initialize` in its own way is heard at once, and not at the end of the `ready_timeout`.
#[tokio::test]
async fn a_refusal_to_start_is_told_in_whichever_form_it_comes() {
    guarded(async {
        for error in [
            r#""id":"ostler-1","error":"no licence""#,
            r#""id":"ostler-1","result":null,"error":{"code":"E1","message":"no licence"}"#,
            r#""id":null,"error":{"code":1,"message":"no licence"}"#,
            r#""error":{"message":"no licence"}"#,
        ] {
            let code = "import sys; sys.stdin.readline(); print(sys.argv[1], flush=True); sys.stdin.read()";
            let answer = format!("{{\"jsonrpc\":\"2.0\",{error}}}");
            let spec = WorkerSpec::mcp("python3").arg("-c").arg(code).arg(answer);
            let told =
                one(spec).ready_timeout(Duration::from_secs(300)).start().await.unwrap_err().to_string();
            assert!(told.contains("no licence"), "{error}: {told}");
        }
    })
    .await;
}
