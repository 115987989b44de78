//! Finds the program that a worker is to run, and says what is wrong with it before anything is started.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use crate::error::SpawnError;

/// Searched when there is no `PATH`, as the C library does.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

const FOLDER: &str = "it is a folder";
const NOT_A_FILE: &str = "it is not a regular file";
const NO_PERMISSION: &str = "it has no execute permission for this user; try `chmod +x`";
const NO_ENTRY: &str = "a folder on its path does not let this user in";
/// What `execve` says of a file that is no program.
const NO_FORMAT: &str = "it is neither a binary for this system nor a script that starts with `#!`";
/// A script that names a program which is not there.
const NO_INTERPRETER: &str = "the interpreter that it names (after `#!`, or as its loader) is not there";

/// There was a process, and it is gone before we could watch it.
const COLLECTED: &str = "watch a process (it ended at once, and another part of this program collected it)";

/// The full path of `program`: as given if it names a folder too, else the first in `path` that can be executed.
pub(super) fn find(program: &Path, path: Option<&OsStr>) -> Result<PathBuf, SpawnError> {
    if program.components().count() > 1 || program.is_absolute() {
        let absolute = std::path::absolute(program).map_err(|error| system("find", program, error))?;
        return match check(&absolute) {
            Ok(()) => Ok(absolute),
            Err(Refused::Absent) => Err(SpawnError::NotFound { program: absolute, path_searched: None }),
            Err(Refused::Because(why)) => Err(SpawnError::NotExecutable { program: absolute, why }),
        };
    }
    let default = OsString::from(PATH_DEFAULT);
    let path = path.unwrap_or(&default);
    let mut refused = None;
    for folder in env::split_paths(path) {
        // An empty entry means the current folder.
        let Ok(candidate) = std::path::absolute(Path::new(".").join(folder).join(program)) else { continue };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Refused::Absent) => {}
            Err(Refused::Because(why)) => _ = refused.get_or_insert((candidate, why)),
        }
    }
    Err(match refused {
        Some((program, why)) => SpawnError::NotExecutable { program, why },
        None => SpawnError::NotFound {
            program: program.into(),
            path_searched: Some(path.to_string_lossy().into_owned()),
        },
    })
}

enum Refused {
    Absent,
    Because(&'static str),
}

fn check(program: &Path) -> Result<(), Refused> {
    let metadata = fs::metadata(program).map_err(|error| {
        let is_closed = error.kind() == io::ErrorKind::PermissionDenied;
        if is_closed { Refused::Because(NO_ENTRY) } else { Refused::Absent }
    })?;
    match metadata {
        metadata if metadata.is_dir() => Err(Refused::Because(FOLDER)),
        metadata if !metadata.is_file() => Err(Refused::Because(NOT_A_FILE)),
        _file if access(program, Access::EXEC_OK).is_err() => Err(Refused::Because(NO_PERMISSION)),
        _executable => Ok(()),
    }
}

/// What it means that `program`, which was checked, was not started.
pub(super) fn not_started(program: &Path, error: io::Error) -> SpawnError {
    let because = |why| SpawnError::NotExecutable { program: program.into(), why };
    match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::SRCH) => system(COLLECTED, program, error),
        Some(rustix::io::Errno::NOEXEC) => because(NO_FORMAT),
        Some(rustix::io::Errno::NOENT) if program.exists() => because(NO_INTERPRETER),
        Some(rustix::io::Errno::ACCESS) => because(NO_PERMISSION),
        _ => system("start a process", program, error),
    }
}

/// The operating system refused `action`.
pub(super) fn system(action: &'static str, program: &Path, source: io::Error) -> SpawnError {
    SpawnError::System { action, program: program.into(), source }
}

/// Tells one version of a file from the next.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct FileId {
    /// With all links resolved.
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileId {
    /// Whether `path` is the same file with the same content.
    pub(super) fn is_still(&self, path: &Path) -> bool {
        Self::of(path).is_ok_and(|now| now == *self)
    }

    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let metadata: Metadata = fs::metadata(&path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            path,
        })
    }
}
