//! Actors that are killed in a simulation.

use std::{sync::Arc, time::Duration};

use ostler::testing::{actor_of, supervisor_of};
use ractor::ActorCell;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::task::JoinSet;

use super::Scenario;
use crate::simulation::caller::{Ending, Told};

impl Scenario {
    pub(super) async fn kill_something(&mut self, number: usize, callers: &mut JoinSet<Vec<Told>>) {
        if self.chance.random_bool(0.5) {
            kill_a_session(&supervisor_of(&self.runtime), &mut self.chance);
        } else if let Ok(execution) = self.runtime.execute("victim").await {
            let wait = Duration::from_millis(self.chance.random_range(0..20));
            let (id, code) = (Some(execution.id()), format!("v{number:02}"));
            callers.spawn(async move {
                tokio::time::sleep(wait).await;
                actor_of(&execution).kill();
                vec![Told { code, id, ending: Ending::Outcome(execution.outcome().await), after: wait }]
            });
        }
    }

    /// Now and then a session dies when its worker has just started the code, and before it hears of that.
    pub(super) fn kills_at_starts(&mut self) -> impl Future<Output = ()> + use<> {
        let mut chance = StdRng::seed_from_u64(self.chance.random());
        let (supervisor, starts) = (supervisor_of(&self.runtime), Arc::clone(&self.world.starts));
        async move {
            loop {
                starts.notified().await;
                if chance.random_bool(0.1) {
                    kill_a_session(&supervisor, &mut chance);
                }
            }
        }
    }
}

fn kill_a_session(supervisor: &ActorCell, chance: &mut StdRng) {
    let mut sessions = supervisor.get_children();
    sessions.sort_by_key(|session| session.get_id().pid());
    if let Some(session) = sessions.choose(chance) {
        session.kill();
    }
}
