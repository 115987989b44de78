//! Turns a [`WorkerSpec`] into worker processes.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rustix::process::Signal;
use tokio::{sync::oneshot, time::timeout};

use super::{
    Branch, Control, Delivery, Inspection, Launched, Spawner, Unlaunched, Worker,
    branch::Awaited,
    children::{self, naming::Naming},
    cleanup::{Cleanup, Pending},
    environment, pipes,
    process::{Ends, Launch, Process},
    program,
    python::{self, Interpreter},
    scratch::Scratch,
    script, stacks,
    sweep::Footprint,
    threads::Threads,
    vitals,
    zygote::{Birth, Zygote},
};
use crate::{
    config::{Program, Transport, WorkerSpec},
    error::SpawnError,
    outcome::Exit,
    status::Vitals,
};

/// How long a spawner may take to settle. A process in an uninterruptible wait of the kernel does not die.
const SETTLED_LIMIT: Duration = Duration::from_secs(1);

/// Starts real processes.
#[derive(Debug)]
pub(crate) struct ProcessSpawner {
    spec: Mutex<Arc<WorkerSpec>>,
    shared: Shared,
}

/// What the workers of one spawner have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    pub(super) cleanup: Cleanup,
    pub(super) zygote: Arc<Zygote>,
}

impl Shared {
    /// Starts the reaper, if there is none. Called on the thread that starts processes.
    pub(super) fn have_reaper(&self, pool: &str) {
        self.cleanup.have_reaper(pool);
    }
}

impl ProcessSpawner {
    /// Nothing is looked up yet: each start finds the program anew, so that one that was replaced is used by the next
    /// worker.
    pub(crate) fn new(spec: WorkerSpec) -> Self {
        Self { spec: Mutex::new(Arc::new(spec)), shared: Shared::default() }
    }

    /// Resolves when nothing is left of the workers that have ended, however long that takes.
    pub(super) fn cleared(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.cleanup.clone().settled()
    }
}

impl Spawner for ProcessSpawner {
    fn spawn(&self, tag: &str) -> Pin<Box<dyn Future<Output = Result<Worker, SpawnError>> + Send>> {
        let spec = Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(spawn(spec, tag.to_owned(), self.shared.clone()))
    }

    fn script(
        &self,
        tag: &str,
        launched: Arc<Launched>,
    ) -> Pin<Box<dyn Future<Output = Result<Worker, Unlaunched>> + Send>> {
        let spec = Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(script::spawn(spec, launched, tag.to_owned(), self.shared.clone()))
    }

    fn branch(&self, tag: &str) -> Pin<Box<dyn Future<Output = Result<Branch, SpawnError>> + Send>> {
        let spec = Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(branch(spec, tag.to_owned(), self.shared.clone()))
    }

    fn delivery(&self) -> Option<Delivery> {
        let spec = Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner));
        let offered = matches!(spec.program, Program::Python { .. });
        // Without one the worker sends it on its channel.
        offered.then(Delivery::new)?.ok()
    }

    fn reload(&self, spec: WorkerSpec) {
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec);
    }

    fn reapers_lost(&self) -> u64 {
        self.shared.cleanup.reapers_lost()
    }

    fn settled(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (zygote, cleared, cleanup) =
            (self.shared.zygote.end(), self.cleared(), self.shared.cleanup.clone());
        let settled = async move {
            zygote.await;
            cleared.await;
            cleanup.dismiss_reaper();
        };
        Box::pin(async move { timeout(SETTLED_LIMIT, settled).await.unwrap_or_default() })
    }
}

async fn spawn(spec: Arc<WorkerSpec>, tag: String, shared: Shared) -> Result<Worker, SpawnError> {
    let made_from = Arc::clone(&spec);
    let (program, args, first) = match &spec.program {
        Program::Command { program, args } => (program.clone(), args.clone(), Bytes::new()),
        Program::Python { interpreter } => {
            let python = python::find(interpreter, &spec, &tag).await?;
            if spec.preload.is_some()
                && let Some(started) = fork(&spec, &python, &tag, &shared).await?
            {
                return connect(started, &made_from, Bytes::new(), python.executable());
            }
            (python.executable().to_owned(), python.args(), python.bootstrap())
        }
    };
    let asked = program.clone();
    let start = move || {
        let env = environment::of_worker(&spec, &tag, env::vars_os());
        let program = program::find(&program, env.get(OsStr::new("PATH")).map(OsString::as_os_str))?;
        let (cwd, scratch) = working_folder(spec.cwd.as_ref(), &tag, &program)?;
        let socket = spec.transport == Transport::Socket;
        let pool = pool_of(&tag);
        let worker =
            start(&Launch { program, args, env, cwd, socket }, Footprint { tag, scratch }, &shared.cleanup);
        // Behind the worker, which boots meanwhile, and before it can be sent any code.
        shared.have_reaper(&pool);
        worker
    };
    let started = on_spawn_thread(&asked, start).await??;
    connect(started, &made_from, first, &asked)
}

