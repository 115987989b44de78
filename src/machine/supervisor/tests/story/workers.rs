//! What the workers of a story do, and what they take with them.

use proptest::test_runner::TestCaseResult;

use super::{Beat, Does, ExecutionId, Fate, Generation, Input, LeaseId, OnDeath, Story, dead, pick};
use crate::machine::supervisor::Asked;

impl Story {
    pub(super) fn worker_beat(&mut self, beat: Beat) -> TestCaseResult {
        match beat {
            Beat::Ready(number) => {
                let Some((slot, generation, _)) = self.worker(number, Does::is_coming) else {
                    return Ok(());
                };
                self.workers.insert(slot, (generation, Does::Idles));
                self.play(Input::Ready { slot, generation })
            }
            Beat::NotSpawned(number) => {
                let Some((slot, generation, _)) = self.worker(number, Does::is_coming) else {
                    return Ok(());
                };
                self.workers.remove(&slot);
                self.play(Input::NotSpawned { slot, generation, why: "refused".into() })
            }
            Beat::Ends(number) => self.ends(number),
            Beat::Dies(number, started) => {
                let Some((slot, generation, does)) = self.worker(number, |_| true) else { return Ok(()) };
                self.workers.remove(&slot);
                self.loses(does, started);
                self.play(dead(slot, generation.0))
            }
            Beat::HandsBack(number) => {
                // The session is dying, which the pool does not know yet.
                let Some((slot, generation, does)) =
                    self.worker(number, |does| self.comes_back(*does).is_some())
                else {
                    return Ok(());
                };
                let Some(id) = self.loses(does, false) else { return Ok(()) };
                self.workers.insert(slot, (generation, Does::Ends));
                self.requeue(id)?;
                self.workers.remove(&slot);
                self.play(dead(slot, generation.0))
            }
            Beat::Abandoned(number) => {
                let alive = |does: &Does| *does != Does::Ends;
                let Some((slot, generation, does)) = self.worker(number, alive) else { return Ok(()) };
                self.loses(does, false);
                self.workers.insert(slot, (generation, Does::Ends));
                self.play(Input::Abandoned { slot, generation, why: "its actor died".into() })
            }
            Beat::Returns(number) => {
                let back = self.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Returns(_)));
                pick(number, back.map(|(id, _)| *id)).map_or(Ok(()), |id| self.requeue(id))
            }
            Beat::Weighs(number, memory) => {
                let Some((slot, generation, _)) = self.worker(number, |_| true) else { return Ok(()) };
                if memory > 200 {
                    self.play(Input::Strained { slot, generation })?;
                }
                self.play(Input::Measured { slot, generation, memory: memory.into() })
            }
            Beat::Stale(number) => {
                let Some((slot, generation, _)) = self.worker(number, |_| true) else { return Ok(()) };
                let generation = Generation(generation.0 - 1);
                self.play(Input::Ready { slot, generation })?;
                self.play(Input::NotSpawned { slot, generation, why: "late".into() })?;
                self.play(dead(slot, generation.0))
            }
            other => unreachable!("{other:?} is of no worker"),
        }
    }

    /// What a worker that does this takes with it. An execution that did not start comes back.
    pub(super) fn loses(&mut self, does: Does, started: bool) -> Option<ExecutionId> {
        if let Some((id, lease)) = self.comes_back(does).filter(|_| !started) {
            self.fates.insert(id, Fate::Returns(lease));
            return Some(id);
        }
        match does {
            Does::Runs(id)
            | Does::IsScript(id)
            | Does::IsLeased(_, Some(id))
            | Does::Restores(_, Some(id)) => {
                self.tending.overtaken(id);
                self.fates.insert(id, Fate::Over);
                None
            }
            Does::Starts
            | Does::Branches(_)
            | Does::Idles
            | Does::IsLeased(_, None)
            | Does::Restores(_, None)
            | Does::Ends => None,
        }
    }

    /// What goes back into the queue if its worker dies before it starts it, and whose queue that is.
    fn comes_back(&self, does: Does) -> Option<(ExecutionId, Option<LeaseId>)> {
        match does {
            Does::Runs(id) | Does::IsScript(id) => Some((id, None)),
            Does::IsLeased(lease, Some(id))
                if self.config.on_death == OnDeath::Restore && !self.tending.is_chore(id) =>
            {
                Some((id, Some(lease)))
            }
            _ => None,
        }
    }

    pub(super) fn requeue(&mut self, execution: ExecutionId) -> TestCaseResult {
        let Some(Fate::Returns(lease)) = self.fates.get(&execution).copied() else { return Ok(()) };
        self.fates.insert(execution, Fate::Waits(lease));
        let script = self.scripts.contains(&execution);
        let asked = Asked { script, ..self.tenants.asked(execution) };
        self.play(Input::Requeue { execution, lease, asked, expects: self.tending.expects(execution) })
    }

    /// An execution ends well.
    fn ends(&mut self, number: u8) -> TestCaseResult {
        let runs = |does: &Does| {
            matches!(
                does,
                Does::Runs(_) | Does::IsScript(_) | Does::IsLeased(_, Some(_)) | Does::Restores(_, Some(_))
            )
        };
        let Some((slot, generation, does)) = self.worker(number, runs) else { return Ok(()) };
        let (execution, free) = match does {
            Does::IsScript(id) => return self.script_ends(slot, generation, id),
            Does::Runs(id) => (id, Does::Idles),
            Does::IsLeased(lease, Some(id)) => (id, Does::IsLeased(lease, None)),
            Does::Restores(lease, Some(id)) => (id, Does::Restores(lease, None)),
            other => unreachable!("{other:?} runs nothing"),
        };
        self.workers.insert(slot, (generation, free));
        self.fates.insert(execution, Fate::Over);
        self.play(Input::Idle { slot, generation, execution })
    }
}
