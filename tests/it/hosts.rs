//! Hosts that are made of actors: events in their own mailbox, the pool under their own supervision (row 48).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use ostler::{
    Event, Outcome, Stream,
    actor::{Host, HostGone, Notice},
    testing::supervisor_of,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    support::{Pool, guarded, settings},
    workers::{first_does, polite},
};

const WINDOW: usize = ostler::config::WINDOW;

/// What the host's mailbox got.
#[derive(Debug)]
enum ServiceMsg {
    Ostler(Notice),
}

#[cfg(feature = "cluster")]
impl ractor::Message for ServiceMsg {}

impl From<Notice> for ServiceMsg {
    fn from(notice: Notice) -> Self {
        Self::Ostler(notice)
    }
}

/// A service that passes on what it is told, and says when the pool below it ends.
struct Service;

#[derive(Debug)]
enum Told {
    Notice(Notice),
    PoolEnded,
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Service {
    type Msg = ServiceMsg;
    type State = mpsc::Sender<Told>;
    type Arguments = mpsc::Sender<Told>;

    async fn pre_start(
        &self,
        _myself: ActorRef<ServiceMsg>,
        told: mpsc::Sender<Told>,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(told)
    }

    async fn handle(
        &self,
        _myself: ActorRef<ServiceMsg>,
        ServiceMsg::Ostler(notice): ServiceMsg,
        told: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(told.send(Told::Notice(notice)).await?)
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<ServiceMsg>,
        event: SupervisionEvent,
        told: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorTerminated(..) | SupervisionEvent::ActorFailed(..) = event {
            told.send(Told::PoolEnded).await?;
        }
        Ok(())
    }
}

async fn service() -> (ActorRef<ServiceMsg>, mpsc::Receiver<Told>) {
    let (told, hears) = mpsc::channel(1);
    let (service, _task) = Actor::spawn(None, Service, told).await.unwrap();
    (service, hears)
}

/// The events come in order, in the host's own type, and behind them exactly one end.
#[tokio::test(start_paused = true)]
async fn a_host_is_told_everything_in_its_own_mailbox() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let (service, mut hears) = service().await;
        let running = pool.runtime.execute_for("print 3", Host::actor(service.clone())).await.unwrap();
        let mut seen = Vec::new();
        loop {
            match hears.recv().await.unwrap() {
                Told::Notice(Notice::Event { execution, event }) => {
                    assert_eq!(execution, running.id());
                    seen.push(match event.take() {
                        Event::Started { .. } => "started".to_owned(),
                        Event::Output { data, .. } => String::from_utf8_lossy(&data).into_owned(),
                        other => panic!("{other:?}"),
                    });
                }
                Told::Notice(Notice::Ended { execution, outcome }) => {
                    assert_eq!(execution, running.id());
                    assert!(outcome.is_completed());
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, ["started", "0", "1", "2"]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(hears.try_recv().is_err(), "nothing comes after the end");
        service.stop(None);
        pool.close().await;
    })
    .await;
}

/// A host that is slow holds up its worker once a window is in its mailbox, and nobody else; what it takes makes room.
#[tokio::test(start_paused = true)]
async fn a_slow_host_holds_up_its_own_worker() {
    const PIECE: usize = 16 << 10;
    const PIECES: usize = 10 * WINDOW / PIECE;
    guarded(async {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let pool = Pool::start(first_does(move |mut stage, id| {
            let counted = Arc::clone(&counted);
            async move {
                for _ in 0..PIECES {
                    stage.output(id, Stream::Stdout, vec![b'x'; PIECE]).await;
                    counted.fetch_add(PIECE, Relaxed);
                }
                stage.completed(id, "printed").await;
                Ok(stage)
            }
        }))
        .await;
        let (notices, mut mailbox) = mpsc::channel(100_000);
        let host = Host::new(move |notice| notices.try_send(notice).map_err(|_| HostGone));
        pool.runtime.execute_for("prints", host).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let in_flight = sent.load(Relaxed);
        assert!((WINDOW..=WINDOW + (256 << 10)).contains(&in_flight), "{in_flight}");
        let mut taken = 0;
        let outcome = loop {
            match mailbox.recv().await.unwrap() {
                Notice::Event { event, .. } => {
                    if let Event::Output { data, .. } = event.event() {
                        taken += data.len();
                    }
                }
                Notice::Ended { outcome, .. } => break outcome,
                other => panic!("{other:?}"),
            }
        };
        assert!(outcome.is_completed());
        assert_eq!(taken, PIECES * PIECE);
        pool.close().await;
    })
    .await;
}

/// Row 48: a host that takes no more events still gets its outcome counted, and its worker is not held.
#[tokio::test(start_paused = true)]
async fn f48_a_host_that_is_gone_holds_nothing() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            for _ in 0..4 * WINDOW / 4_096 {
                stage.output(id, Stream::Stdout, vec![b'x'; 4_096]).await;
            }
            stage.completed(id, "printed").await;
            Ok(stage)
        }))
        .await;
        let host = Host::new(|_notice| Err(HostGone));
        pool.runtime.execute_for("prints", host).await.unwrap();
        let status = pool.eventually("it has ended", |status| status.totals.in_flight == 0).await;
        assert_eq!(status.totals.completed, 1);
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// The host supervises the pool: it is told of its end, and decides what follows.
#[tokio::test(start_paused = true)]
async fn a_host_supervises_the_pool() {
    for kill in [false, true] {
        guarded(async {
            let (service, mut hears) = service().await;
            let workers = polite();
            let builder = settings(&workers).supervised_by(service.get_cell());
            let runtime = builder.start().await.unwrap();
            assert!(runtime.run("x").await.unwrap().outcome.is_completed());
            let running = runtime.execute("sleep 3600000").await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let begun = Instant::now();
            if kill {
                supervisor_of(&runtime).kill();
            } else {
                runtime.shutdown(Duration::ZERO).await;
            }
            assert!(matches!(running.outcome().await, Outcome::Lost(lost) if lost.started));
            assert!(matches!(hears.recv().await, Some(Told::PoolEnded)));
            assert!(begun.elapsed() <= Duration::from_millis(1), "{:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(workers.live(), 0);
            service.stop(None);
        })
        .await;
    }
}

/// And it goes down with its host: nothing is left behind.
#[tokio::test(start_paused = true)]
async fn the_pool_ends_with_its_host() {
    guarded(async {
        let (service, _hears) = service().await;
        let workers = polite();
        let runtime = settings(&workers).supervised_by(service.get_cell()).start().await.unwrap();
        let running = runtime.execute("sleep 3600000").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        service.kill();
        assert!(matches!(running.outcome().await, Outcome::Lost(lost) if lost.started));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(workers.live(), 0);
    })
    .await;
}
