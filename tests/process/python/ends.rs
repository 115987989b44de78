//! How a leased session ends: in order, as a program does; and how a worker does that nobody leases: at once.

use std::{fs, time::Duration};

use ostler::{Session, SessionEvent};

use super::{one, prints};
use crate::support::wait::{SOON, eventually, guarded};

/// All that a session prints from here to its end, and whether it was killed.
async fn last_words(session: &mut Session) -> (String, bool) {
    let (mut printed, mut killed) = (String::new(), None);
    while let Some(event) = session.next_event().await {
        assert_eq!(killed, None, "nothing comes behind the end: {event:?}");
        match event {
            SessionEvent::Background { data, .. } => printed += &String::from_utf8_lossy(&data),
            SessionEvent::Left { .. } => {}
            SessionEvent::Ended { killed: it, .. } => killed = Some(it),
            other => panic!("{other:?}"),
        }
    }
    (printed, killed.expect("its end is told"))
}

/// Code that leaves a file unwritten, an exit handler, and a thread that does both a little later.
const LEAVES: &str = "import atexit, threading, time\n\
    def late():\n    time.sleep(0.3)\n    print('late')\n    with open(f'{folder}/late', 'w') as file:\n        file.write('b')\n\n\
    atexit.register(print, 'bye')\nkept = open(f'{folder}/kept', 'w')\nkept.write('a')\n\
    threading.Thread(target=late).start()";

#[tokio::test]
async fn a_closed_session_ends_in_order_and_tells_what_it_prints() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let runtime = one().grace(SOON).start().await.unwrap();
        let mut session = runtime.session().await.unwrap();
        prints(&session, &format!("folder = {:?}\n{LEAVES}", folder.path())).await;
        session.close();
        assert!(session.execute("1").await.is_err(), "it takes nothing more");
        assert_eq!(last_words(&mut session).await, ("late\nbye\n".into(), false));
        for (name, written) in [("kept", "a"), ("late", "b")] {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), written);
        }
        runtime.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_dropped_session_ends_in_order_too() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let runtime = one().max_sessions(2).grace(SOON).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        prints(&session, &format!("folder = {:?}\n{LEAVES}", folder.path())).await;
        drop(session);
        // In a place of its own, so it waits for nobody.
        assert_eq!(prints(&runtime.session().await.unwrap(), "print(1)").await, "1\n");
        let late = folder.path().join("late");
        eventually("the thread ends", SOON, || fs::read_to_string(&late).is_ok_and(|text| text == "b")).await;
        assert_eq!(fs::read_to_string(folder.path().join("kept")).unwrap(), "a");
        runtime.shutdown(SOON).await;
    })
    .await;
}

#[tokio::test]
async fn the_sessions_of_a_pool_that_ends_do_so_in_order() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let runtime = one().grace(SOON).start().await.unwrap();
        let mut session = runtime.session().await.unwrap();
        prints(&session, &format!("folder = {:?}\n{LEAVES}", folder.path())).await;
        runtime.shutdown(SOON).await;
        assert_eq!(last_words(&mut session).await, ("late\nbye\n".into(), false));
        assert_eq!(fs::read_to_string(folder.path().join("late")).unwrap(), "b");
    })
    .await;
}

/// Threads that stay are given up before the end of the grace, so that exit handlers run; those that hang are killed.
#[tokio::test]
async fn what_does_not_end_within_the_grace_ends_with_the_session() {
    guarded(async {
        let runtime = one().grace(Duration::from_secs(1)).start().await.unwrap();
        for (code, told, killed) in [
            (
                "import atexit, threading\natexit.register(print, 'bye', flush=True)\n\
                 threading.Thread(target=threading.Event().wait, name='idler').start()",
                "ostler: thread idler did not end in time, and ends with the session\n",
                false,
            ),
            ("import atexit, time\natexit.register(print, 'bye', flush=True)\natexit.register(time.sleep, 3600)", "", true),
        ] {
            let mut session = runtime.session().await.unwrap();
            prints(&session, code).await;
            session.close();
            let (printed, was) = last_words(&mut session).await;
            assert_eq!((printed.contains(told), printed.contains("bye\n"), was), (true, !killed, killed), "{printed}");
        }
        runtime.shutdown(Duration::ZERO).await;
    })
    .await;
}

/// Whoever comes next does not wait for what stateless code has left: that was told, and ends with its worker.
#[tokio::test]
async fn a_worker_that_nobody_leases_ends_at_once() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let runtime = one().grace(SOON).start().await.unwrap();
        let code = format!("folder = {:?}\n{LEAVES}", folder.path());
        let report = runtime.run(code.as_str()).await.unwrap();
        assert!(report.left.iter().any(|what| what.starts_with("thread")), "{:?}", report.left);
        assert_eq!(runtime.run("import os; os.getppid() > 0").await.unwrap().value(), Some(&true.into()));
        assert!(!folder.path().join("late").exists(), "nobody has waited for its thread");
        assert_eq!(fs::read_to_string(folder.path().join("kept")).unwrap(), "a");
        runtime.shutdown(SOON).await;
    })
    .await;
}
