//! How a worker runs code.

use std::time::Duration;

use tokio::time::sleep;

use crate::protocol::{ErrorKind, Execute, FromWorker, Ping, ToWorker, Value};

use super::{
    Fault, Kit,
    fault::ensure,
    items,
    peer::{Peer, Ran, Step, escaped, shown},
    probes::{FLOOD_LINES, Probe},
};

items! {
    "runs code, and streams what it prints" => "executions-and-ids" => runs;
    "returns the value of the code" => "result" => returns_a_value;
    "fails the code and not itself" => "error" => fails;
    "tells standard error from standard output" => "output" => tells_streams_apart;
    "binds arguments before the code runs" => "execute" => binds_arguments;
    "leaves out the value where none is wanted" => "execute" => is_silent;
    "gives a fresh execution names of its own" => "execute" => runs_fresh;
    "ends code that asks to exit, and not itself" => "kinds-of-errors" => exits;
    "tells code that cannot be compiled from code that fails" => "kinds-of-errors" => tells_syntax;
    "keeps what the code keeps" => "order-of-life" => keeps;
    "runs two hundred executions one after another" => "executions-and-ids" => runs_many;
    "takes an `execute` while one runs, and runs it afterwards" => "what-goes-wrong-and-what-follows" => runs_the_second_behind_the_first;
    "takes a frame in pieces of one byte" => "frame" => takes_pieces;
    "takes many frames at once" => "frame" => takes_many_at_once;
    "takes a message of two megabytes" => "frame" => takes_a_large_one;
    "loses nothing of a flood, and keeps its order" => "output" => floods;
    "answers `ping` when idle" => "ping" => answers_when_idle;
}

pub(super) const LINE: &[u8] = b"conform\n";

/// Runs the probe that prints a line, and checks that it did.
pub(super) async fn says(peer: &mut Peer, kit: &Kit) -> Result<(), Fault> {
    let request = peer.request(kit.probes.get(Probe::say)?);
    prints_the_line(peer, request).await
}

pub(super) async fn prints_the_line(peer: &mut Peer, request: Execute) -> Result<(), Fault> {
    let (ran, step) = peer.run(request).await?;
    completed(step)?;
    ensure(&ran.stdout[..] == LINE, "`conform` and a line end on its standard output", || {
        escaped(&ran.stdout)
    })
}

pub(super) fn completed(step: Step) -> Result<(), Fault> {
    match step {
        Step::Completed(_) => Ok(()),
        other => Err(Fault::wrong("`result`", other.to_string())),
    }
}

async fn runs(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    says(&mut peer, kit).await?;
    // Whatever came behind the end would come before this answer.
    idle(&mut peer).await
}

/// Proves that nothing runs and nothing is left to say.
pub(super) async fn idle(peer: &mut Peer) -> Result<(), Fault> {
    const EXPECTED: &str = "nothing but the `heartbeat` that was asked for";
    peer.send(&ToWorker::Ping(Ping::new(77_u64))).await?;
    match peer.next(EXPECTED).await? {
        FromWorker::Heartbeat(heartbeat) => {
            ensure(heartbeat.seq == Some(77), "`seq` 77, as asked", || format!("{:?}", heartbeat.seq))?;
            ensure(heartbeat.running.is_none(), "that nothing runs", || format!("{heartbeat:?}"))
        }
        other => Err(Fault::wrong(EXPECTED, shown(&other))),
    }
}

async fn returns_a_value(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(kit.probes.get(Probe::value)?);
    match peer.run(request).await?.1 {
        Step::Completed(result) => {
            let right =
                matches!(result.value, Some(Value::Int(42))) || result.value == Some(Value::Float(42.0));
            ensure(right, "`value` 42", || format!("{:?}", result.value))
        }
        other => Err(Fault::wrong("`result`", other.to_string())),
    }
}

async fn fails(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`error` of kind `exception`, with the exception";
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(kit.probes.get(Probe::fail)?);
    match peer.run(request).await?.1 {
        Step::Failed(error) => {
            let named = error.exception.as_ref().is_some_and(|exception| !exception.type_name.is_empty());
            let kind = matches!(error.kind, ErrorKind::Exception | ErrorKind::Other(_));
            ensure(kind && named, EXPECTED, || format!("{error:?}"))?;
        }
        other => return Err(Fault::wrong(EXPECTED, other.to_string())),
    }
    says(&mut peer, kit).await
}

async fn keeps(kit: &Kit) -> Result<(), Fault> {
    let (keep, kept) = (kit.probes.get(Probe::keep)?, kit.probes.get(Probe::kept)?);
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(keep);
    completed(peer.run(request).await?.1)?;
    let request = peer.request(kept);
    prints_the_line(&mut peer, request).await
}

async fn runs_many(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    for _ in 0..200 {
        says(&mut peer, kit).await?;
    }
    Ok(())
}

