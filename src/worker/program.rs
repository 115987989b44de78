//! Finding a worker's program before it is started, so that what is wrong with it has a name.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::error::SpawnError;

/// What is passed on from the host's environment unless all of it is.
const ENV_ALLOWED: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV"];

/// The file that `program` names: a path, or a name that is looked up in `PATH`.
pub(super) fn find(program: &Path) -> Result<PathBuf, SpawnError> {
    if program.components().count() > 1 || program.is_absolute() {
        return check(program).map(|()| program.to_owned());
    }
    let searched = env::var_os("PATH").unwrap_or_default();
    let mut refused = None;
    for folder in env::split_paths(&searched) {
        let candidate = folder.join(program);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error @ SpawnError::NotExecutable { .. }) => refused = Some(error),
            Err(_) => {}
        }
    }
    let path_searched = Some(searched.to_string_lossy().into_owned());
    Err(refused.unwrap_or(SpawnError::NotFound { program: program.to_owned(), path_searched }))
}

fn check(file: &Path) -> Result<(), SpawnError> {
    let program = file.to_owned();
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => Err(SpawnError::NotExecutable { program, why: "it is a folder" }),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Err(SpawnError::NotExecutable { program, why: "it has no execute permission" })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(SpawnError::NotFound { program, path_searched: None })
        }
        Err(source) => Err(SpawnError::System { action: "look at the file", program, source }),
    }
}

/// The environment of a worker: what is allowed of ours, or all of it.
pub(super) fn environment(inherit: bool) -> Vec<(OsString, OsString)> {
    let allowed = |name: &OsString| {
        name.to_str().is_some_and(|name| ENV_ALLOWED.contains(&name) || name.starts_with("LC_"))
    };
    env::vars_os().filter(|(name, _)| inherit || allowed(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F9, fault 1.
    #[test]
    fn what_is_wrong_with_a_program_has_a_name() {
        let missing = find(Path::new("/no/such/worker")).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "worker program `/no/such/worker` was not found; give its full path, or install it"
        );
        let folder = find(Path::new("/proc")).unwrap_err();
        assert_eq!(folder.to_string(), "worker program `/proc` cannot be executed: it is a folder");
        let text = find(Path::new("/proc/version")).unwrap_err();
        assert_eq!(
            text.to_string(),
            "worker program `/proc/version` cannot be executed: it has no execute permission"
        );
        let unknown = find(Path::new("no-such-worker-program")).unwrap_err();
        assert!(unknown.to_string().contains("was not found in PATH `"), "{unknown}");
    }

    #[test]
    fn the_environment_is_cleared_but_for_what_is_allowed() {
        let names: Vec<_> = environment(false).into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"PATH".into()));
        assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("CARGO")), "{names:?}");
        assert!(environment(true).len() > names.len());
    }
}
