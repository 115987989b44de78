//! The head of a file whose state lies in chunks, as bytes. A smaller state is a checkpoint as it is: version 1.
//!
//! ```text
//! OSTLERCP │ version u32 │ crc32 u32 of the version and the rest of the head │ number of chunks u32 │ front length u32 │
//!   for each chunk: blake3 of it, 32 bytes │ its length u32 │ its place: generation u64, offset u64 │
//!   front: what comes before the first chunk │ the chunks that are in no older file
//! ```
//! Numbers are big-endian. Front and chunks one behind the other are the bytes of the checkpoint, with its own checksum.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{error::CheckpointError, store::chunks::Chunk};

const MAGIC: &[u8; 8] = b"OSTLERCP";
/// Grows when an older host could not read what is written.
pub(super) const VERSION: u32 = 2;
/// A checkpoint as it is.
const PLAIN: u32 = 1;
/// Up to here every head is alike.
const SAME: usize = MAGIC.len() + 4 * 4;
pub(super) const START: u64 = SAME as u64;
const CHUNK: u64 = 32 + 4 + 8 + 8;
/// What the checksum covers begins here.
const COVERED: usize = MAGIC.len() + 4 + 4;

/// How a file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With a head of so many bytes.
    Index(u64),
    /// As a checkpoint.
    Plain,
    /// As neither: it is newer, or damaged.
    Other,
}

/// What a head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) front: Bytes,
    pub(super) chunks: Vec<Chunk>,
}

/// The length of a head.
pub(super) fn len(chunks: usize, front: usize) -> u64 {
    START + CHUNK * chunks as u64 + front as u64
}

pub(super) fn start(bytes: &[u8]) -> Start {
    let Some(mut fields) = bytes.strip_prefix(MAGIC).filter(|rest| rest.len() >= SAME - MAGIC.len()) else {
        return Start::Other;
    };
    match fields.get_u32() {
        VERSION => {
            fields.advance(4);
            let (chunks, front) = (fields.get_u32(), fields.get_u32());
            Start::Index(len(chunks as usize, front as usize))
        }
        PLAIN => Start::Plain,
        _other => Start::Other,
    }
}

/// What is wrong with a file of another version, if it is one of ours whose version was damaged: with ours in its place
/// all is as it was written.
pub(super) fn damage(file: &[u8]) -> Option<CheckpointError> {
    let mut ours = file.to_vec();
    let place = MAGIC.len()..MAGIC.len() + 4;
    let found = u32::from_be_bytes(ours.get(place.clone())?.try_into().ok()?);
    if found <= VERSION {
        return Some(CheckpointError::Length { expected: START, got: file.len() as u64 });
    }
    ours[place].copy_from_slice(&VERSION.to_be_bytes());
    let Start::Index(len) = start(&ours) else { return None };
    let head = ours.get(..usize::try_from(len).ok()?)?;
    Index::read(head).ok()?;
    let (expected, got) = (checksum(VERSION, &head[COVERED..]), checksum(found, &head[COVERED..]));
    Some(CheckpointError::Checksum { expected, got })
}

impl Index {
    pub(super) fn write(&self) -> Bytes {
        let mut body = BytesMut::new();
        body.put_u32(u32::try_from(self.chunks.len()).expect("a state is not that large"));
        body.put_u32(u32::try_from(self.front.len()).expect("it came in frames, which are smaller"));
        for chunk in &self.chunks {
            body.put_slice(&chunk.hash);
            body.put_u32(chunk.len);
            body.put_u64(chunk.file);
            body.put_u64(chunk.at);
        }
        body.put_slice(&self.front);
        let mut head = BytesMut::with_capacity(COVERED + body.len());
        head.put_slice(MAGIC);
        head.put_u32(VERSION);
        head.put_u32(checksum(VERSION, &body));
        head.put_slice(&body);
        head.freeze()
    }

    /// From a head that is as long as its [`start`] says.
    pub(super) fn read(head: &[u8]) -> Result<Self, CheckpointError> {
        let got = head.len() as u64;
        let Start::Index(expected) = start(head) else {
            return Err(CheckpointError::Length { expected: START, got });
        };
        if expected != got {
            return Err(CheckpointError::Length { expected, got });
        }
        let mut fields = &head[MAGIC.len() + 4..];
        let (expected, got) = (fields.get_u32(), checksum(VERSION, &head[COVERED..]));
        if expected != got {
            return Err(CheckpointError::Checksum { expected, got });
        }
        let (chunks, _front) = (fields.get_u32(), fields.get_u32());
        let chunk = |_| {
            let mut hash = [0; 32];
            fields.copy_to_slice(&mut hash);
            Chunk { hash, len: fields.get_u32(), file: fields.get_u64(), at: fields.get_u64() }
        };
        let chunks = (0..chunks).map(chunk).collect();
        Ok(Self { front: Bytes::copy_from_slice(fields), chunks })
    }

    /// The files that its chunks are in.
    pub(super) fn files(&self) -> BTreeSet<u64> {
        self.chunks.iter().map(|chunk| chunk.file).collect()
    }
}

fn checksum(version: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}
