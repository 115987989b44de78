//! Starts real workers, as their [`WorkerSpec`] says.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt, unix::net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use tokio::{
    io::AsyncWriteExt,
    net::{UnixStream, unix::pipe::Receiver},
};

use crate::{
    config::{Program, Transport, WorkerSpec},
    error::SpawnError,
    protocol::Codec,
    worker::{
        Outbox, Pipe, Spawner, Worker,
        pipes::{OutputPipe, SocketOutbox, StdinOutbox},
        process::{self, Handle, Order, Started, Traces},
        program, python, undertaker,
    },
};

/// Starts a process for each worker.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSpawner {
    spec: Arc<WorkerSpec>,
}

impl ProcessSpawner {
    /// Nothing is started or looked at yet.
    pub(crate) fn new(spec: WorkerSpec) -> Self {
        Self { spec: Arc::new(spec) }
    }
}

impl Spawner for ProcessSpawner {
    fn spawn(&self, tag: &str) -> Pin<Box<dyn Future<Output = Result<Worker, SpawnError>> + Send>> {
        let (spec, tag) = (Arc::clone(&self.spec), tag.to_owned());
        Box::pin(async move { spawn(&spec, tag).await })
    }

    fn settled(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(undertaker::settled())
    }
}

/// What is started: a file, its arguments, and the first bytes that it is sent.
struct Plan {
    program: PathBuf,
    args: Vec<OsString>,
    first: Option<Arc<python::Python>>,
}

async fn spawn(spec: &WorkerSpec, tag: String) -> Result<Worker, SpawnError> {
    let Plan { program, args, first } = plan(spec).await?;
    let refuse = |action| {
        let program = program.clone();
        move |source| SpawnError::System { action, program, source }
    };
    let (cwd, scratch) = folder(spec, &tag).map_err(refuse("make a scratch folder"))?;
    let (ours, stdin) = match spec.transport {
        Transport::Socket => {
            pair().map(|(ours, theirs)| (Some(ours), Some(theirs))).map_err(refuse("make a socket"))?
        }
        Transport::Stdio => (None, None),
    };
    let env = environment(spec, &tag);
    let traces = Traces { tag, scratch: scratch.clone() };
    let order = Order { program: program.clone(), args, env, cwd, stdin, traces };
    let started = process::start(order).await.map_err(refuse("start a process")).inspect_err(|_| {
        // Nothing ran in it; an error means that it is gone already.
        let _ = scratch.map(fs::remove_dir);
    })?;
    let mut worker = assemble(started, ours, spec.codec).map_err(refuse("open the pipes"))?;
    if let (Some(python), Some(socket)) = (first, worker.bootstrap.as_mut()) {
        socket.write_all(&python.payload).await.map_err(refuse("send the worker its code"))?;
    }
    worker.finish()
}

async fn plan(spec: &WorkerSpec) -> Result<Plan, SpawnError> {
    match &spec.program {
        Program::Command { program, args } => {
            Ok(Plan { program: program::find(program)?, args: args.clone(), first: None })
        }
        Program::Python { interpreter } => {
            let name = interpreter.clone();
            let asked = tokio::task::spawn_blocking(move || python::resolve(&name)).await;
            let python = asked.map_err(|stopped| SpawnError::System {
                action: "ask the interpreter what it is",
                program: interpreter.clone(),
                source: io::Error::other(stopped),
            })??;
            let code = match spec.transport {
                Transport::Socket => python::BOOTSTRAP,
                Transport::Stdio => python::WORKER,
            };
            let args = ["-I", "-X", "faulthandler", "-c", code].map(OsString::from).to_vec();
            let first = (spec.transport == Transport::Socket).then(|| Arc::clone(&python));
            Ok(Plan { program: python.executable.clone(), args, first })
        }
    }
}

/// The working folder, and the scratch folder if one was made for it.
fn folder(spec: &WorkerSpec, tag: &str) -> io::Result<(PathBuf, Option<PathBuf>)> {
    if let Some(cwd) = &spec.cwd {
        return Ok((cwd.clone(), None));
    }
    let scratch = env::temp_dir().join(format!("ostler-{tag}"));
    fs::DirBuilder::new().mode(0o700).create(&scratch)?;
    Ok((scratch.clone(), Some(scratch)))
}

