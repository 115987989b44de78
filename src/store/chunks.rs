//! Which bytes of a state are new, and which lie in an older file. Pure: it knows no disk.
//!
//! A state is cut where its content says so, and not at fixed places: what is put in at the front moves the cuts with the
//! bytes behind it. Two chunks of one hash are one.
//!
//! What a save may refer to: chunks that this process has written itself, in saves that were answered for, with no failed
//! one since. Nothing that an earlier process left: whether its last rename came to the disk, nobody can tell any more. So
//! the first save of a name in a process writes all of it, and so does the one behind a save that failed or a state that was
//! found damaged. And nothing is referred to for ever: what is as old as [`Terms::age`] is written anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use fastcdc::v2020::FastCDC;

use super::index::{self, Index};

/// A file is referred to as long as the chunks that are needed of it are this part of it at least: half. So the files
/// that a state needs are at most twice as long as the state.
const ALIVE: u64 = 2;

/// How states are cut. A folder may hold what was written on other terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// States with less data than this are written whole.
    pub(super) whole: usize,
    /// Bytes of a chunk: at least, on average, at most.
    pub(super) sizes: [usize; 3],
    /// So many generations on, a chunk is written anew.
    pub(super) age: u64,
}

impl Terms {
    /// One changed byte costs one chunk, or two. Smaller ones would make the list of them longer than what they spare.
    pub(super) const DEFAULT: Self = Self { whole: 4 << 20, sizes: [256 << 10, 1 << 20, 4 << 20], age: 256 };
}

type Hash = [u8; 32];

/// A part of a state, and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) hash: Hash,
    pub(super) len: u32,
    /// The generation whose file holds it.
    pub(super) file: u64,
    pub(super) at: u64,
}

impl Chunk {
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.len as usize && blake3::hash(bytes) == self.hash
    }
}

/// What this process knows of the files of one name, as long as each of its saves succeeds.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The chunks of the newest state.
    chunks: HashMap<Hash, Chunk>,
    /// How long the files are in which they lie.
    files: BTreeMap<u64, u64>,
    /// The files that each generation needs, its own among them.
    needs: BTreeMap<u64, BTreeSet<u64>>,
}

/// What is to be written, and what is known when it is.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) pieces: Vec<Bytes>,
    pub(super) book: Book,
}

impl Book {
    /// Decides what the file of this generation holds. `pieces`: the bytes of the checkpoint, the last ones its data.
    pub(super) fn draft(mut self, generation: u64, pieces: &[Bytes; 3], terms: &Terms) -> Draft {
        let [header, manifest, data] = pieces;
        if data.len() < terms.whole {
            let needs = std::mem::take(&mut self.needs);
            let mut book = Self { needs, ..Self::default() };
            book.needs.insert(generation, BTreeSet::from([generation]));
            return Draft { pieces: pieces.to_vec(), book };
        }
        let front: Bytes = [&header[..], manifest].concat().into();
        let cut = cut(data, terms);
        let live = self.live(&cut);
        let stays = |chunk: &&Chunk| {
            let live = live.get(&chunk.file).copied().unwrap_or(0);
            let file = self.files.get(&chunk.file).copied().unwrap_or(u64::MAX);
            generation - chunk.file < terms.age && live.saturating_mul(ALIVE) >= file
        };
        let mut at = index::len(cut.len(), front.len());
        let mut fresh = Vec::new();
        let (mut known, mut chunks) = (HashMap::with_capacity(cut.len()), Vec::with_capacity(cut.len()));
        for (hash, bytes) in cut {
            let chunk = *known.entry(hash).or_insert_with(|| {
                self.chunks.get(&hash).filter(stays).copied().unwrap_or_else(|| {
                    let len = u32::try_from(bytes.len()).expect("a chunk has its limit");
                    let chunk = Chunk { hash, len, file: generation, at };
                    at += u64::from(len);
                    fresh.push(bytes);
                    chunk
                })
            });
            chunks.push(chunk);
        }
        let index = Index { front, chunks };
        let needed = &index.files() | &BTreeSet::from([generation]);
        let mut files = self.files;
        files.insert(generation, at);
        files.retain(|file, _| needed.contains(file));
        let mut needs = self.needs;
        needs.insert(generation, needed);
        let pieces = std::iter::once(index.write()).chain(fresh).collect();
        Draft { pieces, book: Self { chunks: known, files, needs } }
    }

    /// How many bytes of each file this state could use.
    fn live(&self, cut: &[(Hash, Bytes)]) -> BTreeMap<u64, u64> {
        let mut live = BTreeMap::new();
        let distinct: BTreeSet<&Hash> = cut.iter().map(|(hash, _)| hash).collect();
        for chunk in distinct.into_iter().filter_map(|hash| self.chunks.get(hash)) {
            *live.entry(chunk.file).or_default() += u64::from(chunk.len);
        }
        live
    }

    /// Whether all files are there that it knows.
    pub(super) fn fits(&self, found: &[u64]) -> bool {
        self.files.keys().all(|file| found.contains(file))
    }

    /// Which of the files that were found go, when the `kept` generations are to be restored at any time. `look` tells
    /// what one needs that an earlier process has saved; if it cannot, all that is older may be.
    pub(super) fn goes(
        &mut self,
        found: &[u64],
        kept: &[u64],
        look: impl Fn(u64) -> Option<BTreeSet<u64>>,
    ) -> Vec<u64> {
        self.needs.retain(|generation, _| kept.contains(generation));
        let mut needed = BTreeSet::new();
        for generation in kept {
            match self.needs.get(generation).cloned().or_else(|| look(*generation)) {
                Some(files) => needed.extend(files),
                None => needed.extend(found.iter().filter(|file| *file <= generation)),
            }
        }
        found.iter().filter(|file| !needed.contains(file)).copied().collect()
    }
}

fn cut(data: &Bytes, terms: &Terms) -> Vec<(Hash, Bytes)> {
    let [least, average, most] = terms.sizes;
    FastCDC::new(data, least, average, most)
        .map(|it| data.slice(it.offset..it.offset + it.length))
        .map(|bytes| (*blake3::hash(&bytes).as_bytes(), bytes))
        .collect()
}
