//! Scripts: processes that run a file and nothing else. They have no channel; their streams lead where they were told to.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, IsTerminal as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio as Given,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use rustix::pipe::fcntl_setpipe_size;
use tokio::net::unix::pipe;

use super::{
    Outbox, Pipe, Worker, environment, ignored, pipes,
    process::Launch,
    program,
    python::{self, Interpreter},
    spawner::{Shared, Started, on_spawn_thread, pool_of, watched, working_folder},
    sweep::Footprint,
    zygote::Birth,
};
use crate::{
    config::{Language, Program, WorkerSpec},
    error::SpawnError,
    outcome::Exit,
    protocol::Codec,
    request::script::{Script, Stdio, What},
};

/// What a pipe of a script holds. With the usual 64 KiB whoever writes much and whoever reads it wait for each other at every
/// chunk.
const PIPE: usize = 256 << 10;

/// A script, and where it runs.
#[derive(Clone, Debug)]
pub struct Launched {
    pub(crate) script: Script,
    /// What its piped standard input is read from.
    pub(crate) input: Option<Input>,
    /// Instead of the folder of the specification.
    pub(crate) cwd: Option<PathBuf>,
}

/// The reading end of a pipe that is let go of when the process has it: its writer is to see when nobody reads any more.
#[derive(Clone, Debug)]
pub(crate) struct Input(Arc<Mutex<Option<OwnedFd>>>);

impl Input {
    fn for_process(&self) -> io::Result<Option<OwnedFd>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(OwnedFd::try_clone).transpose()
    }
}

