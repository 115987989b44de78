//! The thread that reads what the host says: it answers at once, also while a request runs.

use std::{
    process,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ostler_protocol::{
    CancelAck, DecodeError, ErrorKind, Exception, Execute, ExecutionError, ExecutionId, FromWorker,
    Heartbeat, Init, Level, Log, ProtocolError, Started, ToWorker, VERSION,
};

use super::{
    NOT_UNDERSTOOD,
    channel::{self, Incoming, Outgoing},
    turns::{Ending, LINE, Turns},
};

/// Starts that thread. It ends with the process.
pub(super) fn open(incoming: Incoming, channel: Arc<Outgoing>, turns: Arc<Turns>) {
    let figures = Figures { at: channel::now(), cpu: channel::cpu_time().unwrap_or_default() };
    let reader = Reader { channel, turns, figures };
    let spawned = thread::Builder::new().name("ostler-inbox".into()).spawn(move || reader.run(incoming));
    // Without it nobody would notice the end of the host.
    spawned.map(drop).unwrap_or_else(|error| channel::die(&format!("cannot start a thread: {error}")));
}

struct Reader {
    channel: Arc<Outgoing>,
    turns: Arc<Turns>,
    figures: Figures,
}

impl Reader {
    fn run(mut self, mut incoming: Incoming) {
        loop {
            let payload = incoming.next().unwrap_or_else(|error| self.give_up(error.to_string()));
            let last = match self.channel.codec().decode_to_worker(payload) {
                Ok(message) => self.hear(message),
                Err(error) => {
                    self.refuse(error);
                    None
                }
            };
            if let Some(last) = last {
                self.turns.close(last);
                return incoming.until_the_end();
            }
        }
    }

    /// Does what a message asks for; returns the end after which nothing is read.
    fn hear(&mut self, message: ToWorker) -> Option<Ending> {
        match message {
            ToWorker::Init(init) => return self.init(&init),
            ToWorker::Execute(request) => self.execute(request),
            ToWorker::Cancel(cancel) => {
                let hit = self.turns.cancel(cancel.id);
                self.channel.send(&FromWorker::CancelAck(CancelAck::new(cancel.id, hit)));
            }
            ToWorker::Interrupt => self.turns.interrupt(),
            ToWorker::InputResponse(answer) => {
                let line = answer.value.filter(|_| !answer.eof);
                self.turns.answer(answer.id, answer.request, line);
            }
            ToWorker::Ping(ping) => {
                let heartbeat = self.heartbeat(ping.seq);
                self.channel.send(&FromWorker::Heartbeat(heartbeat));
            }
            ToWorker::Shutdown(_) => return Some(Ending::Shutdown),
            ToWorker::ProtocolError(error) => channel::log(&format!("the host complains: {}", error.what)),
            question @ (ToWorker::Reset(_)
            | ToWorker::Vars(_)
            | ToWorker::Complete(_)
            | ToWorker::Get(_)
            | ToWorker::Set(_)
            | ToWorker::Inspect(_)
            | ToWorker::Checkpoint(_)
            | ToWorker::Fork(_)
            | ToWorker::Restore(_)) => {
                let error = format!("this worker answers no questions: {question:?}");
                self.complain(error.chars().take(200).collect(), question.execution_id());
            }
        }
        None
    }

    fn init(&self, init: &Init) -> Option<Ending> {
        if init.protocol != VERSION {
            let mut error = ProtocolError::new("protocol version");
            (error.expected, error.got) = (Some(VERSION.to_string()), Some(init.protocol.to_string()));
            self.channel.send(&FromWorker::ProtocolError(error));
            return Some(Ending::OtherVersion);
        }
        if let Some(folder) = &init.cwd
            && let Err(error) = std::env::set_current_dir(folder)
        {
            self.log(Level::Error, format!("cannot enter the working folder {folder}: {error}"));
        }
        if !init.env.is_empty() {
            self.log(Level::Error, "this worker cannot change its environment once it runs".into());
        }
        None
    }

    fn execute(&self, request: Execute) {
        let id = request.id;
        if !self.turns.accept(Box::new(request)) {
            let why = format!("this worker runs one request at a time, and {LINE} wait already");
            self.fail(id, &why);
        }
    }

    /// A message that is none: what it names fails, and the worker goes on.
    fn refuse(&self, error: DecodeError) {
        match error {
            DecodeError::Field { ref type_name, id: Some(id), .. } if type_name == "execute" => {
                self.fail(id, &error.to_string());
            }
            DecodeError::Field { id, .. } => self.complain(error.to_string(), id),
            DecodeError::UnknownType { id, .. } => self.complain(error.to_string(), id),
            DecodeError::ForeignId { .. } => self.complain(error.to_string(), None),
            // After this nothing can be trusted.
            DecodeError::Malformed { .. } => self.give_up(error.to_string()),
        }
    }

    fn give_up(&self, what: String) -> ! {
        channel::log(&what);
        self.complain(what, None);
        process::exit(NOT_UNDERSTOOD.into())
    }

    fn fail(&self, id: ExecutionId, why: &str) {
        self.channel.send(&FromWorker::Started(Started::new(id)));
        let mut error = ExecutionError::new(id, 0.0, ErrorKind::Request);
        error.exception = Some(Box::new(Exception::new("ProtocolError", why)));
        self.channel.send(&FromWorker::Error(error));
    }

    fn complain(&self, what: String, id: Option<ExecutionId>) {
        let mut error = ProtocolError::new(what);
        error.id = id;
        self.channel.send(&FromWorker::ProtocolError(error));
    }

    fn log(&self, level: Level, message: String) {
        self.channel.send(&FromWorker::Log(Log::new(level, message)));
    }

    fn heartbeat(&mut self, seq: u64) -> Heartbeat {
        let mut heartbeat = Heartbeat::new(channel::memory(), self.figures.share_of_one_processor(), 0_u64);
        heartbeat.seq = Some(seq);
        if let Some((id, elapsed)) = self.turns.running() {
            (heartbeat.running, heartbeat.elapsed) = (Some(id), Some(elapsed.as_secs_f64()));
        }
        heartbeat
    }
}

/// What was seen at the last heartbeat.
struct Figures {
    at: Instant,
    cpu: Duration,
}

impl Figures {
    /// In percent, since it was asked last.
    fn share_of_one_processor(&mut self) -> f64 {
        let now = Self { at: channel::now(), cpu: channel::cpu_time().unwrap_or_default() };
        let last = std::mem::replace(self, now);
        let (wall, cpu) = (self.at - last.at, self.cpu.saturating_sub(last.cpu));
        if wall.is_zero() { 0.0 } else { 100.0 * cpu.as_secs_f64() / wall.as_secs_f64() }
    }
}
