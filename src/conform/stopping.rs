//! How a worker stops code.

use std::time::Duration;

use tokio::time::sleep;

use crate::protocol::{Cancel, ErrorKind, ExecutionId, FromWorker, Ping, ToWorker};

use super::{
    Fault, Kit,
    fault::ensure,
    items,
    peer::{Peer, shown},
    probes::Probe,
    running::{idle, says},
};

items! {
    "answers a cancel of what does not run" => "cancel" => cancels_nothing;
    "stops code that runs, and goes on" => "stopping" => cancels;
    "stops code that is cancelled together with its `execute`" => "stopping" => cancels_at_once;
    "ends each execution once, whenever the cancel comes" => "stopping" => cancels_at_every_moment;
    "takes a second cancel, and one with `force`" => "cancel" => cancels_twice;
    "answers `ping` while code runs" => "ping" => answers_while_busy;
    "interrupts what runs" => "interrupt" => interrupts;
    "ignores an interrupt when nothing runs" => "interrupt" => ignores_an_interrupt;
}

/// What is seen from a cancel to the end of the execution that it names.
#[derive(Debug, Default)]
pub(super) struct Stopped {
    hits: Vec<bool>,
    pub(super) kind: Option<ErrorKind>,
    completed: bool,
    started: bool,
}

impl Stopped {
    fn ended(&self) -> bool {
        self.completed || self.kind.is_some()
    }

    /// Follows until the execution has ended and so many cancels are answered.
    pub(super) async fn follow(peer: &mut Peer, id: ExecutionId, cancels: usize) -> Result<Self, Fault> {
        const EXPECTED: &str = "one `cancel_ack` for each `cancel`, and one end of the execution";
        let mut seen = Self::default();
        while !seen.ended() || seen.hits.len() < cancels {
            let message = peer.next(EXPECTED).await?;
            let of_it = message.execution_id() == Some(id);
            match message {
                FromWorker::CancelAck(ack) if ack.id == id => seen.hits.push(ack.hit),
                _ if !of_it || seen.ended() => return Err(Fault::wrong(EXPECTED, shown(&message))),
                FromWorker::Started(_) if !seen.started => seen.started = true,
                FromWorker::Output(_) => {}
                FromWorker::Result(_) => seen.completed = true,
                FromWorker::Error(error) => seen.kind = Some(error.kind),
                other => return Err(Fault::wrong(EXPECTED, shown(&other))),
            }
        }
        peer.discard_printed();
        Ok(seen)
    }

    /// It was hit, and ended as a cancelled one.
    fn cancelled(&self) -> Result<(), Fault> {
        ensure(self.started, "`started`, also for what was cancelled before it began", || {
            format!("{self:?}")
        })?;
        ensure(self.hits.first() == Some(&true), "`cancel_ack` with `hit`", || format!("{self:?}"))?;
        ensure(self.kind == Some(ErrorKind::Cancelled), "`error` of kind `cancelled`", || format!("{self:?}"))
    }
}

fn cancel(id: ExecutionId, force: bool) -> ToWorker {
    let mut cancel = Cancel::new(id);
    cancel.force = force;
    ToWorker::Cancel(cancel)
}

/// Starts code that runs for ever, and waits until it has begun.
pub(super) async fn spinning(peer: &mut Peer, kit: &Kit) -> Result<ExecutionId, Fault> {
    let request = peer.request(kit.probes.get(Probe::spin)?);
    let id = request.id;
    peer.send(&ToWorker::Execute(request)).await?;
    match peer.next("`started`").await? {
        FromWorker::Started(started) if started.id == id => Ok(id),
        other => Err(Fault::wrong("`started`", shown(&other))),
    }
}

/// The rest of what is seen of an execution that had begun.
async fn begun(peer: &mut Peer, id: ExecutionId, cancels: usize) -> Result<Stopped, Fault> {
    Ok(Stopped { started: true, ..Stopped::follow(peer, id, cancels).await? })
}