impl Launched {
    fn has_its_input(&self) {
        if let Some(input) = &self.input {
            drop(input.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// The writing end of a script's standard input, and the reading end for its process.
pub(crate) fn input() -> io::Result<(pipe::Sender, Input)> {
    let (reader, writer) = wide_pipe()?;
    let writer = pipe::Sender::from_owned_fd(OwnedFd::from(writer))?;
    Ok((writer, Input(Arc::new(Mutex::new(Some(reader.into()))))))
}

/// A pipe through which much may pass.
fn wide_pipe() -> io::Result<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    // Refused to a user who has many already: then it holds what others hold.
    let _ = fcntl_setpipe_size(&writer, PIPE);
    Ok((reader, writer))
}

/// Why there is no process of a script, or none that can be kept.
#[derive(Debug)]
pub struct Unlaunched {
    pub(crate) error: SpawnError,
    /// There was one, which was killed: its code may have run.
    pub(crate) ran: bool,
}

impl From<SpawnError> for Unlaunched {
    /// Before there was a process.
    fn from(error: SpawnError) -> Self {
        Self { error, ran: false }
    }
}

impl Unlaunched {
    /// Behind the start of the process.
    pub(super) fn late(error: SpawnError) -> Self {
        Self { error, ran: true }
    }
}

/// Our ends of the output of a script, where it is piped.
type Outputs = [Option<OwnedFd>; 2];

/// Starts the process of a script: from the zygote if there is one, with all that it has imported.
pub(super) async fn spawn(
    spec: Arc<WorkerSpec>,
    launched: Arc<Launched>,
    tag: String,
    shared: Shared,
) -> Result<Worker, Unlaunched> {
    let asked = match &spec.program {
        Program::Python { interpreter } => {
            // A terminal is shared by a process of our own group only.
            let plain = shares_terminal(&launched.script) || is_background_job(&launched.script);
            if spec.preload.is_some() && !plain && !is_steered(&spec, &tag) {
                let python = python::find(interpreter, &spec, &tag).await?;
                if let Some(started) = fork(&spec, &launched, &python, &tag, &shared).await? {
                    return connect(started, python.executable());
                }
            }
            interpreter.clone()
        }
        Program::Command { program, .. } => program.clone(),
    };
    let program = asked.clone();
    let start = move || start(&spec, &launched, &program, tag, &shared);
    connect(on_spawn_thread(&asked, start).await??, &asked)
}

/// Starts it in the plain way. Called on the thread that starts processes.
fn start(
    spec: &WorkerSpec,
    launched: &Launched,
    program: &Path,
    tag: String,
    shared: &Shared,
) -> Result<Started<Outputs>, Unlaunched> {
    let env = environment::of_script(spec, &tag, env::vars_os());
    let program = program::find(program, env.get(OsStr::new("PATH")).map(OsString::as_os_str))?;
    let (cwd, scratch) = working_folder(launched.cwd.as_ref().or(spec.cwd.as_ref()), &tag, &program)?;
    let (mut args, pool) = (args(spec, &launched.script), pool_of(&tag));
    // Node takes all signals as by default.
    let python = spec.language == Some(Language::Python);
    if python && ignored::stops_are_ignored() && !is_background_job(&launched.script) {
        args = ignored::heard(&program, args);
    }
    let launch = Launch { program, args, env, cwd, socket: false };
    let (theirs, ours) =
        descriptors(launched).map_err(|error| program::system("make pipes for", &launch.program, error))?;
    let starting = shared.cleanup.one_more();
    let leads = !shares_terminal(&launched.script);
    let process = launch
        .start_with(theirs.map(Given::from), leads, &shared.cleanup)
        .map_err(|(error, ran)| Unlaunched { error: program::not_started(&launch.program, error), ran })?;
    launched.has_its_input();
    let started = watched(process, ours, Footprint { tag, scratch }, starting)
        .map_err(|error| program::system("watch a process", &launch.program, error));
    shared.have_reaper(&pool);
    started.map_err(Unlaunched::late)
}

/// Has the zygote fork it. `None`: not now.
async fn fork(
    spec: &Arc<WorkerSpec>,
    launched: &Arc<Launched>,
    python: &Arc<Interpreter>,
    tag: &str,
    shared: &Shared,
) -> Result<Option<Started<Outputs>>, Unlaunched> {
    let prepare = {
        let (spec, launched, python, tag, shared) =
            (Arc::clone(spec), Arc::clone(launched), Arc::clone(python), tag.to_owned(), shared.clone());
        move || {
            let env = environment::of_script(&spec, &tag, env::vars_os());
            let folder = launched.cwd.as_ref().or(spec.cwd.as_ref());
            let (cwd, scratch) = working_folder(folder, &tag, python.executable())?;
            shared.have_reaper(&pool_of(&tag));
            let pipes = descriptors(&launched);
            let (theirs, ours) =
                pipes.map_err(|error| program::system("make pipes for", python.executable(), error))?;
            let script = Some((args(&spec, &launched.script), theirs));
            Ok::<_, SpawnError>((
                Birth { env, cwd, socket: false, script, footprint: Footprint { tag, scratch } },
                ours,
            ))
        }
    };
    let (birth, ours) = on_spawn_thread(python.executable(), prepare).await??;
    let started = shared.zygote.fork(spec, python, birth, &shared.cleanup).await?;
    Ok(started.map(|Started { ends: _, exit, power, starting }| {
        launched.has_its_input();
        Started { ends: ours, exit, power, starting }
    }))
}

/// A script, once its output is the runtime's to read.
fn connect(started: Started<Outputs>, program: &Path) -> Result<Worker, Unlaunched> {
    let Started { ends: [stdout, stderr], exit, power, starting: _starting } = started;
    let pipe = |end: Option<OwnedFd>| {
        let pipe = end.map(pipes::OutputPipe::new).transpose();
        let pipe = pipe.map_err(|error| program::system("connect to a process", program, error));
        Ok::<_, Unlaunched>(pipe.map_err(Unlaunched::late)?.map(|pipe| Box::new(pipe) as Box<dyn Pipe>))
    };
    Ok(Worker {
        pid: Some(power.process().id()),
        codec: Codec::MessagePack,
        server: None,
        frames: Box::new(tokio::io::empty()),
        outbox: Arc::new(Nobody),
        stdout: pipe(stdout)?,
        stderr: pipe(stderr)?,
        exit: Box::pin(async move { exit.await.unwrap_or(Exit::Unknown) }),
        is_ending: Box::new(|| true),
        control: Box::new(power),
    })
}

/// Whether it reads where this process reads, and this process is used in a terminal. That may be asked for a password also
/// where standard input is a pipe, and stops whoever reads from it in a group of its own.
fn shares_terminal(script: &Script) -> bool {
    matches!(script.stdin, Stdio::Inherit)
        && (io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal())
}

/// Whether it reads where this process reads, which is a background job: then it is one, too, and no Ctrl-C is for it.
fn is_background_job(script: &Script) -> bool {
    matches!(script.stdin, Stdio::Inherit) && ignored::stops_are_ignored()
}

/// Whether its environment steers the start of an interpreter.
fn is_steered(spec: &WorkerSpec, tag: &str) -> bool {
    environment::steers_start(&environment::of_script(spec, tag, env::vars_os()))
}

/// What the interpreter is given.
fn args(spec: &WorkerSpec, script: &Script) -> Vec<OsString> {
    let python = spec.language == Some(Language::Python);
    let flag = |flag: &str, what: &OsString| vec![OsString::from(flag), what.clone()];
    let mut args = match &script.what {
        What::File(file) => vec![file.clone()],
        What::Module(name) => flag("-m", name),
        What::Code(code) if python => flag("-c", code),
        What::Code(code) => flag("-e", code),
        What::Stdin => vec!["-".into()],
    };
    if !python && matches!(script.what, What::Code(_)) && !script.args.is_empty() {
        args.push("--".into()); // Else Node takes them for its own.
    }
    args.extend(script.args.iter().cloned());
    args
}

/// The three streams for the process, and our ends of those that are piped.
fn descriptors(launched: &Launched) -> io::Result<([OwnedFd; 3], Outputs)> {
    let nothing = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let output = |stdio: &Stdio, host: BorrowedFd<'_>| {
        Ok::<_, io::Error>(match stdio {
            Stdio::Null => (nothing()?, None),
            Stdio::Inherit => (host.try_clone_to_owned()?, None),
            Stdio::Descriptor(descriptor) => (descriptor.try_clone()?, None),
            Stdio::Piped => {
                let (ours, theirs) = wide_pipe()?;
                (theirs.into(), Some(ours.into()))
            }
        })
    };
    let Script { stdin, stdout, stderr, .. } = &launched.script;
    let stdin = match (stdin, &launched.input) {
        (Stdio::Piped, Some(input)) => match input.for_process()? {
            Some(reader) => reader,
            None => nothing()?,
        },
        (Stdio::Piped, None) => nothing()?,
        (other, _) => output(other, io::stdin().as_fd())?.0,
    };
    let (stdout, our_stdout) = output(stdout, io::stdout().as_fd())?;
    let (stderr, our_stderr) = output(stderr, io::stderr().as_fd())?;
    Ok(([stdin, stdout, stderr], [our_stdout, our_stderr]))
}

/// A script hears nothing.
#[derive(Debug)]
struct Nobody;

impl Outbox for Nobody {
    fn try_write(&self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn poll_writable(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::fcntl_getpipe_size;

    use super::*;

    #[test]
    fn pipes_of_scripts_hold_more_than_others() {
        let (_reader, writer) = wide_pipe().unwrap();
        assert_eq!(fcntl_getpipe_size(&writer).unwrap(), PIPE);
    }
}
