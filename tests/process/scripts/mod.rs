//! Scripts: what the interpreter does with a file, the pool does with it too.

mod ends;
mod same;
mod streams;

use std::{
    fs,
    path::{Path, PathBuf},
};

use ostler::{Runtime, RuntimeBuilder, WorkerSpec};
use tempfile::TempDir;

/// A folder with these files, and a pool that runs scripts in it with the environment of this process.
pub(super) fn folder(files: &[(&str, &str)]) -> (TempDir, RuntimeBuilder) {
    let folder = written(files);
    let pool = pool(spec(folder.path()));
    (folder, pool)
}

pub(super) fn written(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

pub(super) fn spec(folder: &Path) -> WorkerSpec {
    WorkerSpec::python().inherit_env().cwd(folder)
}

pub(super) fn pool(spec: WorkerSpec) -> RuntimeBuilder {
    Runtime::builder(spec).min_idle(0).max_sessions(2)
}

/// The interpreter that the pool finds.
pub(super) fn python() -> PathBuf {
    PathBuf::from("python3")
}
