//! Questions about the state of a session, in a simulation: a worker answers them, or does what a bad one does.

use bytes::Bytes;
use ostler::{
    Codec, ExecutionId, Exit,
    protocol::{CancelAck, CheckpointData, Execute, FromWorker, Ready, Restored, ToWorker, VERSION},
    testing::Stage,
};
use rand::{Rng, rngs::StdRng};

/// What a worker is asked next.
pub(super) enum Asked {
    Execute(Execute),
    Save(ExecutionId),
    Restore(ExecutionId, Vec<u8>),
}

/// Says that the worker is there, and can save its state.
pub(super) async fn ready(stage: &mut Stage) {
    let pid = u32::try_from(stage.number()).expect("there are few workers");
    let mut ready = Ready::new(VERSION, pid, Codec::MessagePack, "script");
    ready.capabilities.push("checkpoint".into());
    stage.send(&FromWorker::Ready(ready)).await;
}

/// What else comes is answered as a well-behaved worker would. `None`: it is to end.
pub(super) async fn next_asked(stage: &mut Stage) -> Option<Asked> {
    let mut data = Vec::new();
    loop {
        match stage.recv().await? {
            ToWorker::Execute(execute) => return Some(Asked::Execute(execute)),
            ToWorker::Checkpoint(question) => return Some(Asked::Save(question.id)),
            ToWorker::Restore(part) => {
                data.extend_from_slice(&part.data);
                if part.last {
                    return Some(Asked::Restore(part.id, data));
                }
            }
            ToWorker::Ping(ping) => stage.heartbeat(Some(ping.seq), None).await,
            ToWorker::Cancel(cancel) => {
                stage.send(&FromWorker::CancelAck(CancelAck::new(cancel.id, false))).await;
            }
            ToWorker::Shutdown(_) => {
                stage.send(&FromWorker::Bye).await;
                return None;
            }
            _ => {}
        }
    }
}

/// The state of a worker is a number, which is saved in two parts.
pub(super) async fn save(
    stage: &mut Stage,
    chance: &mut StdRng,
    id: ExecutionId,
    held: u64,
    bad: bool,
) -> Option<Exit> {
    if bad && let Some(answered) = misanswer(stage, chance, id).await {
        return answered;
    }
    let text = format!("state {held}");
    for (number, piece) in [&text[..3], &text[3..]].into_iter().enumerate() {
        if bad && number == 1 {
            return Some(Exit::Signal(9)); // In the middle of it.
        }
        let mut part = CheckpointData::new(id, number as u64, number == 1);
        part.data = Bytes::copy_from_slice(piece.as_bytes());
        part.bytes = Some(text.len() as u64);
        stage.send(&FromWorker::CheckpointData(Box::new(part))).await;
    }
    None
}

/// Takes a state over, which is a whole one.
pub(super) async fn restore(
    stage: &mut Stage,
    chance: &mut StdRng,
    (id, data): (ExecutionId, Vec<u8>),
    held: &mut u64,
    bad: bool,
) -> Option<Exit> {
    if bad && let Some(answered) = misanswer(stage, chance, id).await {
        return answered;
    }
    let text = String::from_utf8(data).expect("a state is a text");
    *held = text.strip_prefix("state ").expect("a whole state").parse().expect("a whole state");
    stage.send(&FromWorker::Restored(Restored::new(id, vec!["state".to_owned()]))).await;
    None
}

/// `None`: it answers after all.
async fn misanswer(stage: &mut Stage, chance: &mut StdRng, id: ExecutionId) -> Option<Option<Exit>> {
    match chance.random_range(0..4) {
        0 => Some(Some(Exit::Signal(11))),
        1 => {
            stage.failed(id, "ValueError", "not now").await;
            Some(None)
        }
        2 => {
            stage.wait_for_cancel(id).await;
            stage.cancelled(id).await;
            Some(None)
        }
        _ => None,
    }
}
