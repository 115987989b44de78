//! The workers of a simulation: what each does with each execution comes from its seed.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    questions::{self, Asked},
    unheard::begin_unheard,
};
use ostler::{
    ExecutionId, Exit, SpawnError, Stream,
    protocol::{
        Display, Execute, ExecutionResult, FromWorker, InputRequest, Mime, MimeData, Output, Ready, ToWorker,
    },
    testing::Stage,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::sync::Notify;

/// What a worker does with an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Act {
    // What code does.
    Answers,
    Dawdles,
    Prints,
    Shows,
    Raises,
    Asks,
    // What code does that will not end.
    Hangs,
    ObeysLate,
    Floods,
    Ignores,
    // What can happen to a worker.
    DiesUnstarted,
    BeginsUnheard,
    BeginsInSilence,
    DiesRunning,
    DiesMidFrame,
    DiesAfterResult,
    // What a worker can do wrong.
    Babbles,
    AnnouncesTooMuch,
    Lies,
    Stutters,
    Miscounts,
    ClosesChannel,
    ClosesInput,
    StopsReading,
    LeavesOutField,
    SaysReadyAgain,
    StartsTwice,
    PausesInFrame,
    SpeaksLate,
    SaysSomethingNew,
}

const GOOD: [Act; 6] = [Act::Answers, Act::Dawdles, Act::Prints, Act::Shows, Act::Raises, Act::Asks];
const BAD: [Act; 24] = [
    Act::Hangs,
    Act::ObeysLate,
    Act::Floods,
    Act::Ignores,
    Act::DiesUnstarted,
    Act::BeginsUnheard,
    Act::BeginsInSilence,
    Act::DiesRunning,
    Act::DiesMidFrame,
    Act::DiesAfterResult,
    Act::Babbles,
    Act::AnnouncesTooMuch,
    Act::Lies,
    Act::Stutters,
    Act::Miscounts,
    Act::ClosesChannel,
    Act::ClosesInput,
    Act::StopsReading,
    Act::LeavesOutField,
    Act::SaysReadyAgain,
    Act::StartsTwice,
    Act::PausesInFrame,
    Act::SpeaksLate,
    Act::SaysSomethingNew,
];

/// What one worker did with one execution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed {
    pub(crate) id: ExecutionId,
    pub(crate) worker: usize,
    pub(crate) act: Act,
    pub(crate) started: bool,
}

/// What all workers of one simulation have in common.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// How likely a bad act is, and a bad start; both end when the faults do.
    pub(crate) faults: Arc<Mutex<(f64, f64)>>,
    pub(crate) deeds: Arc<Mutex<Vec<Deed>>>,
    /// Rung when code starts to run, before anybody can have heard of it.
    pub(crate) starts: Arc<Notify>,
}

