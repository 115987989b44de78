//! What Python code leaves running when it ends: it is in nobody else's way, and in nobody else's report.

use ostler::{Request, Runtime, WorkerSpec};

use crate::support::wait::{guarded, pool_is};

/// Threads, children and tasks of one tenant end with their worker, before another is served.
#[tokio::test]
async fn what_a_stateless_execution_leaves_ends_with_its_worker() {
    guarded(async {
        let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(1).start().await.unwrap();
        for (number, (code, left)) in [
            (
                "import threading, time\ndef late():\n    while True:\n        time.sleep(0.002)\n        print('secret of A')\n\
                 threading.Thread(target=late, daemon=True, name='pump').start()",
                "thread pump",
            ),
            (
                "import subprocess\nchild = subprocess.Popen(['sh', '-c', 'while sleep 0.01; do echo secret of A; done'])",
                "child process",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let report = runtime.run(Request::new(code).tenant("a")).await.unwrap();
            assert!(report.outcome.is_completed(), "{}", report.outcome);
            assert!(report.left.iter().any(|what| what.starts_with(left)), "{code}: {:?}", report.left);
            let next = Request::new("import time; time.sleep(0.1); 1").tenant("b");
            let next = runtime.run(next).await.unwrap();
            assert_eq!((next.stdout_text().as_ref(), next.value()), ("", Some(&1.into())), "{code}");
            let status = pool_is(&runtime, "it is counted", |status| status.left_over > number as u64).await;
            assert_eq!(status.left_over, number as u64 + 1, "{code}");
        }
        // What waits for work runs none of the code, and costs no worker.
        let code = "import concurrent.futures as futures, os\n\
            pool = futures.__dict__.setdefault('kept', futures.ThreadPoolExecutor(2))\n\
            pool.submit(len, '').result()\nos.getpid()";
        let first = runtime.run(code).await.unwrap();
        let second = runtime.run(code).await.unwrap();
        assert_eq!((first.value(), &first.left), (second.value(), &second.left));
        runtime.shutdown(std::time::Duration::from_secs(5)).await;
    })
    .await;
}
