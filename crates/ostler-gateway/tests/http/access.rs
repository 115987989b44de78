//! Who gets in (G18, G19, G21), and what the server says of itself (G33).

use std::os::unix::{fs::PermissionsExt as _, net::UnixListener};

use ostler_gateway::Listener;
use serde_json::json;

use crate::{
    client,
    server::{Folder, Server, TOKEN, eventually},
};

/// Every path, with a method that it has.
const PATHS: [(&str, &str); 14] = [
    ("POST", "/v1/run"),
    ("GET", "/v1/executions"),
    ("GET", "/v1/executions/e-1"),
    ("GET", "/v1/executions/e-1/events"),
    ("POST", "/v1/executions/e-1/cancel"),
    ("GET", "/v1/sessions"),
    ("POST", "/v1/sessions"),
    ("POST", "/v1/sessions/a/run"),
    ("GET", "/v1/pool"),
    ("POST", "/v1/pool/drain"),
    ("GET", "/v1/version"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
    ("GET", "/nothing"),
];

/// G18: the table of hosts and origins is beside `Hosts`; here, that it stands before every path.
#[test]
fn no_path_is_reached_under_another_host_or_from_another_page() {
    let server = Server::start();
    let ours = format!("localhost:{}", server.address.port());
    let own_page = format!("http://{ours}");
    for (method, path) in PATHS {
        for (headers, expected) in [
            (&[("Host", "evil.example")][..], 403),
            (&[("Host", "ABSENT")], 400),
            (&[("Host", &*ours), ("Origin", "http://evil.example")], 403),
            (&[("Host", &*ours), ("Origin", "null")], 403),
            (&[("Host", &*ours), ("Origin", "http://localhost:3000")], 403),
        ] {
            let answer = server.ask(method, path, headers, "").expect(expected);
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    server.ask("GET", "/v1/version", &[("Host", &*ours), ("Origin", &*own_page)], "").expect(200);
    server.ask("GET", "/v1/version", &[("Host", "[::1]:7411")], "").expect(200);
    server.ask("GET", "http://evil.example/v1/version", &[], "").expect(403);
}

/// G19.
#[test]
fn only_a_right_token_in_the_right_place_is_one() {
    let server = Server::start();
    let ask = |path: &str, headers: &[(&str, &str)]| {
        client::ask(client::connect(server.address), &client::request("GET", path, headers, b""))
    };
    let wrong = format!("Bearer {}", TOKEN.replace('0', "1"));
    let right = format!("Bearer {TOKEN}");
    for (path, _) in
        PATHS.iter().filter(|(method, path)| *method == "GET" && *path != "/healthz").map(|it| (it.1, ()))
    {
        let none = ask(path, &[]).expect(401);
        assert!(none.header("www-authenticate").is_some());
        ask(path, &[("Authorization", &wrong)]).expect(401);
        ask(path, &[("Authorization", TOKEN)]).expect(401);
        for name in ["token", "access_token"] {
            let query = ask(&format!("{path}?{name}={TOKEN}"), &[]).expect(401);
            assert!(!query.text().contains(TOKEN), "it is not repeated");
            ask(&format!("{path}?{name}={TOKEN}"), &[("Authorization", &right)]).expect(401);
        }
    }
    ask("/healthz", &[]).expect(200);
    ask("/readyz", &[]).expect(200);
    ask("/v1/version", &[("Authorization", &right)]).expect(200);
}

/// G21. A peer of another user cannot be made here: the check is `peer_cred` beside the mode.
#[test]
fn a_unix_socket_is_this_user_s_alone_and_needs_no_token() {
    let server = Server::start();
    let request = client::request("GET", "/v1/version", &[], b"");
    client::ask(server.unix(), &request).expect(200);
    client::ask(server.unix(), &client::request("GET", "/v1/version", &[("Host", "evil.example")], b""))
        .expect(403);
    let path = server.folder.path().join("serve.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = tokio.enter();
    let taken = Listener::unix(&path).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse, "{taken}");
    let folder = Folder::new();
    let stale = folder.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    drop(Listener::unix(&stale).unwrap());
    assert!(!stale.exists(), "its name goes with it");
}

/// G33.
#[test]
fn what_the_server_says_of_itself_is_so() {
    let server = Server::start();
    server.run("/v1/run", "1");
    server.run("/v1/run", "no_such");
    let metrics = server.get("/metrics").expect(200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let mut values = std::collections::BTreeMap::new();
    let (mut typed, mut family) = (std::collections::BTreeSet::new(), String::new());
    for line in metrics.text().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(typed.insert(family.clone()), "{line}");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(name.split('{').next().unwrap(), family, "{line}");
            values.insert(name.to_owned(), value.parse::<u64>().unwrap());
        }
    }
    assert_eq!(values["ostler_requests_accepted_total"], 2);
    assert_eq!(values["ostler_requests_ended_total{outcome=\"failed\"}"], 1);
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/operating.md")).unwrap();
    let listed = page.lines().filter_map(|line| line.strip_prefix("| `ostler_")?.split('`').next());
    for name in listed {
        assert!(typed.contains(&format!("ostler_{name}")), "the book lists `ostler_{name}`");
    }
    let version = server.get("/v1/version").expect(200).json();
    assert_eq!(version["server_id"].as_str().unwrap().len(), 32);
    server.post("/v1/pool/reset", &json!({})).expect(202);
}

/// G33: a pool that gave up is not ready, and is again when it is mended.
#[test]
fn readiness_is_that_of_the_pool() {
    let folder = Folder::new();
    let worker = folder.path().join("worker");
    // A link: a file that is written cannot be started while another test has just forked.
    let point_at = |program: &std::path::Path| {
        let new = worker.with_extension("new");
        std::os::unix::fs::symlink(program, &new).unwrap();
        std::fs::rename(new, &worker).unwrap();
    };
    let real = ostler::python_info("python3").unwrap().executable;
    point_at(&real);
    let broken = worker.clone();
    let server = Server::start_with(
        folder,
        |_pool| {
            let spec = ostler::WorkerSpec::python_at(&broken);
            ostler::Runtime::builder(spec).max_sessions(1).idle_timeout(None)
        },
        |_config| {},
        None,
    );
    let ready = || client::ask(client::connect(server.address), &client::request("GET", "/readyz", &[], b""));
    ready().expect(200);
    point_at("/bin/false".as_ref());
    let kill = json!({"code": "import os; os._exit(1)"});
    server.post("/v1/run", &kill).expect(200);
    let why = eventually("it is not ready", || Some(ready()).filter(|answer| answer.status == 503));
    assert!(why.text().starts_with("not ready: "), "{}", why.text());
    point_at(&real);
    server.post("/v1/pool/reset", &json!({})).expect(202);
    eventually("it is ready again", || (ready().status == 200).then_some(()));
}
