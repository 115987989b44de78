//! The compiled worker of each interpreter, on disk between two runs of the host.
//!
//! A worker executes what is read here, so only a file that this user alone can write counts. Nothing here is an error:
//! what cannot be read or kept is compiled again.

use std::{
    env,
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::{fs::OFlags, process::geteuid};

use super::{BOOTSTRAP, Facts, Interpreter, parts::PARTS, probe::PROBE};
use crate::worker::program::FileId;

/// What stands before the marshalled code: a line of JSON.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Header {
    /// Of the worker's source, and of what compiles and runs it.
    source: u64,
    /// Of the code that follows.
    payload: u64,
    /// Of the interpreter that compiled it.
    executable: FileId,
    facts: Facts,
}

/// What is kept of the interpreter at `executable`: who it is, and the worker as it compiled it.
pub(super) fn load(executable: &Path) -> Option<(Facts, Bytes)> {
    let folder = folder()?;
    is_private(&fs::symlink_metadata(&folder).ok()?).then_some(())?;
    let bytes = read_private(&folder.join(name(executable))).ok()??;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    let payload = Bytes::from(bytes).slice(end + 1..);
    let is_whole = header.source == source() && header.payload == hash(&*payload);
    (is_whole && header.executable.is_still(executable)).then_some((header.facts, payload))
}

/// Keeps what the interpreter at `executable` compiled, unless that is a shim after all: the next time it may choose
/// another.
pub(super) fn store(executable: &Path, interpreter: &Interpreter, payload: &[u8]) {
    if interpreter.executable_id.is_still(executable)
        && let Some(folder) = folder()
        && let Err(error) = try_store(&folder, executable, interpreter, payload)
    {
        crate::log::debug!(folder = %folder.display(), %error, "compiled worker not kept");
    }
}

fn try_store(folder: &Path, executable: &Path, interpreter: &Interpreter, payload: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if !is_private(&fs::symlink_metadata(folder)?) {
        return Err(io::Error::other("others can write there"));
    }
    let header = Header {
        source: source(),
        payload: hash(payload),
        executable: interpreter.executable_id.clone(),
        facts: interpreter.facts.clone(),
    };
    let name = name(executable);
    // Written aside: a reader sees the old file or the new one, whole. A leftover of a process that died is replaced.
    let aside = folder.join(format!("{name}.{}", std::process::id()));
    let written = write_private(&aside, &serde_json::to_vec(&header)?, payload)
        .and_then(|()| fs::rename(&aside, folder.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

/// `$XDG_CACHE_HOME/ostler`, or `~/.cache/ostler`.
fn folder() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("ostler"))
}

/// One file for each interpreter and each version of the worker.
fn name(executable: &Path) -> String {
    format!("worker-{:016x}", hash(&(executable, source())))
}

fn source() -> u64 {
    hash(&(PARTS, PROBE, BOOTSTRAP))
}

/// The same in every run of the same build. Elsewhere it may differ: then nothing is found.
fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Ours, and writable by nobody else.
fn is_private(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0 && !metadata.is_symlink()
}

fn read_private(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = OpenOptions::new().read(true).custom_flags(no_follow()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || !is_private(&metadata) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn write_private(path: &Path, header: &[u8], payload: &[u8]) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&[header, b"\n", payload].concat())
}

/// A link, or a pipe that nobody writes to, is not opened or waited for.
fn no_follow() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}
