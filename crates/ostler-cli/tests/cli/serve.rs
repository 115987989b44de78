//! `ostler serve`: where it says it is, who gets in, and what is left when it ends.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::program::{GUARD, Running, Scratch, gone};

/// A server that runs in a scratch folder.
struct Server {
    running: Running,
    /// What its file says.
    file: Value,
}

impl Server {
    fn start(scratch: &Scratch, args: &[&str]) -> Self {
        let all = [&["-vv", "serve", "--listen", "127.0.0.1:0", "--workers", "2"], args].concat();
        let folder = scratch.path().to_str().unwrap();
        let mut running = scratch.ostler(&all).env("XDG_RUNTIME_DIR", folder).start();
        running.until("\ntry: ");
        running.until("\n");
        let file = fs::read(scratch.path().join("ostler/serve.json")).unwrap();
        Self { running, file: serde_json::from_slice(&file).unwrap() }
    }

    fn text(&self, name: &str) -> &str {
        self.file[name].as_str().unwrap()
    }

    fn token(&self) -> String {
        self.text("token").to_owned()
    }

    /// Asks through the Unix socket.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let stream = UnixStream::connect(self.text("socket")).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        let (status, text) = ask(stream, method, path, "", body);
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn run(&self, session: Option<&str>, code: &str) -> Value {
        let body = serde_json::json!({ "code": code, "session": session }).to_string();
        let (status, report) = self.ask("POST", "/v1/run", &body);
        assert_eq!(status, 200, "{report}");
        report["outcome"]["value"].clone()
    }

    /// Asks at its address, with this token.
    fn ask_by_tcp(&self, token: &str, body: &str) -> u16 {
        let address = self.file["addresses"][0].as_str().unwrap().strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        ask(stream, "POST", "/v1/run", &format!("Authorization: Bearer {token}\r\n"), body).0
    }
}

fn ask(mut stream: impl Read + Write, method: &str, path: &str, more: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{more}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// G19, G21, G28.
#[test]
fn a_server_is_for_its_user_alone_tells_no_token_and_ends_in_order() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch, &[]);
    let mode = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ostler"), mode("ostler/serve.sock"), mode("ostler/serve.json")), (0o700, 0o600, 0o600));
    let token = server.token();
    let wrong = token.replace(['0', '1'], "2");
    let body = "{\"code\": \"6 * 7\"}";
    assert_eq!((server.ask_by_tcp(&token, body), server.ask_by_tcp(&wrong, body)), (200, 401));
    let (made, session) = server.ask("POST", "/v1/sessions", "{\"name\": \"kept\"}");
    assert_eq!(made, 201, "{session}");
    let pid = server.run(Some("kept"), "import os\nx = 41\nos.getpid()").to_string();
    server.running.signal(Signal::TERM);
    let ended = server.running.end().expect(143);
    for text in [ended.out(), ended.err()] {
        assert!(!text.contains(&token) && !text.contains(&wrong), "{text}");
    }
    gone(&pid);
    let left = ["serve.sock", "serve.json"].map(|name| scratch.path().join("ostler").join(name).exists());
    assert_eq!(left, [false, false]);
    let next = Server::start(&scratch, &[]);
    assert_ne!(next.token(), token);
    assert_eq!(next.run(Some("kept"), "x + 1"), 42);
}

/// G29: what was saved comes back, and nothing runs on.
#[test]
fn a_killed_server_leaves_no_process_and_its_named_sessions_come_back() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch, &[]);
    let nameless = server.ask("POST", "/v1/sessions", "{}").1["session"].as_str().unwrap().to_owned();
    server.ask("POST", "/v1/sessions", "{\"name\": \"kept\"}");
    let pid = server.run(Some("kept"), "import os, subprocess\nx = 41\nos.getpid()").to_string();
    let child = server.run(Some("kept"), "subprocess.Popen(['sleep', '1000']).pid").to_string();
    assert_eq!(server.ask("POST", "/v1/sessions/kept/save", "").0, 200);
    server.ask("POST", "/v1/run", "{\"code\": \"while True: pass\", \"wait_ms\": 0}");
    server.running.signal(Signal::KILL);
    gone(&pid);
    gone(&child);
    drop(server);
    // The socket that it left is replaced.
    let next = Server::start(&scratch, &[]);
    assert_eq!(next.run(Some("kept"), "x + 1"), 42);
    let (status, gone) = next.ask("GET", &format!("/v1/sessions/{nameless}"), "");
    assert_eq!(status, 410, "{gone}");
    assert!(gone["detail"].as_str().unwrap().contains("ended with an earlier server"), "{gone}");
    assert_eq!(next.ask("GET", "/v1/sessions/s-00000000000000000000000000000000", "").0, 404);
}

