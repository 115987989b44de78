//! Each message as a flood, while the caller takes nothing: this process grows by a window and no more, and a cancel or a
//! deadline in the middle of it is told as if there were none (P1, P11).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use ostler::{
    Exit, Outcome, Request, Runtime, Value, WorkerSpec,
    config::WINDOW,
    protocol::{
        CancelAck, CheckpointData, Codec, CompleteResult, Display, ErrorKind, ExecutionError, ExecutionId,
        ExecutionResult, Forked, FromWorker, GetResult, Heartbeat, InputRequest, InspectResult, Level, Log,
        Mime, MimeData, Output, ProtocolError, Ready, ResetResult, Restored, SetResult, Started, Stream,
        Variable, VarsResult,
    },
    testing::{ScriptedSpawner, Stage},
};

use crate::{
    counts::{SLACK, memory, settled},
    server_lines::SERVER_LINES,
    support::wait::SOON,
};

const GRACE: Duration = Duration::from_millis(500);
/// How long each flood is left alone.
const FLOODS_FOR: Duration = Duration::from_millis(600);
/// Between these sizes lie the read buffer and the pipe.
const TEXTS: [usize; 2] = [0, 60_000];

/// Makes the list of messages, and a match of them: a new one does not compile until it is in the list.
macro_rules! messages {
    ($id:ident, $text:ident, $number:ident: $($variant:ident => $message:expr,)+) => {
        fn every($id: ExecutionId, $text: &str, $number: u64) -> Vec<(&'static str, FromWorker)> {
            let messages: Vec<FromWorker> = vec![$($message.into(),)+];
            messages.into_iter().map(|message| (name(&message), message)).collect()
        }

        fn name(message: &FromWorker) -> &'static str {
            match message {
                $(FromWorker::$variant { .. } => stringify!($variant),)+
            }
        }
    };
}

messages! { id, text, number:
    Ready => Ready::new(1u32, 1u32, Codec::MessagePack, text),
    Started => Started::new(id),
    Output => Output::new(id, Stream::Stdout, number, text.to_owned().into_bytes()),
    Display => Display::new(id, mime(text)),
    InputRequest => InputRequest::new(id, number, text),
    Result => ExecutionResult { value: Some(Value::from(text)), ..ExecutionResult::new(id, 0.0) },
    Error => ExecutionError::new(id, 0.0, ErrorKind::Other(text.to_owned())),
    Heartbeat => Heartbeat::new(0u64, 0.0, 0u64),
    CancelAck => CancelAck::new(id, true),
    ProtocolError => ProtocolError::new(text),
    Log => Log::new(Level::Debug, text),
    ResetResult => ResetResult::new(id),
    VarsResult => VarsResult::new(id, vec![Variable::new("name", text, "repr")]),
    CompleteResult => CompleteResult::new(id, vec![text.to_owned()], 0u64, 0u64),
    GetResult => GetResult::new(id, vec![("name".to_owned(), Value::from(text))], Vec::new()),
    SetResult => SetResult::new(id),
    InspectResult => InspectResult::new(id, true, text),
    CheckpointData => Box::new(CheckpointData::new(id, number, false)),
    Restored => Restored::new(id, vec![text.to_owned()]),
    Forked => Forked::new(id),
    Bye => FromWorker::Bye,
}

fn mime(text: &str) -> Mime {
    Mime(vec![("text/plain".to_owned(), MimeData::Binary(text.to_owned().into()))])
}

/// Frames of one message, as many as make a good write. Those with a number count on from this one.
fn frames(which: &str, id: ExecutionId, text: &str, first: u64) -> Vec<u8> {
    let mut frames = BytesMut::new();
    for number in first..first + count(text) {
        if which == "unknown" {
            frames.extend_from_slice(&unknown(text));
            continue;
        }
        let messages = every(id, text, number);
        let (_, message) = messages.iter().find(|(name, _)| *name == which).unwrap();
        Codec::MessagePack.encode_from_worker(message, &mut frames).unwrap();
    }
    frames.to_vec()
}

fn count(text: &str) -> u64 {
    if text.is_empty() { 2_000 } else { 4 }
}

