//! The task that keeps a zygote: starts it, asks it for workers, and starts another when it dies.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Ask, Birth, Parent, Reply,
    control::{Alive, Failure, NotForked, Recipe},
};
use crate::worker::{
    Unlaunched,
    cleanup::Cleanup,
    process::{self, Process},
    program,
    spawner::watched,
};

/// The wait before a zygote that died is started again; it doubles with each that dies young.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// One that lived for this long was no failure.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Where the zygote stands.
enum Stage {
    /// There never was one that was ready: the next start waits for it, and hears what goes wrong.
    Unborn,
    Starting(Pin<Box<dyn Future<Output = Result<Alive, Failure>> + Send>>),
    Ready(Box<Alive>, Instant),
    /// It died, and is started again at that time.
    Dead(Instant),
    /// It must not be forked, and another would be the same.
    Unfit,
}

/// What happens to a keeper.
enum Event {
    Asked(Option<Ask>),
    Started(Result<Alive, Failure>),
    Died,
    Due,
}

/// The task.
pub(super) struct Keeper {
    recipe: Recipe,
    asks: mpsc::WeakUnboundedSender<Ask>,
    asked: mpsc::UnboundedReceiver<Ask>,
    cleanup: Cleanup,
    stage: Stage,
    /// Those that died young, in a row.
    failures: u32,
    /// Starts that wait for the first zygote.
    waiting: Vec<(Birth, Reply)>,
    /// Whether one was ready, ever: from then on nobody waits for one.
    was_ready: bool,
    warned: bool,
}

impl Keeper {
    pub(super) fn new(
        recipe: Recipe,
        asks: mpsc::WeakUnboundedSender<Ask>,
        asked: mpsc::UnboundedReceiver<Ask>,
        cleanup: Cleanup,
    ) -> Self {
        Self {
            recipe,
            asks,
            asked,
            cleanup,
            stage: Stage::Unborn,
            failures: 0,
            waiting: Vec::new(),
            was_ready: false,
            warned: false,
        }
    }

    /// Until nobody can ask any more: the spawner is gone, and so are the workers.
    pub(super) async fn run(mut self) {
        loop {
            let event = tokio::select! {
                ask = self.asked.recv() => Event::Asked(ask),
                event = progress(&mut self.stage) => event,
            };
            match event {
                Event::Asked(None) => break,
                Event::Asked(Some(Ask::Fork(birth, reply))) => self.asked_to_fork(birth, reply).await,
                Event::Asked(Some(Ask::Collect { zygote, pid })) => self.collect(zygote, pid).await,
                Event::Started(Ok(zygote)) => self.started(zygote).await,
                Event::Started(Err(failure)) => self.not_started(failure),
                Event::Died => self.died().await,
                Event::Due => self.start(),
            }
        }
        if let Stage::Ready(zygote, _) = self.stage {
            zygote.end().await;
        }
    }

    async fn asked_to_fork(&mut self, birth: Birth, reply: Reply) {
        match &self.stage {
            Stage::Ready(..) => self.fork(birth, reply).await,
            Stage::Unborn => {
                self.waiting.push((birth, reply));
                self.start();
            }
            Stage::Starting(_) if !self.was_ready => self.waiting.push((birth, reply)),
            Stage::Starting(_) | Stage::Dead(_) | Stage::Unfit => _ = reply.send(Ok(None)),
        }
    }

    fn start(&mut self) {
        let zygote = self.recipe.clone().start(self.cleanup.clone());
        self.stage = Stage::Starting(Box::pin(zygote));
    }

    async fn started(&mut self, zygote: Alive) {
        crate::log::debug!(pid = zygote.process.id(), "zygote ready");
        self.stage = Stage::Ready(Box::new(zygote), Instant::now());
        self.was_ready = true;
        for (birth, reply) in std::mem::take(&mut self.waiting) {
            self.asked_to_fork(birth, reply).await;
        }
    }