fn pair() -> io::Result<(StdUnixStream, OwnedFd)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((ours, theirs.into()))
}

fn environment(spec: &WorkerSpec, tag: &str) -> Vec<(OsString, OsString)> {
    let mut env = program::environment(spec.inherit_env);
    env.extend(spec.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    let transport = match spec.transport {
        Transport::Socket => "socket",
        Transport::Stdio => "stdio",
    };
    for (name, value) in
        [("OSTLER_CODEC", spec.codec.as_str()), ("OSTLER_TRANSPORT", transport), ("OSTLER_TAG", tag)]
    {
        env.push((name.into(), value.into()));
    }
    env
}

/// A worker whose socket is still whole, for the bootstrap.
struct Assembled {
    process: Arc<process::Process>,
    codec: Codec,
    bootstrap: Option<UnixStream>,
    stdio: Option<(OwnedFd, OwnedFd)>,
    stdout: Option<Box<dyn Pipe>>,
    stderr: Option<Box<dyn Pipe>>,
}

fn assemble(started: Started, ours: Option<StdUnixStream>, codec: Codec) -> io::Result<Assembled> {
    let Started { process, stdin, stdout, stderr } = started;
    let pipe = |fd: Option<OwnedFd>| -> io::Result<Option<Box<dyn Pipe>>> {
        Ok(match fd {
            Some(fd) => Some(Box::new(OutputPipe::new(fd)?)),
            None => None,
        })
    };
    let stderr = pipe(stderr)?;
    Ok(match ours {
        Some(socket) => {
            let bootstrap = Some(UnixStream::from_std(socket)?);
            Assembled { process, codec, bootstrap, stdio: None, stdout: pipe(stdout)?, stderr }
        }
        None => Assembled { process, codec, bootstrap: None, stdio: stdin.zip(stdout), stdout: None, stderr },
    })
}

impl Assembled {
    fn finish(self) -> Result<Worker, SpawnError> {
        let Self { process, codec, bootstrap, stdio, stdout, stderr } = self;
        let broken =
            |source| SpawnError::System { action: "open the pipes", program: PathBuf::new(), source };
        let (frames, outbox): (Box<dyn tokio::io::AsyncRead + Send + Unpin>, Arc<dyn Outbox>) =
            match (bootstrap, stdio) {
                (Some(socket), _) => {
                    let (read, write) = socket.into_split();
                    (Box::new(read), Arc::new(SocketOutbox(write)))
                }
                (None, Some((stdin, stdout))) => {
                    let frames = Receiver::from_owned_fd(stdout).map_err(broken)?;
                    (Box::new(frames), Arc::new(StdinOutbox::new(stdin).map_err(broken)?))
                }
                (None, None) => return Err(broken(io::Error::other("the process has no channel"))),
            };
        let exit = Box::pin(Arc::clone(&process).exit());
        let pid = Some(process.id());
        Ok(Worker { pid, codec, frames, outbox, stdout, stderr, exit, control: Box::new(Handle(process)) })
    }
}

/// What the interpreter of the shipped worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PythonInfo {
    /// The file that is started.
    pub executable: PathBuf,
    /// Its version.
    pub version: String,
    /// Whether the name that was given is a script (of a version manager) that only leads to it.
    pub shim: bool,
}

/// Finds out what the interpreter of the shipped worker is: a path, or a name that is looked up in `PATH`. Blocks for
/// up to ten seconds the first time an interpreter is asked; later calls answer from memory.
///
/// # Errors
/// It was not found, is no program, or cannot run the worker.
pub fn python_info(interpreter: impl AsRef<Path>) -> Result<PythonInfo, SpawnError> {
    let python = python::resolve(interpreter.as_ref())?;
    Ok(PythonInfo {
        executable: python.executable.clone(),
        version: python.version.clone(),
        shim: python.shim,
    })
}
