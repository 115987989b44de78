//! The shipped Python worker: which interpreter runs it, and what that interpreter is given to run.
//!
//! An interpreter compiles the worker once; what comes of it is kept in memory and on disk, and is the first thing that
//! each worker reads from its fd 0. Compiling anew would double the time of a start.

mod cache;
mod parts;
mod probe;

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    program::{self, FileId},
    spawner::on_spawn_thread,
};
use crate::{config::WorkerSpec, error::SpawnError};

const BOOTSTRAP: &str = include_str!("../../workers/python/bootstrap.py");

/// What the bootstrap calls marshalled code …
const MARSHAL: u8 = b'M';
/// … and what, before it, makes the process a zygote.
const ZYGOTE: u8 = b'Z';

/// An interpreter that can run the worker.
#[derive(Debug)]
pub(super) struct Interpreter {
    /// The file that the asked name led to; a version manager's shim, perhaps.
    found: PathBuf,
    found_id: FileId,
    executable_id: FileId,
    facts: Facts,
    /// The compiled worker, as the bootstrap reads it.
    bootstrap: Bytes,
    /// Whether the compiled worker was found on disk.
    cached: bool,
}

/// What an interpreter says of itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Facts {
    /// The interpreter proper: behind a shim, but inside a virtual environment.
    executable: PathBuf,
    version: String,
    implementation: String,
    marshal_len: usize,
}

/// What has been learned, by the name that was asked for and the variables that steer version managers. Each is held
/// while it is being learned, so that workers that start together ask once.
type Known = BTreeMap<(PathBuf, BTreeMap<OsString, OsString>), Arc<Slot>>;
type Slot = tokio::sync::Mutex<Option<Arc<Interpreter>>>;

/// The interpreter that `asked` leads to now. `tag` marks the processes that ask it, should that be needed.
pub(super) async fn find(asked: &Path, spec: &WorkerSpec, tag: &str) -> Result<Arc<Interpreter>, SpawnError> {
    static KNOWN: Mutex<Known> = Mutex::new(Known::new());
    let key = (asked.to_owned(), spec.env.clone());
    let slot = Arc::clone(KNOWN.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
    let mut known = slot.lock().await;
    let look = {
        // Where its workers would find it.
        let name = OsStr::new("PATH");
        let path = spec.env.get(name).cloned().or_else(|| env::var_os(name));
        let (asked, last) = (asked.to_owned(), known.clone());
        move || {
            let found = program::find(&asked, path.as_deref())?;
            Ok((last.filter(|last| last.is_still(&found)), found))
        }
    };
    let (last, found) = on_spawn_thread(asked, look).await??;
    let interpreter = match last {
        Some(last) => last,
        None => Arc::new(learn(found, spec, tag).await?),
    };
    *known = Some(Arc::clone(&interpreter));
    Ok(interpreter)
}

/// Asks the interpreter at `found` who it is, unless that is kept on disk.
async fn learn(found: PathBuf, spec: &WorkerSpec, tag: &str) -> Result<Interpreter, SpawnError> {
    let shim = {
        let found = found.clone();
        on_spawn_thread(&found.clone(), move || is_script(&found)).await?
    };
    // A shim costs 50 ms and more at each start; what it leads to does not. That may change from one run of the host to
    // the next, so it is asked each time.
    let executable = match shim {
        true => probe::executable(&found, spec, tag).await?,
        false => found.clone(),
    };
    let kept = {
        let executable = executable.clone();
        on_spawn_thread(&found, move || cache::load(&executable)).await?
    };
    let cached = kept.is_some();
    let (facts, payload) = match kept {
        Some(kept) => kept,
        None => probe::ask(&executable, spec, tag).await?,
    };
    let asked = found.clone();
    let keep = move || {
        let interpreter = Interpreter::new(found, facts, &payload, cached)?;
        if !cached {
            cache::store(&executable, &interpreter, &payload);
        }
        Ok(interpreter)
    };
    let examine = |error: io::Error| program::system("examine a file", &asked, error);
    on_spawn_thread(&asked, keep).await?.map_err(examine)
}

fn is_script(file: &Path) -> bool {
    let mut start = [0; 2];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| &start == b"#!")
}

