//! Fault 70: what the host does with our words and figures. A log that is full drops and counts, one that is slow costs
//! its time, one that panics costs nothing; and no request notices.

use std::{
    panic,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata as About, Recorder, SharedString, Unit};
use ostler::Outcome;
use tracing::{Event, Metadata, Subscriber, span, subscriber};

use crate::{
    support::{Pool, guarded},
    traces::be_interested,
    workers::polite,
};

/// What a host does with each event.
pub(crate) struct Sink<F>(pub(crate) F);

impl<F: Fn() + Send + Sync + 'static> Subscriber for Sink<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ostler")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {
        (self.0)();
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Says what it does and no more: the panics of this file are meant.
const MEANT: &str = "the disk of the log is full";

/// Panics that are meant are not printed: there are hundreds.
fn be_silent() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |told| {
            if told.payload().downcast_ref::<&str>() != Some(&MEANT) {
                before(told);
            }
        }));
    });
}

/// Everything that a pool can tell happens to this one, and every request has the outcome that belongs to it.
async fn serves_all() {
    let workers = polite().before_start(|number| async move {
        match number {
            3 => Err(ostler::SpawnError::System {
                action: "fork",
                program: "worker".into(),
                source: std::io::Error::from_raw_os_error(11),
            }),
            _ => Ok(()),
        }
    });
    let pool = Pool::start_with(workers, |it| it.max_sessions(2).min_idle(1)).await;
    for round in 0..3 {
        let code = format!("round {round}");
        assert_eq!(pool.outcome(&code).await.value(), Some(&code.as_str().into()));
        assert!(matches!(pool.outcome("raise X").await, Outcome::Failed(_)));
        assert!(matches!(pool.outcome("die 9").await, Outcome::Lost(lost) if lost.started));
        let session = pool.runtime.session().await.unwrap();
        assert_eq!(session.run("x").await.unwrap().value(), Some(&"x".into()));
        let execution = pool.runtime.execute("sleep 3600000").await.unwrap();
        execution.cancel();
        assert!(matches!(execution.outcome().await, Outcome::Cancelled(_)));
    }
    pool.runtime.reload(ostler::WorkerSpec::python()).await.unwrap();
    // Long enough for figures to be published.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = pool.status().await;
    assert_eq!((status.totals.completed, status.totals.failed), (6, 3), "{status:?}");
    assert_eq!(
        (status.totals.lost, status.totals.cancelled, status.failed.clone()),
        (3, 3, None),
        "{status:?}"
    );
    assert_eq!(status.deaths.get("actor"), None, "{status:?}");
    pool.close().await;
}

/// The usual one: a bounded channel and a thread behind it. The thread is stuck; what does not fit is dropped and
/// counted by the log.
#[tokio::test(start_paused = true)]
async fn f70_a_log_that_is_full_drops_and_counts_and_no_request_notices() {
    guarded(async {
        be_interested();
        let (lines, stuck) = mpsc::sync_channel(4);
        let (lines, dropped) = (Mutex::new(lines), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&dropped);
        let _guard = subscriber::set_default(Sink(move || {
            if lines.lock().unwrap().try_send(()).is_err() {
                counter.fetch_add(1, Relaxed);
            }
        }));
        serves_all().await;
        assert!(dropped.load(Relaxed) > 20, "{} dropped", dropped.load(Relaxed));
        assert_eq!(stuck.try_iter().count(), 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f70_a_log_that_is_slow_costs_its_time_and_no_request() {
    guarded(async {
        be_interested();
        let told = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&told);
        let _guard = subscriber::set_default(Sink(move || {
            counter.fetch_add(1, Relaxed);
            thread::sleep(Duration::from_millis(1));
        }));
        serves_all().await;
        assert!(told.load(Relaxed) > 20);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f70_a_log_that_panics_costs_no_request() {
    guarded(async {
        be_interested();
        be_silent();
        let told = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&told);
        let _guard = subscriber::set_default(Sink(move || {
            counter.fetch_add(1, Relaxed);
            panic!("{}", MEANT);
        }));
        serves_all().await;
        assert!(told.load(Relaxed) > 20, "it was not even asked");
    })
    .await;
}

/// A recorder of figures that panics whenever it is asked.
struct Broken(AtomicUsize);

impl Broken {
    fn panics(&self) -> ! {
        self.0.fetch_add(1, Relaxed);
        panic!("{}", MEANT);
    }
}

impl Recorder for Broken {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &About<'_>) -> Counter {
        self.panics()
    }
    fn register_gauge(&self, _: &Key, _: &About<'_>) -> Gauge {
        self.panics()
    }
    fn register_histogram(&self, _: &Key, _: &About<'_>) -> Histogram {
        self.panics()
    }
}

#[tokio::test(start_paused = true)]
async fn f70_a_recorder_that_panics_costs_no_request() {
    guarded(async {
        be_silent();
        let recorder = Broken(AtomicUsize::new(0));
        let _guard = metrics::set_default_local_recorder(&recorder);
        serves_all().await;
        assert!(recorder.0.load(Relaxed) >= 5, "it was asked {} times", recorder.0.load(Relaxed));
    })
    .await;
}
