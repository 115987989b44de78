//! The private folder that a worker starts in.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
};

use super::{shortage, unsettled::Pending};

/// A folder that nobody else can enter. Removed, with all that is in it, when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one below the folder for temporary files, named after `tag`.
    pub(super) fn new(tag: &str) -> io::Result<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = tag.replace(|c| !is_plain(c), "_");
        let folder = Self::home()?.join(format!("ostler-{name}"));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    /// The folder that they are all in.
    pub(super) fn home() -> io::Result<PathBuf> {
        std::path::absolute(env::temp_dir())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it, which may take long if it holds something: then it gets a thread of its own.
    pub(super) fn remove(self, pending: Pending) {
        if fs::remove_dir(&self.0).is_ok() {
            return;
        }
        let work = move || drop((self, pending));
        // Refused, the thread drops what it was given: here.
        let _ = thread::Builder::new().name("ostler-remove".into()).spawn(work);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(folder: &Path) {
    // Takes no descriptor, and is enough if nothing is in it.
    if fs::remove_dir(folder).is_ok() {
        return;
    }
    let removed = shortage::outlast(|| {
        fs::remove_dir_all(folder).or_else(|_closed| {
            open_up(folder);
            fs::remove_dir_all(folder)
        })
    });
    match removed {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => crate::log::warn!(folder = %folder.display(), %error, "scratch folder not removed"),
    }
}

/// Lets us into folders that were closed to their owner. Links are not followed; all who could swap one are dead.
fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_removed_with_what_is_in_it_and_links_are_not_followed() {
        let outside = Scratch::new("scratch-test/outside").unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let scratch = Scratch::new("scratch-test/inside").unwrap();
        let folder = scratch.path().to_owned();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir_all(folder.join("a/closed")).unwrap();
        symlink(outside.path(), folder.join("a/closed/link")).unwrap();
        fs::set_permissions(folder.join("a/closed"), fs::Permissions::from_mode(0o000)).unwrap();

        remove(&folder);

        assert!(!folder.exists());
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn a_folder_that_is_there_already_is_not_taken() {
        let _first = Scratch::new("scratch-test-taken").unwrap();
        assert_eq!(Scratch::new("scratch-test-taken").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
