//! What a worker does when the host is wrong.

use crate::{
    outcome::Exit,
    protocol::{ErrorKind, ExecutionId, FromWorker, ProtocolError, ToWorker},
};

use super::{
    Fault, Kit,
    fault::ensure,
    items,
    peer::{Peer, Ran, Step, shown},
    probes::Probe,
    running::{completed, idle, says},
};

items! {
    "complains of a message of an unknown type, and goes on" => "protocol_error-1" => refuses_an_unknown_type;
    "fails a request with a field of a wrong type, and goes on" => "what-goes-wrong-and-what-follows" => refuses_a_wrong_field;
    "fails a request with an optional field of a wrong type, or has no use for it" => "what-goes-wrong-and-what-follows" => survives_a_wrong_option;
    "gives up at a message that is nested too deep, or takes it" => "codec" => survives_the_depth;
    "fails a request without its code, and goes on" => "what-goes-wrong-and-what-follows" => refuses_a_missing_field;
    "complains of an `execute` without an id, and goes on" => "what-goes-wrong-and-what-follows" => refuses_a_missing_id;
    "ignores keys that it does not know" => "messages-of-the-host" => ignores_unknown_keys;
    "does not answer a `protocol_error`" => "protocol_error" => does_not_answer_a_complaint;
    "gives up at a frame of no bytes" => "frame" => gives_up_at_nothing;
    "gives up at a frame past the limit, before it has come" => "frame" => gives_up_past_the_limit;
    "gives up at a payload that is no message" => "what-goes-wrong-and-what-follows" => gives_up_at_garbage;
}

async fn write_json(peer: &mut Peer, json: &str) -> Result<(), Fault> {
    let frame = peer.codec.frame_of(json);
    let frame = frame.map_err(|error| Fault::Skip(format!("the message cannot be written: {error}")))?;
    peer.write(&frame).await
}

/// Expects a complaint, and returns it.
async fn complaint(peer: &mut Peer) -> Result<ProtocolError, Fault> {
    match peer.next("`protocol_error`").await? {
        FromWorker::ProtocolError(error) => Ok(error),
        other => Err(Fault::wrong("`protocol_error`", shown(&other))),
    }
}

async fn refuses_an_unknown_type(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    write_json(&mut peer, r#"{"type":"juggle","id":"7","balls":[1,{"a":null}]}"#).await?;
    let error = complaint(&mut peer).await?;
    ensure(error.id == Some(ExecutionId(7)), "the `id` of that message, 7", || format!("{error:?}"))?;
    idle(&mut peer).await?;
    says(&mut peer, kit).await
}

/// Expects that this request fails as one that is wrong.
async fn refused(kit: &Kit, json: &str) -> Result<(), Fault> {
    const EXPECTED: &str = "`started`, then `error` of kind `request`";
    let mut peer = Peer::greeted(kit).await?;
    let id = peer.new_id();
    write_json(&mut peer, json).await?;
    match peer.follow(id, &mut Ran::default()).await? {
        Step::Failed(error) if error.kind == ErrorKind::Request => {}
        other => return Err(Fault::wrong(EXPECTED, other.to_string())),
    }
    idle(&mut peer).await?;
    says(&mut peer, kit).await
}

async fn refuses_a_wrong_field(kit: &Kit) -> Result<(), Fault> {
    refused(kit, r#"{"type":"execute","id":"1","code":5}"#).await
}

async fn survives_a_wrong_option(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`error` of kind `request`, or `result`";
    let mut peer = Peer::greeted(kit).await?;
    let id = peer.new_id();
    write_json(&mut peer, r#"{"type":"execute","id":"1","code":"","sys_path":"not a list"}"#).await?;
    match peer.follow(id, &mut Ran::default()).await? {
        Step::Completed(_) => {}
        Step::Failed(error) if error.kind == ErrorKind::Request => {}
        other => return Err(Fault::wrong(EXPECTED, other.to_string())),
    }
    idle(&mut peer).await
}

async fn survives_the_depth(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`protocol_error` and the exit code 64, or that it runs";
    let mut peer = Peer::greeted(kit).await?;
    // The message, `args`, and so many lists.
    let deep = format!("{}{}", "[".repeat(63), "]".repeat(63));
    let id = peer.new_id();
    write_json(&mut peer, &format!(r#"{{"type":"execute","id":"1","code":"","args":{{"deep":{deep}}}}}"#))
        .await?;
    match peer.next(EXPECTED).await? {
        FromWorker::ProtocolError(_) => {
            let exit = peer.ended(EXPECTED).await?;
            ensure(exit == Exit::Code(64), EXPECTED, || exit.to_string())
        }
        FromWorker::Started(started) if started.id == id => {
            while !matches!(peer.next(EXPECTED).await?, FromWorker::Result(_) | FromWorker::Error(_)) {}
            idle(&mut peer).await
        }
        other => Err(Fault::wrong(EXPECTED, shown(&other))),
    }
}

async fn refuses_a_missing_field(kit: &Kit) -> Result<(), Fault> {
    refused(kit, r#"{"type":"execute","id":"1"}"#).await
}

async fn refuses_a_missing_id(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    write_json(&mut peer, r#"{"type":"execute","code":"1"}"#).await?;
    complaint(&mut peer).await?;
    idle(&mut peer).await?;
    says(&mut peer, kit).await
}

async fn ignores_unknown_keys(kit: &Kit) -> Result<(), Fault> {
    let code = kit.probes.get(Probe::say)?;
    let code = crate::protocol::Value::from(code);
    let code = serde_json::to_string(&code).map_err(|error| Fault::Skip(error.to_string()))?;
    let mut peer = Peer::greeted(kit).await?;
    let id = peer.new_id();
    let json =
        format!(r#"{{"type":"execute","novelty":{{"deep":[1,2]}},"id":"{id}","code":{code},"other":null}}"#);
    write_json(&mut peer, &json).await?;
    completed(peer.follow(id, &mut Ran::default()).await?)
}

async fn does_not_answer_a_complaint(kit: &Kit) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    peer.send(&ToWorker::ProtocolError(ProtocolError::new("as a test"))).await?;
    idle(&mut peer).await
}

/// Expects that it ends after these bytes, with 64; a complaint may come first.
async fn gives_up(kit: &Kit, bytes: &[u8]) -> Result<(), Fault> {
    let mut peer = Peer::greeted(kit).await?;
    idle(&mut peer).await?;
    peer.write(bytes).await?;
    complaint(&mut peer).await?;
    let exit = peer.ended("that it exits with 64").await?;
    ensure(exit == Exit::Code(64), "that it exits with 64", || exit.to_string())
}

async fn gives_up_at_nothing(kit: &Kit) -> Result<(), Fault> {
    gives_up(kit, &[0; 4]).await
}

async fn gives_up_past_the_limit(kit: &Kit) -> Result<(), Fault> {
    // The byte behind 64 MiB, of which nothing follows.
    gives_up(kit, &[0x04, 0, 0, 1]).await
}

async fn gives_up_at_garbage(kit: &Kit) -> Result<(), Fault> {
    gives_up(kit, b"\x00\x00\x00\x03\xc1\xff\x00").await
}
