//! What a server says besides answers.

use std::time::Duration;

use ostler::{Event, Outcome, Question, Request, RpcError, SessionEvent, Value};

use super::{framed, map, mcp, one, plain};
use crate::support::wait::{guarded, pool_is};

/// The notifications of an execution, and its outcome.
async fn notes(mut execution: ostler::Execution) -> (Vec<(String, Value)>, Outcome) {
    let mut notes = Vec::new();
    while let Some(event) = execution.next().await {
        if let Event::Notification { method, params } = event {
            notes.push((method, params));
        }
    }
    (notes, execution.outcome().await)
}

#[tokio::test]
async fn progress_reaches_its_call_under_the_name_that_its_caller_gave() {
    guarded(async {
        let runtime = one(mcp()).start().await.unwrap();
        let neighbour = runtime.execute(Request::rpc("sleep", map("s", 0.5))).await.unwrap();
        let token = |name: &str| map("_meta", map("progressToken", name));
        let ours = runtime.execute(Request::rpc("progress", token("mine"))).await.unwrap();
        let theirs = runtime.execute(Request::rpc("progress", token("mine"))).await.unwrap();
        for execution in [ours, theirs] {
            let (notes, outcome) = notes(execution).await;
            assert_eq!(outcome.value(), Some(&"progressed".into()));
            let steps: Vec<_> = notes.iter().map(|(_, params)| params.get("progress").cloned()).collect();
            assert_eq!(steps, [Some(0.into()), Some(1.into()), Some(2.into())]);
            assert!(notes.iter().all(|(_, params)| params.get("progressToken") == Some(&"mine".into())));
        }
        assert!(notes(neighbour).await.0.is_empty(), "progress of others");

        let runtime = one(framed()).start().await.unwrap();
        let request = Request::rpc("progress", map("workDoneToken", 99));
        let (notes, _) = notes(runtime.execute(request).await.unwrap()).await;
        assert_eq!(notes.len(), 3);
        assert!(notes.iter().all(|(_, params)| params.get("token") == Some(&99.into())), "{notes:?}");
    })
    .await;
}

#[tokio::test]
async fn a_notification_belongs_to_the_only_call_or_to_nobody() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        let (alone, _) = notes(runtime.execute(Request::rpc("notes", map("n", 3))).await.unwrap()).await;
        assert_eq!(alone.len(), 3);
        let neighbour = runtime.execute(Request::rpc("sleep", map("s", 1))).await.unwrap();
        let (shared, _) = notes(runtime.execute(Request::rpc("notes", map("n", 3))).await.unwrap()).await;
        assert!(shared.is_empty() && notes(neighbour).await.0.is_empty(), "nobody knows whose they are");
        assert_eq!(runtime.status().await.totals.unclaimed, 3);
    })
    .await;
}

/// P11: a caller that takes nothing holds up nobody; what it has no room for is dropped and counted.
#[tokio::test]
async fn a_flood_of_notifications_holds_up_nobody_and_is_bounded() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        let text = "x".repeat(1000);
        let params: Value = [("n", Value::from(20_000)), ("text", text.into())].into_iter().collect();
        let mut flooded = runtime.execute(Request::rpc("notes", params)).await.unwrap();
        // Not taken: yet the answer comes through.
        while runtime.status().await.totals.completed == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (mut kept, mut lost) = (0_u64, 0);
        while let Some(event) = flooded.next().await {
            match event {
                Event::Notification { params, .. } => kept += params.weight() as u64,
                Event::Dropped { bytes } => lost += bytes,
                _other => {}
            }
        }
        assert!(kept <= ostler::config::WINDOW as u64, "{kept}");
        assert!(
            kept + lost > 20_000_000 && lost == runtime.status().await.totals.dropped_bytes,
            "{kept} {lost}"
        );
        assert!(flooded.outcome().await.is_completed());
    })
    .await;
}

