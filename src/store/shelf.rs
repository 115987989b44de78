//! How states lie on a disk, whichever that is: a folder for each name, a file for each generation, the newest two kept.
//!
//! ```text
//! STATE_DIR/lock            held by the host that uses it, with its process id
//! STATE_DIR/NAME/00000003   an older generation: it is kept for the chunks that the newer ones need of it
//! STATE_DIR/NAME/00000007   a checkpoint: its generation is its name
//! STATE_DIR/NAME/00000008
//! STATE_DIR/NAME/00000009.3.new   being written, by the third attempt of this host; or left by one that died: swept
//! ```
//! Each attempt to save writes a file of its own, which nobody wrote before and nobody else writes. Whoever saves or loads
//! owns the [`Turn`] of the name, so there is one of them at a time.
//!
//! What `save` has answered for is there after a crash at any moment: written aside, synced, renamed, its folder synced,
//! and only then goes what neither of the newest two needs. It refers only to files for which all of that has succeeded. A
//! sync that failed is not tried again, for the kernel may have dropped what it could not write: the next save writes all
//! of it anew.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;

use super::{
    Saved, check_name,
    chunks::Terms,
    disk::{Disk, Folder},
    index::{self, Index, Start},
    names::{aside_name, file_name, generation, is_aside},
    queue::Turn,
};
use crate::{
    error::{CheckpointError, StoreError},
    log::warn,
};

/// Generations of one name that are kept: the newest, and one to go back to.
pub(super) const KEPT: usize = 2;
/// Files in the way of a new one, which could not be swept, that an attempt goes around.
const IN_THE_WAY: usize = 100;

