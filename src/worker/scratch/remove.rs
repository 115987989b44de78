//! Removes a folder with all that code has put into it.
//!
//! Code chooses what that is, so nothing in it is believed: a link is removed and never followed, not even where the folder
//! itself was; a file is never opened or changed, for it may have other names elsewhere; what is mounted there is left alone;
//! and a folder that lies deep costs no stack and no descriptors, for it is moved up before it is looked into.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};

/// Names of one folder that are read at once.
const NAMES_MAX: usize = 4_096;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes `folder`. What it could not remove is still there when it fails.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    let top = match open(CWD, folder) {
        Ok(top) => top,
        // Something else stands there, such as a link: it is what is removed.
        Err(Errno::NOTDIR | Errno::LOOP) => return fs::remove_file(folder),
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0;
    loop {
        let emptied = Pass { into: &top, moved: &mut moved, done: 0, left: None }.clear(&top)?;
        match (emptied.left, emptied.done) {
            (None, 0) => break,
            (Some(error), 0) => return Err(error.into()),
            // There is less of it, and what was moved up is to be looked into.
            (_, _some) => {}
        }
    }
    fs::remove_dir(folder)
}

/// One look at all that is in a folder.
struct Pass<'a> {
    /// The folder that folders are moved up into.
    into: &'a OwnedFd,
    /// How many have been.
    moved: &'a mut u64,
    /// How much was removed, or moved.
    done: u64,
    /// Why something is left.
    left: Option<Errno>,
}

impl Pass<'_> {
    fn clear(mut self, folder: &OwnedFd) -> io::Result<Self> {
        for name in names(folder)? {
            match unlinkat(folder, &name, AtFlags::empty()) {
                Ok(()) => self.done += 1,
                Err(Errno::ISDIR | Errno::PERM) => self.folder(&name),
                Err(Errno::NOENT) => {}
                Err(error) => _ = self.left.get_or_insert(error),
            }
        }
        Ok(self)
    }

    /// Removes a folder in the topmost one, or what can be removed of it.
    fn folder(&mut self, name: &CString) {
        match unlinkat(self.into, name, AtFlags::REMOVEDIR) {
            Ok(()) => self.done += 1,
            Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let emptied = open(self.into, name).and_then(|below| self.empty(&below));
                match emptied.and_then(|()| unlinkat(self.into, name, AtFlags::REMOVEDIR)) {
                    Ok(()) => self.done += 1,
                    Err(error) => _ = self.left.get_or_insert(error),
                }
            }
            // Busy: something is mounted there.
            Err(error) => _ = self.left.get_or_insert(error),
        }
    }

    /// Removes the files in this folder, and moves the folders up.
    fn empty(&mut self, folder: &OwnedFd) -> Result<(), Errno> {
        for name in names(folder)? {
            let removed = match unlinkat(folder, &name, AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) => unlinkat(folder, &name, AtFlags::REMOVEDIR),
                removed => removed,
            };
            match removed {
                Ok(()) => self.done += 1,
                Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    self.move_up(folder, &name)?;
                    self.done += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn move_up(&mut self, folder: &OwnedFd, name: &CString) -> Result<(), Errno> {
        // One that is closed cannot be moved: it holds the name of the folder above it.
        let _opened = open(folder, name)?;
        loop {
            let free = format!("ostler-moved-{}", *self.moved);
            *self.moved += 1;
            match renameat(folder, name, self.into, free) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                moved => return moved,
            }
        }
    }
}

/// Opens a folder, and before that opens it up to us: code may have closed it to its owner.
fn open(within: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let held = openat(&within, name, FOLDER | OFlags::PATH, Mode::empty())?;
    // By what is held and not by its name.
    let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
    match openat(&within, name, FOLDER | OFlags::RDONLY, Mode::empty()) {
        Ok(folder) if is_writable(&folder) => Ok(folder),
        Ok(_) | Err(Errno::ACCESS) => {
            rustix::fs::chmod(itself, Mode::RWXU)?;
            openat(&within, name, FOLDER | OFlags::RDONLY, Mode::empty())
        }
        Err(error) => Err(error),
    }
}

fn is_writable(folder: &OwnedFd) -> bool {
    rustix::fs::fstat(folder).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::RWXU))
}

/// Names in a folder, so many at most: what is left of them is seen by the next pass. They are read before anything is changed.
fn names(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        if found.len() == NAMES_MAX {
            break;
        }
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            found.push(name);
        }
    }
    Ok(found)
}
