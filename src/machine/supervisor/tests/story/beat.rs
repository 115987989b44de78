//! What can happen in a story of a pool, and how often.

use proptest::prelude::*;

/// What happens next. The number picks one of those that it can happen to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beat {
    SubmitScript,
    /// On behalf of a tenant, or of none.
    Submit(u8),
    /// `Some`: only in the generation of the session, or in the one before it.
    SubmitLeased(u8, Option<bool>),
    Withdraw(u8),
    Forget(u8),
    Lease(u8),
    Fork(u8),
    Release(u8),
    Expire(u8),
    Ready(u8),
    NotSpawned(u8),
    Ends(u8),
    Dies(u8, bool),
    HandsBack(u8),
    /// What a worker did not start comes back: at once, or when its session has long been restored.
    Returns(u8),
    Abandoned(u8),
    Stale(u8),
    Weighs(u8, u8),
    /// Whoever keeps the states of sessions does what comes next; or it goes wrong.
    Tends(u8, bool),
    Name(u8),
    Reload,
    Reset,
    Passes(u16),
    Shutdown,
}

pub(super) fn beat() -> impl Strategy<Value = Beat> {
    let any = any::<u8>;
    prop_oneof![
        10 => any().prop_map(Beat::Submit),
        4 => Just(Beat::SubmitScript),
        5 => (any(), prop::option::weighted(0.3, prop::bool::ANY))
            .prop_map(|(pick, expects)| Beat::SubmitLeased(pick, expects)),
        3 => any().prop_map(Beat::Withdraw),
        1 => any().prop_map(Beat::Forget),
        3 => any().prop_map(Beat::Lease),
        2 => any().prop_map(Beat::Fork),
        3 => any().prop_map(Beat::Release),
        1 => any().prop_map(Beat::Expire),
        10 => any().prop_map(Beat::Ready),
        1 => any().prop_map(Beat::NotSpawned),
        10 => any().prop_map(Beat::Ends),
        3 => (any(), prop::bool::ANY).prop_map(|(pick, started)| Beat::Dies(pick, started)),
        1 => any().prop_map(Beat::HandsBack),
        8 => any().prop_map(Beat::Returns),
        1 => any().prop_map(Beat::Abandoned),
        1 => any().prop_map(Beat::Stale),
        2 => (any(), any()).prop_map(|(pick, memory)| Beat::Weighs(pick, memory)),
        8 => (any(), prop::bool::weighted(0.8)).prop_map(|(pick, well)| Beat::Tends(pick, well)),
        1 => any().prop_map(Beat::Name),
        1 => prop_oneof![Just(Beat::Reload), Just(Beat::Reset)],
        4 => (0_u16..12_000).prop_map(Beat::Passes),
    ]
}
