//! How a worker ends.

use crate::{
    outcome::Exit,
    protocol::{ErrorKind, FromWorker, Shutdown, ToWorker},
    worker::lives_in,
};

use super::{
    Fault, Kit,
    fault::ensure,
    items,
    peer::{Peer, escaped, shown},
    probes::Probe,
    running::says,
    stopping::spinning,
};

items! {
    "says `bye` and exits with 0" => "shutdown" => shuts_down;
    "cancels what runs before `bye`" => "shutdown" => shuts_down_while_busy;
    "ends with its host" => "order-of-life" => ends_with_its_host;
    "ends with its host in the middle of a frame" => "order-of-life" => ends_inside_a_frame;
    "ends with its host while code runs" => "order-of-life" => ends_while_busy;
    "ends with its host before `init`" => "order-of-life" => ends_before_it_begins;
    "ends what its code has started when it ends with its host" => "order-of-life" => ends_with_its_group;
    "ends what its code has started also while code runs" => "order-of-life" => ends_with_its_group_while_busy;
}

async fn bye(peer: &mut Peer) -> Result<(), Fault> {
    match peer.next("`bye`").await? {
        FromWorker::Bye => {}
        other => return Err(Fault::wrong("`bye`", shown(&other))),
    }
    let exit = peer.ended("that it exits with 0").await?;
    ensure(exit == Exit::Code(0), "that it exits with 0", || exit.to_string())
}

async fn shuts_down(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    // Skipped probes do not matter here.
    if !matches!(says(&mut peer, kit).await, Ok(()) | Err(Fault::Skip(_))) {
        return Err(Fault::Skip("it does not run the probe `say`".into()));
    }
    peer.send(&ToWorker::Shutdown(Shutdown::new())).await?;
    bye(&mut peer).await
}

async fn shuts_down_while_busy(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`error` of kind `cancelled`, then `bye`";
    kit.needs("cancel")?;
    let mut peer = Peer::greeted(kit).await?;
    spinning(&mut peer, kit).await?;
    peer.send(&ToWorker::Shutdown(Shutdown::new())).await?;
    match peer.next(EXPECTED).await? {
        FromWorker::Error(error) if error.kind == ErrorKind::Cancelled => {}
        other => return Err(Fault::wrong(EXPECTED, shown(&other))),
    }
    bye(&mut peer).await
}

/// Killed by its own hand, or with the status that says so.
fn for_lack_of_a_host(exit: Exit) -> Result<(), Fault> {
    let right = matches!(exit, Exit::Signal(9) | Exit::Code(113));
    ensure(right, "that it kills its process group, or exits with 113", || exit.to_string())
}

async fn ends_with_its_host(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    if !matches!(says(&mut peer, kit).await, Ok(()) | Err(Fault::Skip(_))) {
        return Err(Fault::Skip("it does not run the probe `say`".into()));
    }
    for_lack_of_a_host(peer.hang_up().await?)
}

async fn ends_inside_a_frame(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    peer.write(b"\x00\x00\x01\x00\x82").await?;
    for_lack_of_a_host(peer.hang_up().await?)
}

async fn ends_while_busy(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    spinning(&mut peer, kit).await?;
    for_lack_of_a_host(peer.hang_up().await?)
}

async fn ends_before_it_begins(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::start(kit).await?;
    peer.ready().await?;
    for_lack_of_a_host(peer.hang_up().await?)
}

/// Has its code start a process, and returns the id of that.
async fn started_by(peer: &mut Peer, kit: &Kit) -> Result<u32, Fault> {
    const EXPECTED: &str =
        "that the probe `child` starts a process in its group, and prints its id in a line";
    let request = peer.request(kit.probes.get(Probe::child)?);
    let (ran, step) = peer.run(request).await?;
    let told = std::str::from_utf8(&ran.stdout).ok().and_then(|line| line.trim().parse().ok());
    match (told, peer.pid) {
        (Some(child), Some(leader)) if lives_in(leader, child) => Ok(child),
        _ => Err(Fault::wrong(EXPECTED, format!("{:?}, then {step}", escaped(&ran.stdout)))),
    }
}

/// Effects, not words: a worker that only exits passes all of the above.
async fn ends_with_its_group(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    let child = started_by(&mut peer, kit).await?;
    peer.hang_up_with(child).await
}

async fn ends_with_its_group_while_busy(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    let child = started_by(&mut peer, kit).await?;
    spinning(&mut peer, kit).await?;
    peer.hang_up_with(child).await
}
