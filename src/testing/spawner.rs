//! Starts scripted workers, ends them, and keeps the book on them.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use crate::{
    config::{JsonRpc, Transport, WorkerSpec},
    error::SpawnError,
    outcome::Exit,
    protocol::{Codec, ToWorker},
    testing::{
        pipe::{Reading, pipe},
        stage::{Ends, Stage},
    },
    worker::{Control, Pipe, Spawner, Worker},
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Script = dyn Fn(Stage) -> Boxed<Exit> + Send + Sync;
type Start = dyn Fn(usize) -> Boxed<Result<(), SpawnError>> + Send + Sync;

/// What a pipe holds, as on Linux.
const PIPE_LEN: usize = 64 << 10;
const SIGKILL: i32 = 9;
const SIGABRT: i32 = 6;

/// Starts workers that are scripts. Clones share the script and the book.
#[derive(Clone)]
pub struct ScriptedSpawner {
    script: Arc<Script>,
    start: Arc<Start>,
    codec: Codec,
    transport: Transport,
    server: Option<Arc<JsonRpc>>,
    pipe_len: usize,
    reaping: Duration,
    book: Arc<Book>,
}

impl fmt::Debug for ScriptedSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedSpawner").field("book", &self.book).finish_non_exhaustive()
    }
}

/// Something that happened to a worker, from the worker's side.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Which worker: the first that was started is 1.
    pub worker: usize,
    /// The tag that it was started with.
    pub tag: Arc<str>,
    /// What happened.
    pub fact: Fact,
}

/// See [`Entry`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fact {
    /// It was started.
    Started,
    /// Its script took this message.
    Received(ToWorker),
    /// Its script took this line of JSON-RPC.
    ReceivedLine(String),
    /// It was interrupted, as by a signal.
    Interrupted,
    /// It was killed.
    Killed,
    /// It is dead and reaped.
    Exited(Exit),
}

