//! A running zygote: how it is started, asked for workers, and ended.

use std::{
    env,
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Birth, link::Link};
use crate::{
    config::WorkerSpec,
    error::SpawnError,
    outcome::Exit,
    worker::{
        cleanup::Cleanup,
        environment,
        process::{Ends, Launch, Process, Stdin, descriptors},
        program,
        python::Interpreter,
        spawner::{Power, Started, on_spawn_thread, start},
        sweep::Footprint,
        vitals,
    },
};

/// How long the imports may take.
const PRELOAD_LIMIT: Duration = Duration::from_secs(60);
/// How long a fork may take. It is a millisecond or a few; one that takes this long is none any more.
const FORK_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to end when it is told to, before it is killed.
const END_LIMIT: Duration = Duration::from_secs(1);
/// Room for the tag of a worker.
const TAG_MAX: usize = 96;
/// What the probe exits with, by the zygote's source: all is well.
const PROBE_FINE: Exit = Exit::Code(77);
/// What the probe exits with if it could not mark itself.
const PROBE_UNMARKED: Exit = Exit::Code(78);

/// What a zygote is made from.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) spec: Arc<WorkerSpec>,
    pub(super) interpreter: Arc<Interpreter>,
    /// The tag that stands before those of all workers of the pool.
    pub(super) pool: String,
}

/// Why there is no zygote.
#[derive(Debug)]
pub(super) enum Failure {
    /// Its workers could not do better.
    Spawn(SpawnError),
    /// Forking it is not safe, now or later.
    Unfit(String),
}

/// A zygote that is ready to fork.
#[derive(Debug)]
pub(super) struct Alive {
    /// Dropped first: it must not live to see its socket closed, or it would end workers that are to outlive it.
    _power: Power,
    pub(super) process: Arc<Process>,
    exit: oneshot::Receiver<Exit>,
    /// What came of `exit`, which tells it once.
    ended: Option<Exit>,
    link: Link,
}

/// Why a worker was not forked.
#[derive(Debug)]
pub(super) enum NotForked {
    /// It gave a reason, and goes on.
    Refused(String),
    /// It is no use any more.
    Broken(String),
}

impl Recipe {
    /// Starts a zygote, and waits until it is ready.
    pub(super) async fn start(self, cleanup: Cleanup) -> Result<Alive, Failure> {
        let names = self.spec.preload.clone().unwrap_or_default();
        let executable = self.interpreter.executable().to_owned();
        let Started { ends, exit, power, starting: _starting } =
            self.launch(cleanup).await.map_err(Failure::Spawn)?;
        let connect = |error| Failure::Spawn(program::system("connect to a process", &executable, error));
        let Stdin::Socket(socket) = ends.stdin else { unreachable!("it was started with a socket") };
        let mut zygote = Alive {
            link: Link::new(socket, ends.stderr).map_err(connect)?,
            process: power.process(),
            _power: power,
            exit,
            ended: None,
        };
        let preload = [OsString::from("preload")].into_iter().chain(names.iter().map(OsString::from));
        // If it is dead already, what is heard of it says so.
        let _ = zygote.link.write(&self.interpreter.zygote_bootstrap()).await;
        let _ = zygote.link.send(preload, &[]).await;
        let mut importing = None;
        let ready = timeout(PRELOAD_LIMIT, zygote.ready(&mut importing)).await;
        let why = match ready {
            Ok(Ok(Preloaded::Ready)) => return Ok(zygote),
            Ok(Ok(Preloaded::Unfit(why))) => return Err(Failure::Unfit(why)),
            Ok(Ok(Preloaded::Failed(why))) => why,
            Ok(Err(_closed)) => zygote.last_words().await,
            Err(_elapsed) => format!("it was not done within {PRELOAD_LIMIT:?}"),
        };
        Err(Failure::Spawn(match importing {
            Some(module) => SpawnError::Preload { module, program: executable, why },
            None => SpawnError::Interpreter { program: executable, why },
        }))
    }

    async fn launch(&self, cleanup: Cleanup) -> Result<Started, SpawnError> {
        // Those of one pool follow each other, and may overlap: what is left of one is not the next.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut tag = format!("{}.zygote-{}", self.pool, NEXT.fetch_add(1, Ordering::Relaxed));
        tag.extend(std::iter::repeat_n('-', TAG_MAX.saturating_sub(tag.len())));
        let launch = Launch {
            program: self.interpreter.executable().to_owned(),
            args: self.interpreter.args(),
            env: environment::of_worker(&self.spec, &tag, env::vars_os()),
            cwd: self.spec.cwd.clone().unwrap_or_else(|| "/".into()),
            socket: true,
        };
        let footprint = Footprint { tag, scratch: None };
        on_spawn_thread(self.interpreter.executable(), move || start(&launch, footprint, &cleanup)).await?
    }
}

