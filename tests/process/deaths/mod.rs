//! How workers end before their time, and what is left of them: a typed outcome, and nothing else.

mod channels;
mod crowded;
mod families;
mod hosts;
mod kills;
mod mischief;
mod moments;
mod named;
mod reapers;
mod restores;
mod starts;
pub(crate) mod subhost;
mod unstarted;
mod zygotes;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use ostler::{Codec, Death, Event, Execution, Lost, LostCause, Outcome, Runtime, WorkerSpec, python_info};

/// A worker in twenty lines of Python: the handshake is made, and the script does the rest.
fn bad(script: &str) -> WorkerSpec {
    const PRELUDE: &str = "
import json, os, signal, struct, sys, time
def take(size):
    data = b''
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part: os._exit(0)
        data += part
    return data
def read(): return json.loads(take(struct.unpack('>I', take(4))[0]))
def frame(**message):
    data = json.dumps(message).encode()
    return struct.pack('>I', len(data)) + data
def send(**message): os.write(1, frame(**message))
def execute():
    while True:
        message = read()
        if message['type'] == 'shutdown': os._exit(0)
        if message['type'] == 'execute': return message
def ready(protocol=1): send(type='ready', protocol=protocol, pid=os.getpid(), codec='json', language='none')
";
    plain(&format!("{PRELUDE}{script}"))
}

/// A program that does not even make the handshake.
fn plain(script: &str) -> WorkerSpec {
    let python = python_info("python3").unwrap().executable;
    WorkerSpec::command(python).arg("-I").arg("-c").arg(script).codec(Codec::Json)
}

fn lost(outcome: Outcome) -> Lost {
    let Outcome::Lost(lost) = outcome else { panic!("not lost: {outcome:?}") };
    lost
}

/// How the worker of a lost execution ended, and whether the code had started.
fn death(outcome: Outcome) -> (Death, bool) {
    let Lost { started, cause } = lost(outcome);
    let LostCause::Died(death) = cause else { panic!("its worker did not die: {cause:?}") };
    (death, started)
}

/// Takes events until the code says, by printing a line or by asking for input, that it is where it shall be.
pub(crate) async fn line(execution: &mut Execution) -> String {
    let mut printed = Vec::new();
    while let Some(event) = execution.next().await {
        match event {
            Event::Input(_) => break,
            Event::Output { data, .. } => printed.extend_from_slice(&data),
            _ => {}
        }
        if printed.ends_with(b"\n") {
            break;
        }
    }
    String::from_utf8_lossy(&printed).trim_end().to_owned()
}

/// The process id of the first worker.
async fn pid(runtime: &Runtime) -> u32 {
    runtime.status().await.sessions[0].pid.unwrap()
}

/// A folder for one test, removed behind it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("ostler-test-{}-{}", std::process::id(), LAST.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
