//! How a worker answers questions about its session, where it offers to.

use bytes::BytesMut;

use crate::protocol::{
    Checkpoint, Complete, ExecutionId, FromWorker, Inspect, Reset, Restore, ToWorker, Vars,
};

use super::{
    Fault, Kit,
    fault::ensure,
    items,
    peer::{Peer, shown},
    probes::Probe,
    running::{LINE, completed, idle, prints_the_line},
};

items! {
    "lists the names of the session" => "vars" => lists_names;
    "says what could stand at a place" => "complete" => completes;
    "forgets the names of the session" => "reset" => forgets;
    "saves its state, and another worker brings it back" => "checkpoint" => saves_and_restores;
    "refuses a question that it does not offer to answer" => "capabilities" => refuses_what_it_does_not_offer;
}

/// Runs code that keeps a value.
async fn keeping(kit: &Kit) -> Result<Peer, Fault> {
    let keep = kit.probes.get(Probe::keep)?;
    let mut peer = Peer::greeted(kit).await?;
    let request = peer.request(keep);
    completed(peer.run(request).await?.1)?;
    Ok(peer)
}

/// The answer to a question, which has its id.
async fn answer(peer: &mut Peer, id: ExecutionId, expected: &str) -> Result<FromWorker, Fault> {
    let message = peer.next(expected).await?;
    if message.execution_id() == Some(id) {
        Ok(message)
    } else {
        Err(Fault::wrong(expected, shown(&message)))
    }
}

async fn lists_names(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`vars_result` with the names that were kept, at most as many as asked";
    kit.needs("vars")?;
    let mut peer = keeping(kit).await?;
    for max in [None, Some(1)] {
        let mut question = Vars::new(peer.new_id());
        question.max = max;
        peer.send(&ToWorker::Vars(question.clone())).await?;
        match answer(&mut peer, question.id, EXPECTED).await? {
            FromWorker::VarsResult(names) => {
                let count = names.vars.len();
                ensure(count >= 1 && max.is_none_or(|_| count == 1), EXPECTED, || {
                    format!("{:?}", names.vars)
                })?;
            }
            other => return Err(Fault::wrong(EXPECTED, shown(&other))),
        }
    }
    idle(&mut peer).await
}

async fn completes(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`complete_result` whose `start` and `end` are within the text";
    kit.needs("complete")?;
    let mut peer = Peer::greeted(kit).await?;
    let (code, pos) = ("conf", 4_u64);
    let question = Complete::new(peer.new_id(), code, pos);
    let id = question.id;
    peer.send(&ToWorker::Complete(question)).await?;
    match answer(&mut peer, id, EXPECTED).await? {
        FromWorker::CompleteResult(found) => {
            ensure(found.start <= found.end && found.end <= pos, EXPECTED, || format!("{found:?}"))?;
        }
        other => return Err(Fault::wrong(EXPECTED, shown(&other))),
    }
    idle(&mut peer).await
}

async fn forgets(kit: &Kit) -> Result<(), Fault> {
    kit.needs("reset")?;
    let kept = kit.probes.get(Probe::kept)?;
    let mut peer = keeping(kit).await?;
    let question = Reset::new(peer.new_id());
    let id = question.id;
    peer.send(&ToWorker::Reset(question)).await?;
    match answer(&mut peer, id, "`reset_result`").await? {
        FromWorker::ResetResult(_) => {}
        other => return Err(Fault::wrong("`reset_result`", shown(&other))),
    }
    let request = peer.request(kept);
    let (ran, _) = peer.run(request).await?;
    ensure(&ran.stdout[..] != LINE, "that what was kept is gone", || "it is there".into())
}

async fn saves_and_restores(kit: &Kit) -> Result<(), Fault> {
    kit.needs("checkpoint")?;
    let kept = kit.probes.get(Probe::kept)?;
    let mut peer = keeping(kit).await?;
    let state = saved(&mut peer).await?;
    idle(&mut peer).await?;
    drop(peer);

    const EXPECTED: &str = "`restored` with the names that are back";
    let mut another = Peer::greeted(kit).await?;
    let id = another.new_id();
    // In two parts, however small it is.
    let (first, second) = state.split_at(state.len() / 2);
    for (part, data) in [first, second].into_iter().enumerate() {
        let mut message = Restore::new(id);
        (message.part, message.last) = (part as u64, part == 1);
        message.data = data.to_vec().into();
        another.send(&ToWorker::Restore(message)).await?;
    }
    match answer(&mut another, id, EXPECTED).await? {
        FromWorker::Restored(restored) => {
            let all = !restored.names.is_empty() && restored.failed.is_empty();
            ensure(all, EXPECTED, || format!("{restored:?}"))?;
        }
        other => return Err(Fault::wrong(EXPECTED, shown(&other))),
    }
    let request = another.request(kept);
    prints_the_line(&mut another, request).await
}

/// The parts of a checkpoint, put together and compared with what the last one says of them.
async fn saved(peer: &mut Peer) -> Result<BytesMut, Fault> {
    const EXPECTED: &str = "`checkpoint_data`, its parts in order, with length and checksum in the last";
    let question = Checkpoint::new(peer.new_id());
    let id = question.id;
    peer.send(&ToWorker::Checkpoint(question)).await?;
    let mut state = BytesMut::new();
    for part in 0.. {
        let data = match answer(peer, id, EXPECTED).await? {
            FromWorker::CheckpointData(data) => data,
            other => return Err(Fault::wrong(EXPECTED, shown(&other))),
        };
        ensure(data.part == part, format!("part {part}"), || format!("part {}", data.part))?;
        state.extend_from_slice(&data.data);
        if data.last {
            let length = data.bytes.is_none_or(|bytes| bytes == state.len() as u64);
            ensure(length, format!("`bytes` {}", state.len()), || format!("{:?}", data.bytes))?;
            let right = format!("crc32:{:08x}", crc32fast::hash(&state));
            let unlike = |told: &&String| told.starts_with("crc32:") && **told != right;
            let wrong = data.checksum.as_ref().filter(unlike);
            ensure(wrong.is_none(), format!("`checksum` {right}"), || format!("{wrong:?}"))?;
            ensure(!data.names.is_empty(), "the names that were saved", || "none".into())?;
            break;
        }
    }
    Ok(state)
}

async fn refuses_what_it_does_not_offer(kit: &Kit) -> Result<(), Fault> {
    const EXPECTED: &str = "`protocol_error` with the `id` of the question";
    if kit.needs("inspect").is_ok() {
        return Err(Fault::Skip("it offers `inspect`, with which this is tried".into()));
    }
    let mut peer = Peer::greeted(kit).await?;
    let question = Inspect::new(peer.new_id(), "code", 0_u64);
    let id = question.id;
    peer.send(&ToWorker::Inspect(question)).await?;
    match answer(&mut peer, id, EXPECTED).await? {
        FromWorker::ProtocolError(_) => idle(&mut peer).await,
        other => Err(Fault::wrong(EXPECTED, shown(&other))),
    }
}
