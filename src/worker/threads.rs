//! The threads that outlive every runtime: they are started with the first worker and stay for the life of the process.
//!
//! ```text
//! ostler-spawn   starts every process: the kernel ties a worker's parent-death signal to the thread that started it
//! ostler-watch   sees every death, kills what is left of the group and collects the exit
//! ostler-sweep   finds what left the group, by its tag; removes scratch folders
//! ```
//!
//! None of them waits for another, or for a worker that lives: a dropped runtime leaves no zombie, and a folder that
//! takes long to remove holds up no start and hides no death.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
};

use tokio::sync::oneshot;

use ostler_protocol::contain::contained;

use super::{sweep, watch::Watch};

/// What the process-global threads can be asked for.
#[derive(Debug)]
pub(super) struct Threads {
    spawn: mpsc::Sender<Task>,
    watch: Arc<Watch>,
}

type Task = Box<dyn FnOnce() + Send>;

impl Threads {
    /// The threads of this process; the first call starts them.
    pub(super) fn get() -> io::Result<&'static Self> {
        static THREADS: OnceLock<Threads> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        if let Some(threads) = THREADS.get() {
            return Ok(threads);
        }
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        match THREADS.get() {
            Some(threads) => Ok(threads),
            None => {
                let threads = Self::start()?;
                Ok(THREADS.get_or_init(|| threads))
            }
        }
    }

    /// If one cannot be started, those before it end with the sending ends that are dropped here.
    fn start() -> io::Result<Self> {
        let (spawn, tasks) = mpsc::channel::<Task>();
        let (sweep, footprints) = mpsc::channel();
        let watch = Arc::new(Watch::new(sweep)?);
        // This one must not end: workers that it started would be killed with it.
        run("ostler-spawn", move || tasks.into_iter().for_each(|task| drop(contained(task))))?;
        run("ostler-sweep", move || sweep::run(&footprints))?;
        run("ostler-watch", {
            let watch = Arc::clone(&watch);
            move || watch.run()
        })?;
        Ok(Self { spawn, watch })
    }

    /// Where the deaths of workers are seen.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Performs `task` on the thread that starts processes, some time.
    pub(super) fn later(&self, task: impl FnOnce() + Send + 'static) {
        // It never ends.
        let _ = self.spawn.send(Box::new(task));
    }

    /// Performs `task` on the thread that starts processes. If the caller stops waiting, what `task` returns is
    /// dropped there.
    pub(super) async fn on_spawn_thread<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(move || {
            if !reply.is_closed() {
                let _ = reply.send(task());
            }
        });
        self.spawn.send(task).map_err(|_ended| io::Error::other("the spawning thread has ended"))?;
        answer.await.map_err(|_dropped| io::Error::other("the spawning thread panicked"))
    }
}

fn run(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}
