//! Asks an interpreter who it is, and has it compile the worker.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use super::{Facts, parts::PARTS};
use crate::{
    config::WorkerSpec,
    error::SpawnError,
    outcome::Exit,
    worker::{
        cleanup::Cleanup,
        environment, pipes,
        process::{Ends, Launch},
        program,
        spawner::{self, Started, on_spawn_thread},
        sweep::Footprint,
    },
};

pub(super) const PROBE: &str = concat!(
    include_str!("../../../workers/python/parts.py"),
    include_str!("../../../workers/python/probe.py")
);
/// Comes before the probe: an interpreter that is too old may not even compile the worker.
const CHECK: &str = r#"import sys
if sys.version_info < (3, 9):
    sys.stdout.write('{"too_old": "%d.%d.%d"}\n' % tuple(sys.version_info[:3]))
    sys.exit(0)
"#;
const NEEDED: &str = "expected Python 3.9 or newer";
const EXECUTABLE: &str = "import os, sys; sys.stdout.write(os.path.abspath(sys.executable))";

/// How long an interpreter may take to answer. A shim takes a tenth of a second.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer: several times what there is.
const ANSWER_MAX: u64 = 8 << 20;
/// Bytes of stderr that an error shows.
const STDERR_SHOWN: usize = 2 << 10;

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Answer {
    TooOld { too_old: String },
    Facts(Facts),
}

/// The interpreter that the shim at `found` leads to.
pub(super) async fn executable(found: &Path, spec: &WorkerSpec, tag: &str) -> Result<PathBuf, SpawnError> {
    let args = ["-I", "-c", EXECUTABLE].map(OsString::from);
    let Some(output) = run(found, args.into(), Bytes::new(), spec, tag).await? else {
        return Err(refused(found, too_slow()));
    };
    let path = PathBuf::from(OsStr::from_bytes(&output.stdout));
    match output.may_have_succeeded() && path.is_absolute() {
        true => Ok(path),
        false => Err(refused(found, output.told())),
    }
}

/// The facts of the interpreter at `found`, and the worker as it compiled it.
pub(super) async fn ask(found: &Path, spec: &WorkerSpec, tag: &str) -> Result<(Facts, Bytes), SpawnError> {
    let args = ["-I", "-c", &format!("{CHECK}{PROBE}")].map(OsString::from);
    let Some(output) = run(found, args.into(), Bytes::from_static(PARTS.as_bytes()), spec, tag).await? else {
        return Err(refused(found, too_slow()));
    };
    match output.answer() {
        Some((Answer::Facts(facts), payload)) => Ok((facts, payload)),
        Some((Answer::TooOld { too_old }, _)) => Err(refused(found, format!("{NEEDED}, got {too_old}"))),
        None => {
            let version = run(found, vec!["-V".into()], Bytes::new(), spec, tag).await.ok().flatten();
            let version = version.map(|output| output.printed()).unwrap_or_default();
            let why = format!("{NEEDED}, got `{}`; asked who it is, {}", version.trim(), output.told());
            Err(refused(found, why))
        }
    }
}

fn refused(program: &Path, why: String) -> SpawnError {
    SpawnError::Interpreter { program: program.into(), why }
}

fn too_slow() -> String {
    format!("it gave no answer within {LIMIT:?}")
}

struct Output {
    exit: Exit,
    stdout: Bytes,
    stderr: Vec<u8>,
}

impl Output {
    fn answer(&self) -> Option<(Answer, Bytes)> {
        let end = self.stdout.iter().position(|byte| *byte == b'\n')?;
        let payload = self.stdout.slice(end + 1..);
        let answer = serde_json::from_slice(&self.stdout[..end]).ok()?;
        let is_whole = match &answer {
            Answer::Facts(facts) => facts.marshal_len == payload.len() && self.may_have_succeeded(),
            Answer::TooOld { .. } => true,
        };
        is_whole.then_some((answer, payload))
    }

    /// A host that collects all of its children also collects this one, with its exit code.
    fn may_have_succeeded(&self) -> bool {
        matches!(self.exit, Exit::Code(0) | Exit::Unknown)
    }

    /// How it ended, with the end of its stderr.
    fn told(&self) -> String {
        let start = self.stderr.len().saturating_sub(STDERR_SHOWN);
        match String::from_utf8_lossy(&self.stderr[start..]).trim() {
            "" => format!("it ended with {} and gave no answer", self.exit),
            stderr => format!("it ended with {}; its stderr ends with:\n{stderr}\n", self.exit),
        }
    }

    /// All that it printed. The oldest interpreters say their version on stderr.
    fn printed(&self) -> String {
        String::from_utf8_lossy(&[&self.stdout, self.stderr.as_slice()].concat()).into_owned()
    }
}

/// Runs `program` to its end. `None` if that takes too long: then it is killed.
async fn run(
    program: &Path,
    args: Vec<OsString>,
    stdin: Bytes,
    spec: &WorkerSpec,
    tag: &str,
) -> Result<Option<Output>, SpawnError> {
    // Each process has its own: what is left behind one is being looked for while the next runs.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let tag = format!("{tag}.probe-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let env = environment::of_probe(spec, &tag, env::vars_os());
    let asked = program.to_owned();
    let start = move || {
        // Where a version manager looks for the version that this folder wants.
        let cwd = env::current_dir().unwrap_or_else(|_removed| "/".into());
        let launch = Launch { program: asked, args, env, cwd, socket: false };
        spawner::start(&launch, Footprint { tag, scratch: None }, &Cleanup::default())
    };
    let Started { ends: Ends { stdin: input, stdout, stderr }, exit, power: _power, starting: _ } =
        on_spawn_thread(program, start).await??;
    let connect = |error| program::system("connect to a process", program, error);
    // Its input ends where `stdin` does.
    let pipes::Frames { reader: stdout, outbox, stdout: _ } =
        pipes::connect(input, stdout, stdin).map_err(connect)?;
    drop(outbox);
    let stderr = pipes::OutputPipe::new(stderr).map_err(connect)?;
    let answered = timeout(LIMIT, async { tokio::join!(read(stdout), read(stderr), exit) }).await;
    Ok(answered.ok().map(|(stdout, stderr, exit)| Output {
        exit: exit.unwrap_or(Exit::Unknown),
        stdout: stdout.into(),
        stderr,
    }))
}

async fn read(pipe: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What could not be read is missing from the answer, which says so.
    let _ = pipe.take(ANSWER_MAX).read_to_end(&mut bytes).await;
    bytes
}
