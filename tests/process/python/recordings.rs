//! The flight recorder, with real workers.

use std::{fs, path::PathBuf, time::Duration};

use ostler::{
    Event, Passed, Recording, Request, Stream, Transport, WorkerSpec,
    protocol::{FromWorker, ToWorker},
};

use super::{completed, one};
use crate::support::wait::{SOON, eventually, guarded};

/// A folder of its own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("ostler-recordings-{name}-{}", std::process::id())))
    }

    /// The recordings in it, once the last one tells how its worker ended.
    async fn recordings(&self, count: usize) -> Vec<Recording> {
        let read = || -> Vec<Recording> {
            let files = fs::read_dir(&self.0).into_iter().flatten();
            files.map(|file| Recording::read(file.unwrap().path()).unwrap()).collect()
        };
        // What a dead worker had still said is read behind its end.
        let ended = |recording: &Recording| {
            let is_bye = |it: &FromWorker| matches!(it, FromWorker::Bye);
            let has =
                |test: &dyn Fn(&Passed) -> bool| recording.entries.iter().any(|entry| test(&entry.what));
            has(&|what| matches!(what, Passed::Exited(_)))
                && has(&|what| matches!(what, Passed::FromWorker(message) if is_bye(message)))
        };
        let all = || read().iter().filter(|it| ended(it)).count() == count;
        eventually("the recordings are written", SOON * 10, all).await;
        read()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything that passed is there, in its order, and each worker has a recording of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_tells_all_that_passed() {
    guarded(async {
        for transport in [Transport::Socket, Transport::Stdio] {
            let folder = Folder::new(&format!("{transport:?}"));
            let spec = WorkerSpec::python().transport(transport);
            let builder = ostler::Runtime::builder(spec)
                .max_sessions(1)
                .grace(Duration::from_secs(20))
                .record(&folder.0);
            let runtime = builder.start().await.unwrap();
            let mut asks = runtime.execute("print('asked', input('name? '))").await.unwrap();
            while let Some(event) = asks.next().await {
                if let Event::Input(question) = event {
                    asks.input(question.request, "Ada");
                }
            }
            completed(&runtime.run(Request::python("6 * 7")).await.unwrap());
            runtime.shutdown(Duration::from_secs(5)).await;

            let [recording] = folder.recordings(1).await.try_into().unwrap();
            let mut printed = Vec::new();
            let mut told = Vec::new();
            for entry in &recording.entries {
                match &entry.what {
                    Passed::ToWorker(message) => match &**message {
                        ToWorker::Execute(execute) => told.push(execute.code.clone()),
                        ToWorker::InputResponse(answer) => told.push(answer.value.clone().unwrap()),
                        other => told.push(other.type_name().to_owned()),
                    },
                    Passed::FromWorker(message) => match &**message {
                        FromWorker::Output(output) => printed.extend_from_slice(&output.data),
                        other => told.push(other.type_name().to_owned()),
                    },
                    Passed::Output { stream: Stream::Stdout, data } => printed.extend_from_slice(data),
                    Passed::Exited(how) => told.push(how.clone()),
                    other => panic!("{other:?}"),
                }
            }
            let expected = [
                "ready",
                "init",
                "print('asked', input('name? '))",
                "started",
                "input_request",
                "Ada",
                "result",
                "6 * 7",
                "started",
                "result",
                "shutdown",
            ];
            let ends = told.split_off(expected.len());
            assert_eq!(told, expected, "{transport:?}");
            assert!(ends == ["bye", "exit code 0"] || ends == ["exit code 0", "bye"], "{ends:?}");
            assert!(String::from_utf8_lossy(&printed).ends_with("asked Ada\n"), "{printed:?}");
            assert!(recording.entries.is_sorted_by_key(|entry| entry.at));
        }
    })
    .await;
}

/// A disk that takes nothing costs no request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_cannot_be_written_is_given_up() {
    guarded(async {
        let folder = Folder::new("gone");
        let runtime = one().min_idle(0).record(&folder.0).start().await.unwrap();
        fs::remove_dir_all(&folder.0).unwrap();
        completed(&runtime.run("1").await.unwrap());
        let file = Folder::new("file");
        fs::write(&file.0, "in the way").unwrap();
        let refused = one().record(&file.0).start().await.unwrap_err().to_string();
        assert!(refused.contains("record") && refused.contains("ostler-recordings-file"), "{refused}");
        fs::remove_file(&file.0).unwrap();
    })
    .await;
}
