//! `ostler serve`: a pool over HTTP, for programs in any language.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use ostler::{OnDeath, Runtime, Stream};
use ostler_gateway::{Gateway, GatewayConfig, Listener, Tokens};
use serde::Serialize;

use crate::{
    args::{PoolArgs, duration},
    exit::{Exit, Fatal},
    monitor,
    output::Console,
    pool,
    repl::editor::state_folder,
    signals::{Signals, Stop, Stopping},
};

/// How long a session with a name runs on before what it has is saved, where the settings do not say.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);
/// Most workers, where nothing says how many: sessions hold theirs while they are awake.
const WORKERS: usize = 8;

/// `ostler serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Listen at this address, instead of 127.0.0.1:7411; port 0 is any that is free. May be given several times
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// Listen at this Unix socket [default: serve.sock in $XDG_RUNTIME_DIR/ostler]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Take requests for this host, too: the name of a proxy. May be given several times
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Let others use it, each with a token of its own: see below
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Print a new token and its hash, for a tokens file, and end
    #[arg(long)]
    new_token: bool,
    /// Most workers at once [default: 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Keep the states of sessions with a name in this folder [default: in $XDG_STATE_HOME/ostler]
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Save a session that nobody used for this long, and give its worker back [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    sleep_after: Option<Duration>,
    /// Time that what runs has to end behind a TERM signal [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    drain_timeout: Option<Duration>,
    /// The workers.
    #[command(flatten)]
    pool: PoolArgs,
}

/// What the file beside the socket says.
#[derive(Debug, Serialize)]
struct ServerFile<'a> {
    server_id: &'a str,
    pid: u32,
    token: &'a str,
    addresses: Vec<String>,
    socket: &'a Path,
}

/// A file that is removed when it is dropped.
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // Somebody who removed it just now did the same.
        let _ = fs::remove_file(&self.0);
    }
}

/// Serves until a signal ends it.
pub(crate) async fn run(args: ServeArgs, console: Console) -> Result<Exit, Fatal> {
    if args.new_token {
        let token = ostler_gateway::new_token().map_err(Fatal::not_started)?;
        let line = format!("{{\"token\": \"{token}\", \"hash\": \"{}\"}}\n", Tokens::hash(&token));
        console.write(Stream::Stdout, line).await;
        return Ok(Exit::Completed);
    }
    let stop = Signals::listen().map_err(Fatal::not_started)?.watch();
    let tokens = args.tokens.as_ref().map(Tokens::read).transpose().map_err(Fatal::usage)?;
    let listen = addresses(&args)?;
    let Some((runtime, states)) = start(&args, tokens.as_ref(), &stop).await? else {
        return Ok(stop.now().exit().unwrap_or(Exit::NotStarted));
    };
    // With the key of the server before, its handles are known.
    let handle_key = states.as_deref().map(handle_key).transpose().map_err(Fatal::not_started)?;
    let mut config = GatewayConfig::default();
    (config.hosts, config.handle_key) = (args.host.clone(), handle_key);
    config.sleep_after = args.sleep_after.unwrap_or(config.sleep_after);
    config.drain_timeout = args.drain_timeout.unwrap_or(config.drain_timeout);
    let tokens = tokens.unwrap_or_default();
    let served = serve(&args, (config, tokens), listen, &runtime, &stop, &console).await;
    // Behind the drain nothing runs that was given time.
    runtime.shutdown(Duration::ZERO).await;
    served?;
    Ok(stop.now().exit().unwrap_or(Exit::Completed))
}

/// The addresses to listen at: without a tokens file, of this machine alone.
fn addresses(args: &ServeArgs) -> Result<Vec<SocketAddr>, Fatal> {
    let given = if args.listen.is_empty() {
        vec![SocketAddr::from(([127, 0, 0, 1], 7_411))]
    } else {
        args.listen.clone()
    };
    match given.iter().find(|address| !address.ip().is_loopback()) {
        Some(address) if args.tokens.is_none() => Err(Fatal::usage(anyhow!(
            "`{address}` can be reached from other machines, and whoever may run code has your rights: give each user a token \
             in a file, with --tokens FILE (`ostler serve --new-token` makes one), or listen at 127.0.0.1"
        ))),
        Some(_) | None => Ok(given),
    }
}