/// Has the zygote fork a worker. `None`: not now.
async fn fork(
    spec: &Arc<WorkerSpec>,
    python: &Arc<Interpreter>,
    tag: &str,
    shared: &Shared,
) -> Result<Option<Started>, SpawnError> {
    let prepare = {
        let (spec, python, tag, shared) =
            (Arc::clone(spec), Arc::clone(python), tag.to_owned(), shared.clone());
        move || {
            let env = environment::of_worker(&spec, &tag, env::vars_os());
            let (cwd, scratch) = working_folder(spec.cwd.as_ref(), &tag, python.executable())?;
            shared.have_reaper(&pool_of(&tag));
            let socket = spec.transport == Transport::Socket;
            Ok(Birth { env, cwd, socket, script: None, footprint: Footprint { tag, scratch } })
        }
    };
    let birth = on_spawn_thread(python.executable(), prepare).await??;
    let started = shared.zygote.fork(spec, python, birth, &shared.cleanup).await;
    let Some(started) = started.map_err(|unlaunched| unlaunched.error)? else { return Ok(None) };
    let Started { ends, exit, power, starting } = started;
    Ok(ends.map(|ends| Started { ends, exit, power, starting }))
}

/// Makes ready for a copy of a worker.
async fn branch(spec: Arc<WorkerSpec>, tag: String, shared: Shared) -> Result<Branch, SpawnError> {
    let program = match &spec.program {
        Program::Command { program, .. } => program.clone(),
        Program::Python { interpreter } => interpreter.clone(),
    };
    let prepare = {
        let (spec, program, shared) = (Arc::clone(&spec), program.clone(), shared.clone());
        move || {
            let (cwd, scratch) = working_folder(spec.cwd.as_ref(), &tag, &program)?;
            shared.have_reaper(&pool_of(&tag));
            Ok((cwd, Footprint { tag, scratch }))
        }
    };
    let (folder, footprint) = on_spawn_thread(&program, prepare).await??;
    let awaited = Awaited::new(&program, footprint, shared.cleanup);
    let awaited = awaited.map_err(|error| program::system("await a copy of a worker", &program, error))?;
    let order = awaited.order(folder);
    let worker = async move { connect(awaited.arrives().await?, &spec, Bytes::new(), &program) };
    Ok(Branch { order, worker: Box::pin(worker) })
}

/// What stands before the tags of all workers of a pool.
pub(super) fn pool_of(tag: &str) -> String {
    tag.split('.').next().unwrap_or_default().to_owned()
}

/// A worker, once its descriptors are those of the runtime. `first` is what it is sent before any frame.
fn connect(started: Started, spec: &WorkerSpec, first: Bytes, program: &Path) -> Result<Worker, SpawnError> {
    let Started { ends, exit, power, starting: _starting } = started;
    let connect = |error| program::system("connect to a process", program, error);
    let frames = pipes::connect(ends.stdin, ends.stdout, first).map_err(connect)?;
    let stderr = pipes::OutputPipe::new(ends.stderr).map_err(connect)?;
    let process = Arc::downgrade(&power.process);
    Ok(Worker {
        pid: Some(power.process.id()),
        codec: spec.codec,
        server: spec.server.clone(),
        frames: frames.reader,
        outbox: frames.outbox,
        stdout: frames.stdout.map(|pipe| Box::new(pipe) as _),
        stderr: Some(Box::new(stderr)),
        exit: Box::pin(async move { exit.await.unwrap_or(Exit::Unknown) }),
        is_ending: Box::new(move || process.upgrade().is_none_or(|process| process.is_ending())),
        control: Box::new(power),
    })
}

