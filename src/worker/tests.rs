//! Real processes, on the real clock. Nothing here sleeps: it waits for the fact, under a guard.

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::{io::AsyncReadExt, time::timeout};

use super::{ProcessSpawner, Spawner, Worker};
use crate::{
    config::{FRAME_LEN_MAX, WorkerSpec},
    outcome::Exit,
    protocol::{Decoder, FromWorker},
};

mod python;

/// A test that takes this long hangs.
const HANG: Duration = Duration::from_secs(60);

/// Awaits what must happen.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(HANG, future).await.unwrap_or_else(|_elapsed| panic!("{what}: not within {HANG:?}"))
}

/// A tag that no other worker of this machine has.
fn tag() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn start(spec: WorkerSpec) -> Worker {
    soon("spawn", ProcessSpawner::new(spec).spawn(&tag())).await.unwrap()
}

/// The next frame of a worker.
async fn next_frame(worker: &mut Worker, decoder: &mut Decoder) -> FromWorker {
    let codec = worker.codec;
    let frame = async {
        loop {
            if let Some(frame) = decoder.next().unwrap() {
                return codec.decode(frame).unwrap();
            }
            let read = worker.frames.read_buf(decoder.buffer()).await.unwrap();
            assert_ne!(read, 0, "the worker closed its channel");
        }
    };
    soon("a frame", frame).await
}