pub(super) struct Shelf {
    root: PathBuf,
    disk: Box<dyn Disk>,
    terms: Terms,
    /// Numbers the attempts to save.
    attempts: AtomicU64,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("root", &self.root).field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// Why the bytes of a state are not to be had.
#[derive(Debug)]
pub(super) enum Unread {
    Disk(io::Error),
    Damaged(CheckpointError),
}

impl From<CheckpointError> for Unread {
    fn from(damage: CheckpointError) -> Self {
        Self::Damaged(damage)
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl Shelf {
    /// Takes a folder of this machine, which is ours until this is dropped, and sweeps it.
    pub(super) fn open(root: &Path, terms: Terms) -> Result<Self, StoreError> {
        let shelf = Self::new(root.to_owned(), Box::new(Folder::take(root)?), terms);
        shelf.sweep()?;
        Ok(shelf)
    }

    pub(super) fn new(root: PathBuf, disk: Box<dyn Disk>, terms: Terms) -> Self {
        Self { root, disk, terms, attempts: AtomicU64::new(0) }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn save(&self, turn: &mut Turn, pieces: &[Bytes; 3]) -> Result<u64, StoreError> {
        let name = &turn.name;
        let failed = |action: &'static str| {
            let path = self.root.join(name);
            move |source| StoreError::Disk { action, path, source: Arc::new(source) }
        };
        let book = turn.book.take();
        self.make_folder(name)?;
        let mut found = self.generations(name)?;
        let generation = found.first().map_or(1, |newest| newest + 1);
        let book = book.filter(|book| book.fits(&found)).unwrap_or_default();
        let mut draft = book.draft(generation, pieces, &self.terms);
        let aside = self.write_aside(name, generation, &draft.pieces).map_err(failed("write"))?;
        self.disk.rename(name, &aside, &file_name(generation)).map_err(failed("rename a file in"))?;
        self.disk.sync_folder(name).map_err(failed("sync"))?;
        found.insert(0, generation);
        let kept = &found[..KEPT.min(found.len())];
        for file in draft.book.goes(&found, kept, |older| self.needs(name, older).ok()) {
            // One too many does no harm, and goes the next time.
            let _ = self.disk.remove(name, &file_name(file));
        }
        turn.book = Some(draft.book);
        Ok(generation)
    }

    fn make_folder(&self, name: &str) -> Result<(), StoreError> {
        let failed = |action: &'static str| {
            let path = self.root.join(name);
            move |source| StoreError::Disk { action, path, source: Arc::new(source) }
        };
        let _alone = self.disk.making();
        if !self.disk.has_folder(name).map_err(failed("look for"))? {
            self.disk.make_folder(name).map_err(failed("make"))?;
        }
        // Each time: whoever made it may have died before this.
        if let Err(source) = self.disk.sync_folder("") {
            // If it is new, it may never come to the disk, however often that is asked for: the next save makes it anew.
            let _ = self.disk.remove_folder(name);
            return Err(failed("sync the folder of")(source));
        }
        Ok(())
    }

    /// Writes a file that nobody else writes, and returns its name.
    fn write_aside(&self, name: &str, generation: u64, pieces: &[Bytes]) -> io::Result<String> {
        let mut in_the_way = 0;
        loop {
            let aside = aside_name(generation, self.attempts.fetch_add(1, Relaxed) + 1);
            match self.disk.write_synced(name, &aside, pieces) {
                Ok(()) => return Ok(aside),
                // It is not ours. Of one that died, and it could not be swept; whoever it is, we leave it alone.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && in_the_way < IN_THE_WAY => {
                    in_the_way += 1;
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::AlreadyExists {
                        // What is there now is of no use, and may fill the disk.
                        let _ = self.disk.remove(name, &aside);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Goes back to an older generation from one that is damaged, or that the disk does not give. One of another version is
    /// not damaged: using what was there before it would throw it away. Nor is one that this process may not read, or not
    /// now.
    pub(super) fn load<T>(
        &self,
        turn: &mut Turn,
        read: impl Fn(Bytes) -> Result<T, CheckpointError>,
    ) -> Result<Option<Saved<T>>, StoreError> {
        let name = turn.name.clone();
        let (mut problem, mut passed_over) = (None, Vec::new());
        for generation in self.generations(&name)? {
            let path = self.root.join(&name).join(file_name(generation));
            let (error, why) = match self.state(&name, generation, &read) {
                Ok(checkpoint) => return Ok(Some(Saved { checkpoint, generation, passed_over })),
                Err(Unread::Disk(source)) => {
                    let (gone, why) = (is_gone(&source), source.to_string());
                    let error = StoreError::Disk { action: "read", path, source: Arc::new(source) };
                    if !gone {
                        return Err(error);
                    }
                    (error, why)
                }
                Err(Unread::Damaged(source @ CheckpointError::Version { .. })) => {
                    return Err(StoreError::Unusable { path, source });
                }
                Err(Unread::Damaged(source)) => {
                    let why = source.to_string();
                    (StoreError::Unusable { path, source }, why)
                }
            };
            // Whatever else this disk has done: the next save writes all of it anew.
            turn.book = None;
            warn!(name, generation, error = %why, "a saved state cannot be used; the one before it is looked at");
            passed_over.push(format!("generation {generation}: {why}"));
            problem.get_or_insert(error);
        }
        problem.map_or(Ok(None), Err)
    }

    pub(super) fn state<T>(
        &self,
        name: &str,
        generation: u64,
        read: impl Fn(Bytes) -> Result<T, CheckpointError>,
    ) -> Result<T, Unread> {
        if let Start::Index(len) = self.start(name, generation)? {
            let index = self.index(name, generation, len)?;
            return Ok(read(self.gather(name, &index)?)?);
        }
        let mut bytes = Vec::new();
        self.disk.read(name, &file_name(generation), 0, u64::MAX, &mut bytes)?;
        let bytes = Bytes::from(bytes);
        let state = read(bytes.clone());
        if let Err(CheckpointError::Version { found, .. }) = state {
            let newer = CheckpointError::Version { found, supported: index::VERSION };
            return Err(index::damage(&bytes).unwrap_or(newer).into());
        }
        Ok(state?)
    }

    fn start(&self, name: &str, generation: u64) -> Result<Start, Unread> {
        let mut bytes = Vec::new();
        self.disk.read(name, &file_name(generation), 0, index::START, &mut bytes)?;
        Ok(index::start(&bytes))
    }

    fn index(&self, name: &str, generation: u64, len: u64) -> Result<Index, Unread> {
        let mut head = Vec::new();
        self.disk.read(name, &file_name(generation), 0, len, &mut head)?;
        Ok(Index::read(&head)?)
    }

    /// Puts a state together, and looks at each part of it.
    fn gather(&self, name: &str, index: &Index) -> Result<Bytes, Unread> {
        let mut bytes = index.front.to_vec();
        for chunk in &index.chunks {
            let (from, file) = (bytes.len(), file_name(chunk.file));
            let problem = match self.disk.read(name, &file, chunk.at, chunk.len.into(), &mut bytes) {
                Ok(()) if chunk.is(&bytes[from..]) => continue,
                Ok(()) => "damaged",
                Err(error) if error.kind() == io::ErrorKind::NotFound => "missing",
                Err(error) => return Err(error.into()),
            };
            return Err(CheckpointError::Chunk { file, at: chunk.at, len: chunk.len.into(), problem }.into());
        }
        Ok(bytes.into())
    }

    /// The files that a generation needs which an earlier process has saved, or one whose save has failed.
    fn needs(&self, name: &str, generation: u64) -> Result<BTreeSet<u64>, Unread> {
        let mut needs = BTreeSet::from([generation]);
        match self.start(name, generation)? {
            Start::Index(len) => needs.extend(self.index(name, generation, len)?.files()),
            Start::Plain => {}
            Start::Other => return Err(CheckpointError::Length { expected: index::START, got: 0 }.into()),
        }
        Ok(needs)
    }

    /// Newest first.
    pub(super) fn generations(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        if !self.disk.has_folder(name).map_err(|source| self.unlisted(name, source))? {
            return Ok(Vec::new());
        }
        let files = self.disk.list(name).map_err(|source| self.unlisted(name, source))?;
        let mut found: Vec<u64> = files.iter().filter_map(|file| generation(file)).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    pub(super) fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.disk.list("").map_err(|source| self.unlisted("", source))?;
        names
            .retain(|name| check_name(name).is_ok() && self.generations(name).is_ok_and(|it| !it.is_empty()));
        names.sort_unstable();
        Ok(names)
    }

    /// Removes what a host that died was writing.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        for name in self.names_and_empty()? {
            for file in self.disk.list(&name).map_err(|source| self.unlisted(&name, source))? {
                if is_aside(&file) {
                    // What stays is not looked at, and gone around.
                    let _ = self.disk.remove(&name, &file);
                }
            }
        }
        Ok(())
    }

    fn names_and_empty(&self) -> Result<Vec<String>, StoreError> {
        let unlisted = |source| self.unlisted("", source);
        let mut names = Vec::new();
        for name in self.disk.list("").map_err(unlisted)? {
            if check_name(&name).is_ok() && self.disk.has_folder(&name).map_err(unlisted)? {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn unlisted(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Disk { action: "list", path: self.root.join(name), source: Arc::new(source) }
    }
}

/// Whether these bytes are not to be had, as opposed to: not by this process, or not now.
fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let broken = [
        Errno::IO,       // a sector cannot be read
        Errno::BADMSG,   // the file system's own checksum is wrong
        Errno::UCLEAN,   // its structure is
        Errno::NODATA,   // a medium error
        Errno::REMOTEIO, // the same, elsewhere
        Errno::STALE,    // somebody else has removed it
        Errno::NOENT,
        Errno::ISDIR,
    ];
    broken.into_iter().any(|errno| Some(errno.raw_os_error()) == error.raw_os_error())
        || [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof].contains(&error.kind())
}
