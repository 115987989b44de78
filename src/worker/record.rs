//! The flight recorder: writes what passes between sessions and their workers to files.
//!
//! It stands in the seam: a [`Spawner`] around any other, which gives out workers whose pipes are listened to. Neither the
//! actors nor the workers know. A recording costs no request anything but its copy: what the disk cannot take in time is
//! left out and counted, and a file that cannot be written is given up with a word in the log.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, OpenOptions},
    future::Future,
    io::{self, BufWriter, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::oneshot,
    time::Instant,
};

use super::{Branch, Delivery, Launched, Outbox, Pipe, Spawner, Unlaunched, Worker};
use crate::{
    config::{RECORD_PENDING_MAX, WorkerSpec},
    error::SpawnError,
    log,
    recording::{Channel, header, piece_header},
};

/// Pieces that may wait for the disk, all workers of a pool together.
const PIECES_MAX: usize = 64 << 10;
/// Files that are open at once.
const OPEN_MAX: usize = 64;

/// Records the workers that another spawner starts, each into a file of its own.
pub(crate) struct Recorder {
    inner: Arc<dyn Spawner>,
    folder: PathBuf,
    desk: Desk,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("folder", &self.folder)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Recordings go into this folder, which is made if it is not there, for this user alone.
    ///
    /// # Errors
    /// The folder cannot be made, or no thread started.
    pub(crate) fn new(inner: Arc<dyn Spawner>, folder: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { inner, folder, desk: Desk::open()? })
    }
}

impl Recorder {
    /// What records the worker of this tag, once it is there.
    fn recording(&self, tag: &str) -> impl FnOnce(Worker) -> Worker + Send + use<> {
        let path = self.folder.join(format!("{tag}.ostlog"));
        let (desk, tag) = (self.desk.clone(), tag.to_owned());
        move |worker| {
            let tape = Tape { desk, path: Arc::from(path), since: Instant::now(), missing: Arc::default() };
            if !tape.put(header(worker.codec, &tag)) {
                // Without its beginning nobody could read the rest.
                log::warn!(file = %tape.path.display(), error = "too much waits for the disk", "recording not written");
                return worker;
            }
            listen(worker, &tape)
        }
    }
}

impl Spawner for Recorder {
    fn spawn(&self, tag: &str) -> Pin<Box<dyn Future<Output = Result<Worker, SpawnError>> + Send>> {
        let (started, record) = (self.inner.spawn(tag), self.recording(tag));
        Box::pin(async move { started.await.map(record) })
    }

    fn script(
        &self,
        tag: &str,
        launched: Arc<Launched>,
    ) -> Pin<Box<dyn Future<Output = Result<Worker, Unlaunched>> + Send>> {
        let (started, record) = (self.inner.script(tag, launched), self.recording(tag));
        Box::pin(async move { started.await.map(record) })
    }

    fn branch(&self, tag: &str) -> Pin<Box<dyn Future<Output = Result<Branch, SpawnError>> + Send>> {
        let (branch, record) = (self.inner.branch(tag), self.recording(tag));
        Box::pin(async move {
            let Branch { order, worker } = branch.await?;
            Ok(Branch { order, worker: Box::pin(async move { worker.await.map(record) }) })
        })
    }

    fn delivery(&self) -> Option<Delivery> {
        self.inner.delivery()
    }

    fn reload(&self, spec: WorkerSpec) {
        self.inner.reload(spec);
    }

    fn reapers_lost(&self) -> u64 {
        self.inner.reapers_lost()
    }

    /// Behind the last worker, when what was noted of it is in its file.
    fn settled(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (settled, desk) = (self.inner.settled(), self.desk.clone());
        Box::pin(async move {
            settled.await;
            desk.written().await;
        })
    }
}

/// The same worker, whose every byte is noted.
fn listen(worker: Worker, tape: &Tape) -> Worker {
    let Worker { pid, codec, server, frames, outbox, stdout, stderr, exit, is_ending, control } = worker;
    let hear = |channel| Ear { tape: tape.clone(), channel };
    let pipe = |pipe: Option<Box<dyn Pipe>>, channel| {
        pipe.map(|inner| Box::new(Heard { inner, ear: hear(channel) }) as Box<dyn Pipe>)
    };
    let end = hear(Channel::Exit);
    Worker {
        pid,
        codec,
        server,
        frames: Box::new(Heard { inner: frames, ear: hear(Channel::FromWorker) }),
        outbox: Arc::new(HeardOutbox { inner: outbox, ear: hear(Channel::ToWorker) }),
        stdout: pipe(stdout, Channel::Stdout),
        stderr: pipe(stderr, Channel::Stderr),
        exit: Box::pin(async move {
            let exit = exit.await;
            end.note(exit.to_string().as_bytes());
            exit
        }),
        is_ending,
        control,
    }
}

/// Listens to one channel of one worker.
struct Ear {
    tape: Tape,
    channel: Channel,
}

impl Ear {
    fn note(&self, data: &[u8]) {
        if !data.is_empty() {
            self.tape.note(self.tape.since.elapsed(), self.channel, data);
        }
    }
}

