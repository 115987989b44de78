//! Another process of this user that finds our sockets, as everybody can, and comes first.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use ostler::{Codec, Runtime, Session, StateError, WorkerSpec};

use crate::{
    python::completed,
    support::{processes::pool_tag, wait::guarded},
};

/// Finds sockets by the beginning of their names, and connects to each: to speak as a copy does that was told no secret, to
/// guess one, and more often than are heard at a time to say nothing. Then tells what it got.
const STRANGER: &str = "\
import os, socket, sys, time
def names():
    with open('/proc/net/unix') as table:
        return [line.split(' @', 1)[1].strip() for line in table if ' @' + sys.argv[1] in line]
def frame(text):
    return len(text).to_bytes(4, 'big') + text.encode()
while not names(): time.sleep(0.005)
speech, come, got = frame('wants socket') + frame(f'forked {os.getpid()}'), [], b''
for name in names():
    for says in [speech, b'0' * 64 + speech] + [b''] * 40:
        stranger = socket.socket(socket.AF_UNIX)
        try:
            stranger.connect('\\0' + name)
            stranger.sendall(says)
        except OSError: continue
        come.append(stranger)
print(len(come), flush=True)
for stranger in come:
    try: got += stranger.recv(64)
    except ConnectionResetError: pass
print(got, flush=True)";

/// A worker whose copy is told to be the process `argv[1]`.
const LIAR: &str = "\
import json, os, socket, sys
def send(type, **fields):
    payload = json.dumps({'type': type, **fields}).encode()
    os.write(1, len(payload).to_bytes(4, 'big') + payload)
def said(text):
    return len(text).to_bytes(4, 'big') + text.encode()
send('ready', protocol=1, pid=os.getpid(), codec='json', language='liar', capabilities=['fork', 'secret'])
while head := sys.stdin.buffer.read(4):
    message = json.loads(sys.stdin.buffer.read(int.from_bytes(head, 'big')))
    if message['type'] == 'fork':
        send('forked', id=message['id'])
        keeper = socket.socket(socket.AF_UNIX)
        keeper.connect('\\0' + message['address'])
        keeper.sendall(message['secret'].encode() + said('wants stdio'))
        keeper.recv(64)
        keeper.sendall(said('forked ' + sys.argv[1]))";

async fn value(session: &Session, code: &str) -> String {
    let report = session.run(code).await.unwrap();
    completed(&report);
    report.value().map(ToString::to_string).unwrap_or_default()
}

/// A process of its own.
struct Stranger(Child, BufReader<ChildStdout>);

impl Stranger {
    /// It has come.
    fn comes(prefix: &str) -> Self {
        let stranger = Command::new("python3").args(["-c", STRANGER, prefix]).stdout(Stdio::piped()).spawn();
        let mut stranger = stranger.unwrap();
        let told = BufReader::new(stranger.stdout.take().unwrap());
        let mut stranger = Self(stranger, told);
        let come: usize = stranger.line().parse().unwrap();
        assert!(come > 40, "{come} have come");
        stranger
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    async fn got_nothing(mut self) {
        let (got, ended) = blocking(move || (self.line(), self.0.wait().unwrap())).await;
        assert!(got == "b''" && ended.success(), "it got {got:?}, and ended with {ended:?}");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Code that keeps the session busy, so that its host waits for the copy and the copy does not come.
const WAITS: &str = "\
import os, time
while not os.path.exists('go'): time.sleep(0.005)
os.remove('go')";

async fn folder(session: &Session) -> PathBuf {
    value(session, "import os; os.getcwd()").await.trim_matches('\'').into()
}

/// A stranger comes when there is a socket of such a name, and only then the session goes on.
async fn attack(prefix: String, folder: PathBuf) -> Stranger {
    let stranger = blocking(move || Stranger::comes(&prefix)).await;
    // All of it has come, and is not only about to.
    tokio::time::sleep(Duration::from_millis(50)).await;
    fs::write(folder.join("go"), "").unwrap();
    stranger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f164_a_stranger_that_comes_first_is_no_copy_of_a_session() {
    for spec in [WorkerSpec::python(), WorkerSpec::python().preload(["json"])] {
        guarded(async {
            let runtime = Runtime::builder(spec).max_sessions(3).min_idle(1).start().await.unwrap();
            let session = runtime.session().await.unwrap();
            let folder = folder(&session).await;
            completed(&session.run("x = 41").await.unwrap());
            let running = session.execute(WAITS).await.unwrap();
            let prefix = format!("ostler-fork-{}", pool_tag(session.pid().unwrap()));
            let (copy, stranger) = tokio::join!(session.fork(), attack(prefix, folder));
            assert_eq!(value(&copy.unwrap(), "x + 1").await, "42");
            assert!(running.outcome().await.is_completed());
            stranger.got_nothing().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f164_a_stranger_that_comes_first_sends_no_state() {
    guarded(async {
        let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(2).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let folder = folder(&session).await;
        completed(&session.run("state = bytearray(b'x') * (64 << 20)\nx = 41").await.unwrap());
        let running = session.execute(WAITS).await.unwrap();
        let prefix = format!("ostler-state-{}-", std::process::id());
        let (saved, stranger) = tokio::join!(session.checkpoint(), attack(prefix, folder));
        assert!(running.outcome().await.is_completed());
        let (copy, restored) = runtime.session_from(&saved.unwrap()).await.unwrap();
        assert!(restored.lost.is_empty(), "{restored:?}");
        assert_eq!(value(&copy, "[x + 1, len(state)]").await, "[42, 67108864]");
        stranger.got_nothing().await;
    })
    .await;
}

/// Ends with this.
struct Bystander(Child);

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The host would end it in the copy's place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f164_a_copy_is_its_keepers_child_and_nobody_else() {
    guarded(async {
        let mut bystander = Bystander(Command::new("sleep").arg("600").spawn().unwrap());
        let named = bystander.0.id().to_string();
        let spec = WorkerSpec::command("python3").arg("-c").arg(LIAR).arg(&named).codec(Codec::Json);
        let runtime = Runtime::builder(spec).max_sessions(2).min_idle(0).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        match session.fork().await {
            Err(StateError::NotForked { why }) => {
                let told = format!("it named process {named} as the copy: expected a child of");
                assert!(why.contains(&told), "{why}");
            }
            other => panic!("not refused: {other:?}"),
        }
        drop(session);
        runtime.shutdown(Duration::from_secs(5)).await;
        assert!(bystander.0.try_wait().unwrap().is_none(), "it was ended");
    })
    .await;
}