#[tokio::test]
async fn a_question_of_the_server_is_answered_by_the_caller_who_allows_it() {
    guarded(async {
        let runtime = one(mcp().capabilities(map("roots", Value::Map(vec![])))).start().await.unwrap();
        let answers = [Ok(map("roots", Vec::<Value>::new())), Err(RpcError::new(-1, "not today"))];
        for answer in answers {
            let mut asked =
                runtime.execute(Request::rpc("ask", Value::None).allow_input(true)).await.unwrap();
            let mut question = None;
            while let Some(event) = asked.next().await {
                if let Event::Asked(Question { request, method, params }) = event {
                    assert_eq!(
                        (method.as_str(), params.get("of")),
                        ("roots/list", Some(&asked.id().get().into()))
                    );
                    asked.answer(request, answer.clone());
                    question = Some(request);
                }
            }
            assert!(question.is_some(), "it is asked");
            let outcome = asked.outcome().await;
            let expected = match &answer {
                Ok(value) => value.get("roots"),
                Err(_) => None,
            };
            assert_eq!(outcome.value().and_then(|value| value.get("roots")), expected);
            assert_eq!(outcome.value().and_then(|value| value.get("code")).is_some(), answer.is_err());
        }
        let seen = runtime.call("seen", Value::None).await.unwrap();
        let told = seen.get("client").and_then(|client| client.get("capabilities"));
        assert_eq!(told, Some(&map("roots", Value::Map(vec![]))));
    })
    .await;
}

/// No server hangs because nobody answers it.
#[tokio::test]
async fn a_question_that_nobody_answers_is_refused_at_once_or_at_the_end_of_the_call() {
    guarded(async {
        let runtime = one(mcp()).start().await.unwrap();
        let refused = runtime.call("ask", Value::None).await.unwrap();
        assert_eq!(refused.get("code"), Some(&(-32601).into()), "{refused}");
        let neighbour = runtime.execute(Request::rpc("sleep", map("s", 0.5))).await.unwrap();
        let shared = runtime.run(Request::rpc("ask", Value::None).allow_input(true)).await.unwrap();
        let message = shared.value().and_then(|value| value.get("message")).and_then(Value::as_str);
        assert!(message.is_some_and(|message| message.contains("not known whose this is")), "{message:?}");
        drop(neighbour);
        pool_is(&runtime, "the neighbour is gone", |pool| pool.busy == 0).await;
        let leaves = runtime.execute(Request::rpc("ask", Value::None).allow_input(true)).await.unwrap();
        let leaves = leaves.outcome();
        assert!(
            tokio::time::timeout(Duration::from_millis(200), leaves).await.is_err(),
            "it waits for an answer"
        );
        // Its end answers the server; the pool goes on with it.
        assert_eq!(runtime.call("echo", map("a", 1)).await.unwrap(), map("a", 1));
    })
    .await;
}

#[tokio::test]
async fn the_holder_of_a_session_hears_what_belongs_to_no_call() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        let mut session = runtime.session().await.unwrap();
        let soon = "import sys"; // What a language server is told, and reports upon.
        session.notify("textDocument/didOpen", map("text", soon)).await.unwrap();
        let seen = session.call("seen", Value::None).await.unwrap();
        assert_eq!(seen.get("notes"), Some(&Value::from(vec!["textDocument/didOpen"])));
        session.call("stderr", map("text", "a line on stderr")).await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\n") {
            let event = session.next_event().await;
            let Some(SessionEvent::Background { data, .. }) = event else { panic!("{event:?}") };
            heard.extend_from_slice(&data);
        }
        assert_eq!(heard, b"a line on stderr\n");
        let after =
            "{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":1}\n{\"jsonrpc\":\"2.0\",\"method\":\"later\"}\n";
        let params: Value = [("text", Value::from(after)), ("answer", false.into())].into_iter().collect();
        session.call("raw", params).await.unwrap();
        let event = session.next_event().await;
        assert_eq!(event, Some(SessionEvent::Notification { method: "later".into(), params: Value::None }));
    })
    .await;
}
