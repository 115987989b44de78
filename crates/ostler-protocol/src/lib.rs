//! Bytes to messages and back: frames, codecs and every message of the worker protocol, version 1.
//!
//! Pure: nothing here reads, writes, waits, spawns or logs. No input makes it panic or recurse past
//! [`DEPTH_MAX`], and a payload never costs more memory than [`FRAME_LEN_MAX`] on top of itself.
//!
//! ```text
//! bytes read ──> Decoder ──frame──> Codec::decode ──> FromWorker ──> the session
//! bytes to write <───────── Codec::encode <────────── ToWorker  <── the session
//! ```
//!
//! ```
//! use ostler_protocol::{Codec, Decoder, FRAME_LEN_MAX, FromWorker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let read_from_worker = b"\0\0\0\x1b{\"type\":\"started\",\"id\":\"7\"}";
//!
//! let mut decoder = Decoder::new(FRAME_LEN_MAX);
//! decoder.buffer().extend_from_slice(read_from_worker); // in pieces of any size
//! let payload = decoder.next()?.expect("a whole frame has come");
//! let message = Codec::Json.decode(payload)?;
//! assert!(matches!(message, FromWorker::Started(started) if started.id.to_string() == "7"));
//! # Ok(())
//! # }
//! ```
//!
//! The page `PROTOCOL.md` at the root of the repository describes the same for people who write workers.

mod answers;
mod codec;
#[doc(hidden)]
pub mod contain;
mod error;
mod exception;
mod frame;
mod from_worker;
mod heap;
mod id;
mod json;
mod message;
mod mime;
#[doc(hidden)]
pub mod readable;
mod reader;
mod record;
pub mod rpc;
mod to_worker;
mod token;
mod value;
mod value_display;
mod value_serde;
mod wire;
mod writer;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use answers::{
    CheckpointData, CompleteResult, Forked, GetResult, InspectResult, NameFailure, ResetResult, Restored,
    SetResult, SkippedName, Variable, VarsResult,
};
pub use codec::{Codec, UnknownCodec};
pub use error::excerpt;
pub use error::{DecodeError, EncodeError};
pub use exception::{ErrorKind, Exception, ExecutionError, TraceFrame};
pub use frame::{Decoder, FRAME_LEN_MAX, FrameError};
pub use from_worker::{
    CancelAck, Display, ExecutionResult, Heartbeat, InputRequest, Level, Log, Output, Place, Ready, Started,
    Stream,
};
pub use heap::HeapSize;
pub use id::{ExecutionId, ParseIdError};
pub use message::{FromWorker, ToWorker};
pub use mime::{Mime, MimeData};
pub use rpc::{PlainJson, RpcError};
pub use to_worker::{
    Cancel, Checkpoint, CheckpointMode, Complete, Execute, Fork, Get, Init, InputResponse, Inspect, Limits,
    Ping, ProtocolError, Reset, Restore, Set, Shutdown, Vars,
};
pub use value::Value;

/// The protocol version that this crate speaks.
pub const VERSION: u32 = 1;

/// How deep lists and maps may be nested in one payload; the message itself is the first level.
pub const DEPTH_MAX: usize = 64;
