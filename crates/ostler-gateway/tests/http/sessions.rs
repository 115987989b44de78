//! Sessions over HTTP: kept, saved, forked, asleep, and back after the end of the server (G26, G27, G29).

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    client,
    server::{Folder, Server, eventually},
};

fn made(server: &Server, body: &Value) -> String {
    server.post("/v1/sessions", body).expect(201).json()["session"].as_str().unwrap().to_owned()
}

fn value(server: &Server, session: &str, code: &str) -> Value {
    server.run(&format!("/v1/sessions/{session}/run"), code)["outcome"]["value"].clone()
}

#[test]
fn a_session_keeps_its_names_and_each_thing_can_be_done_with_its_state() {
    let server = Server::start_with(Folder::new(), |pool| pool.max_sessions(3), |_config| {}, None);
    let session = made(&server, &json!({"name": "analysis"}));
    value(&server, &session, "x = 41");
    assert_eq!(value(&server, "analysis", "x + 1"), 42, "by its name, too");
    let again = server.post("/v1/sessions", &json!({"name": "analysis"})).expect(200).json();
    assert_eq!(again["session"], *session);
    let path = |what: &str| format!("/v1/sessions/analysis/{what}");
    let vars = server.get(&path("vars")).expect(200).json();
    assert_eq!((&vars["vars"][0]["name"], &vars["vars"][0]["repr"]), (&"x".into(), &"41".into()));
    let saved = server.post(&path("checkpoint"), &json!({})).expect(201).json();
    assert_eq!(saved["names"], json!(["x"]));
    let fork =
        server.post(&path("fork"), &json!({})).expect(201).json()["session"].as_str().unwrap().to_owned();
    value(&server, &fork, "x = 'fork'");
    value(&server, "analysis", "x = 'changed'");
    assert_eq!(value(&server, &fork, "x"), "fork");
    let back = server.post(&path("restore"), &json!({"checkpoint": saved["checkpoint"]})).expect(200).json();
    assert_eq!((&back["restored"], value(&server, "analysis", "x")), (&json!(["x"]), 41.into()));
    assert!(server.post(&path("save"), &json!({})).expect(200).json()["saves"].as_u64() >= Some(1));
    let from = made(&server, &json!({"from": saved["checkpoint"]}));
    assert_eq!(value(&server, &from, "x"), 41);
    server.get(&path("activity")).expect(200);
    let listed = server.get("/v1/sessions").expect(200).json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 3);
    let taken = server.post(&format!("/v1/sessions/{fork}/save"), &json!({})).expect(409).json();
    assert_eq!(taken["type"], "urn:ostler:problem:nameless");
}

#[test]
fn what_was_deleted_says_when_and_why() {
    let server = Server::start();
    let session = made(&server, &json!({}));
    server.ask("DELETE", &format!("/v1/sessions/{session}"), &[], "").expect(204);
    let gone = server.get(&format!("/v1/sessions/{session}")).expect(410).json();
    assert!(gone["detail"].as_str().unwrap().ends_with("it was deleted"), "{gone}");
    assert!(gone["ended_at"].is_string(), "{gone}");
    server.get("/v1/sessions/s-00000000000000000000000000000000").expect(404);
    let never = server.get("/v1/sessions/never").expect(404).json();
    assert!(never["detail"].as_str().unwrap().contains("`POST /v1/sessions`"), "{never}");
}

/// More sessions than workers: who is idle sleeps, and wakes with its own value.
#[test]
fn twelve_sessions_live_on_two_workers() {
    let server = Server::start();
    let sessions: Vec<String> = (0..12).map(|_| made(&server, &json!({}))).collect();
    for (number, session) in sessions.iter().enumerate() {
        value(&server, session, &format!("x = {number}"));
    }
    for (number, session) in sessions.iter().enumerate() {
        assert_eq!(value(&server, session, "x"), number);
    }
    let listed = server.get("/v1/sessions").json();
    let asleep = listed["sessions"].as_array().unwrap().iter().filter(|it| it["state"] == "asleep").count();
    assert_eq!(asleep, 10, "{listed}");
}

#[test]
fn code_without_a_session_does_not_wait_for_sessions_that_nobody_uses() {
    let server = Server::start();
    let sessions = [(); 2].map(|()| made(&server, &json!({})));
    value(&server, &sessions[0], "x = 7");
    assert_eq!(server.run("/v1/run", "6 * 7")["outcome"]["value"], 42);
    assert_eq!(value(&server, &sessions[0], "x"), 7);
}