/// How the imports went.
enum Preloaded {
    Ready,
    Unfit(String),
    Failed(String),
}

impl Alive {
    /// Waits until it has imported everything; `importing` says at what it is.
    async fn ready(&mut self, importing: &mut Option<String>) -> io::Result<Preloaded> {
        loop {
            let (kind, text) = self.link.hear().await?;
            match &*kind {
                "importing" => *importing = Some(text),
                "failed" => {
                    let why = text.split_once('\0').map_or(&*text, |(_module, why)| why);
                    return Ok(Preloaded::Failed(why.into()));
                }
                "unfit" => return Ok(Preloaded::Unfit(text)),
                "ready" => return self.examine(text.parse().map_err(io::Error::other)?).await,
                other => return Err(io::Error::other(format!("unknown word `{other}`"))),
            }
        }
    }

    /// Whether the kernel shows how a child of its ends, and whose it is.
    async fn examine(&mut self, probe: u32) -> io::Result<Preloaded> {
        let exit = vitals::exit(probe);
        self.collect(probe).await?;
        let why = match exit {
            Some(PROBE_FINE) => return Ok(Preloaded::Ready),
            Some(PROBE_UNMARKED) => "its children cannot change the tag by which they are found",
            Some(_) | None => "this kernel does not show how the children of others end",
        };
        Ok(Preloaded::Unfit(why.into()))
    }

    /// Forks a worker. Its process is not watched yet.
    pub(super) async fn fork(&mut self, birth: &Birth) -> Result<(u32, Option<Ends>), NotForked> {
        let broken = |error: io::Error| NotForked::Broken(error.to_string());
        let refused = |error: io::Error| NotForked::Refused(error.to_string());
        let (ends, theirs, mut head) = match &birth.script {
            None => {
                let (ends, theirs) = descriptors(birth.socket).map_err(refused)?;
                (Some(ends), theirs, vec!["fork".into()])
            }
            Some((args, streams)) => {
                let [stdin, stdout, stderr] = streams.each_ref().map(OwnedFd::try_clone);
                let theirs = [stdin.map_err(refused)?, stdout.map_err(refused)?, stderr.map_err(refused)?];
                let count = OsString::from(args.len().to_string());
                (None, theirs, ["script".into(), count].into_iter().chain(args.iter().cloned()).collect())
            }
        };
        head.push(birth.cwd.clone().into_os_string());
        let variable = |(name, value): (&OsString, &OsString)| {
            [name.as_os_str(), "=".as_ref(), value.as_os_str()].into_iter().collect()
        };
        let variables: Vec<OsString> = birth.env.iter().map(variable).collect();
        let order = head.into_iter().chain(variables);
        let exchange = async {
            self.link.send(order, &theirs.each_ref().map(AsFd::as_fd)).await?;
            drop(theirs);
            self.link.hear().await
        };
        let answer = timeout(FORK_LIMIT, exchange).await;
        let (kind, text) = answer
            .map_err(|_elapsed| NotForked::Broken(format!("it did not answer within {FORK_LIMIT:?}")))?
            .map_err(broken)?;
        match (&*kind, text.parse()) {
            ("forked", Ok(pid)) => Ok((pid, ends)),
            ("refused", _) => Err(NotForked::Refused(text)),
            _ => Err(NotForked::Broken(format!("it answered `{kind} {text}`"))),
        }
    }

    /// Has it collect a child that is dead, after the rest of its group.
    pub(super) async fn collect(&mut self, pid: u32) -> io::Result<()> {
        let order = ["end".into(), pid.to_string().into()];
        timeout(FORK_LIMIT, self.link.send(order, &[])).await?
    }

    /// Resolves when it is dead.
    pub(super) async fn death(&mut self) -> Exit {
        match self.ended {
            Some(exit) => exit,
            None => *self.ended.insert((&mut self.exit).await.unwrap_or(Exit::Unknown)),
        }
    }

    /// How it ended, with the end of what it printed.
    pub(super) async fn last_words(&mut self) -> String {
        let exit = match timeout(END_LIMIT, self.death()).await {
            Ok(exit) => format!("the interpreter ended with {exit}"),
            Err(_elapsed) => "the interpreter closed its control socket".into(),
        };
        match self.link.said().trim() {
            "" => exit,
            said => format!("{exit}; its stderr ends with:\n{said}\n"),
        }
    }

    /// Has it end in order: it kills and collects all its children.
    pub(super) async fn end(self) {
        let Self { link, mut exit, .. } = self;
        drop(link);
        let _ = timeout(END_LIMIT, &mut exit).await;
    }
}
