//! The three smallest conversations (E10): start and stop; execute; execute with input.

use std::time::Duration;

use ostler::{Event, Exit, testing::ScriptedSpawner};

use crate::{
    support::{Pool, guarded},
    workers::polite,
};

#[tokio::test(start_paused = true)]
async fn a_pool_starts_and_stops() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        assert_eq!(pool.workers.live(), 1);
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_executed() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let report = pool.runtime.run("print 3").await.unwrap();
        assert_eq!(report.stdout_text(), "012");
        assert_eq!(report.value(), Some(&"print 3".into()));
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_asks_for_input() {
    guarded(async {
        let pool = Pool::start(ScriptedSpawner::new(|mut stage| async move {
            stage.ready().await;
            while let Some(execute) = stage.next_execute().await {
                stage.started(execute.id).await;
                let answer = stage.input(execute.id, "name: ").await.and_then(|answer| answer.value);
                stage.completed(execute.id, format!("hello {}", answer.unwrap_or_default())).await;
            }
            Exit::Code(0)
        }))
        .await;
        let mut execution = pool.runtime.execute("input").await.unwrap();
        while let Some(event) = execution.next().await {
            if let Event::Input(asked) = event {
                assert_eq!(asked.prompt, "name: ");
                tokio::time::sleep(Duration::from_secs(1)).await;
                execution.input(asked.request, "Ada");
            }
        }
        assert_eq!(execution.outcome().await.value(), Some(&"hello Ada".into()));
        pool.close().await;
    })
    .await;
}