impl World {
    fn chance(&self, worker: usize, salt: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (worker as u64) << 8 ^ salt)
    }

    fn faults(&self) -> (f64, f64) {
        *self.faults.lock().unwrap()
    }

    pub(crate) fn end_of_faults(&self) {
        *self.faults.lock().unwrap() = (0.0, 0.0);
    }

    /// Some starts are slow, some are refused, some hang.
    pub(crate) async fn before_start(self, worker: usize) -> Result<(), SpawnError> {
        let mut chance = self.chance(worker, 1);
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..10))).await;
        if !chance.random_bool(self.faults().1 / 2.0) {
            return Ok(());
        }
        if chance.random_bool(0.1) {
            std::future::pending::<()>().await;
        }
        let source = io::Error::from_raw_os_error(24);
        Err(SpawnError::System { action: "start", program: "worker".into(), source })
    }

    /// The life of one worker.
    pub(crate) async fn worker(self, mut stage: Stage) -> Exit {
        let mut chance = self.chance(stage.number(), 2);
        if chance.random_bool(self.faults().1)
            && let Some(exit) = bad_start(&mut stage, &mut chance).await
        {
            return exit;
        }
        nap(&mut chance, 30).await;
        questions::ready(&mut stage).await;
        let mut held = 0;
        loop {
            let dies_idle = chance.random_bool(self.faults().0 / 10.0);
            let idle_for =
                Duration::from_millis(if dies_idle { chance.random_range(0..300) } else { u64::MAX >> 20 });
            let asked = tokio::select! {
                biased;
                asked = questions::next_asked(&mut stage) => asked,
                () = tokio::time::sleep(idle_for) => return Exit::Signal(9),
            };
            let Some(asked) = asked else { return Exit::Code(0) };
            let bad = chance.random_bool(self.faults().0);
            let exit = match asked {
                Asked::Execute(execute) => {
                    held += 1;
                    self.perform(&mut stage, &mut chance, &execute).await
                }
                Asked::Save(id) => questions::save(&mut stage, &mut chance, id, held, bad).await,
                Asked::Restore(id, data) => {
                    questions::restore(&mut stage, &mut chance, (id, data), &mut held, bad).await
                }
            };
            if let Some(exit) = exit {
                return exit;
            }
        }
    }

    async fn perform(&self, stage: &mut Stage, chance: &mut StdRng, execute: &Execute) -> Option<Exit> {
        let warmup = execute.filename.as_deref() == Some("<warmup>");
        let bad = !warmup && chance.random_bool(self.faults().0);
        let act = *if bad { BAD.choose(chance) } else { GOOD.choose(chance) }.expect("there are acts");
        let act = if warmup { Act::Answers } else { act };
        let nth = {
            let mut deeds = self.deeds.lock().unwrap();
            deeds.push(Deed { id: execute.id, worker: stage.number(), act, started: false });
            deeds.len() - 1
        };
        nap(chance, 15).await;
        if act == Act::DiesUnstarted {
            return Some(Exit::Signal(9));
        }
        self.deeds.lock().unwrap()[nth].started = true;
        self.starts.notify_one();
        match act {
            Act::BeginsUnheard => return begin_unheard(stage, chance, execute.id).await,
            // It has only queued `started`.
            Act::BeginsInSilence => {
                stage.print(Stream::Stderr, b"~").await;
                return Some(Exit::Signal(9));
            }
            _says_so => stage.started(execute.id).await,
        }
        if bad {
            misbehave(stage, chance, execute, act).await
        } else {
            behave(stage, chance, execute, act).await
        }
    }
}

async fn nap(chance: &mut StdRng, most: u64) {
    tokio::time::sleep(Duration::from_millis(chance.random_range(0..most))).await;
}

/// Ends the worker before it is ready, or never makes it ready; `None`: it was only slow.
async fn bad_start(stage: &mut Stage, chance: &mut StdRng) -> Option<Exit> {
    match chance.random_range(0..6) {
        0 => std::future::pending().await,
        1 => Some(Exit::Code(3)),
        2 => {
            stage.print(Stream::Stderr, "ImportError\n").await;
            Some(Exit::Code(1))
        }
        3 => {
            stage.send_bytes(b"Traceback (most recent call last):\n").await;
            std::future::pending().await
        }
        4 => {
            let frame =
                stage.frame(&FromWorker::Ready(Ready::new(1_u32, 1_u32, ostler::Codec::MessagePack, "x")));
            stage.send_bytes(&frame[..chance.random_range(1..frame.len())]).await;
            Some(Exit::Signal(11))
        }
        _ => {
            nap(chance, 900).await;
            None
        }
    }
}

/// Waits for a cancel of `id` for at most this long, and answers it.
async fn cancelled_within(stage: &mut Stage, id: ExecutionId, wait: Duration) -> bool {
    let cancelled = tokio::time::timeout(wait, stage.wait_for_cancel(id)).await.is_ok();
    if cancelled {
        stage.cancelled(id).await;
    }
    cancelled
}

/// The text of a piece of output; that of a whole execution is the pieces from 0 on.
pub(crate) fn piece(code: &str, number: usize) -> String {
    format!("{code}.{number};")
}

async fn behave(stage: &mut Stage, chance: &mut StdRng, execute: &Execute, act: Act) -> Option<Exit> {
    let Execute { id, code, .. } = execute;
    let id = *id;
    match act {
        Act::Dawdles => {
            let wait = Duration::from_millis(chance.random_range(0..3_000));
            if cancelled_within(stage, id, wait).await {
                return None;
            }
        }
        Act::Prints => {
            let padding = *[0, 0, 100, 8_000].choose(chance).expect("there are some");
            for number in 0..chance.random_range(0..60) {
                let text = piece(code, number);
                stage.output(id, Stream::Stdout, text).await;
                stage.print(Stream::Stderr, vec![b'~'; padding]).await;
            }
        }
        Act::Shows => {
            let mime = Mime(vec![("text/plain".into(), MimeData::Text(code.clone()))]);
            stage.send(&FromWorker::Display(Display::new(id, mime))).await;
        }
        Act::Raises => {
            stage.failed(id, "ValueError", code).await;
            return None;
        }
        Act::Asks => {
            stage.send(&FromWorker::InputRequest(InputRequest::new(id, 7_u64, "> "))).await;
            loop {
                match stage.recv().await {
                    Some(ToWorker::InputResponse(_)) => break,
                    Some(ToWorker::Cancel(cancel)) if cancel.id == id => {
                        stage.cancelled(id).await;
                        return None;
                    }
                    Some(_) => {}
                    None => return Some(Exit::Code(0)),
                }
            }
        }
        _answers => {}
    }
    stage.completed(id, code.as_str()).await;
    None
}

