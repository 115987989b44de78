//! What a pool publishes (F6, P16).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use crate::{
    support::{Pool, guarded},
    workers::polite,
};

#[tokio::test(start_paused = true)]
async fn f6_every_figure_is_published_under_its_name_and_they_add_up() {
    guarded(async {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        // An error means that another test has installed one; there is none.
        recorder.install().unwrap();
        let pool = Pool::start_with(polite(), |it| it.name("measured").max_sessions(1).queue(4)).await;
        assert!(pool.runtime.run("x").await.unwrap().outcome.is_completed());
        drop(pool.runtime.run("die 9").await.unwrap());
        let running = pool.runtime.execute("sleep 5000").await.unwrap();
        let waiting = pool.runtime.execute("waits").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;

        let mut figures = BTreeMap::new();
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            let (name, labels) = key.key().clone().into_parts();
            if !labels.iter().any(|label| label.key() == "pool" && label.value() == "measured") {
                continue;
            }
            let other = labels.iter().find(|label| label.key() != "pool");
            let label = other.map_or(String::new(), |label| format!("{}={}", label.key(), label.value()));
            let value = match value {
                DebugValue::Counter(value) => value as f64,
                DebugValue::Gauge(value) => value.0,
                DebugValue::Histogram(_) => continue,
            };
            figures.insert((name.as_str().to_owned(), label), value);
        }
        let figure = |name: &str, label: &str| {
            let found = figures.get(&(format!("ostler_{name}"), label.to_owned()));
            *found.unwrap_or_else(|| panic!("no ostler_{name} {label}: {figures:#?}"))
        };
        assert_eq!(figure("requests_accepted_total", ""), 4.0);
        assert_eq!(figure("requests_ended_total", "outcome=completed"), 1.0);
        assert_eq!(figure("requests_ended_total", "outcome=lost"), 1.0);
        assert_eq!((figure("requests_in_flight", ""), figure("requests_queued", "")), (2.0, 1.0));
        assert_eq!(figure("sessions", "state=busy"), 1.0);
        assert_eq!(figure("workers_spawned_total", ""), 2.0);
        assert_eq!(figure("workers_ended_total", "cause=itself"), 1.0);
        let ended: f64 = figures
            .iter()
            .filter(|((name, _), _)| name == "ostler_requests_ended_total")
            .map(|(_, n)| n)
            .sum();
        assert_eq!(ended + figure("requests_in_flight", ""), figure("requests_accepted_total", ""), "P16");

        let page = std::fs::read_to_string("docs/src/operating.md").unwrap();
        let names: BTreeSet<_> = figures.keys().map(|(name, _)| name).collect();
        for name in &names {
            assert!(page.contains(&format!("`{name}`")), "the book does not list `{name}`");
        }
        assert_eq!(page.matches("| `ostler_").count(), names.len(), "the book lists what is not published");
        for execution in [running, waiting] {
            assert!(execution.outcome().await.is_completed());
        }
        pool.close().await;
    })
    .await;
}
