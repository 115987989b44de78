//! Where a pool of the program shows itself to `ostler top`.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use ostler::{
    Runtime,
    monitor::{self, Monitor},
};

use crate::{args::MonitorArgs, exit::Fatal};

/// Serves the pool, if the options ask for it.
pub(crate) fn serve(args: &MonitorArgs, runtime: &Runtime) -> Result<Option<Monitor>, Fatal> {
    let Some(path) = &args.monitor else { return Ok(None) };
    let path = match path {
        Some(path) => path.clone(),
        None => folder().map_err(Fatal::usage)?.join(format!("{}.sock", std::process::id())),
    };
    let monitor = monitor::serve(runtime, &path)
        .with_context(|| format!("cannot serve the monitor at `{}`", path.display()))
        .map_err(Fatal::usage)?;
    Ok(Some(monitor))
}

/// The folder of the sockets, which nobody else may enter; made when it is missing.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let folder = match env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("ostler"),
        None => env::temp_dir().join(format!("ostler-{user}")),
    };
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot make folder `{}`", folder.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        bail!("`{}` is not a folder of yours alone; make it so, or give a path", folder.display());
    }
    Ok(folder)
}

/// The socket that is meant when none is named: the newest that somebody listens at.
pub(crate) fn newest() -> anyhow::Result<PathBuf> {
    let folder = folder()?;
    let mut sockets: Vec<(std::time::SystemTime, PathBuf)> = fs::read_dir(&folder)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let found = entry.metadata().ok().filter(|found| found.file_type().is_socket())?;
            Some((found.modified().ok()?, entry.path()))
        })
        .collect();
    sockets.sort();
    let alive = |path: &Path| std::os::unix::net::UnixStream::connect(path).is_ok();
    let newest = sockets.into_iter().rev().map(|(_, path)| path).find(|path| alive(path));
    newest.with_context(|| {
        format!(
            "no pool shows itself in `{}`; start one with --monitor, or give the path of its socket",
            folder.display()
        )
    })
}