/// A type that no host knows.
fn unknown(text: &str) -> Vec<u8> {
    let mut payload = b"\x82\xa4type\xa7unknown\xa4text\xdb".to_vec();
    payload.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    payload.extend_from_slice(text.as_bytes());
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    frame.append(&mut payload);
    frame
}

/// Has a flood run, its caller taking nothing, and then cancelled, or late. `make` makes the request, which is not
/// answered; returns what this process grew by, and how long it took to be told beyond what was asked for.
async fn stalled(runtime: &Runtime, request: Request, cancel: bool) -> (u64, Duration, Outcome) {
    let before = memory();
    let (begun, mut most) = (Instant::now(), 0);
    let execution =
        runtime.execute(request.deadline(if cancel { SOON * 3 } else { FLOODS_FOR })).await.unwrap();
    while begun.elapsed() < FLOODS_FOR {
        tokio::time::sleep(Duration::from_millis(10)).await;
        most = most.max(memory().saturating_sub(before));
    }
    let asked = Instant::now();
    if cancel {
        execution.cancel();
    }
    // The events stay where they are until the outcome is there: nobody takes them.
    while runtime.status().await.totals.in_flight > 0 {
        assert!(asked.elapsed() < SOON, "it is not told");
        tokio::time::sleep(Duration::from_millis(2)).await;
        most = most.max(memory().saturating_sub(before));
    }
    (most, asked.elapsed(), execution.outcome().await)
}

fn judge(what: &str, seen: (u64, Duration, Outcome)) {
    let (grown, took, outcome) = seen;
    let told: String = outcome.to_string().chars().take(60).collect();
    println!("   {what}: {} KiB more resident, told after {took:?}: {told}", grown >> 10);
    assert!(grown < WINDOW as u64 + SLACK, "{what}: {grown} bytes more are resident");
}

async fn scripted(which: &'static str, len: usize, cancel: bool) {
    let text = "x".repeat(len);
    let workers = ScriptedSpawner::new(move |mut stage: Stage| {
        let text = text.clone();
        async move {
            stage.ready().await;
            while let Some(execute) = stage.next_execute().await {
                stage.started(execute.id).await;
                for turn in 0.. {
                    stage.send_bytes(&frames(which, execute.id, &text, turn * count(&text))).await;
                }
            }
            Exit::Code(0)
        }
    });
    let runtime = Runtime::builder(WorkerSpec::python())
        .max_sessions(1)
        .grace(GRACE)
        .spawner(workers)
        .start()
        .await
        .unwrap();
    judge(&format!("{which} of {len} bytes, scripted"), stalled(&runtime, "flood".into(), cancel).await);
    runtime.shutdown(Duration::ZERO).await;
}

/// A piece of output is a slice of what it was read with; it must not keep that alive.
pub(crate) async fn small_output_between_large_frames_keeps_no_buffer_alive() {
    settled().await;
    let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
        stage.ready().await;
        while let Some(execute) = stage.next_execute().await {
            stage.started(execute.id).await;
            let large = frames("Log", execute.id, &"x".repeat(60_000), 0);
            for number in 0_u64.. {
                let small = Output::new(execute.id, Stream::Stdout, number, Bytes::from_static(b"x"));
                stage.send_bytes(&stage.frame(&small.into())).await;
                stage.send_bytes(&large[..large.len() / 4]).await;
            }
        }
        Exit::Code(0)
    });
    let runtime = Runtime::builder(WorkerSpec::python())
        .max_sessions(1)
        .grace(GRACE)
        .spawner(workers)
        .start()
        .await
        .unwrap();
    judge("output of a byte between large frames", stalled(&runtime, "flood".into(), true).await);
    runtime.shutdown(Duration::ZERO).await;
}

fn kinds() -> Vec<&'static str> {
    let messages = every(ExecutionId(1), "", 0);
    messages.into_iter().map(|(name, _)| name).chain(["unknown"]).collect()
}