async fn runs_the_second_behind_the_first(kit: &Kit) -> Result<(), Fault> {
    if kit.ready.as_ref().is_some_and(|ready| ready.concurrency > 1) {
        return Err(Fault::Skip("it runs several at once".into()));
    }
    let mut peer = Peer::greeted(kit).await?;
    let code = kit.probes.get(Probe::say)?;
    let (first, second) = (peer.request(code), peer.request(code));
    let ids = [first.id, second.id];
    let both = peer.encoded(&[ToWorker::Execute(first), ToWorker::Execute(second)])?;
    peer.write(&both).await?;
    for id in ids {
        completed(peer.follow(id, &mut Ran::default()).await?)?;
    }
    Ok(())
}

async fn takes_pieces(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(kit.probes.get(Probe::say)?);
    let (id, mut ran) = (request.id, Ran::default());
    let frame = peer.encoded(&[ToWorker::Execute(request)])?;
    for byte in frame.chunks(1) {
        peer.write(byte).await?;
        // So that each comes with a read of its own.
        sleep(Duration::from_millis(1)).await;
    }
    completed(peer.follow(id, &mut ran).await?)?;
    ensure(&ran.stdout[..] == LINE, "`conform` and a line end", || escaped(&ran.stdout))
}

async fn takes_many_at_once(kit: &Kit) -> Result<(), Fault> {
    const PINGS: u64 = 100;
    let mut peer = Peer::greeted(kit).await?;
    let pings: Vec<_> = (0..PINGS).map(|seq| ToWorker::Ping(Ping::new(seq))).collect();
    let frames = peer.encoded(&pings)?;
    peer.write(&frames).await?;
    for seq in 0..PINGS {
        let expected = format!("`heartbeat` with `seq` {seq}");
        match peer.next(&expected).await? {
            FromWorker::Heartbeat(heartbeat) if heartbeat.seq == Some(seq) => {}
            other => return Err(Fault::wrong(expected, shown(&other))),
        }
    }
    Ok(())
}

async fn takes_a_large_one(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    let mut request = peer.request(kit.probes.get(Probe::say)?);
    request.args = vec![("blob".into(), Value::Bytes(vec![0xA5; 2 << 20].into()))];
    prints_the_line(&mut peer, request).await
}

async fn floods(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(kit.probes.get(Probe::flood)?);
    let (ran, step) = peer.run(request).await?;
    completed(step)?;
    let text = String::from_utf8_lossy(&ran.stdout);
    let mut lines = text.lines();
    for number in 0..FLOOD_LINES {
        let line = lines.next().unwrap_or("the end");
        ensure(line == number.to_string(), format!("the line `{number}`"), || format!("`{line}`"))?;
    }
    ensure(lines.next().is_none(), format!("{FLOOD_LINES} lines"), || "more".into())
}

async fn answers_when_idle(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    for _ in 0..3 {
        idle(&mut peer).await?;
    }
    Ok(())
}

async fn tells_streams_apart(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(kit.probes.get(Probe::warn)?);
    let (ran, step) = peer.run(request).await?;
    completed(step)?;
    let right = &ran.stderr[..] == LINE && ran.stdout.is_empty();
    ensure(right, "`conform` and a line end on its standard error alone", || {
        format!("{} there, and {} on its standard output", escaped(&ran.stderr), escaped(&ran.stdout))
    })
}

async fn binds_arguments(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    let mut request = peer.request(kit.probes.get(Probe::arg)?);
    request.args = vec![("conform".into(), "conform".into())];
    prints_the_line(&mut peer, request).await
}

async fn is_silent(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    let request = Execute { silent: true, ..peer.request(kit.probes.get(Probe::value)?) };
    match peer.run(request).await?.1 {
        Step::Completed(result) => {
            let silent = result.value.is_none() && result.repr.is_none();
            ensure(silent, "`result` without `value` and `repr`", || format!("{result:?}"))
        }
        other => Err(Fault::wrong("`result`", other.to_string())),
    }
}

async fn runs_fresh(kit: &Kit) -> Result<(), Fault> {
    let (keep, kept) = (kit.probes.get(Probe::keep)?, kit.probes.get(Probe::kept)?);
    let mut peer = Peer::greeted(kit).await?;
    let request = Execute { fresh: true, ..peer.request(keep) };
    completed(peer.run(request).await?.1)?;
    let request = peer.request(kept);
    let (ran, _) = peer.run(request).await?;
    ensure(&ran.stdout[..] != LINE, "that what a fresh execution kept is gone", || "it is there".into())
}

async fn exits(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`error` of kind `exit` with `exit_code` 3";
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(kit.probes.get(Probe::exit)?);
    match peer.run(request).await?.1 {
        Step::Failed(error) if error.kind == ErrorKind::Exit && error.exit_code == Some(3) => {}
        other => return Err(Fault::wrong(EXPECTED, other.to_string())),
    }
    says(&mut peer, kit).await
}

async fn tells_syntax(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`error` of kind `syntax`";
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(kit.probes.get(Probe::syntax)?);
    match peer.run(request).await?.1 {
        Step::Failed(error) if error.kind == ErrorKind::Syntax => {}
        other => return Err(Fault::wrong(EXPECTED, other.to_string())),
    }
    says(&mut peer, kit).await
}
