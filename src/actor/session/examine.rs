//! How a session sees what its worker is like, and what it is doing.

use ractor::ActorRef;
use tokio::time::Instant;

use super::State;
use crate::{
    actor::{
        credit::Credit,
        messages::{Asker, SessionMsg},
    },
    config::LOOK_EVERY,
    machine::session::Input,
    outcome::{Activity, Load},
    status::Vitals,
    worker::Inspection,
};

/// What a session remembers, so that it can tell what its worker is doing.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When the code that runs began.
    pub(super) began: Option<Instant>,
    /// The last look, and the one before it.
    looks: [Option<(Instant, Vitals)>; 2],
    /// Who waits for the examination that is under way, if one is.
    askers: Option<Vec<Asker>>,
    /// Whether the machine waits for it too.
    machine: bool,
    /// What was known when it began.
    known: Activity,
}

impl Memory {
    /// Processor time used since the last look that is long enough ago to say something.
    fn load(&self, now: Instant, vitals: Vitals) -> Option<Load> {
        let old = self.looks.iter().flatten().find(|(when, _)| now.duration_since(*when) >= LOOK_EVERY / 4);
        let (when, then) = old?;
        let used = vitals.cpu_time.saturating_sub(then.cpu_time);
        Some(Load { used, within: now.duration_since(*when) })
    }
}

impl State {
    /// Has the machine look at the worker, and shows what was seen.
    pub(super) fn look(&mut self, myself: &ActorRef<SessionMsg>) {
        let vitals = self.shell.look();
        self.step(myself, Input::Look(vitals), Credit::none());
        self.shell.seen(vitals, self.machine.is_unresponsive());
        if let Some(vitals) = vitals {
            self.memory.looks = [Some((Instant::now(), vitals)), self.memory.looks[0]];
        }
    }

    /// The grace is nearly over: what is it doing? What is known without asking is told at once, the rest if it comes.
    pub(super) fn examine(&mut self, myself: &ActorRef<SessionMsg>) {
        self.memory.machine = true;
        self.examine_for(myself, None);
        let (known, vitals) = (self.memory.known.clone(), self.shell.control.vitals());
        let load = vitals.and_then(|vitals| self.memory.load(Instant::now(), vitals));
        let activity = Box::new(Activity { load, vitals, ..known });
        self.machine.step(Input::Examined(activity), &mut self.effects);
    }

    /// Has the worker examined, unless that is under way. A helper task waits for what comes of it.
    pub(super) fn examine_for(&mut self, myself: &ActorRef<SessionMsg>, asker: Option<Asker>) {
        let begin = self.memory.askers.is_none();
        self.memory.askers.get_or_insert_default().extend(asker);
        if !begin {
            return;
        }
        let now = Instant::now();
        let memory = &mut self.memory;
        let execution = self.current.as_ref().map(|assignment| assignment.id);
        let running_for = memory.began.map(|began| now.duration_since(began));
        let silent_for = self.telling.printed.or(memory.began).map(|last| now.duration_since(last));
        memory.known = Activity { execution, running_for, silent_for, ..Activity::default() };
        let (examination, myself) = (self.shell.control.examine(), myself.clone());
        drop(tokio::spawn(async move { myself.cast(SessionMsg::Inspected(Box::new(examination.await))) }));
    }

    /// Tells what was seen of the worker to those who asked.
    pub(super) fn inspected(&mut self, myself: &ActorRef<SessionMsg>, inspection: Inspection) {
        let Inspection { vitals, stacks, children } = inspection;
        let memory = &mut self.memory;
        let load = vitals.and_then(|vitals| memory.load(Instant::now(), vitals));
        let known = std::mem::take(&mut memory.known);
        let activity = Box::new(Activity { load, vitals, stacks, children, ..known });
        for asker in memory.askers.take().into_iter().flatten() {
            // Who asked may have left.
            let _ = asker.send(activity.clone());
        }
        if std::mem::take(&mut memory.machine) {
            self.step(myself, Input::Examined(activity), Credit::none());
        }
    }
}
