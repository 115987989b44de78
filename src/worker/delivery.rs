//! A saved state that comes from a copy of the worker, while the worker goes on.
//!
//! The other side is `save_behind` in `workers/python/ostler_branch`. The copy is nobody's child but whoever's who collects
//! orphans. It connects to a socket of ours whose abstract name the worker was told, sends the secret that the worker was
//! told too, waits for a byte, and sends:
//!
//! ```text
//! a frame: `checkpoint_data`, last, without data, and with the length of that as `bytes`; or `error`
//! the data
//! its CRC-32                                  4 bytes, big-endian
//! ```
//! It lives and dies with the group of the worker. Whoever does not wait for the state any more kills it.

use std::{io, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::{cleanup::Cleanup, process::Process, rendezvous::Rendezvous, threads::Threads};
use crate::{
    config::FRAME_LEN_MAX,
    protocol::{CheckpointData, Codec, FromWorker},
};

/// What is there at once for what comes; more when it comes.
const ROOM: usize = 4 << 20;

/// Waits for a state.
#[derive(Debug)]
pub struct Delivery(Rendezvous);

/// The copy that sends. It ends with this.
#[derive(Debug)]
struct Sender(Arc<Process>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl Delivery {
    /// Listens. Called within a runtime.
    pub(super) fn new() -> io::Result<Self> {
        Rendezvous::new(&format!("state-{}", std::process::id())).map(Self)
    }

    /// The abstract name of the socket.
    pub(crate) fn address(&self) -> &str {
        self.0.address()
    }

    /// What the copy must send first.
    pub(crate) fn secret(&self) -> &str {
        self.0.secret()
    }

    /// What the copy sends: a checkpoint of at most so many bytes in one part, or an error.
    pub(crate) async fn receive(self, codec: Codec, max: u64) -> io::Result<FromWorker> {
        let (mut stream, pid) = self.0.arrives().await?;
        let process = Arc::new(Process::adopt(pid, None, Cleanup::default())?);
        // It is an orphan: if we are who collects those, we do.
        drop(Threads::get()?.watch().add(Arc::clone(&process), None)?);
        let _sender = Sender(process);
        // Before that it does nothing, so one that nobody holds cannot stay.
        stream.write_all(b"!").await?;
        let len = stream.read_u32().await? as usize;
        if len > FRAME_LEN_MAX {
            return Err(io::Error::other(format!("its first frame has {len} bytes")));
        }
        let head = exactly(&mut stream, len).await?;
        let mut told = codec.decode(head).map_err(io::Error::other)?;
        if let FromWorker::CheckpointData(last) = &mut told {
            fill(last, &mut stream, max).await?;
        }
        Ok(told)
    }
}

async fn fill(last: &mut CheckpointData, stream: &mut UnixStream, max: u64) -> io::Result<()> {
    let told = last.bytes.filter(|bytes| *bytes <= max);
    let len = told.and_then(|bytes| usize::try_from(bytes).ok());
    let len = len.ok_or_else(|| io::Error::other(format!("it announces {:?} bytes of {max}", last.bytes)))?;
    last.data = exactly(stream, len).await?;
    last.checksum = Some(format!("crc32:{:08x}", stream.read_u32().await?));
    Ok(())
}

/// So many bytes. A length that was told is not believed at once.
async fn exactly(stream: &mut UnixStream, len: usize) -> io::Result<bytes::Bytes> {
    let mut bytes = BytesMut::with_capacity(len.min(ROOM));
    while bytes.len() < len {
        let missing = len - bytes.len();
        if bytes.len() == bytes.capacity() {
            bytes.reserve(missing.min(bytes.len().max(ROOM)));
        }
        if (&mut *stream).take(missing as u64).read_buf(&mut bytes).await? == 0 {
            let got = bytes.len();
            let what = format!("expected {len} bytes, got {got} before it ended");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
    }
    Ok(bytes.freeze())
}
