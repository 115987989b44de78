//! Workers with names: one that does what it should, and those that do not.

use std::time::Duration;

use ostler::{
    ExecutionId, Exit, Stream,
    protocol::{ExecutionResult, FromWorker, Output, ToWorker},
    testing::{Fact, ScriptedSpawner, Stage},
};

/// What follows a worker's bad deed: it goes on as if nothing had been, or ends.
pub(crate) type Then = Result<Stage, Exit>;

/// Workers that do what they should. What they run is a word: see [`obey`].
pub(crate) fn polite() -> ScriptedSpawner {
    ScriptedSpawner::new(serve)
}

/// Workers of which the first misbehaves when its first execution has started; all others are polite.
pub(crate) fn first_does<F>(
    deed: impl Fn(Stage, ExecutionId) -> F + Clone + Send + Sync + 'static,
) -> ScriptedSpawner
where
    F: Future<Output = Then> + Send + 'static,
{
    ScriptedSpawner::new(move |mut stage| {
        let deed = deed.clone();
        async move {
            stage.ready().await;
            if stage.number() > 1 {
                return serve_on(stage).await;
            }
            let Some(execute) = stage.next_execute().await else { return Exit::Code(0) };
            stage.started(execute.id).await;
            match deed(stage, execute.id).await {
                Ok(stage) => serve_on(stage).await,
                Err(exit) => exit,
            }
        }
    })
}

/// The whole life of a worker that does what it should.
pub(crate) async fn serve(mut stage: Stage) -> Exit {
    stage.ready().await;
    serve_on(stage).await
}

pub(crate) async fn serve_on(mut stage: Stage) -> Exit {
    while let Some(execute) = stage.next_execute().await {
        stage.started(execute.id).await;
        if let Some(exit) = obey(&mut stage, execute.id, &execute.code).await {
            return exit;
        }
    }
    Exit::Code(0)
}

/// What polite workers run in place of Python: a word, and for some a number.
///
/// `worker` is the number of the worker; `sleep MS` can be cancelled; `print N` sends N pieces of output;
/// `raise TEXT` fails; `exit CODE` and `die SIGNAL` end the worker; any other code is its own value.
pub(crate) async fn obey(stage: &mut Stage, id: ExecutionId, code: &str) -> Option<Exit> {
    let (word, rest) = code.split_once(' ').unwrap_or((code, ""));
    let number = || rest.parse::<u32>().unwrap_or_else(|_| panic!("a number after `{word}`, not `{rest}`"));
    match word {
        "worker" => stage.completed(id, stage.number() as u64).await,
        "sleep" => {
            let asleep = tokio::time::sleep(Duration::from_millis(number().into()));
            tokio::select! {
                biased;
                _cancel = stage.wait_for_cancel(id) => stage.cancelled(id).await,
                () = asleep => stage.completed(id, code).await,
            }
        }
        "print" => {
            for piece in 0..number() {
                stage.output(id, Stream::Stdout, piece.to_string()).await;
            }
            stage.completed(id, code).await;
        }
        "raise" => stage.failed(id, "ValueError", rest).await,
        "exit" => return Some(Exit::Code(number().cast_signed())),
        "die" => return Some(Exit::Signal(number().cast_signed())),
        _ => stage.completed(id, code).await,
    }
    None
}

/// Runs for ever, and reads on without obeying.
pub(crate) async fn silent(mut stage: Stage, _id: ExecutionId) -> Then {
    while stage.recv().await.is_some() {}
    std::future::pending().await
}

/// Runs for ever, and reads nothing any more.
pub(crate) async fn deaf(stage: Stage, _id: ExecutionId) -> Then {
    let _held = stage;
    std::future::pending().await
}

/// Prints without end: 64 MB a second, for a paused clock stands still while anything goes on.
pub(crate) async fn chatty(mut stage: Stage, id: ExecutionId) -> Then {
    loop {
        stage.output(id, Stream::Stdout, vec![b'x'; 64 << 10]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Answers for an execution that it was never given.
pub(crate) async fn liar(mut stage: Stage, id: ExecutionId) -> Then {
    stage.completed(ExecutionId(id.get() + 1_000_000), "not yours").await;
    Ok(stage)
}

/// Prints where frames are expected.
pub(crate) async fn babbler(mut stage: Stage, _id: ExecutionId) -> Then {
    stage.send_bytes(b"hello from print()\n").await;
    Ok(stage)
}

/// Closes its channel and lives on.
pub(crate) async fn zombie(mut stage: Stage, _id: ExecutionId) -> Then {
    stage.close_channel();
    std::future::pending().await
}

/// Answers twice.
pub(crate) async fn stutterer(mut stage: Stage, id: ExecutionId) -> Then {
    stage.completed(id, "once").await;
    stage.completed(id, "twice").await;
    Ok(stage)
}

/// Sends the number of a piece of output wrong: `second` follows 0.
pub(crate) async fn miscounter(mut stage: Stage, id: ExecutionId, second: u64) -> Then {
    for seq in [0, second] {
        stage.send(&FromWorker::Output(Output::new(id, Stream::Stdout, seq, vec![b'x']))).await;
    }
    stage.completed(id, "counted").await;
    Ok(stage)
}

/// Dies in the middle of its answer: after `sent` bytes of it.
pub(crate) async fn half_spoken(mut stage: Stage, id: ExecutionId, sent: usize) -> Then {
    let frame = stage.frame(&FromWorker::Result(ExecutionResult::new(id, 0.5)));
    stage.send_bytes(&frame[..sent]).await;
    Err(Exit::Signal(9))
}

/// How often the workers of this pool were given code that reads so.
pub(crate) fn given(workers: &ScriptedSpawner, code: &str) -> usize {
    let is_it =
        |fact: &Fact| matches!(fact, Fact::Received(ToWorker::Execute(execute)) if execute.code == code);
    workers.log().iter().filter(|entry| is_it(&entry.fact)).count()
}
