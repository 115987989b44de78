//! The private folder that a worker starts in.

mod remove;

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    thread,
};

use super::{cleanup::Pending, descriptor_limit};

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
    match descriptor_limit::outlast(|| remove::remove(folder)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => crate::log::warn!(folder = %folder.display(), %error, "scratch folder not removed"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        os::unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt, symlink},
        },
    };

    use rustix::fs::{Mode, OFlags, mkdirat, openat};

    use super::*;

    #[test]
    fn a_folder_is_removed_with_what_is_in_it_and_links_are_not_followed() {
        let outside = Scratch::new("scratch-test/outside").unwrap();
        let kept = outside.path().join("kept");
        fs::write(&kept, "text").unwrap();
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o400)).unwrap();
        fs::create_dir(outside.path().join("closed")).unwrap();
        fs::set_permissions(outside.path().join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
        let scratch = Scratch::new("scratch-test/inside").unwrap();
        let folder = scratch.path().to_owned();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir_all(folder.join("a/closed")).unwrap();
        symlink(outside.path(), folder.join("a/closed/link")).unwrap();
        symlink(outside.path(), folder.join("link")).unwrap();
        fs::hard_link(&kept, folder.join("a/closed/other name")).unwrap();
        fs::create_dir_all(folder.join("line\nbreak/-rf")).unwrap();
        fs::write(folder.join(OsStr::from_bytes(b"no \xff text")), "").unwrap();
        fs::set_permissions(folder.join("a/closed"), fs::Permissions::from_mode(0o000)).unwrap();

        remove(&folder);

        assert!(!folder.exists());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&kept), mode(&outside.path().join("closed"))), (0o400, 0o500));
        assert_eq!((fs::read(&kept).unwrap(), fs::metadata(&kept).unwrap().nlink()), (b"text".into(), 1));
    }

    /// Code can put a link in the place of its own folder.
    #[test]
    fn a_link_in_the_place_of_a_folder_is_removed_and_not_followed() {
        let outside = Scratch::new("scratch-test-place/outside").unwrap();
        fs::create_dir(outside.path().join("kept")).unwrap();
        let scratch = Scratch::new("scratch-test-place/inside").unwrap();
        fs::remove_dir(scratch.path()).unwrap();
        symlink(outside.path(), scratch.path()).unwrap();
        let folder = scratch.path().to_owned();
        drop(scratch);
        assert!(fs::symlink_metadata(&folder).is_err());
        assert!(outside.path().join("kept").exists());
    }

    /// Deeper than any path may be long, than there are descriptors, and than a stack is.
    #[test]
    fn a_folder_that_lies_as_deep_as_code_likes_is_removed() {
        // In memory, where there is such a place: a disk takes its time for each.
        let home = Path::new("/dev/shm");
        let home = if home.is_dir() { home.to_owned() } else { Scratch::home().unwrap() };
        let scratch = Scratch(home.join(format!("ostler-scratch-test-deep-{}", std::process::id())));
        fs::create_dir(scratch.path()).unwrap();
        let folder = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut deepest = openat(rustix::fs::CWD, scratch.path(), folder, Mode::empty()).unwrap();
        for _ in 0..20_000 {
            mkdirat(&deepest, "d", Mode::RWXU).unwrap();
            deepest = openat(&deepest, "d", folder, Mode::empty()).unwrap();
        }
        drop(deepest);
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }

    /// More than are read at once.
    #[test]
    fn a_folder_of_many_names_is_removed() {
        let scratch = Scratch::new("scratch-test-many").unwrap();
        for n in 0..5_000 {
            fs::create_dir(scratch.path().join(format!("{n}"))).unwrap();
            fs::write(scratch.path().join(format!("{n}/file")), "").unwrap();
        }
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_is_there_already_is_not_taken() {
        let _first = Scratch::new("scratch-test-taken").unwrap();
        assert_eq!(Scratch::new("scratch-test-taken").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