async fn cancels_nothing(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`cancel_ack` without `hit`";
    let mut peer = Peer::greeted(kit).await?;
    let id = peer.new_id();
    peer.send(&cancel(id, false)).await?;
    match peer.next(EXPECTED).await? {
        FromWorker::CancelAck(ack) if ack.id == id && !ack.hit => idle(&mut peer).await,
        other => Err(Fault::wrong(EXPECTED, shown(&other))),
    }
}

async fn cancels(kit: &Kit) -> Result<(), Fault> {
    kit.needs("cancel")?;
    let mut peer = Peer::greeted(kit).await?;
    let id = spinning(&mut peer, kit).await?;
    sleep(Duration::from_millis(20)).await;
    peer.send(&cancel(id, false)).await?;
    begun(&mut peer, id, 1).await?.cancelled()?;
    says(&mut peer, kit).await?;
    idle(&mut peer).await
}

async fn cancels_at_once(kit: &Kit) -> Result<(), Fault> {
    kit.needs("cancel")?;
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(kit.probes.get(Probe::spin)?);
    let id = request.id;
    let both = peer.encoded(&[ToWorker::Execute(request), cancel(id, false)])?;
    peer.write(&both).await?;
    Stopped::follow(&mut peer, id, 1).await?.cancelled()?;
    says(&mut peer, kit).await?;
    idle(&mut peer).await
}

async fn cancels_at_every_moment(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    for wait in (0..60).map(|step| Duration::from_micros(step * 50)) {
        let request = peer.request(kit.probes.get(Probe::say)?);
        let id = request.id;
        peer.send(&ToWorker::Execute(request)).await?;
        sleep(wait).await;
        peer.send(&cancel(id, false)).await?;
        Stopped::follow(&mut peer, id, 1).await?;
        idle(&mut peer).await?;
    }
    says(&mut peer, kit).await
}

async fn cancels_twice(kit: &Kit) -> Result<(), Fault> {
    kit.needs("cancel")?;
    let mut peer = Peer::greeted(kit).await?;
    let id = spinning(&mut peer, kit).await?;
    let all = peer.encoded(&[cancel(id, false), cancel(id, true), cancel(id, true)])?;
    peer.write(&all).await?;
    begun(&mut peer, id, 3).await?.cancelled()?;
    says(&mut peer, kit).await
}

async fn answers_while_busy(kit: &Kit) -> Result<(), Fault> {
    kit.needs("cancel")?;
    let mut peer = Peer::greeted(kit).await?;
    let id = spinning(&mut peer, kit).await?;
    peer.send(&ToWorker::Ping(Ping::new(5_u64))).await?;
    match peer.next("`heartbeat`, also while code runs").await? {
        FromWorker::Heartbeat(heartbeat) => {
            ensure(heartbeat.seq == Some(5), "`seq` 5, as asked", || format!("{heartbeat:?}"))?;
            let named = heartbeat.running.is_none_or(|running| running == id);
            ensure(named, "the execution that runs in `running`", || format!("{heartbeat:?}"))?;
        }
        other => return Err(Fault::wrong("`heartbeat`, also while code runs", shown(&other))),
    }
    peer.send(&cancel(id, false)).await?;
    begun(&mut peer, id, 1).await?.cancelled()
}

async fn interrupts(kit: &Kit) -> Result<(), Fault> {
    kit.needs("interrupt")?;
    let mut peer = Peer::greeted(kit).await?;
    let id = spinning(&mut peer, kit).await?;
    sleep(Duration::from_millis(20)).await;
    peer.send(&ToWorker::Interrupt).await?;
    let ended = begun(&mut peer, id, 0).await?;
    let right = matches!(ended.kind, Some(ErrorKind::Exception | ErrorKind::Other(_)));
    ensure(right, "`error` of kind `exception`", || format!("{ended:?}"))?;
    says(&mut peer, kit).await
}

async fn ignores_an_interrupt(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    peer.send(&ToWorker::Interrupt).await?;
    idle(&mut peer).await?;
    says(&mut peer, kit).await
}