    /// The first one that waits is told what is wrong. The others start in the plain way, which may go wrong, too.
    fn not_started(&mut self, failure: Failure) {
        let waiting = std::mem::take(&mut self.waiting);
        match failure {
            Failure::Unfit(why) => {
                self.warn(&why);
                self.stage = Stage::Unfit;
                waiting.into_iter().for_each(|(_, reply)| _ = reply.send(Ok(None)));
            }
            Failure::Spawn(error) if self.was_ready => {
                self.retry(&error.to_string());
            }
            Failure::Spawn(error) => {
                self.stage = Stage::Unborn;
                let mut told = Some(error);
                for (_, reply) in waiting {
                    _ = reply.send(told.take().map_or(Ok(None), |error| Err(error.into())));
                }
            }
        }
    }

    async fn died(&mut self) {
        let Stage::Ready(zygote, since) = &mut self.stage else { return };
        if since.elapsed() >= STABLE_AFTER {
            self.failures = 0;
        }
        let why = zygote.last_words().await;
        self.retry(&why);
    }

    fn retry(&mut self, why: &str) {
        let after = backoff(self.failures);
        self.failures = self.failures.saturating_add(1);
        crate::log::warn!(why, again_in = ?after, "the zygote is gone; workers are started without it");
        self.stage = Stage::Dead(Instant::now() + after);
    }

    fn warn(&mut self, why: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            crate::log::warn!(why, "workers are not forked, but started without the zygote");
        }
    }

    async fn fork(&mut self, birth: Birth, reply: Reply) {
        let Stage::Ready(zygote, _) = &mut self.stage else { return };
        // Nobody waits for it any more: its session was given up, or its runtime.
        let (false, Some(asks)) = (reply.is_closed(), self.asks.upgrade()) else { return };
        let starting = self.cleanup.one_more();
        let script = birth.script.is_some();
        let started = match zygote.fork(&birth).await {
            Ok((pid, ends)) => {
                let parent = zygote.process.id();
                let zygote = Parent { zygote: Arc::clone(&zygote.process), asks };
                let process =
                    Process::adopt(pid, Some(process::Parent::Zygote(zygote)), self.cleanup.clone());
                let started = process.and_then(|process| watched(process, ends, birth.footprint, starting));
                if let Err(error) = &started {
                    // Had it been taken over before it went wrong, it is collected already; this does no harm then.
                    self.warn(&error.to_string());
                    self.collect(parent, pid).await;
                }
                started.map(Some).map_err(|error| error.to_string())
            }
            Err(NotForked::Refused(why)) => {
                self.warn(&why);
                Ok(None)
            }
            Err(NotForked::Broken(why)) => {
                self.retry(&why);
                Err(why)
            }
        };
        let _ = reply.send(match started {
            // It may have been forked, and run: another would run it again.
            Err(why) if script => Err(Unlaunched::late(program::system(
                "fork a script from the zygote",
                self.recipe.interpreter.executable(),
                io::Error::other(why),
            ))),
            Err(_why) => Ok(None),
            Ok(started) => Ok(started),
        });
    }

    async fn collect(&mut self, parent: u32, pid: u32) {
        if let Stage::Ready(zygote, _) = &mut self.stage
            && zygote.process.id() == parent
            && let Err(error) = zygote.collect(pid).await
        {
            self.retry(&error.to_string());
        }
    }
}

/// What the zygote itself does next.
async fn progress(stage: &mut Stage) -> Event {
    match stage {
        Stage::Starting(zygote) => Event::Started(zygote.await),
        Stage::Ready(zygote, _) => {
            zygote.death().await;
            Event::Died
        }
        Stage::Dead(until) => {
            sleep_until(*until).await;
            Event::Due
        }
        Stage::Unborn | Stage::Unfit => std::future::pending().await,
    }
}

/// The wait before the next start, after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zygote_that_keeps_dying_is_started_ever_more_rarely() {
        let waits: Vec<_> = [0, 1, 2, 9, 10, u32::MAX].map(|failures| backoff(failures).as_millis()).into();
        assert_eq!(waits, [100, 200, 400, 51_200, 60_000, 60_000]);
    }
}
