//! What changed between two looks.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::snapshot::{Moment, SessionLine, Snapshot};
use crate::status::{PoolStatus, SessionStatus};

/// Moments that are kept.
const MOMENTS_MAX: usize = 64;

/// Looks over which processor time is measured: what a look finds may itself be up to a second old.
const CPU_LOOKS: usize = 4;

/// Remembers the last looks.
#[derive(Debug)]
pub(super) struct History {
    began: Instant,
    /// Oldest first.
    looks: VecDeque<(Instant, PoolStatus)>,
    moments: VecDeque<Moment>,
}

impl History {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, looks: VecDeque::new(), moments: VecDeque::new() }
    }

    /// Takes a look, and tells it with what came before.
    pub(super) fn look(&mut self, status: &PoolStatus, now: Instant) -> Snapshot {
        let uptime = now.duration_since(self.began);
        let mut snapshot = Snapshot::new(status, uptime);
        let last = self.looks.back().cloned();
        let (passed, before) = last.map(|(at, status)| (now.duration_since(at), status)).unwrap_or_default();
        let ended = |status: &PoolStatus| status.totals.accepted - status.totals.in_flight;
        if !passed.is_zero() {
            snapshot.rate = ended(status).saturating_sub(ended(&before)) as f64 / passed.as_secs_f64();
        }
        let sessions: HashMap<usize, &SessionStatus> =
            before.sessions.iter().map(|session| (session.slot, session)).collect();
        for session in &status.sessions {
            let old = sessions.get(&session.slot).copied();
            snapshot.sessions.push(line(session, self.cpu(session, now)));
            self.compare(session, old, uptime);
        }
        for slot in sessions.keys().filter(|slot| !status.sessions.iter().any(|it| it.slot == **slot)) {
            self.note(uptime, format!("slot {slot}: its worker ended"));
        }
        match (&before.failed, &status.failed) {
            (None, Some(why)) => self.note(uptime, format!("the pool failed: {why}")),
            (Some(_), None) => self.note(uptime, "the pool serves again".into()),
            (None, None) | (Some(_), Some(_)) => {}
        }
        if status.shutting_down && !before.shutting_down {
            self.note(uptime, "the pool is shutting down".into());
        }
        if self.looks.len() == CPU_LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((now, status.clone()));
        snapshot.events = self.moments.iter().cloned().collect();
        snapshot
    }

    /// The processor time of a worker since the oldest look that knew it, in percent.
    fn cpu(&self, session: &SessionStatus, now: Instant) -> Option<f64> {
        let used = session.vitals?.cpu_time;
        let known = self.looks.iter().find_map(|(at, status)| {
            let same =
                |old: &&SessionStatus| (old.slot, old.generation) == (session.slot, session.generation);
            Some((*at, status.sessions.iter().find(same)?.vitals?.cpu_time))
        });
        let (at, before) = known.filter(|(at, _)| *at < now)?;
        Some(100.0 * used.saturating_sub(before).as_secs_f64() / now.duration_since(at).as_secs_f64())
    }

    fn compare(&mut self, session: &SessionStatus, old: Option<&SessionStatus>, uptime: Duration) {
        let slot = session.slot;
        let death = |session: &SessionStatus| session.last_death.clone();
        if let Some(why) = death(session).filter(|_| death(session) != old.and_then(death)) {
            self.note(uptime, format!("slot {slot}: {}", why.lines().next().unwrap_or_default()));
        }
        if let Some(pid) = session.pid.filter(|_| session.pid != old.and_then(|old| old.pid)) {
            let generation = session.generation.0;
            self.note(uptime, format!("slot {slot}: worker {pid} started, generation {generation}"));
        }
        if session.unresponsive && !old.is_some_and(|old| old.unresponsive) {
            self.note(uptime, format!("slot {slot}: its worker does not answer"));
        }
    }

    fn note(&mut self, uptime: Duration, what: String) {
        if self.moments.len() == MOMENTS_MAX {
            self.moments.pop_front();
        }
        self.moments.push_back(Moment { at: uptime.as_secs_f64(), what });
    }
}

fn line(session: &SessionStatus, cpu: Option<f64>) -> SessionLine {
    SessionLine {
        slot: session.slot,
        generation: session.generation.0,
        pid: session.pid,
        state: session.state.to_string(),
        leased: session.leased,
        age: session.age.as_secs_f64(),
        executions: session.executions,
        memory: session.vitals.map(|vitals| vitals.memory),
        cpu,
        unresponsive: session.unresponsive,
        last_death: session.last_death.clone(),
        retry_in: session.retry_in.map(|wait| wait.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_once_with_its_time() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut history = History::new(began);
        let mut status = PoolStatus::default();
        assert_eq!(history.look(&status, at(0)).events, []);
        status.failed = Some("no worker lives".into());
        (status.totals.accepted, status.totals.in_flight) = (12, 2);
        let snapshot = history.look(&status, at(2));
        assert_eq!(snapshot.rate, 5.0);
        assert_eq!(snapshot.events, [Moment { at: 2.0, what: "the pool failed: no worker lives".into() }]);
        assert_eq!(history.look(&status, at(3)).events.len(), 1);
        status.failed = None;
        assert_eq!(history.look(&status, at(4)).events[1].what, "the pool serves again");
    }

    #[test]
    fn only_the_latest_moments_are_kept() {
        let mut history = History::new(Instant::now());
        (0..100).for_each(|number| history.note(Duration::ZERO, number.to_string()));
        assert_eq!((history.moments.len(), history.moments[0].what.as_str()), (MOMENTS_MAX, "36"));
    }
}
