//! The shipped worker and the interpreters that run it.
//!
//! Compiling the worker costs 10 to 20 ms a start, so each interpreter compiles it once, and the result is kept: in
//! memory, and on disk in a private folder, under a name that covers the interpreter and the worker's source.

use std::{
    collections::HashMap,
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    error::SpawnError,
    worker::{process, program},
};

/// The worker, its bootstrap (given to `python -c`), and what compiles the worker for an interpreter.
pub(super) const WORKER: &str = include_str!("../../python/ostler_worker.py");
pub(super) const BOOTSTRAP: &str = include_str!("../../python/bootstrap.py");
const PROBE: &str = include_str!("../../python/probe.py");

/// How long an interpreter may take to say what it is.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// The oldest version that the worker runs on.
const OLDEST: (u32, u32) = (3, 9);

/// An interpreter, and the worker compiled for it.
#[derive(Debug)]
pub(super) struct Python {
    pub(super) executable: PathBuf,
    pub(super) version: String,
    /// What the bootstrap takes: a kind, a length, and marshalled code.
    pub(super) payload: Vec<u8>,
    /// Whether the name that was given is a script that only leads to the interpreter.
    pub(super) shim: bool,
}

/// What an interpreter says of itself.
#[derive(Debug, Deserialize)]
struct Facts {
    executable: PathBuf,
    version: String,
    hexversion: u32,
    marshal_len: usize,
}

/// A file, as far as it matters whether it is still the same.
type Identity = (PathBuf, i64, i64, u64);

/// The interpreters that were asked, by the name that leads to them.
type Known = HashMap<(PathBuf, Identity), Arc<Python>>;

fn identity(file: &Path) -> Option<Identity> {
    let real = fs::canonicalize(file).ok()?;
    let found = fs::metadata(&real).ok()?;
    Some((real, found.mtime(), found.mtime_nsec(), found.size()))
}

/// The interpreter that `name` leads to. Blocks while it is asked, the first time.
pub(super) fn resolve(name: &Path) -> Result<Arc<Python>, SpawnError> {
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let file = program::find(name)?;
    let Some(key) = identity(&file).map(|identity| (file.clone(), identity)) else {
        return Err(SpawnError::NotFound { program: file, path_searched: None });
    };
    // Held while an interpreter is asked: a pool that starts asks once.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(python) = known.get(&key) {
        return Ok(Arc::clone(python));
    }
    let python = Arc::new(learn(&file)?);
    known.insert(key, Arc::clone(&python));
    Ok(python)
}

fn learn(file: &Path) -> Result<Python, SpawnError> {
    let shim = is_script(file);
    let executable = if shim { behind_shim(file)? } else { file.to_owned() };
    let cache = cache_file(&executable);
    if let Some(python) = cache.as_deref().and_then(|cache| load(cache, shim)) {
        return Ok(python);
    }
    let output = ask(&executable, PROBE, WORKER.as_bytes())?;
    let python = understand(&executable, &output, shim)?;
    if let Some(cache) = cache {
        // A cache that cannot be written costs time, and nothing else.
        if let Err(error) = store(&cache, &output) {
            tracing::debug!(file = %cache.display(), %error, "compiled worker not cached");
        }
    }
    Ok(python)
}

fn is_script(file: &Path) -> bool {
    fs::File::open(file).is_ok_and(|mut file| {
        let mut start = [0; 2];
        std::io::Read::read_exact(&mut file, &mut start).is_ok() && &start == b"#!"
    })
}

/// A version manager's shim costs 50 ms and more at each start; what it leads to does not.
fn behind_shim(shim: &Path) -> Result<PathBuf, SpawnError> {
    let output = ask(shim, "import os, sys; sys.stdout.write(os.path.abspath(sys.executable))", b"")?;
    let executable = PathBuf::from(String::from_utf8_lossy(&output).trim_end());
    program::find(&executable)
}

fn ask(executable: &Path, code: &str, input: &[u8]) -> Result<Vec<u8>, SpawnError> {
    let asked = process::run(executable, &["-I", "-c", code], input, PROBE_LIMIT);
    let (output, stderr, success) = asked.map_err(|source| SpawnError::System {
        action: "start the interpreter",
        program: executable.to_owned(),
        source,
    })?;
    if success {
        Ok(output)
    } else {
        Err(refuse(executable, format!("it failed a first call: {}", stderr.trim_end())))
    }
}

fn refuse(executable: &Path, why: String) -> SpawnError {
    SpawnError::Interpreter { program: executable.to_owned(), why }
}

/// Reads what the probe wrote: a line of JSON, then the payload.
fn understand(executable: &Path, output: &[u8], shim: bool) -> Result<Python, SpawnError> {
    let strange = || refuse(executable, "its answer to a first call is not the expected one".into());
    let end = output.iter().position(|byte| *byte == b'\n').ok_or_else(strange)?;
    let facts: Facts = serde_json::from_slice(&output[..end]).map_err(|_| strange())?;
    let code = &output[end + 1..];
    let (major, minor) = (facts.hexversion >> 24, facts.hexversion >> 16 & 0xFF);
    if (major, minor) < OLDEST {
        let (version, oldest) = (&facts.version, OLDEST);
        let why = format!("expected Python {}.{} or newer, got {version}", oldest.0, oldest.1);
        return Err(refuse(executable, why));
    }
    let Some(len) = u32::try_from(code.len()).ok().filter(|_| code.len() == facts.marshal_len) else {
        return Err(strange());
    };
    let mut payload = Vec::with_capacity(code.len() + 5);
    payload.push(b'M');
    payload.extend_from_slice(&len.to_be_bytes());
    payload.extend_from_slice(code);
    Ok(Python { executable: facts.executable, version: facts.version, payload, shim })
}

/// Where the compiled worker of this interpreter is kept, if there is a private place for it.
fn cache_file(executable: &Path) -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|base| base.is_absolute());
    let folder = base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?.join("ostler");
    let mut hasher = DefaultHasher::new();
    (identity(executable)?, executable, WORKER, PROBE, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
    Some(folder.join(format!("worker-{:016x}", hasher.finish())))
}

fn digest(bytes: &[u8]) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish().to_be_bytes()
}

/// What was stored, if it is whole, and if nobody else can have written it: it is code that will run.
fn load(cache: &Path, shim: bool) -> Option<Python> {
    let folder = fs::symlink_metadata(cache.parent()?).ok()?;
    let file = fs::symlink_metadata(cache).ok()?;
    let user = rustix::process::geteuid().as_raw();
    let private = |found: &fs::Metadata| found.uid() == user && found.permissions().mode() & 0o022 == 0;
    if !folder.is_dir() || !file.is_file() || !private(&folder) || !private(&file) {
        return None;
    }
    let stored = fs::read(cache).ok()?;
    let (output, check) = stored.split_last_chunk::<8>()?;
    if digest(output) != *check {
        return None;
    }
    understand(cache, output, shim).ok()
}

fn store(cache: &Path, output: &[u8]) -> std::io::Result<()> {
    let folder = cache.parent().unwrap_or(cache);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = cache.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = fs::File::create_new(&unfinished)?;
    let written = file.set_permissions(fs::Permissions::from_mode(0o600)).and_then(|()| {
        file.write_all(output)?;
        file.write_all(&digest(output))
    });
    written.and_then(|()| fs::rename(&unfinished, cache)).inspect_err(|_| drop(fs::remove_file(&unfinished)))
}