impl Interpreter {
    fn new(found: PathBuf, facts: Facts, payload: &[u8], cached: bool) -> io::Result<Self> {
        let (found_id, executable_id) = (FileId::of(&found)?, FileId::of(&facts.executable)?);
        Ok(Self { found, found_id, executable_id, facts, bootstrap: part(MARSHAL, payload), cached })
    }

    /// Whether all that is known holds for the file at `found`, as it is now.
    fn is_still(&self, found: &Path) -> bool {
        self.found == found && self.found_id.is_still(found) && self.executable_id.is_still(self.executable())
    }

    /// The interpreter proper.
    pub(super) fn executable(&self) -> &Path {
        &self.facts.executable
    }

    /// What makes it take the worker from its fd 0. `-I`: a `struct.py` in the working folder must not break it.
    pub(super) fn args(&self) -> Vec<OsString> {
        ["-I", "-X", "faulthandler", "-c", BOOTSTRAP].map(OsString::from).into()
    }

    /// What must be written to its fd 0 before the first frame.
    pub(super) fn bootstrap(&self) -> Bytes {
        self.bootstrap.clone()
    }

    /// The same for one that is to be a zygote.
    pub(super) fn zygote_bootstrap(&self) -> Bytes {
        [part(ZYGOTE, b""), self.bootstrap()].concat().into()
    }
}

fn part(kind: u8, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + size_of::<u32>() + payload.len());
    bytes.put_u8(kind);
    bytes.put_u32(u32::try_from(payload.len()).expect("the probe's answer is bounded"));
    bytes.put_slice(payload);
    bytes.freeze()
}

/// What the interpreter of the shipped worker is, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PythonInfo {
    /// What was asked for.
    pub requested: PathBuf,
    /// The interpreter proper: what a version manager's shim leads to.
    pub executable: PathBuf,
    /// Its version, as `3.11.7`.
    pub version: String,
    /// `cpython`, `pypy`…
    pub implementation: String,
    /// Whether the name leads to a shim that stands before the interpreter.
    pub shim: bool,
    /// Whether its compiled worker was found on disk.
    pub cached: bool,
}

/// Finds out what the interpreter of the shipped worker is (a path, or a name that is looked up in `PATH`), and makes
/// sure that it can run the worker. Blocks: for up to ten seconds the first time an interpreter is asked.
///
/// # Errors
/// It was not found, is no program, or cannot run the worker.
pub fn python_info(interpreter: impl AsRef<Path>) -> Result<PythonInfo, SpawnError> {
    let requested = interpreter.as_ref();
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(info(requested, &WorkerSpec::python_at(requested))))
    };
    // The caller may be in a runtime, where another cannot wait.
    let panicked = |_| Err(io::Error::other("the thread that asks it panicked"));
    let asked = thread::scope(|scope| {
        thread::Builder::new()
            .spawn_scoped(scope, ask)
            .and_then(|asking| asking.join().unwrap_or_else(panicked))
    });
    asked.map_err(|error| program::system("ask who it is", requested, error))?
}

/// The interpreter that `requested` leads to for workers of `spec`.
pub(super) async fn info(requested: &Path, spec: &WorkerSpec) -> Result<PythonInfo, SpawnError> {
    let interpreter = find(requested, spec, &format!("{}-info", std::process::id())).await?;
    Ok(PythonInfo {
        requested: requested.to_owned(),
        executable: interpreter.facts.executable.clone(),
        version: interpreter.facts.version.clone(),
        implementation: interpreter.facts.implementation.clone(),
        shim: interpreter.found_id != interpreter.executable_id,
        cached: interpreter.cached,
    })
}