pub(crate) async fn each_message_as_a_flood_from_a_scripted_worker() {
    settled().await;
    for which in kinds() {
        for (len, cancel) in TEXTS.into_iter().zip([true, false]) {
            scripted(which, len, cancel).await;
        }
    }
}

/// Writes raw frames on its channel, as any code may.
fn raw(frames: &[u8]) -> String {
    let hex: String = frames.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "import os, stat\n\
         fds = [int(fd) for fd in os.listdir('/proc/self/fd') if int(fd) > 2]\n\
         fd = [fd for fd in fds if os.path.exists(f'/proc/self/fd/{{fd}}') and stat.S_ISSOCK(os.fstat(fd).st_mode)][0]\n\
         many = bytes.fromhex('{hex}')\n\
         while True:\n\
         \x20   view = memoryview(many)\n\
         \x20   while view:\n\
         \x20       try: view = view[os.write(fd, view):]\n\
         \x20       except BlockingIOError: pass\n"
    )
}

pub(crate) async fn each_message_as_a_flood_from_a_real_worker() {
    settled().await;
    for which in kinds() {
        for (len, cancel) in TEXTS.into_iter().zip([false, true]) {
            let runtime =
                Runtime::builder(WorkerSpec::python()).max_sessions(1).grace(GRACE).start().await.unwrap();
            let last = runtime.run("1").await.unwrap().id;
            // Nobody else submits anything meanwhile.
            let frames = frames(which, ExecutionId(last.get() + 1), &"x".repeat(len), 0);
            judge(&format!("{which} of {len} bytes"), stalled(&runtime, raw(&frames).into(), cancel).await);
            runtime.shutdown(Duration::ZERO).await;
        }
    }
}

/// What code can do without knowing the protocol, in one loop each.
pub(crate) async fn whatever_code_does_without_end_while_its_caller_takes_nothing() {
    settled().await;
    for (what, code) in [
        (
            "prints between displays",
            "import sys\nbig = 'x' * 60000\nwhile True:\n    sys.stdout.write(big)\n    display(0)",
        ),
        ("displays of nothing", "while True: display(None)"),
        ("prints of a byte", "import os\nwhile True: os.write(1, b'x')"),
        (
            "threads that ask",
            "import threading\nfor _ in range(1500): threading.Thread(target=input, args=('x' * 60000,), daemon=True).start()\nwhile True: pass",
        ),
    ] {
        for cancel in [true, false] {
            let runtime =
                Runtime::builder(WorkerSpec::python()).max_sessions(1).grace(GRACE).start().await.unwrap();
            runtime.run("1").await.unwrap();
            judge(what, stalled(&runtime, Request::python(code).allow_input(true), cancel).await);
            runtime.shutdown(Duration::ZERO).await;
        }
    }
}

async fn server(line: &'static str, len: usize, cancel: bool) -> (u64, Duration, Outcome) {
    let spec = WorkerSpec::json_rpc("server");
    let text: Arc<str> = "x".repeat(len).into();
    let workers = ScriptedSpawner::new(move |mut stage: Stage| {
        let text = Arc::clone(&text);
        async move {
            let call = stage.recv_line().await.unwrap_or_default();
            let call: String = call
                .split("\"id\":")
                .nth(1)
                .unwrap_or_default()
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            let line = line.replace("CALL", &call).replace("TEXT", &text) + "\n";
            let lines = line.repeat(if text.is_empty() { 2_000 } else { 4 });
            loop {
                stage.send_bytes(lines.as_bytes()).await;
            }
        }
    })
    .server(&spec);
    let runtime = Runtime::builder(spec).max_sessions(1).grace(GRACE).spawner(workers).start().await.unwrap();
    let request = Request::rpc("work", Value::Map(Vec::new())).allow_input(true);
    let seen = stalled(&runtime, request, cancel).await;
    runtime.shutdown(Duration::ZERO).await;
    seen
}

pub(crate) async fn each_message_of_a_server_as_a_flood() {
    settled().await;
    for (what, line) in SERVER_LINES {
        for (len, cancel) in TEXTS.into_iter().zip([true, false]) {
            judge(&format!("{what}, with {len} bytes of text"), server(line, len, cancel).await);
        }
    }
}
