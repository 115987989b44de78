//! A checkpoint as bytes. The version is looked at before anything behind it, the checksum before anything is parsed.
//!
//! ```text
//! OSTLERCP │ version u32 │ crc32 u32 of the version and all that follows │ manifest length u32 │ data length u64 │ manifest │ data
//! ```
//! Numbers are big-endian; the manifest is JSON. Nothing is allocated by a length that was read.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Checkpoint, Manifest};
use crate::error::CheckpointError;

const MAGIC: &[u8; 8] = b"OSTLERCP";
/// Grows when an older host could not read what is written.
pub(super) const VERSION: u32 = 1;
const HEADER: usize = MAGIC.len() + 4 + 4 + 4 + 8;
/// What the checksum covers begins here.
const COVERED: usize = MAGIC.len() + 4 + 4;

pub(super) fn write(checkpoint: &Checkpoint) -> [Bytes; 3] {
    let manifest = serde_json::to_vec(&checkpoint.manifest).expect("texts and lists of texts are JSON");
    let mut lengths = BytesMut::with_capacity(HEADER - COVERED);
    lengths.put_u32(u32::try_from(manifest.len()).expect("it came in frames, which are smaller"));
    lengths.put_u64(checkpoint.data.len() as u64);
    let checksum = checksum(&[&VERSION.to_be_bytes(), &lengths, &manifest, &checkpoint.data]);
    let mut header = BytesMut::with_capacity(HEADER);
    header.put_slice(MAGIC);
    header.put_u32(VERSION);
    header.put_u32(checksum);
    header.put_slice(&lengths);
    [header.freeze(), manifest.into(), checkpoint.data.clone()]
}

pub(super) fn read(bytes: Bytes) -> Result<Checkpoint, CheckpointError> {
    let got = bytes.len() as u64;
    if !bytes.starts_with(MAGIC) {
        let start = &bytes[..bytes.len().min(MAGIC.len())];
        return Err(CheckpointError::Foreign { got: format!("`{}`", start.escape_ascii()) });
    }
    if bytes.len() < MAGIC.len() + 4 {
        return Err(CheckpointError::Length { expected: HEADER as u64, got });
    }
    let mut fields = &bytes[MAGIC.len()..];
    let found = fields.get_u32();
    // A version that was damaged is told from one that is newer: with ours in its place all is as it was written. None
    // ever was 0.
    let whole = |bytes: &Bytes| checksum(&[&VERSION.to_be_bytes(), &bytes[COVERED..]]);
    if found != VERSION {
        let expected = if bytes.len() < HEADER { 0 } else { fields.get_u32() };
        if found == 0 || (bytes.len() >= HEADER && expected == whole(&bytes)) {
            let got = checksum(&[&found.to_be_bytes(), &bytes[COVERED.min(bytes.len())..]]);
            return Err(CheckpointError::Checksum { expected, got });
        }
        return Err(CheckpointError::Version { found, supported: VERSION });
    }
    if bytes.len() < HEADER {
        return Err(CheckpointError::Length { expected: HEADER as u64, got });
    }
    let checksum_written = fields.get_u32();
    let (manifest_len, data_len) = (fields.get_u32(), fields.get_u64());
    let expected = (HEADER as u64 + u64::from(manifest_len)).saturating_add(data_len);
    if expected != got {
        return Err(CheckpointError::Length { expected, got });
    }
    let checksum = whole(&bytes);
    if checksum != checksum_written {
        return Err(CheckpointError::Checksum { expected: checksum_written, got: checksum });
    }
    let mut body = bytes.slice(HEADER..);
    let manifest = body.split_to(manifest_len as usize);
    let manifest: Manifest = serde_json::from_slice(&manifest)
        .map_err(|error| CheckpointError::Manifest { why: error.to_string() })?;
    Ok(Checkpoint { manifest, data: body })
}

fn checksum(pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.finalize()
}
