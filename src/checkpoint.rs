//! The saved state of a session, as a value.

mod format;

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;

use crate::{
    error::{CheckpointError, StateError},
    protocol::{CheckpointData, FromWorker, NameFailure, SkippedName},
};

/// The state of a session at one moment: its names and their values, as far as they could be saved.
///
/// A value in memory, which can be kept as bytes. **A checkpoint is code**: restoring one runs what is in it, so restore
/// only what your own host saved. It holds neither open files nor threads, nor the working folder, nor the environment.
#[derive(Clone, PartialEq)]
pub struct Checkpoint {
    manifest: Manifest,
    data: Bytes,
}

/// What a checkpoint says of itself.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Manifest {
    language: String,
    version: Option<String>,
    names: Vec<String>,
    /// Name, type, reason.
    skipped: Vec<(String, String, String)>,
    imports: Vec<String>,
    function_sources: BTreeMap<String, String>,
    class_sources: BTreeMap<String, String>,
}

/// What came of a restore.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Restored {
    /// The names that are back.
    pub names: Vec<String>,
    /// The names that are not, and why: those that could not be brought back, and those that had not been saved.
    pub lost: Vec<NameFailure>,
    /// Newer states of the same name on disk that could not be used, each with the reason; the newest first. What is back
    /// is older than they are.
    pub passed_over: Vec<String>,
}

impl Checkpoint {
    /// What the session ran, such as `python`.
    #[must_use]
    pub fn language(&self) -> &str {
        &self.manifest.language
    }

    /// The version of that, such as `3.11.7`. Another one restores it too, except functions whose source is gone.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.manifest.version.as_deref()
    }

    /// The names that were saved.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.manifest.names
    }

    /// The names that could not be saved, and why.
    pub fn skipped(&self) -> impl Iterator<Item = SkippedName> {
        let told = |(name, kind, reason): &(String, String, String)| {
            SkippedName::new(name.clone(), kind.clone(), reason.clone())
        };
        self.manifest.skipped.iter().map(told)
    }

    /// The modules that the names need.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.manifest.imports
    }

    /// The source of a function or a class among the names, if it is known.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&str> {
        let Manifest { function_sources, class_sources, .. } = &self.manifest;
        function_sources.get(name).or_else(|| class_sources.get(name)).map(String::as_str)
    }

    /// The bytes of the values, in the worker's own format.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The whole checkpoint as bytes, with the version of their format and a checksum.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.pieces().concat().into()
    }

    /// The same in pieces, to be written one behind the other: the last one may be large, and is not copied.
    pub(crate) fn pieces(&self) -> [Bytes; 3] {
        format::write(self)
    }

    /// A checkpoint from what [`to_bytes`](Self::to_bytes) gave. Its values share the memory of `bytes`.
    ///
    /// # Errors
    /// The bytes are something else, of another version, incomplete or damaged.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, CheckpointError> {
        format::read(bytes.into())
    }

    /// Puts together what a worker sent, and compares it with what it says that it sent.
    pub(crate) fn gathered(
        messages: Vec<FromWorker>,
        language: String,
        version: Option<String>,
    ) -> Result<Self, StateError> {
        let mut parts: Vec<_> = messages.into_iter().filter_map(part).collect();
        let data = match &mut parts[..] {
            [only] => std::mem::take(&mut only.data),
            parts => parts.iter().map(|part| &part.data[..]).collect::<Vec<_>>().concat().into(),
        };
        let Some(last) = parts.pop() else {
            return Err(StateError::Refused { why: "it sent nothing".into() });
        };
        let expected = (last.bytes.unwrap_or(data.len() as u64), last.checksum.clone().unwrap_or_default());
        let checksum =
            expected.1.starts_with("crc32:").then(|| format!("crc32:{:08x}", crc32fast::hash(&data)));
        let got = (data.len() as u64, checksum.unwrap_or_else(|| expected.1.clone()));
        if expected != got {
            let told = |(bytes, checksum)| format!("{bytes} bytes with checksum {checksum}");
            return Err(StateError::Damaged { expected: told(expected), got: told(got) });
        }
        let skipped = last.skipped.into_iter().map(|it| (it.name, it.type_name, it.reason)).collect();
        let manifest = Manifest {
            language,
            version,
            names: last.names,
            skipped,
            imports: last.imports,
            function_sources: last.function_sources.into_iter().collect(),
            class_sources: last.class_sources.into_iter().collect(),
        };
        Ok(Self { manifest, data })
    }

    /// What is to be told of a restore of it.
    pub(crate) fn restored(&self, names: Vec<String>, mut lost: Vec<NameFailure>) -> Restored {
        let unsaved = |it: SkippedName| NameFailure::new(it.name, format!("it was not saved: {}", it.reason));
        lost.extend(self.skipped().map(unsaved));
        Restored { names, lost, passed_over: Vec::new() }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the machine lets nothing else through")]
fn part(message: FromWorker) -> Option<CheckpointData> {
    match message {
        FromWorker::CheckpointData(part) => Some(*part),
        _other => None,
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { language, version, names, skipped, .. } = &self.manifest;
        f.debug_struct("Checkpoint")
            .field("language", language)
            .field("version", version)
            .field("names", &names.len())
            .field("skipped", &skipped.len())
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
