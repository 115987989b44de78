//! Workers that run code, and are not heard when they say so.

use ostler::{ExecutionId, Exit, testing::Stage};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

/// Runs code on a channel that is of no use any more, whatever it says there.
pub(crate) async fn begin_unheard(stage: &mut Stage, chance: &mut StdRng, id: ExecutionId) -> Option<Exit> {
    match *[None, Some(&b"\xff\xff\xff\xff"[..]), Some(b"\x00\x10\x00\x00half")]
        .choose(chance)
        .expect("there are some")
    {
        None => stage.close_channel(),
        Some(spoils) => {
            stage.send_bytes(spoils).await;
            stage.started(id).await;
        }
    }
    if chance.random_bool(0.5) {
        std::future::pending::<()>().await;
    }
    Some(Exit::Signal(9))
}
