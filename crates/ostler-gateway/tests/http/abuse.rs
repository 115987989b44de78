//! Callers who send too much, too little, nonsense, or do not read (G22, G23, G24, G25).

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use ostler_gateway::config::{BODY_MAX, CONNECTIONS_PER_PEER_MAX};
use serde_json::json;

use crate::{
    client,
    server::{Server, TOKEN},
};

/// Runs a test in a process of its own, where no other test takes memory.
#[expect(clippy::disallowed_methods, reason = "a test runs itself")]
fn alone(name: &str, test: impl FnOnce()) {
    const ALONE: &str = "OSTLER_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let mut itself = std::process::Command::new(std::env::current_exe().unwrap());
    let ended = itself.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{printed}\n{}", String::from_utf8_lossy(&ended.stderr));
    assert!(printed.contains("1 passed"), "no test is called {name}: {printed}");
}

/// The resident memory of this process, in bytes: the server is in it, and its workers are not.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// G22: half requests take their places and no more. That they are cut in their time is tested beside `Timed`.
#[test]
fn half_heads_and_half_bodies_hold_up_nobody_and_are_limited_for_each_peer() {
    let server = Server::start();
    let half_body = Server::request(TOKEN, "POST", "/v1/run", &[], &"x".repeat(100));
    let half_body = &half_body[..half_body.len() - 50];
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 0..CONNECTIONS_PER_PEER_MAX {
        let mut stream = client::connect(server.address);
        stream.write_all(if number % 2 == 0 { b"GET / HTTP/1.1\r\nHo" } else { half_body }).unwrap();
        held.push(stream);
    }
    let refused = client::answer(client::connect(server.address)).expect(503);
    assert_eq!(refused.json()["limit"], "connections_per_peer");
    let other_door =
        client::request("POST", "/v1/run", &[("Content-Type", "application/json")], b"{\"code\":\"1\"}");
    client::ask(server.unix(), &other_door).expect(200);
    drop(held);
    crate::server::eventually("their places are free", || {
        let request = Server::request(TOKEN, "GET", "/v1/version", &[], "");
        (client::ask(client::connect(server.address), &request).status == 200).then_some(())
    });
}

/// G23.
#[test]
fn what_is_too_large_is_refused_before_it_is_kept() {
    alone("abuse::what_is_too_large_is_refused_before_it_is_kept", oversized);
}

fn oversized() {
    let server = Server::start();
    server.run("/v1/run", "1");
    let before = memory();
    let claimed = format!(
        "POST /v1/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        BODY_MAX + 1
    );
    let refused = client::ask(client::connect(server.address), claimed.as_bytes()).expect(413);
    assert_eq!(refused.json()["limit"], "body");
    let head = claimed.split("Content-Length").next().unwrap();
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..9 {
        chunked.extend(b"100000\r\n");
        chunked.extend(vec![b' '; 1 << 20]);
        chunked.extend(b"\r\n");
    }
    client::ask(client::connect(server.address), &chunked).expect(413);
    let mut many = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    for number in 0..1_000 {
        many.extend(format!("a{number}: b\r\n").bytes());
    }
    many.extend(b"\r\n");
    client::ask(client::connect(server.address), &many).expect(431);
    let long = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: {}\r\n\r\n", "b".repeat(32 << 10));
    client::ask(client::connect(server.address), long.as_bytes()).expect(431);
    let nested = format!("{{\"code\":\"1\",\"args\":{{\"a\":{}", "[".repeat(4 << 20));
    server.ask("POST", "/v1/run", &[], &nested).expect(400);
    server.ask("POST", "/v1/run", &[("Content-Encoding", "gzip")], "\x1f").expect(415);
    server
        .ask("POST", "/v1/run", &[("Content-Type", "application/x-www-form-urlencoded")], "code=1")
        .expect(415);
    let grown = memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB", grown >> 20);
    server.run("/v1/run", "1");
}

/// G25: no name reaches a path. The table of names is beside `check_name`.
#[test]
fn names_that_look_like_paths_are_refused_and_nothing_outside_is_touched() {
    let server = Server::start();
    let outside = || {
        let mut found: Vec<_> =
            std::fs::read_dir(server.folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        found.sort();
        found
    };
    let before = outside();
    let long = "a".repeat(10 << 10);
    for name in ["..", "../a", "a/../b", "%2e%2e%2f", "a\0", "A", "аbc", ".a", "lock/", &*long] {
        let refused = server.post("/v1/sessions", &json!({ "name": name })).expect(400).json();
        assert_eq!(refused["place"], "name", "{refused}");
        let session = server.post("/v1/run", &json!({"code": "1", "session": name})).expect(400).json();
        assert_eq!(session["place"], "name", "{session}");
    }
    for (path, expected) in [
        ("/v1/sessions/%2e%2e", 400),
        ("/v1/sessions/..%2f..", 400),
        ("/v1/sessions/%00", 400),
        ("/v1/sessions/%ff", 400),
        ("/v1/sessions/../pool", 404),
        ("/v1/executions/..", 404),
        ("/v1//run", 404),
    ] {
        server.get(path).expect(expected);
    }
    assert_eq!(outside(), before);
}

/// G24: what they do not read is in the log once, and each has a piece on its way.
#[test]
fn readers_that_do_not_read_a_flood_cost_little_and_hold_up_nobody() {
    alone("abuse::readers_that_do_not_read_a_flood_cost_little_and_hold_up_nobody", stalled_readers);
}

fn stalled_readers() {
    const READERS: usize = 200;
    let server = Server::start();
    let code = json!({"code": "for i in range(2_000):\n  print('x' * 16_000)", "wait_ms": 0});
    server.run("/v1/run", "1");
    let before = memory();
    let flood = server.post("/v1/run", &code).expect(202).json();
    let execution = flood["execution"].as_str().unwrap();
    let path = format!("/v1/executions/{execution}/events");
    let request = Server::request(TOKEN, "GET", &path, &[], "");
    let stalled: Vec<_> = (0..READERS)
        .map(|_| {
            // On the Unix socket, which has no limit for each peer.
            let mut stream = server.unix();
            stream.write_all(&request).unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let report = server.run("/v1/run", "6 * 7");
    assert_eq!(report["outcome"]["value"], 42);
    let place = format!("/v1/executions/{execution}");
    // The list, for a report is as large as the log.
    crate::server::eventually("the flood ends, read or not", || {
        let listed = server.get("/v1/executions").json();
        let mut all = listed["executions"].as_array().unwrap().iter();
        all.all(|it| it["state"] == "ended").then_some(())
    });
    let grown = memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB for {READERS} readers", grown >> 20);
    let told = server.get(&place).json();
    assert!(told["dropped"].as_u64().unwrap() > 16 << 20, "32 MiB do not fit into the log");
    drop(stalled);
}

#[test]
fn wrong_methods_and_paths_are_problems_too() {
    let server = Server::start();
    for (method, path, status) in [("GET", "/v1/run", 405), ("PUT", "/v1/sessions", 405), ("GET", "/", 404)] {
        let answer = server.ask(method, path, &[], "").expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["status"], status);
    }
    server.ask("POST", "/v1/run", &[("Accept", "image/png")], "{\"code\":\"1\"}").expect(406);
}