/// A process that is watched, and ends with `power`.
#[derive(Debug)]
pub(super) struct Started<E = Ends> {
    pub(super) ends: E,
    pub(super) exit: oneshot::Receiver<Exit>,
    pub(super) power: Power,
    /// Dropped after `power`: a process that nobody waits for any more is killed before it ceases to count as starting.
    pub(super) starting: Pending,
}

/// Performs `start` on the thread that starts processes.
pub(super) async fn on_spawn_thread<T: Send + 'static>(
    program: &Path,
    start: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SpawnError> {
    let threads = Threads::get().map_err(|error| program::system("start a thread", program, error))?;
    threads.on_spawn_thread(start).await.map_err(|error| program::system("start a process", program, error))
}

/// Starts a process and has it watched. Called on the thread that starts processes.
pub(super) fn start(launch: &Launch, footprint: Footprint, cleanup: &Cleanup) -> Result<Started, SpawnError> {
    let starting = cleanup.one_more();
    let (process, ends) =
        launch.start(cleanup).map_err(|error| program::not_started(&launch.program, error))?;
    watched(process, ends, footprint, starting)
        .map_err(|error| program::system("watch a process", &launch.program, error))
}

/// Has a process watched.
pub(super) fn watched<E>(
    process: Process,
    ends: E,
    footprint: Footprint,
    starting: Pending,
) -> io::Result<Started<E>> {
    let process = Arc::new(process);
    let watched = Threads::get().and_then(|threads| threads.watch().add(Arc::clone(&process), footprint));
    match watched {
        Ok(exit) => Ok(Started { ends, exit, power: Power::over(process), starting }),
        Err(error) => {
            process.end();
            Err(error)
        }
    }
}

/// The folder that a worker starts in, and whether it is ours to remove.
pub(super) fn working_folder(
    set: Option<&PathBuf>,
    tag: &str,
    program: &Path,
) -> Result<(PathBuf, Option<Scratch>), SpawnError> {
    let named = |folder: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("folder `{}`: {error}", folder.display()))
    };
    let Some(cwd) = set else {
        let scratch = Scratch::new(tag).map_err(|error| {
            program::system("make a scratch folder", program, named(&env::temp_dir(), error))
        })?;
        return Ok((scratch.path().to_owned(), Some(scratch)));
    };
    let is_folder = fs::metadata(cwd).and_then(|metadata| match metadata.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    is_folder.map_err(|error| program::system("enter the working folder", program, named(cwd, error)))?;
    Ok((cwd.clone(), None))
}

/// Power over a process and its group, which end with it.
#[derive(Debug)]
pub(super) struct Power {
    process: Arc<Process>,
    /// The last look at its children.
    naming: Mutex<Option<Arc<Naming>>>,
}

impl Power {
    pub(super) fn over(process: Arc<Process>) -> Self {
        Self { process, naming: Mutex::default() }
    }

    pub(super) fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process)
    }

    fn naming(&self) -> MutexGuard<'_, Option<Arc<Naming>>> {
        self.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control for Power {
    fn interrupt(&self) {
        self.process.interrupt(self.naming().as_deref());
    }

    fn interrupt_worker(&self) {
        self.process.alert(Signal::INT);
    }

    fn interrupt_group(&self) {
        self.process.signal(Signal::INT);
    }

    fn terminate_group(&self) {
        self.process.signal(Signal::TERM);
    }

    fn kill(&self) {
        self.process.kill();
    }

    #[cfg(feature = "conform")]
    fn hold(&self) {
        self.process.hold();
    }

    fn vitals(&self) -> Option<Vitals> {
        vitals::of(&self.process)
    }

    fn examine(&self) -> Pin<Box<dyn Future<Output = Inspection> + Send>> {
        let vitals = vitals::of(&self.process);
        let asked = stacks::ask(&self.process);
        let (naming, children) = Naming::begin(self.process.look(children::of).unwrap_or_default());
        *self.naming() = Some(naming);
        Box::pin(async move {
            let stacks = async {
                match asked {
                    Some(file) => stacks::read(file).await,
                    None => Vec::new(),
                }
            };
            let (stacks, children) = tokio::join!(stacks, children);
            Inspection { vitals, stacks, children }
        })
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        self.process.kill();
    }
}
