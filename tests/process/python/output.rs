//! What code prints: in order, while it runs, and never in the wrong place (P4).

use ostler::{Event, Failure, Outcome, Request, Runtime, SessionEvent, Stream, Transport, WorkerSpec};

use super::{completed, one, prints};
use crate::support::wait::guarded;

/// Fault 30: stopped at its limit, what it printed until then is kept, and the worker serves on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f30_code_that_prints_more_than_it_may_is_stopped() {
    guarded(async {
        let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(1).start().await.unwrap();
        let flood = Request::python("while True: print('x' * 1000)").max_output(100_000);
        let report = runtime.run(flood).await.unwrap();
        let Outcome::Failed(Failure::OutputLimit { limit: 100_000, printed }) = report.outcome else {
            panic!("{}", report.outcome)
        };
        assert!(printed > 100_000 && report.stdout.len() as u64 >= 100_000, "{printed}");
        let enough = Request::python("print('x' * 999)").max_output(1_000);
        completed(&runtime.run(enough).await.unwrap());
        assert_eq!(runtime.status().await.spawned, 1, "it obeyed");
    })
    .await;
}

/// P1: a caller that takes all there is, and a worker that never stops, do not hold up the deadline between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_is_told_in_a_flood_that_is_taken() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let flood = "import os\nwhile True: os.write(1, b'x')";
        let request = Request::python(flood).deadline(std::time::Duration::from_millis(300));
        let report = runtime.run(request).await.unwrap();
        assert!(matches!(report.outcome, Outcome::TimedOut(_)), "{}", report.outcome);
        assert!(!report.stdout.is_empty());
    })
    .await;
}

/// C2, C10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_streamed_in_order_while_the_code_runs() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let mut execution = runtime.execute("for i in range(3): print(i, input())").await.unwrap();
        assert!(matches!(execution.next().await, Some(Event::Started { pid: Some(_), .. })));
        for i in 0..3 {
            let Some(Event::Input(input)) = execution.next().await else { panic!("no question {i}") };
            execution.input(input.request, "answer");
            // The next line is printed only after the answer to the next question: this one came while it ran.
            let Some(Event::Output { stream, data }) = execution.next().await else { panic!("no line {i}") };
            assert_eq!((stream, &data[..]), (Stream::Stdout, format!("{i} answer\n").as_bytes()));
        }
        assert!(execution.next().await.is_none());
        assert!(execution.outcome().await.is_completed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f28_output_from_below_python_keeps_its_place() {
    let code = "import ctypes, os, subprocess, sys\nlibc = ctypes.CDLL(None)\nfor i in range(50):\n    \
                print('print', i)\n    os.write(1, b'write %d\\n' % i)\n    \
                libc.puts(b'puts %d' % i); libc.fflush(None)\n    \
                if i % 10 == 0: subprocess.run(['echo', f'echo {i}'])\n    \
                if i % 25 == 0: os.system(f'echo system {i}')\n    sys.stdout.write(f'end {i}\\n')";
    guarded(async {
        let runtime = one().start().await.unwrap();
        let report = runtime.run(code).await.unwrap();
        completed(&report);
        let mut expected = String::new();
        for i in 0..50 {
            expected.push_str(&format!("print {i}\nwrite {i}\nputs {i}\n"));
            if i % 10 == 0 {
                expected.push_str(&format!("echo {i}\n"));
            }
            if i % 25 == 0 {
                expected.push_str(&format!("system {i}\n"));
            }
            expected.push_str(&format!("end {i}\n"));
        }
        assert_eq!(report.stdout_text(), expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f31_one_huge_line_arrives_whole_and_in_chunks() {
    const LEN: usize = 8 << 20;
    guarded(async {
        let runtime = one().start().await.unwrap();
        let code = format!("import sys\nfor i in range({}): sys.stdout.write('%08d' % i)", LEN / 8);
        let mut execution = runtime.execute(code).await.unwrap();
        let (mut line, mut chunks) = (Vec::new(), 0);
        while let Some(event) = execution.next().await {
            if let Event::Output { data, .. } = event {
                assert!(data.len() <= 64 << 10, "a chunk of {} bytes", data.len());
                line.extend_from_slice(&data);
                chunks += 1;
            }
        }
        assert!(execution.outcome().await.is_completed());
        assert_eq!(line.len(), LEN);
        assert!(chunks >= LEN / (64 << 10), "{chunks} chunks");
        for (at, number) in line.chunks(8).enumerate() {
            assert_eq!(number, format!("{at:08}").as_bytes());
        }
    })
    .await;
}

/// P4: what was printed last is there before the outcome, on every one of many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_words_are_never_lost() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let session = runtime.session().await.unwrap();
        for i in 0..300 {
            let printed = prints(&session, &format!("import os\nos.write(1, b'{i}')")).await;
            assert_eq!(printed, i.to_string());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_output_belongs_to_the_session_and_never_to_the_next_execution() {
    let background = "import os, threading\ngo = threading.Event()\ndef speak():\n    go.wait()\n    \
                      os.write(1, b'from the background\\n')\nthread = threading.Thread(target=speak)\nthread.start()";
    guarded(async {
        let runtime = one().start().await.unwrap();
        let mut session = runtime.session().await.unwrap();
        prints(&session, background).await;
        // It speaks after this execution has ended: a timer waits for the worker to be idle.
        let code = "threading.Timer(0.05, go.set).start()";
        assert_eq!(prints(&session, code).await, "");
        let (stream, data) = loop {
            match session.next_event().await {
                Some(SessionEvent::Background { stream, data }) => break (stream, data),
                // The threads, which both executions left running.
                Some(SessionEvent::Left { .. }) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((stream, &data[..]), (Stream::Stdout, b"from the background\n".as_slice()));
        assert_eq!(prints(&session, "thread.join()\nprint('mine')").await, "mine\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdout_and_stderr_are_told_apart() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let report = runtime.run("import sys\nprint('out')\nprint('err', file=sys.stderr)").await.unwrap();
        assert_eq!((&*report.stdout_text(), &*report.stderr_text()), ("out\n", "err\n"));
    })
    .await;
}

/// A12: a hundred thousand messages of a real worker, each as it was sent, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_lines_arrive_in_order() {
    const LINES: usize = 100_000;
    guarded(async {
        for transport in [Transport::Socket, Transport::Stdio] {
            let spec = WorkerSpec::python().transport(transport);
            let runtime = Runtime::builder(spec).max_sessions(1).start().await.unwrap();
            let code = format!("for i in range({LINES}): print(i, flush=i % 10 == 0)");
            let mut execution = runtime.execute(code).await.unwrap();
            let mut printed = Vec::new();
            while let Some(event) = execution.next().await {
                match event {
                    Event::Started { .. } => assert!(printed.is_empty()),
                    Event::Output { stream: Stream::Stdout, data } => printed.extend_from_slice(&data),
                    other => panic!("{other:?}"),
                }
            }
            assert!(execution.outcome().await.is_completed());
            let printed = String::from_utf8(printed).unwrap();
            let mut lines = printed.lines();
            for i in 0..LINES {
                assert_eq!(lines.next(), Some(&*i.to_string()), "{transport:?}");
            }
            assert_eq!(lines.next(), None);
        }
    })
    .await;
}
