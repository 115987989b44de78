//! Real processes, on the real clock. Nothing here sleeps for luck: it waits for the fact, under a guard.

use std::{
    env, fs,
    future::Future,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task,
    time::Duration,
};

use tokio::{io::AsyncReadExt, time::timeout};

use super::{Outbox, ProcessSpawner, Spawner, Worker, python::info};
use crate::{
    config::{FRAME_LEN_MAX, Transport, WorkerSpec},
    error::SpawnError,
    outcome::Exit,
    protocol::{Decoder, FromWorker},
};

mod clearing;
mod leaks;
mod life;
mod programs;
mod python;
mod scarce;
mod zygote;

/// What takes this long hangs.
const HANG: Duration = Duration::from_secs(120);

/// Awaits what must happen.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(HANG, future).await.unwrap_or_else(|_elapsed| panic!("{what}: not within {HANG:?}"))
}

/// Waits until something that tells nobody has become true.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, poll).await;
}

/// A tag that no other worker of this machine has.
fn tag() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn start(spec: WorkerSpec) -> Worker {
    soon("spawn", ProcessSpawner::new(spec).spawn(&tag())).await.unwrap()
}

async fn start_tagged(spec: WorkerSpec, tag: &str) -> Worker {
    soon("spawn", ProcessSpawner::new(spec).spawn(tag)).await.unwrap()
}

/// The error that a start of `spec` must end in.
async fn refused(spec: WorkerSpec) -> SpawnError {
    soon("spawn", ProcessSpawner::new(spec).spawn(&tag())).await.unwrap_err()
}

/// A worker that speaks no protocol: what it prints arrives where frames would.
fn sh(script: &str) -> WorkerSpec {
    WorkerSpec::command("sh").arg("-c").arg(script)
}

/// Closes the worker's stdin.
fn hang_up(worker: &mut Worker) {
    struct Closed;
    impl Outbox for Closed {
        fn try_write(&self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn poll_writable(&self, _: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
            task::Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
    }
    worker.outbox = Arc::new(Closed);
}

/// The next line that a worker prints.
async fn line(worker: &mut Worker) -> String {
    let read = async {
        let mut line = Vec::new();
        loop {
            match worker.frames.read_u8().await.unwrap() {
                b'\n' => return String::from_utf8(line).unwrap(),
                byte => line.push(byte),
            }
        }
    };
    soon("a line", read).await
}

/// Everything that a worker prints until nobody can print any more.
async fn rest(worker: &mut Worker) -> String {
    let mut printed = Vec::new();
    soon("the end of the output", worker.frames.read_to_end(&mut printed)).await.unwrap();
    String::from_utf8(printed).unwrap()
}

/// The next frame of a worker.
async fn frame(worker: &mut Worker, decoder: &mut Decoder) -> FromWorker {
    let codec = worker.codec;
    let read = async {
        loop {
            if let Some(frame) = decoder.next().unwrap() {
                return codec.decode(frame).unwrap();
            }
            let read = worker.frames.read_buf(decoder.buffer()).await.unwrap();
            assert_ne!(read, 0, "the worker closed its channel");
        }
    };
    soon("a frame", read).await
}

/// The processes that carry `tag`.
fn tagged(tag: &str) -> Vec<u32> {
    let variable = format!("OSTLER_TAG={tag}");
    let has_tag = |pid: &u32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|found| found == variable.as_bytes()))
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has_tag).collect()
}

/// Whether the process is there, be it as a zombie.
fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

fn scratch(tag: &str) -> PathBuf {
    env::temp_dir().join(format!("ostler-{tag}"))
}

/// For tests that look at, or disturb, the whole process: runs `test` in one of its own, unless this is that.
async fn is_alone(test: &str, variables: &[(&str, &str)]) -> bool {
    const ALONE: &str = "OSTLER_TEST_ALONE";
    if env::var(ALONE).as_deref() == Ok(test) {
        return true;
    }
    let name = format!("worker::tests::{test}");
    let mut spec = WorkerSpec::command(env::current_exe().unwrap()).inherit_env().env(ALONE, test);
    spec = variables.iter().fold(spec, |spec, (name, value)| spec.env(name, value));
    spec = [name.as_str(), "--exact", "--nocapture"].into_iter().fold(spec, WorkerSpec::arg);
    let mut worker = start(spec.cwd(env::current_dir().unwrap())).await;
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let Worker { frames, stderr: pipe, .. } = &mut worker;
    let read = async {
        tokio::join!(frames.read_to_string(&mut stdout), pipe.as_mut().unwrap().read_to_string(&mut stderr))
    };
    let (printed, warned) = soon("the test alone", read).await;
    printed.and(warned).unwrap();
    let exit = soon("the test alone", worker.exit).await;
    assert_eq!(exit, Exit::Code(0), "{test} alone:\n{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "no such test: {name}");
    false
}
