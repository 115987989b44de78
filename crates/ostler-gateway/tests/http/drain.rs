//! How a server ends (G28): readiness first, readers are told, what runs has its time, states are saved.

use std::io::Write as _;

use serde_json::json;

use crate::{
    client::{self, Events},
    server::{Folder, Server, TOKEN, eventually},
};

/// G28.
#[test]
fn a_drain_ends_everything_in_order() {
    let patient = |config: &mut ostler_gateway::GatewayConfig| config.drain_timeout = client::GUARD;
    let mut server = Server::start_with(Folder::new(), |pool| pool, patient, None);
    server.post("/v1/sessions", &json!({"name": "kept"})).expect(201);
    server.run("/v1/sessions/kept/run", "x = 1");
    // Longer than open connections have behind a drain.
    let slow =
        json!({"code": "import time\nprint('begun', flush=True)\ntime.sleep(2.5)\n'done'", "wait_ms": 0});
    let execution =
        server.post("/v1/run", &slow).expect(202).json()["execution"].as_str().unwrap().to_owned();
    let mut events = server.events(&execution, 0);
    assert_eq!(events.find(|event| event.name == "output").unwrap().data["text"], "begun\n");
    server.begin_to_stop();
    let ready = || client::ask(client::connect(server.address), &client::request("GET", "/readyz", &[], b""));
    eventually("it is not ready", || (ready().status == 503).then_some(()));
    let refused = server.post("/v1/run", &json!({"code": "1"})).expect(503);
    assert_eq!(refused.json()["type"], "urn:ostler:problem:draining");
    assert!(refused.header("retry-after").is_some());
    let rest: Vec<_> = events.map(|event| (event.name, event.data["value"].clone())).collect();
    assert_eq!(rest[0].0, "drain");
    assert_eq!(*rest.last().unwrap(), ("outcome".to_owned(), "done".into()), "what ran had its time");
    let (served, _folder) = server.stop();
    assert_eq!((served.saved, served.not_saved), (1, 0));
}

/// An idle connection, and one that is being answered, do not hold up the end.
#[test]
fn open_connections_end_with_the_server() {
    let server = Server::start();
    let mut idle = client::connect(server.address);
    idle.write_all(&Server::request(TOKEN, "GET", "/healthz", &[], "")).unwrap();
    let forever = json!({"code": "import time\ntime.sleep(1000)", "wait_ms": 0});
    let execution =
        server.post("/v1/run", &forever).expect(202).json()["execution"].as_str().unwrap().to_owned();
    let path = format!("/v1/executions/{execution}/events");
    let stream =
        Events::open(client::connect(server.address), &Server::request(TOKEN, "GET", &path, &[], ""));
    server.post("/v1/pool/drain", &json!({})).expect(202);
    server.stop();
    drop((idle, stream));
}
