//! A retry never runs code twice (G17).

use std::{io::Write as _, thread};

use serde_json::json;

use crate::{
    client,
    server::{Server, TOKEN, eventually},
};

fn counted(server: &Server) -> usize {
    std::fs::read(server.folder.path().join("count")).map_or(0, |bytes| bytes.len())
}

/// Code that writes a byte for each time that it runs.
fn counting(server: &Server) -> String {
    let file = server.folder.path().join("count");
    json!({"code": format!("open({file:?}, 'ab').write(b'x')\n7")}).to_string()
}

/// G17.
#[test]
fn a_connection_that_is_cut_behind_its_body_is_retried_and_the_code_runs_once() {
    const ROUNDS: usize = 50;
    let server = Server::start();
    let body = counting(&server);
    for round in 0..ROUNDS {
        let key = format!("key-{round}");
        let request = Server::request(TOKEN, "POST", "/v1/run", &[("Idempotency-Key", &key)], &body);
        let mut cut = client::connect(server.address);
        cut.write_all(&request).unwrap();
        drop(cut);
        let retried = client::ask(client::connect(server.address), &request).expect(200);
        assert_eq!(retried.json()["outcome"]["value"], 7);
    }
    // The request that was cut may arrive behind its retry.
    eventually("all have run", || (counted(&server) >= ROUNDS).then_some(()));
    assert_eq!(counted(&server), ROUNDS);
}

/// G17.
#[test]
fn sixty_four_duplicates_at_once_are_one_execution_and_another_body_is_refused() {
    let server = Server::start();
    let body = counting(&server);
    let key = [("Idempotency-Key", "k")];
    let request = Server::request(TOKEN, "POST", "/v1/run", &key, &body);
    let handles: Vec<String> = thread::scope(|scope| {
        let asked: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| client::ask(server.unix(), &request).expect(200).json()))
            .collect();
        asked.into_iter().map(|it| it.join().unwrap()["execution"].as_str().unwrap().to_owned()).collect()
    });
    assert!(handles.iter().all(|handle| *handle == handles[0]), "{handles:?}");
    assert_eq!(counted(&server), 1);
    let again = server.ask("POST", "/v1/run", &key, &body).expect(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let other = server.ask("POST", "/v1/run", &key, "{\"code\":\"8\"}").expect(422).json();
    assert_eq!(
        (&other["type"], &other["place"]),
        (&"urn:ostler:problem:key-reused".into(), &"Idempotency-Key".into())
    );
    assert_eq!(counted(&server), 1);
}

#[test]
fn a_key_whose_request_was_refused_is_free() {
    let server = Server::start();
    let key = [("Idempotency-Key", "k")];
    let absent = json!({"code": "1", "session": "absent"}).to_string();
    server.ask("POST", "/v1/run", &key, &absent).expect(404);
    server.ask("POST", "/v1/run", &key, "{\"code\":\"1\"}").expect(200);
    server.ask("POST", "/v1/run", &[("Idempotency-Key", "a b")], "{\"code\":\"1\"}").expect(400);
}