#[test]
fn an_idle_session_is_saved_and_the_answer_that_wakes_it_says_what_came_back() {
    let short = Duration::from_millis(100);
    let server = Server::start_with(Folder::new(), |pool| pool, |config| config.sleep_after = short, None);
    let session = made(&server, &json!({"name": "a"}));
    value(&server, &session, "x = 1");
    eventually("it sleeps", || (server.get("/v1/sessions/a").json()["state"] == "asleep").then_some(()));
    assert_eq!(server.get("/v1/pool").json()["leased"], 0);
    let report = server.run("/v1/sessions/a/run", "x");
    assert_eq!((&report["woke"]["restored"], &report["outcome"]["value"]), (&json!(["x"]), &1.into()));
}

/// G29, for an end in order.
#[test]
fn a_name_comes_back_with_the_next_server() {
    let server = Server::start();
    let session = made(&server, &json!({"name": "kept"}));
    value(&server, &session, "x = 41");
    let (served, folder) = server.stop();
    assert_eq!((served.saved, served.not_saved), (1, 0));
    let next = Server::start_with(folder, |pool| pool, |_config| {}, None);
    assert_eq!(next.get(&format!("/v1/sessions/{session}")).expect(200).json()["state"], "asleep");
    assert_eq!(value(&next, "kept", "x + 1"), 42);
}

/// G26: 64 at once, of which four may.
#[test]
fn a_raced_limit_of_sessions_is_kept_exactly() {
    let hash = ostler_gateway::Tokens::hash("t");
    let tokens =
        json!({"principals": [{"name": "ci", "hash": hash, "scopes": ["run", "read"], "sessions": 4}]});
    let more = |pool: ostler::RuntimeBuilder| pool.max_sessions(5);
    let server = Server::start_with(Folder::new(), more, |_config| {}, Some(&tokens.to_string()));
    let request = Server::request("t", "POST", "/v1/sessions", &[], "{}");
    let answers: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = (0..64).map(|_| scope.spawn(|| client::ask(server.unix(), &request))).collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 4);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((refused.status, &refused.json()["limit"]), (429, &"sessions".into()), "{refused:?}");
        assert!(refused.header("retry-after").is_some());
    }
    server.post("/v1/sessions", &json!({})).expect(201);
}

/// G27: what is another's was never there.
#[test]
fn one_principal_neither_sees_nor_touches_what_is_another_s() {
    let [a, b] = ["a", "b"].map(ostler_gateway::Tokens::hash);
    let tokens = json!({"principals": [
        {"name": "a", "hash": a, "scopes": ["run", "read"]},
        {"name": "b", "hash": b, "scopes": ["run", "read"]},
        {"name": "looker", "hash": ostler_gateway::Tokens::hash("l"), "scopes": ["read"]},
    ]});
    let server = Server::start_with(
        Folder::new(),
        |pool| pool.max_sessions(4),
        |_config| {},
        Some(&tokens.to_string()),
    );
    let session = server.ask_as("a", "POST", "/v1/sessions", &[], "{\"name\":\"same\"}").expect(201).json();
    let session = session["session"].as_str().unwrap();
    let path = format!("/v1/sessions/{session}");
    let run =
        server.ask_as("a", "POST", &format!("{path}/run"), &[], "{\"code\":\"x = 1\"}").expect(200).json();
    let run = format!("/v1/executions/{}", run["execution"].as_str().unwrap());
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/fork")),
        ("GET", format!("{path}/vars")),
        ("GET", run.clone()),
        ("GET", format!("{run}/events")),
        ("POST", format!("{run}/cancel")),
    ] {
        server.ask_as("b", method, &path, &[], "").expect(404);
        server.ask(method, &path, &[], "").expect(404);
    }
    let other = server.ask_as("b", "POST", "/v1/sessions", &[], "{\"name\":\"same\"}").expect(201).json();
    assert_ne!(other["session"], session, "the same name of two is two sessions");
    let none =
        server.ask_as("b", "POST", "/v1/sessions/same/run", &[], "{\"code\":\"x\"}").expect(200).json();
    assert!(none["outcome"]["message"].as_str().unwrap().starts_with("NameError"), "{none}");
    assert_eq!(
        server.ask_as("b", "GET", "/v1/executions", &[], "").json()["executions"].as_array().unwrap().len(),
        1
    );
    server.ask_as("l", "GET", "/v1/pool", &[], "").expect(200);
    let refused = server.ask_as("l", "POST", "/v1/run", &[], "{\"code\":\"1\"}").expect(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("scope `run`"), "{refused}");
    server.ask_as("a", "POST", "/v1/pool/drain", &[], "").expect(403);
}