impl ScriptedSpawner {
    /// Each worker is one run of `script`. When that returns, the worker ends; when the worker is killed, the script
    /// is dropped where it waits, and the exit is `Signal(9)`. A script that panics is a `Signal(6)`.
    #[must_use]
    pub fn new<F>(script: impl Fn(Stage) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Exit> + Send + 'static,
    {
        Self {
            script: Arc::new(move |stage| Box::pin(script(stage))),
            start: Arc::new(|_number| Box::pin(std::future::ready(Ok(())))),
            codec: Codec::MessagePack,
            transport: Transport::Socket,
            server: None,
            pipe_len: PIPE_LEN,
            reaping: Duration::ZERO,
            book: Arc::default(),
        }
    }

    /// Waits for `start`, which is given the number of the worker, before each worker exists: to make a start slow, or
    /// to make it fail.
    #[must_use]
    pub fn before_start<F>(mut self, start: impl Fn(usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), SpawnError>> + Send + 'static,
    {
        self.start = Arc::new(move |number| Box::pin(start(number)));
        self
    }

    /// The codec of the workers; the `WorkerSpec` must name the same one. Default: MessagePack.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Whether there is a pipe for plain output beside the frames (`Socket`), or only frames and stderr (`Stdio`).
    /// Default: `Socket`.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The workers are JSON-RPC servers, spoken with as `spec` says; the pool must be given the same one. Their scripts
    /// hear by [`Stage::recv_line`] and speak by [`Stage::send_bytes`]. Default: they speak in frames.
    #[must_use]
    pub fn server(mut self, spec: &WorkerSpec) -> Self {
        (self.server, self.transport) = (spec.server.clone(), spec.transport);
        self
    }

    /// The bytes that each pipe holds before its writer has to wait. Default: 64 KiB.
    #[must_use]
    pub fn pipe_len(mut self, bytes: usize) -> Self {
        self.pipe_len = bytes;
        self
    }

    /// The time between the end of a worker and its exit notice, in which it still counts as alive: some processes
    /// die slowly. Default: none.
    #[must_use]
    pub fn reaped_after(mut self, wait: Duration) -> Self {
        self.reaping = wait;
        self
    }

    /// Workers that are being started, run, or are not reaped yet.
    #[must_use]
    pub fn live(&self) -> usize {
        self.book.live.load(Relaxed)
    }

    /// The most workers that were alive at once.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.book.peak.load(Relaxed)
    }

    /// The workers that were asked for so far.
    #[must_use]
    pub fn spawned(&self) -> usize {
        self.book.spawned.load(Relaxed)
    }

    /// What happened to the workers so far, in order.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.book.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Spawner for ScriptedSpawner {
    fn spawn(&self, tag: &str) -> Boxed<Result<Worker, SpawnError>> {
        let number = self.book.spawned.fetch_add(1, Relaxed) + 1;
        let (this, tag) = (self.clone(), Arc::from(tag));
        let alive = Alive::new(Arc::clone(&self.book));
        Box::pin(async move {
            (this.start)(number).await?;
            Ok(this.worker(number, tag, alive))
        })
    }
}

impl ScriptedSpawner {
    fn worker(&self, number: usize, tag: Arc<str>, alive: Alive) -> Worker {
        let page = Page { worker: number, tag, book: Arc::clone(&self.book) };
        page.note(Fact::Started);
        let (to_worker, input) = pipe(self.pipe_len);
        let (channel, frames) = pipe(self.pipe_len);
        let [(stdout, from_stdout), (stderr, from_stderr)] = [pipe(self.pipe_len), pipe(self.pipe_len)];
        let has_stdout = self.transport == Transport::Socket;
        let (kill, mut killed) = watch::channel(false);
        let (interrupt, interrupts) = watch::channel(0);
        let life =
            Arc::new(Life { killed: killed.clone(), over: Mutex::default(), closed: AtomicBool::default() });
        let ends = Ends {
            input,
            channel,
            stdout: has_stdout.then_some(stdout),
            stderr,
            interrupts,
            life: Arc::clone(&life),
        };
        let script = (self.script)(Stage::new(page.clone(), self.codec, ends));
        let (reaped, exit) = oneshot::channel();
        let (reaping, own) = (self.reaping, page.clone());
        let script = life.lives(script);
        drop(tokio::spawn(async move {
            let exit = tokio::select! {
                biased;
                // An error is the drop of the power over this worker, which sends the kill first.
                _killed = killed.wait_for(|killed| *killed) => Exit::Signal(SIGKILL),
                exit = script => exit,
            };
            if !reaping.is_zero() {
                tokio::time::sleep(reaping).await;
            }
            own.note(Fact::Exited(exit));
            drop(alive);
            // Nobody may be left to be told.
            let _ = reaped.send(exit);
        }));
        let boxed = |pipe: Reading| -> Box<dyn Pipe> { Box::new(pipe) };
        Worker {
            pid: None,
            codec: self.codec,
            server: self.server.clone(),
            frames: Box::new(frames),
            outbox: Arc::new(to_worker),
            stdout: has_stdout.then(|| boxed(from_stdout)),
            stderr: Some(boxed(from_stderr)),
            exit: Box::pin(async move { exit.await.unwrap_or(Exit::Signal(SIGABRT)) }),
            is_ending: Box::new(move || life.is_ending()),
            control: Box::new(Power { page, kill, interrupt }),
        }
    }
}

/// Whether a script may still do something.
#[derive(Debug)]
pub(super) struct Life {
    killed: watch::Receiver<bool>,
    over: Mutex<bool>,
    /// It has closed its channel, and may have done anything since.
    closed: AtomicBool,
}

impl Life {
    /// Runs a script to its end, which is known before anybody who saw a pipe of it end can ask. A panic is an end.
    fn lives<F: Future<Output = Exit> + Send + Unpin>(
        self: &Arc<Self>,
        mut script: F,
    ) -> impl Future<Output = Exit> + use<F> {
        let life = Arc::clone(self);
        poll_fn(move |context| {
            let mut over = life.over.lock().unwrap_or_else(PoisonError::into_inner);
            *over = true;
            let polled = Pin::new(&mut script).poll(context);
            *over = polled.is_ready();
            polled
        })
    }

    /// Its channel ends by its own hand from here on.
    pub(super) fn closes(&self) {
        self.closed.store(true, SeqCst);
    }

    fn is_ending(&self) -> bool {
        let over = *self.killed.borrow() || *self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over && !self.closed.load(SeqCst)
    }
}

/// Power over one scripted worker.
struct Power {
    page: Page,
    kill: watch::Sender<bool>,
    interrupt: watch::Sender<u64>,
}

impl Control for Power {
    fn interrupt(&self) {
        self.page.note(Fact::Interrupted);
        self.interrupt.send_modify(|rings| *rings += 1);
    }

    fn kill(&self) {
        if !self.kill.send_replace(true) {
            self.page.note(Fact::Killed);
        }
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        self.kill.send_replace(true);
    }
}

/// Counts and facts of all workers of one spawner.
#[derive(Debug, Default)]
struct Book {
    live: AtomicUsize,
    peak: AtomicUsize,
    spawned: AtomicUsize,
    log: Mutex<Vec<Entry>>,
}

/// One worker's page in the book.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) worker: usize,
    pub(super) tag: Arc<str>,
    book: Arc<Book>,
}

impl Page {
    pub(super) fn note(&self, fact: Fact) {
        let entry = Entry { worker: self.worker, tag: Arc::clone(&self.tag), fact };
        self.book.log.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

/// A worker that counts; dropping this is its end.
struct Alive(Arc<Book>);

impl Alive {
    fn new(book: Arc<Book>) -> Self {
        let live = book.live.fetch_add(1, Relaxed) + 1;
        book.peak.fetch_max(live, Relaxed);
        Self(book)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Relaxed);
    }
}