/// G21: the socket of one that lives is not taken from it.
#[test]
fn a_second_server_does_not_take_the_socket_of_the_first() {
    let scratch = Scratch::new();
    let first = Server::start(&scratch, &[]);
    let folder = scratch.path().to_str().unwrap();
    let second = ["serve", "--listen", "127.0.0.1:0", "--state-dir", "another"];
    let second = scratch.ostler(&second).env("XDG_RUNTIME_DIR", folder).run("");
    let second = second.expect(5);
    assert!(
        second.err().contains("cannot listen at `") && second.err().contains("serve.sock"),
        "{}",
        second.err()
    );
    let file = fs::read(scratch.path().join("ostler/serve.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&file).unwrap(), first.file, "its file is still there");
    assert_eq!(first.run(None, "1"), 1);
}

/// G20.
#[test]
fn an_address_that_others_reach_needs_a_tokens_file() {
    let scratch = Scratch::new();
    let folder = scratch.path().to_str().unwrap();
    let open = scratch.ostler(&["serve", "--listen", "0.0.0.0:0"]).env("XDG_RUNTIME_DIR", folder);
    let refused = open.run("").expect(2);
    assert!(refused.err().contains("--tokens FILE"), "{}", refused.err());
    let new = scratch.ostler(&["serve", "--new-token"]).run("").expect(0);
    let new: Value = serde_json::from_str(new.out()).unwrap();
    let (token, hash) = (new["token"].as_str().unwrap(), new["hash"].as_str().unwrap());
    let line =
        format!("{{\"principals\": [{{\"name\": \"ci\", \"hash\": \"{hash}\", \"scopes\": [\"run\"]}}]}}");
    let file = scratch.file("tokens.json", line);
    let with = ["serve", "--listen", "0.0.0.0:0", "--tokens", "tokens.json"];
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let readable = scratch.ostler(&with).env("XDG_RUNTIME_DIR", folder).run("").expect(2);
    assert!(readable.err().contains("chmod 600"), "{}", readable.err());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start(&scratch, &["--tokens", "tokens.json"]);
    assert_eq!(server.ask_by_tcp(token, "{\"code\": \"1\"}"), 200);
    let others = server.ask("GET", "/v1/executions", "").1;
    assert_eq!(others["executions"], serde_json::json!([]), "one does not see what another one has run");
}

/// What a session has lost is told with the reason, by the first run that finds it so.
#[test]
fn a_session_whose_worker_dies_says_so() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch, &[]);
    let session = server.ask("POST", "/v1/sessions", "").1["session"].as_str().unwrap().to_owned();
    let pid = server.run(Some(&session), "import os\nx = 1\nos.getpid()").to_string();
    let kill = format!("import os, signal\nos.kill({pid}, signal.SIGKILL)");
    let body = serde_json::json!({ "code": kill, "session": session }).to_string();
    let (_, report) = server.ask("POST", "/v1/run", &body);
    assert_eq!(report["outcome"]["outcome"], "lost", "{report}");
    let body = serde_json::json!({ "code": "x", "session": session }).to_string();
    let (_, report) = server.ask("POST", "/v1/run", &body);
    let restored = &report["session_restored"];
    assert_eq!((&restored["unsaved"], &restored["generation"]), (&2.into(), &2.into()), "{report}");
    assert!(restored["why"].as_str().unwrap().contains("SIGKILL"), "{restored}");
}
