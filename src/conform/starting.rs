//! How a worker begins.

use crate::{
    outcome::Exit,
    protocol::{FromWorker, Init, ToWorker, VERSION},
};

use super::{
    Fault, Kit,
    fault::ensure,
    items,
    peer::{Peer, Ran, Step, shown},
    probes::Probe,
};

items! {
    "starts, and says `ready` first" => "order-of-life" => speaks_first;
    "says in `ready` what it is" => "ready" => says_what_it_is;
    "takes an `execute` right behind `init`" => "order-of-life" => takes_all_at_once;
    "refuses a host of another version" => "init" => refuses_another_version;
}

async fn speaks_first(kit: &Kit) -> Result<(), Fault> {
    Peer::start(kit).await?.ready().await.map(drop)
}

async fn says_what_it_is(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::start(kit).await?;
    let ready = peer.ready().await?;
    ensure(ready.protocol == VERSION, format!("`protocol` {VERSION}"), || ready.protocol.to_string())?;
    let codec = format!("`codec` {}, as it was told", peer.codec);
    ensure(ready.codec == peer.codec, codec, || ready.codec.to_string())?;
    if let Some(pid) = peer.pid {
        ensure(ready.pid == pid, format!("`pid` {pid}, its process id"), || ready.pid.to_string())?;
    }
    ensure(!ready.language.is_empty(), "a `language`", || "an empty one".into())?;
    ensure(ready.concurrency > 0, "a `concurrency` of at least 1", || "0".into())
}

async fn takes_all_at_once(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::start(kit).await?;
    let request = peer.request(kit.probes.get(Probe::say)?);
    let id = request.id;
    // Without waiting even for `ready`.
    let both = peer.encoded(&[ToWorker::Init(Init::new(VERSION)), ToWorker::Execute(request)])?;
    peer.write(&both).await?;
    peer.ready().await?;
    match peer.follow(id, &mut Ran::default()).await? {
        Step::Completed(_) => Ok(()),
        other => Err(Fault::wrong("`result`", other.to_string())),
    }
}

async fn refuses_another_version(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::start(kit).await?;
    peer.ready().await?;
    peer.send(&ToWorker::Init(Init::new(VERSION + 1))).await?;
    let expected = format!("`protocol_error` with `expected` {VERSION} and `got` {}", VERSION + 1);
    match peer.next(&expected).await? {
        FromWorker::ProtocolError(error) => {
            let versions = (error.expected.as_deref(), error.got.as_deref());
            let right = (Some(VERSION.to_string()), Some((VERSION + 1).to_string()));
            ensure(versions == (right.0.as_deref(), right.1.as_deref()), expected, || format!("{error:?}"))?;
        }
        other => return Err(Fault::wrong(expected, shown(&other))),
    }
    let exit = peer.ended("that it exits with 64").await?;
    ensure(exit == Exit::Code(64), "that it exits with 64", || exit.to_string())
}
