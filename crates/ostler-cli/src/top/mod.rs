//! `ostler top`: a pool in another process, live.

mod screen;
mod text;
mod view;

use std::{
    io::{BufRead as _, BufReader},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use ostler::{
    Stream,
    monitor::{Snapshot, VERSION},
};
use tokio::sync::oneshot;

use self::screen::End;
use crate::{
    args::TopArgs,
    exit::{Exit, Fatal},
    monitor,
    output::{self, Console},
    signals::Signals,
};

/// How long a pool may say nothing before it is given up; it speaks every second.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after a signal the terminal may take to be restored.
const RESTORING: Duration = Duration::from_secs(1);
/// Snapshots that may wait to be shown.
const QUEUE: usize = 4;

/// Shows the pool, and says how the program is to end.
pub(crate) async fn run(args: TopArgs, console: Console) -> Result<Exit, Fatal> {
    let path = args.path.map_or_else(monitor::newest, Ok).map_err(Fatal::usage)?;
    let mut snapshots = snapshots(&path).map_err(Fatal::usage)?;
    if args.once || !output::is_terminal(Stream::Stdout) {
        let found = snapshots(2).map_err(Fatal::not_started)?;
        console.write(Stream::Stdout, text::snapshot(&found)).await;
        console.flush().await;
        return Ok(Exit::Completed);
    }
    let mut signals = Signals::listen().map_err(Fatal::not_started)?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let lines = lines(snapshots);
    // Not a task of the runtime, which would wait for it at the end.
    let (done, mut showing) = oneshot::channel();
    thread::spawn(move || drop(done.send(screen::show(&lines, &told))));
    let shown = tokio::select! {
        shown = &mut showing => shown,
        signal = signals.next() => {
            stop.store(true, Relaxed);
            // It restores the terminal; one that is gone may hold it for ever.
            let _ = tokio::time::timeout(RESTORING, showing).await;
            return Ok(Exit::Signal(signal));
        }
    };
    match shown.map_err(Fatal::not_started)?.map_err(Fatal::not_started)? {
        End::Left => {}
        // Whether or not the signal that says so has come yet.
        End::Gone => return Ok(Exit::Signal(Signals::HANGUP)),
        End::Pool(why) => console.say(format!("ostler: {why}")).await,
    }
    console.flush().await;
    Ok(Exit::Completed)
}

/// The next snapshot but so many before it.
type Next = Box<dyn FnMut(usize) -> anyhow::Result<Snapshot> + Send>;

fn snapshots(path: &Path) -> anyhow::Result<Next> {
    let path: PathBuf = path.to_owned();
    let socket = UnixStream::connect(&path).with_context(|| {
        format!("no pool can be reached at `{}`; start one with --monitor", path.display())
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(socket).lines();
    Ok(Box::new(move |count| {
        let mut found = None;
        for _ in 0..count {
            match lines.next() {
                Some(line) => found = Some(line.context("the pool does not answer")?),
                None => break,
            }
        }
        let line = found.context("the pool has ended")?;
        let snapshot: Snapshot = serde_json::from_str(&line)
            .with_context(|| format!("what comes from `{}` is no snapshot of a pool", path.display()))?;
        if snapshot.version != VERSION {
            bail!("the pool speaks version {} of the monitor, and this program {VERSION}", snapshot.version);
        }
        Ok(snapshot)
    }))
}

/// Reads in a thread of its own, which ends with the pool or with whoever takes the snapshots.
fn lines(mut next: Next) -> Receiver<anyhow::Result<Snapshot>> {
    let (found, lines) = mpsc::sync_channel(QUEUE);
    thread::spawn(move || {
        loop {
            let snapshot = next(1);
            let over = snapshot.is_err();
            if found.send(snapshot).is_err() || over {
                return;
            }
        }
    });
    lines
}