/// The pool, and the folder of its states.
async fn start(
    args: &ServeArgs,
    tokens: Option<&Tokens>,
    stop: &Stopping,
) -> Result<Option<(Runtime, Option<PathBuf>)>, Fatal> {
    let cwd = pool::working_folder()?;
    let mut settings = pool::settings(&args.pool, &cwd)?;
    if args.pool.config.is_none() && settings.pool.max_sessions < WORKERS {
        settings.pool.max_sessions = WORKERS;
    }
    if let Some(workers) = args.workers {
        settings.pool.max_sessions = workers.into();
        settings.pool.min_idle = settings.pool.min_idle.min(workers.into());
    }
    let folder = args.state_dir.clone().or_else(|| settings.pool.state_dir.clone());
    settings.pool.state_dir = folder.or_else(|| Some(state_folder()?.join("serve")));
    settings.pool.save_interval = settings.pool.save_interval.or(Some(SAVE_INTERVAL));
    settings.pool.on_death = OnDeath::Restore;
    for (name, weight) in tokens.iter().flat_map(|tokens| tokens.weights()) {
        settings.pool.tenant_weights.insert(name.into(), weight);
    }
    let states = settings.pool.state_dir.clone();
    Ok(pool::start(settings.builder(), stop).await?.map(|runtime| (runtime, states)))
}

/// The key of the handles, which is kept with the states. The folder is this process's alone.
fn handle_key(states: &Path) -> anyhow::Result<[u8; 32]> {
    let path = states.join(".handle-key");
    let cannot = || format!("cannot keep the key of handles in `{}`", path.display());
    if let Ok(key) = fs::read(&path).map_err(drop).and_then(|bytes| <[u8; 32]>::try_from(bytes).map_err(drop))
    {
        return Ok(key);
    }
    let key = ostler_gateway::new_handle_key().with_context(cannot)?;
    // One that is not whole is of no use to anybody.
    let _ = fs::remove_file(&path);
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    made.and_then(|mut file| file.write_all(&key)).with_context(cannot)?;
    Ok(key)
}

async fn serve(
    args: &ServeArgs,
    (mut config, tokens): (GatewayConfig, Tokens),
    listen: Vec<SocketAddr>,
    runtime: &Runtime,
    stop: &Stopping,
    console: &Console,
) -> Result<(), Fatal> {
    let socket = match &args.socket {
        Some(socket) => socket.clone(),
        None => monitor::folder().map_err(Fatal::usage)?.join("serve.sock"),
    };
    let listening = |what: String| format!("cannot listen at `{what}`");
    let mut listeners = vec![
        Listener::unix(&socket)
            .with_context(|| listening(socket.display().to_string()))
            .map_err(Fatal::not_started)?,
    ];
    for address in listen {
        let listener = Listener::tcp(address).await.with_context(|| listening(address.to_string()));
        listeners.push(listener.map_err(Fatal::not_started)?);
    }
    let token = ostler_gateway::new_token().map_err(Fatal::not_started)?;
    config.token = Some(token.clone());
    let gateway = Gateway::start(runtime.clone(), config, tokens).await.map_err(Fatal::not_started)?;
    let addresses = listeners.iter().filter_map(Listener::address).map(|at| format!("http://{at}")).collect();
    let (server_id, pid) = (gateway.server_id(), std::process::id());
    let file = ServerFile { server_id, pid, token: &token, addresses, socket: &socket };
    let path = socket.with_extension("json");
    let _removed_at_end = write(&path, &file)
        .with_context(|| format!("cannot write `{}`", path.display()))
        .map_err(Fatal::not_started)?;
    console.write(Stream::Stdout, greeting(&file, &path)).await;
    console.flush().await;
    let served = tokio::select! {
        served = gateway.serve(listeners, stop.told()) => served,
        () = stop.when(|stop| matches!(stop, Stop::Kill(_))) => return Ok(()),
    };
    if served.not_saved > 0 {
        console
            .say(format!(
                "ostler: {} sessions could not be saved; their last saved states are kept",
                served.not_saved
            ))
            .await;
    }
    Ok(())
}

/// Where it is, and what to try first.
fn greeting(file: &ServerFile<'_>, path: &Path) -> String {
    let (socket, addresses) = (file.socket.display(), file.addresses.join(" "));
    format!(
        "ostler serves at {addresses} and at {socket}\n\
         the token is in {}\n\
         try: curl --unix-socket {socket} http://localhost/v1/run --json '{{\"code\": \"6 * 7\"}}'\n",
        path.display()
    )
}

/// Writes the file for this user alone, in one step.
fn write(path: &Path, file: &ServerFile<'_>) -> std::io::Result<RemoveOnDrop> {
    let beside = path.with_extension(format!("{}.new", file.pid));
    // Left by a process of the same id, which is no more.
    let _ = fs::remove_file(&beside);
    let mut written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    written.write_all(&ostler::json::line(file))?;
    fs::rename(&beside, path)?;
    Ok(RemoveOnDrop(path.to_owned()))
}
