//! How long the cancel of a call takes, and what becomes of its server.

use ostler::config::HEARD_CANCEL_LIMIT;

use super::*;

/// How an MCP server that answers what was cancelled after so long, or never, is cancelled, and how long that took.
async fn cancels(grace: Duration, after: Option<Duration>, hears: bool) -> (CancelStage, Duration) {
    guarded(async {
        let spec = WorkerSpec::mcp("scripted");
        let workers = ScriptedSpawner::new(move |mut stage| async move {
            let mut hung = None;
            while let Some(line) = stage.recv_line().await {
                match call_of(&line) {
                    Some((id, method)) if method == "hang" => hung = Some(id),
                    Some((id, _)) => answers(&mut stage, id).await,
                    None if hung.is_none() || hears => obliges(&mut stage, &line).await,
                    None => {}
                }
                if line.contains("\"ping\"")
                    && let (Some(id), Some(after)) = (hung, after)
                {
                    tokio::time::sleep(after).await;
                    answers(&mut stage, id).await;
                }
            }
            Exit::Code(0)
        });
        let pool = pool_of(spec.clone(), workers.server(&spec), |it| it.grace(grace)).await;
        let execution = call(&pool, "hang").await;
        settle().await;
        let begun = Instant::now();
        execution.cancel();
        let outcome = execution.outcome().await;
        let took = begun.elapsed();
        let stage = match outcome {
            Outcome::Cancelled(Cancelled { stage, .. }) => stage,
            Outcome::Completed(_) => CancelStage::Interrupt,
            other => panic!("{other}"),
        };
        served_by(&pool, if stage == CancelStage::Kill { 2 } else { 1 }).await;
        pool.close().await;
        (stage, took)
    })
    .await
}

/// A server that has shown that it heard of a cancel, by the ping behind it, and does not answer, is not waited for.
#[tokio::test(start_paused = true)]
async fn a_cancel_that_an_mcp_server_has_heard_of_does_not_take_the_grace() {
    let (grace, short, ms) = (Duration::from_secs(60), Duration::from_millis(30), Duration::from_millis);
    // The clock of timers counts whole milliseconds, and rounds up.
    let near = |(stage, took): (CancelStage, Duration), expected: Duration| {
        assert!((expected..expected + ms(3)).contains(&took), "{took:?} in place of {expected:?}");
        stage
    };
    assert_eq!(near(cancels(grace, None, true).await, HEARD_CANCEL_LIMIT), CancelStage::Abandoned);
    assert_eq!(near(cancels(short, None, true).await, short), CancelStage::Abandoned);
    assert_eq!(
        near(cancels(grace, Some(ms(50)), true).await, ms(50)),
        CancelStage::Interrupt,
        "it may answer"
    );
    assert_eq!(
        near(cancels(grace, None, false).await, grace),
        CancelStage::Kill,
        "who hears nothing has the grace"
    );
    assert_eq!(near(cancels(grace, Some(ms(900)), false).await, ms(900)), CancelStage::Interrupt);
}
