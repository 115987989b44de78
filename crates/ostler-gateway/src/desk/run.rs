//! One execution that callers know by its handle.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use ostler::{Event, EventLog, Logged};

use crate::wire::problem::Problem;

/// One execution that callers know by its handle.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) handle: Arc<str>,
    pub(crate) log: EventLog,
    /// The session that it runs in, by its handle.
    pub(crate) session: Option<Arc<str>>,
    /// When it was accepted, in RFC 3339.
    pub(crate) at: String,
    /// Requests for input that were answered.
    answered: Mutex<BTreeSet<u64>>,
}

impl Run {
    pub(crate) fn new(handle: Arc<str>, log: EventLog, session: Option<Arc<str>>, at: String) -> Self {
        Self { handle, log, session, at, answered: Mutex::default() }
    }

    /// The requests for input that were made, with whether each is open: the code waits for it.
    fn asked(&self) -> Vec<(u64, bool)> {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = self.log.outcome().is_some();
        let mut asked: Vec<(u64, bool)> = Vec::new();
        for entry in self.log.snapshot(0) {
            let Logged::Event { event, .. } = &entry else { continue };
            if let Event::Input(request) = &**event {
                // The code asks again when it has the answer, or no longer wants one.
                asked.iter_mut().for_each(|(_, open)| *open = false);
                asked.push((request.request, !is_over && !answered.contains(&request.request)));
            }
        }
        asked
    }

    /// The request for input that is open.
    pub(crate) fn open_request(&self) -> Option<u64> {
        self.asked().into_iter().find_map(|(request, open)| open.then_some(request))
    }

    /// Answers a request for input, or with `None` ends the input there. Each is answered once.
    pub(crate) fn answer(&self, request: u64, line: Option<String>) -> Result<(), Problem> {
        let asked = self.asked();
        let refuse = |detail: String| Err(Problem::new(409, "not-open", detail).at("request"));
        match asked.iter().find(|(number, _)| *number == request) {
            Some((_, true)) => {}
            Some((_, false)) => {
                return refuse(format!("request {request} was answered, or the code no longer waits for it"));
            }
            None => {
                let open = asked.iter().find(|(_, open)| *open);
                let open = open.map_or_else(|| "none is open".into(), |(open, _)| format!("{open} is open"));
                return refuse(format!("the code made no request {request} for input; {open}"));
            }
        }
        if !self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(request) {
            return refuse(format!("request {request} was answered just now"));
        }
        self.log.canceller().input(request, line);
        Ok(())
    }
}
