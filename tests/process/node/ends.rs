//! How a leased session of JavaScript ends: as `node FILE` does, within the grace.

use std::{fs, time::Duration};

use ostler::{Runtime, SessionEvent, Stream, WorkerSpec};

use super::node_is_there;
use crate::support::wait::{SOON, guarded};

/// What is printed between the end of the code and that of its session, on both streams.
async fn printed_at_the_end(code: &str, grace: Duration) -> [String; 2] {
    let runtime = Runtime::builder(WorkerSpec::node()).max_sessions(1).grace(grace).start().await.unwrap();
    let mut session = runtime.session().await.unwrap();
    let report = session.run(code).await.unwrap();
    assert!(report.outcome.is_completed(), "{}", report.outcome);
    session.close();
    let mut printed = [const { String::new() }; 2];
    while let Some(event) = session.next_event().await {
        match event {
            SessionEvent::Background { stream, data } => {
                printed[usize::from(stream == Stream::Stderr)] += &String::from_utf8_lossy(&data);
            }
            SessionEvent::Ended { killed, .. } => assert!(!killed),
            SessionEvent::Left { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    runtime.shutdown(Duration::ZERO).await;
    printed
}

#[tokio::test]
async fn what_is_under_way_ends_and_then_the_listeners_are_called() {
    if !node_is_there() {
        return println!("skipped: there is no `node`");
    }
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let code = format!(
            "process.on('exit', (code) => console.log('exit', code));\n\
             process.on('exit', () => {{ throw new Error('a listener fails'); }});\n\
             process.on('exit', () => console.log('last'));\n\
             process.once('beforeExit', () => {{ console.log('empty'); setTimeout(() => console.log('once more'), 1); }});\n\
             setTimeout(() => require('fs').createWriteStream({file:?}).end('written'), 50);"
        );
        let [out, err] = printed_at_the_end(&code, SOON).await;
        assert_eq!(out, "empty\nonce more\nexit 0\nlast\n");
        assert!(err.contains("a listener fails"), "{err}");
        assert_eq!(fs::read_to_string(file).unwrap(), "written");
    })
    .await;
}

#[tokio::test]
async fn what_goes_on_for_ever_ends_with_the_session() {
    if !node_is_there() {
        return println!("skipped: there is no `node`");
    }
    guarded(async {
        let code = "process.on('exit', () => console.log('exit')); setInterval(() => {}, 1000); 1";
        let [out, err] = printed_at_the_end(code, Duration::from_secs(2)).await;
        let told = "ostler: timer did not end in time, and ends with the session\n";
        assert_eq!((out.as_str(), err.as_str()), ("exit\n", told));
    })
    .await;
}
