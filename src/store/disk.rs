//! What the store asks of a disk, and the disk of this machine.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::error::StoreError;

/// The file that says who uses a folder.
pub(super) const LOCK: &str = "lock";
/// A checkpoint is code that this user's workers run: nobody else may write it, or read what it holds.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Files in folders below one root, whose own name is empty.
pub(super) trait Disk: Send + Sync {
    /// Keeps others from making folders. To be held until the folder is on the disk: a sync that fails does so for what
    /// everybody has done in the root, and tells only one of them.
    fn making(&self) -> MutexGuard<'_, ()>;
    fn has_folder(&self, folder: &str) -> io::Result<bool>;
    fn make_folder(&self, folder: &str) -> io::Result<()>;
    /// Removes a folder, if it is empty.
    fn remove_folder(&self, folder: &str) -> io::Result<()>;
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Appends as many bytes of a file as there are behind `from`, at most `len`.
    fn read(&self, folder: &str, file: &str, from: u64, len: u64, into: &mut Vec<u8>) -> io::Result<()>;
    /// Makes a file, writes the pieces one behind the other, and returns when they are on the disk. One step: only who wrote
    /// a file is told by the kernel that its sync has failed. Refused with `AlreadyExists` if there is a file of that name:
    /// it is somebody's, and two would write into it.
    fn write_synced(&self, folder: &str, file: &str, pieces: &[Bytes]) -> io::Result<()>;
    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, folder: &str, file: &str) -> io::Result<()>;
    /// Returns when the names in it are on the disk.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
}

/// A folder of this machine, taken for this process until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    lock: File,
    making: Mutex<()>,
}

/// By name, and not by closing the file: a process that another thread is just starting has a copy of each descriptor,
/// and would keep the folder for as long.
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

impl Folder {
    /// Takes the folder. The kernel gives it back however this process ends.
    pub(super) fn take(root: &Path) -> Result<Self, StoreError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Disk { action, path, source: Arc::new(source) }
        };
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(root).map_err(failed("make", root))?;
        let path = root.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let mut lock = options.open(&path).map_err(failed("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut told = String::new();
                // Who has it may be writing its number just now.
                let _ = lock.read_to_string(&mut told);
                return Err(StoreError::InUse { path: root.to_owned(), pid: told.trim().parse().ok() });
            }
            Err(error) => return Err(failed("lock", &path)(error.into())),
        }
        let mut taken = Self { root: root.to_owned(), lock, making: Mutex::default() };
        taken.sign().map_err(failed("write", &path))?;
        Ok(taken)
    }

    /// Says in the file whose the folder is.
    fn sign(&mut self) -> io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(format!("{}\n", std::process::id()).as_bytes())
    }

    fn path(&self, folder: &str, file: &str) -> PathBuf {
        self.root.join(folder).join(file)
    }
}

impl Disk for Folder {
    fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_folder(&self, folder: &str) -> io::Result<bool> {
        match fs::metadata(self.root.join(folder)) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        DirBuilder::new().mode(FOLDER_MODE).create(self.root.join(folder))
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        fs::remove_dir(self.root.join(folder))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.root.join(folder))?;
        // A name that is no text is none of ours.
        entries
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn read(&self, folder: &str, file: &str, from: u64, len: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let mut file = File::open(self.path(folder, file))?;
        let there = file.metadata()?.len().saturating_sub(from).min(len);
        // What cannot be had is refused, and not died of.
        into.try_reserve_exact(usize::try_from(there).unwrap_or(usize::MAX))?;
        file.seek(SeekFrom::Start(from))?;
        file.take(len).read_to_end(into).map(drop)
    }

    fn write_synced(&self, folder: &str, file: &str, pieces: &[Bytes]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        let mut file = options.open(self.path(folder, file))?;
        for piece in pieces {
            file.write_all(piece)?;
        }
        file.sync_all()
    }

    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(folder, from), self.path(folder, to))
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        fs::remove_file(self.path(folder, file))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.root.join(folder))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_free_at_once_although_a_child_that_is_being_started_has_its_descriptor() {
        let root = tempfile::tempdir().expect("there is room");
        let folder = Folder::take(root.path()).expect("nobody else has it");
        let childs = folder.lock.try_clone().expect("there are descriptors");
        drop(folder);
        Folder::take(root.path()).expect("it was let go");
        drop(childs);
    }
}
