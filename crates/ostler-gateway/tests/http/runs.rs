//! Code over HTTP: run, followed, left and found again, answered, stopped (G16).

use serde_json::{Value, json};

use crate::{
    client::{self, Event, Events},
    server::{Server, TOKEN, eventually},
};

#[test]
fn code_is_answered_in_the_form_that_is_asked_for() {
    let server = Server::start();
    let report = server.run("/v1/run", "print('hello')\n6 * 7");
    assert_eq!((&report["stdout"], &report["outcome"]["value"]), (&"hello\n".into(), &42.into()));
    assert_eq!((&report["state"], &report["outcome"]["outcome"]), (&"ended".into(), &"completed".into()));
    let plain = [("Content-Type", "text/x-python"), ("Accept", "text/plain")];
    let text = server.ask("POST", "/v1/run", &plain, "print(6 * 7)").expect(200);
    assert_eq!((text.text(), text.header("ostler-outcome")), ("42\n", Some("completed")));
    let failed = server.ask("POST", "/v1/run", &plain, "print(1)\nno_such").expect(200);
    assert!(
        failed.text().starts_with("1\nTraceback") && failed.text().contains("no_such"),
        "{}",
        failed.text()
    );
    assert_eq!(failed.header("ostler-outcome"), Some("failed"));
    let args = json!({"code": "sum(n)", "args": {"n": [1, 2]}, "label": "a sum"});
    let report = server.post("/v1/run", &args).expect(200).json();
    assert_eq!((&report["outcome"]["value"], &report["label"]), (&3.into(), &"a sum".into()));
    let stream = Server::request(
        TOKEN,
        "POST",
        "/v1/run",
        &[("Accept", "text/event-stream")],
        "{\"code\":\"print('é')\"}",
    );
    let events: Vec<Event> = Events::open(client::connect(server.address), &stream).collect();
    let names: Vec<&str> = events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["started", "output", "outcome"]);
    assert_eq!((events[1].id, &events[1].data["text"]), (Some(2), &"é\n".into()));
}

#[test]
fn who_does_not_wait_finds_it_by_its_handle() {
    let server = Server::start();
    let body = json!({"code": "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.01)", "wait_ms": 0});
    let accepted = server.post("/v1/run", &body).expect(202);
    let place = accepted.header("location").unwrap().to_owned();
    assert_eq!(accepted.json()["state"], "running");
    eventually("it prints", || (server.get(&place).json()["stdout"] == "begun\n").then_some(()));
    let activity = server.get(&format!("{place}/activity")).expect(200).json();
    assert!(activity["activity"]["stacks"].is_array(), "{activity}");
    server.post(&format!("{place}/cancel"), &json!({})).expect(202);
    let ended = eventually("it ends", || Some(server.get(&place).json()).filter(|it| it["state"] == "ended"));
    assert_eq!(ended["outcome"]["outcome"], "cancelled");
    let caught = json!({"code": "import time\ntry:\n  print('x', flush=True)\n  time.sleep(60)\nexcept KeyboardInterrupt: 7", "wait_ms": 0});
    let place = server.post("/v1/run", &caught).expect(202).header("location").unwrap().to_owned();
    eventually("it prints", || (server.get(&place).json()["stdout"] == "x\n").then_some(()));
    server.post(&format!("{place}/interrupt"), &json!({})).expect(202);
    let ended = eventually("it ends", || Some(server.get(&place).json()).filter(|it| it["state"] == "ended"));
    assert_eq!(ended["outcome"]["outcome"], "completed");
}

#[test]
fn input_is_asked_for_and_answered_once() {
    let server = Server::start();
    let body = json!({"code": "a = input('name? ')\na.upper()", "input": true});
    let waiting = server.post("/v1/run", &body).expect(202);
    let report = waiting.json();
    assert_eq!(
        (&report["state"], &report["input"]["prompt"]),
        (&"waiting_for_input".into(), &"name? ".into())
    );
    let input = format!("{}/input", waiting.header("location").unwrap());
    server.post(&input, &json!({"request": 99, "line": "x"})).expect(409);
    let request = report["input"]["request"].as_u64().unwrap();
    server.post(&input, &json!({"request": request, "line": "ada"})).expect(202);
    let again = server.post(&input, &json!({"request": request, "line": "bob"})).expect(409).json();
    assert_eq!(again["place"], "request");
    let place = waiting.header("location").unwrap();
    let ended = eventually("it ends", || Some(server.get(place).json()).filter(|it| it["state"] == "ended"));
    assert_eq!(ended["outcome"]["value"], "ADA");
    let nobody = server.run("/v1/run", "input()");
    assert!(nobody["outcome"]["message"].as_str().unwrap().starts_with("EOFError"), "{nobody}");
}

/// G16: a reader whose connection drops a hundred times, before or behind an event, gets each line once and in order.
#[test]
fn a_reader_that_comes_back_a_hundred_times_misses_nothing_and_hears_nothing_twice() {
    const LINES: u64 = 20_000;
    const DROPS: u64 = 100;
    let server = Server::start();
    // More than 50 full pipes: output that is read at once is one event.
    let code = format!("for i in range({LINES}):\n  print(i, '.' * 250)");
    let accepted = server.post("/v1/run", &json!({"code": code, "wait_ms": 0})).expect(202).json();
    let execution = accepted["execution"].as_str().unwrap();
    let (mut after, mut text, mut drops) = (0, String::new(), 0);
    let mut outcome = None;
    while outcome.is_none() {
        for event in server.events(execution, after) {
            assert_eq!(event.id, Some(after + 1), "{event:?}");
            if drops < DROPS && drops % 2 == 0 {
                // The connection ends before the event counts as received, so it is sent again.
                drops += 1;
                break;
            }
            after += 1;
            text.push_str(event.data["text"].as_str().unwrap_or_default());
            if event.name == "outcome" {
                outcome = Some(event.data);
                break;
            }
            if drops < DROPS {
                drops += 1;
                break;
            }
        }
    }
    assert_eq!(drops, DROPS);
    let expected: String = (0..LINES).map(|line| format!("{line} {}\n", ".".repeat(250))).collect();
    assert!(text == expected, "{} of {} bytes", text.len(), expected.len());
    let last = [("Last-Event-ID", &*(after - 1).to_string())];
    let path = format!("/v1/executions/{execution}/events");
    let request = Server::request(TOKEN, "GET", &path, &last, "");
    let rest: Vec<Event> = Events::open(client::connect(server.address), &request).collect();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(outcome.unwrap()["outcome"], "completed");
}

/// What was never there is 404, and what is kept no longer says when it ended and why.
#[test]
fn an_execution_is_kept_for_its_time() {
    let short = std::time::Duration::from_millis(200);
    let folder = crate::server::Folder::new();
    let server = Server::start_with(folder, |pool| pool, |config| config.keep_ended = short, None);
    let report = server.run("/v1/run", "1");
    let path = format!("/v1/executions/{}", report["execution"].as_str().unwrap());
    let gone =
        eventually("it is gone", || Some(server.get(&path)).filter(|answer| answer.status == 410)).json();
    assert!(gone["detail"].as_str().unwrap().contains("it ended and was kept for its time"), "{gone}");
    assert!(gone["ended_at"].is_string(), "{gone}");
    let never: Value = server.get("/v1/executions/e-00000000000000000000000000000000").expect(404).json();
    assert_eq!(never["type"], "urn:ostler:problem:not-found");
}