/// A stream that is listened to.
struct Heard<T> {
    inner: T,
    ear: Ear,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, into);
        if let Poll::Ready(Ok(())) = polled {
            self.ear.note(&into.filled()[before..]);
        }
        polled
    }
}

impl Pipe for Heard<Box<dyn Pipe>> {
    fn read_held(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        let before = into.len();
        let read = self.inner.read_held(into);
        self.ear.note(&into[before..]);
        read
    }
}

struct HeardOutbox {
    inner: Arc<dyn Outbox>,
    ear: Ear,
}

impl Outbox for HeardOutbox {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        // What is answered was said before: the time is taken first.
        let at = self.ear.tape.since.elapsed();
        let written = self.inner.try_write(bytes)?;
        if written > 0 {
            self.ear.tape.note(at, self.ear.channel, &bytes[..written]);
        }
        Ok(written)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_writable(context)
    }
}

/// What is written to one file.
#[derive(Clone)]
struct Tape {
    desk: Desk,
    path: Arc<Path>,
    since: Instant,
    /// Bytes that were left out, and not yet told.
    missing: Arc<AtomicU64>,
}

impl Tape {
    fn note(&self, at: Duration, channel: Channel, data: &[u8]) {
        let piece = |channel, data: &[u8]| {
            let len = u32::try_from(data.len()).expect("what is read at once is far shorter than 4 GiB");
            [&piece_header(at, channel, len), data].concat()
        };
        let missing = self.missing.swap(0, Relaxed);
        if missing > 0 && !self.put(piece(Channel::Missing, missing.to_string().as_bytes())) {
            self.missing.fetch_add(missing + data.len() as u64, Relaxed);
        } else if !self.put(piece(channel, data)) {
            self.missing.fetch_add(data.len() as u64, Relaxed);
        }
    }

    /// Whether there was room for it.
    fn put(&self, bytes: Vec<u8>) -> bool {
        self.desk.put(&self.path, bytes)
    }
}

/// What the thread that writes is given.
enum Piece {
    Write(Arc<Path>, Vec<u8>),
    /// Say so when all before it is in its file.
    Flush(oneshot::Sender<()>),
}

/// How long the end of a pool waits for its recordings to be written.
const WRITTEN_LIMIT: Duration = Duration::from_millis(500);

/// The thread that writes, and the bound on what waits for it. It ends when nobody can give it anything any more.
#[derive(Clone)]
struct Desk {
    pieces: mpsc::SyncSender<Piece>,
    pending: Arc<AtomicUsize>,
}

impl Desk {
    fn open() -> io::Result<Self> {
        let (pieces, given) = mpsc::sync_channel(PIECES_MAX);
        let pending = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&pending);
        thread::Builder::new().name("ostler-record".into()).spawn(move || write_all(&given, &left))?;
        Ok(Self { pieces, pending })
    }

    /// Waits until what was put is in its files, but not for a disk that does not write.
    async fn written(&self) {
        let (done, written) = oneshot::channel();
        if self.pieces.try_send(Piece::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(WRITTEN_LIMIT, written).await;
        }
    }

    fn put(&self, path: &Arc<Path>, bytes: Vec<u8>) -> bool {
        let len = bytes.len();
        if self.pending.fetch_add(len, Relaxed) + len > RECORD_PENDING_MAX
            || self.pieces.try_send(Piece::Write(Arc::clone(path), bytes)).is_err()
        {
            self.pending.fetch_sub(len, Relaxed);
            return false;
        }
        true
    }
}

/// Files stay open until there are too many, and are flushed when nothing more waits.
fn write_all(given: &mpsc::Receiver<Piece>, pending: &AtomicUsize) {
    let mut open: HashMap<Arc<Path>, io::Result<BufWriter<File>>> = HashMap::new();
    loop {
        let next = given.try_recv().or_else(|_empty| {
            flush(&mut open);
            given.recv()
        });
        let (path, bytes) = match next {
            Ok(Piece::Write(path, bytes)) => (path, bytes),
            Ok(Piece::Flush(done)) => {
                flush(&mut open);
                let _ = done.send(());
                continue;
            }
            Err(_gone) => return,
        };
        pending.fetch_sub(bytes.len(), Relaxed);
        if open.len() >= OPEN_MAX && !open.contains_key(&path) {
            open.clear(); // Which writes what they still hold.
        }
        let file = open.entry(Arc::clone(&path)).or_insert_with(|| {
            let file =
                OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map(BufWriter::new);
            tell(&path, &file);
            file
        });
        if let Ok(writer) = file
            && let Err(error) = writer.write_all(&bytes)
        {
            // What follows would not be in its place.
            *file = Err(error);
            tell(&path, file);
        }
    }
}

fn flush(open: &mut HashMap<Arc<Path>, io::Result<BufWriter<File>>>) {
    for (path, file) in open {
        if let Ok(file) = file {
            tell(path, &file.flush());
        }
    }
}

fn tell<T>(path: &Path, result: &io::Result<T>) {
    if let Err(error) = result {
        log::warn!(file = %path.display(), %error, "recording not written");
    }
}
