//! What a worker does, and not what it says of it: its code leaves a byte in a file, and that is compared with `started`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::timeout;

use crate::protocol::{Execute, FromWorker, ToWorker};

use super::{
    Fault, Kit,
    fault::ensure,
    items,
    peer::{Peer, shown},
    probes::Probe,
    until,
};

items! {
    "says `started` before the code runs" => "started" => starts_before_it_runs;
    "has written `started` when the code ends it" => "started" => is_heard_before_it_dies;
}

const EXPECTED: &str = "`started`, written before the code runs";
/// What was written before is read by then, however busy this machine is: time does not pass between two looks at it.
const AT_ONCE: Duration = Duration::from_millis(10);
const ROUNDS: usize = 3;

/// A file that is not there yet, and is removed behind the check.
struct Mark(PathBuf);

impl Mark {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let name = format!("ostler-conform-{}-{}", process::id(), LAST.fetch_add(1, Relaxed));
        Self(env::temp_dir().join(name))
    }

    fn is_made(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|file| file.len() > 0)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn marking(peer: &mut Peer, kit: &Kit, probe: Probe, mark: &Mark) -> Result<Execute, Fault> {
    let code = kit.probes.get(probe)?.replace("{file}", &mark.path().display().to_string());
    Ok(peer.request(&code))
}

/// When the code has left its byte, `started` is there to be read.
async fn starts_before_it_runs(kit: &Kit) -> Result<(), Fault> {
    for _ in 0..ROUNDS {
        let (mut peer, mark) = (Peer::greeted(kit).await?, Mark::new());
        let request = marking(&mut peer, kit, Probe::mark, &mark)?;
        let id = request.id;
        peer.send(&ToWorker::Execute(request)).await?;
        let made = until(kit.patience, || mark.is_made()).await;
        ensure(made, "that the probe `mark` leaves a byte in the file", || "none".into())?;
        match timeout(AT_ONCE, peer.next(EXPECTED)).await {
            Ok(Ok(FromWorker::Started(started))) if started.id == id => {}
            Ok(Ok(other)) => return Err(Fault::wrong(EXPECTED, shown(&other))),
            Ok(Err(fault)) => return Err(fault),
            Err(_elapsed) => return Err(Fault::wrong(EXPECTED, "that the code has run without it")),
        }
    }
    Ok(())
}

/// The same of code that ends its worker at once, if it can beside a thread that goes on sending.
async fn is_heard_before_it_dies(kit: &Kit) -> Result<(), Fault> {
    for _ in 0..ROUNDS {
        let (mut peer, mark) = (Peer::greeted(kit).await?, Mark::new());
        if let Ok(noise) = kit.probes.get(Probe::noise) {
            let request = peer.request(noise);
            peer.run(request).await?;
        }
        let request = marking(&mut peer, kit, Probe::die, &mark)?;
        let id = request.id;
        peer.send(&ToWorker::Execute(request)).await?;
        let mut started = false;
        while let Ok(message) = peer.next(EXPECTED).await {
            started |= matches!(&message, FromWorker::Started(of) if of.id == id);
            // Whatever is sent without end is no answer.
            ensure(
                !matches!(&message, FromWorker::Result(_) | FromWorker::Error(_))
                    || message.execution_id() != Some(id),
                "that the probe `die` ends the worker",
                || shown(&message),
            )?;
        }
        ensure(mark.is_made(), "that the probe `die` leaves a byte in the file", || "none".into())?;
        ensure(started, EXPECTED, || "the end of the worker, whose code has run".into())?;
    }
    Ok(())
}