async fn misbehave(stage: &mut Stage, chance: &mut StdRng, execute: &Execute, act: Act) -> Option<Exit> {
    let Execute { id, code, .. } = execute;
    let id = *id;
    let result = stage.frame(&FromWorker::Result(ExecutionResult::new(id, 0.5)));
    match act {
        Act::Hangs => {
            stage.wait_for_cancel(id).await;
            stage.cancelled(id).await;
        }
        Act::ObeysLate => {
            stage.wait_for_cancel(id).await;
            nap(chance, 700).await;
            stage.cancelled(id).await;
        }
        Act::Floods => loop {
            stage.print(Stream::Stdout, vec![b'~'; 20_000]).await;
            if cancelled_within(stage, id, Duration::from_millis(40)).await {
                break;
            }
        },
        Act::Ignores => {
            while stage.recv().await.is_some() {}
            std::future::pending::<()>().await;
        }
        Act::DiesRunning => {
            stage.output(id, Stream::Stdout, piece(code, 0)).await;
            return Some(Exit::Signal(11));
        }
        Act::DiesMidFrame => {
            stage.send_bytes(&result[..chance.random_range(1..result.len())]).await;
            return Some(Exit::Signal(6));
        }
        Act::DiesAfterResult => {
            stage.completed(id, code.as_str()).await;
            return Some(Exit::Signal(9));
        }
        Act::PausesInFrame => {
            let (head, tail) = result.split_at(chance.random_range(1..result.len()));
            stage.send_bytes(head).await;
            nap(chance, 2_000).await;
            stage.send_bytes(tail).await;
        }
        Act::SpeaksLate => {
            stage.completed(id, code.as_str()).await;
            nap(chance, 5).await;
            stage.send(&FromWorker::Output(Output::new(id, Stream::Stdout, 0_u64, &b"late"[..]))).await;
        }
        _breaks => return break_protocol(stage, execute, act).await,
    }
    None
}

async fn break_protocol(stage: &mut Stage, execute: &Execute, act: Act) -> Option<Exit> {
    let Execute { id, code, .. } = execute;
    let id = *id;
    match act {
        Act::Babbles => stage.send_bytes(b"hello from print()\n").await,
        Act::AnnouncesTooMuch => stage.send_bytes(&[0x7f, 0xff, 0xff, 0xff]).await,
        Act::Lies => stage.completed(ExecutionId(id.get() + 1_000_000_000), "?").await,
        Act::Stutters => {
            stage.completed(id, code.as_str()).await;
            stage.completed(id, code.as_str()).await;
        }
        Act::Miscounts => {
            stage.send(&FromWorker::Output(Output::new(id, Stream::Stdout, 7_u64, &b"?"[..]))).await;
        }
        Act::ClosesChannel => {
            stage.close_channel();
            std::future::pending::<()>().await;
        }
        Act::ClosesInput => {
            stage.close_input();
            std::future::pending::<()>().await;
        }
        Act::StopsReading => std::future::pending::<()>().await,
        Act::LeavesOutField => {
            let text = id.to_string();
            let mut frame = vec![0, 0, 0, 17 + u8::try_from(text.len()).expect("a short id")];
            frame.extend_from_slice(b"\x82\xa4type\xa6result\xa2id");
            frame.push(0xa0 | u8::try_from(text.len()).expect("a short id"));
            frame.extend_from_slice(text.as_bytes());
            stage.send_bytes(&frame).await;
        }
        Act::SaysReadyAgain => stage.ready().await,
        Act::StartsTwice => stage.started(id).await,
        Act::SaysSomethingNew => {
            stage.send_bytes(b"\x00\x00\x00\x0c\x81\xa4type\xa5novel").await;
            stage.completed(id, code.as_str()).await;
        }
        _good => unreachable!("{act:?} is done elsewhere"),
    }
    None
}
