//! The standard streams of scripts: piped with back-pressure, given as descriptors, or nothing.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    os::fd::OwnedFd,
    time::Duration,
};

use ostler::{Event, Request, Script, Stdio};
use tokio::io::AsyncWriteExt as _;

use super::folder;
use crate::support::wait::guarded;

/// Cases c06 to c09: `input()`, `sys.stdin`, `open(0)` and children read one stream of bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_is_one_stream_of_bytes_for_everyone_who_reads_it() {
    let code = "import os, subprocess, sys\n\
                print(repr(os.read(0, 3)), flush=True)\n\
                subprocess.run(['head', '-c', '4'])\n\
                print(repr(sys.stdin.buffer.read(256) == bytes(range(256))))\n\
                print(repr(sys.stdin.readline()), repr(input()))\n\
                print(len(open(0, 'rb').read()))";
    guarded(async {
        let (_folder, builder) = folder(&[("a.py", code)]);
        let runtime = builder.start().await.unwrap();
        // In steps: a child that reads from a pipe takes what is there.
        let code = Request::from(Script::file("a.py").stdin(Stdio::Piped));
        let mut execution = runtime.execute(code).await.unwrap();
        let mut input = execution.stdin().unwrap();
        assert!(execution.stdin().is_none(), "it was given away");
        let mut said = String::new();
        input.write_all(b"abc").await.unwrap();
        read_until(&mut execution, &mut said, "b'abc'").await;
        input.write_all(b"def\n").await.unwrap();
        read_until(&mut execution, &mut said, "def\n").await;
        let all: Vec<u8> = (0..=255).collect();
        input.write_all(&all).await.unwrap();
        input.write_all(b"a line\nanother\n").await.unwrap();
        input.write_all(&[7; 5000]).await.unwrap();
        input.shutdown().await.unwrap();
        while let Some(event) = execution.next().await {
            add(event, &mut said);
        }
        assert!(execution.outcome().await.is_completed());
        assert!(
            said.ends_with("True\n'a line\\n' 'another'\n0\n")
                || said.contains("True\n'a line\\n' 'another'\n"),
            "{said}"
        );
    })
    .await;
}

async fn read_until(execution: &mut ostler::Execution, said: &mut String, word: &str) {
    while !said.contains(word) {
        add(execution.next().await.unwrap(), said);
    }
}

fn add(event: Event, said: &mut String) {
    if let Event::Output { data, .. } = event {
        said.push_str(&String::from_utf8_lossy(&data));
    }
}

/// Nobody who writes waits for ever for a script that does not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_waits_for_the_script_and_fails_when_it_has_closed_its_input() {
    let code = "import os, time\nos.close(0)\nprint('closed', flush=True)\ntime.sleep(60)";
    guarded(async {
        let (_folder, builder) = folder(&[("a.py", code)]);
        let runtime = builder.start().await.unwrap();
        let mut execution = runtime.execute(Script::file("a.py").stdin(Stdio::Piped)).await.unwrap();
        let mut input = execution.stdin().unwrap();
        let mut said = String::new();
        read_until(&mut execution, &mut said, "closed").await;
        let error = input.write_all(&vec![0; 1 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    })
    .await;
}

/// Back-pressure holds for scripts as for workers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_nobody_takes_waits_and_all_of_it_arrives() {
    let code = "import sys\nfor n in range(200000): print(n)\nprint('to stderr', file=sys.stderr)";
    guarded(async {
        let (_folder, builder) = folder(&[("a.py", code)]);
        let runtime = builder.start().await.unwrap();
        let mut execution = runtime.execute(Script::file("a.py")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(event) = execution.next().await {
            match event {
                Event::Output { stream: ostler::Stream::Stdout, data } => out.extend_from_slice(&data),
                Event::Output { data, .. } => err.extend_from_slice(&data),
                _ => {}
            }
        }
        let expected: String = (0..200_000).map(|n| format!("{n}\n")).collect();
        assert_eq!(out.len(), expected.len());
        assert_eq!(out, expected.as_bytes());
        assert_eq!(err, b"to stderr\n");
        assert!(execution.outcome().await.is_completed());
    })
    .await;
}

/// Case c19: two streams that lead to one place keep their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_descriptor_is_written_to_by_the_script_itself() {
    let code = "import os, sys\nfor n in range(50):\n    print('out', n, flush=True); print('err', n, file=sys.stderr, flush=True)";
    guarded(async {
        let (_folder, builder) = folder(&[("a.py", code)]);
        let runtime = builder.start().await.unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let given = |file: &File| Stdio::from(OwnedFd::from(file.try_clone().unwrap()));
        let script = Script::file("a.py").stdout(given(&file)).stderr(given(&file));
        let report = runtime.run(script).await.unwrap();
        assert!(report.outcome.is_completed(), "{}", report.outcome);
        assert!(report.stdout.is_empty());
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        let expected: String = (0..50).map(|n| format!("out {n}\nerr {n}\n")).collect();
        assert_eq!(text, expected);
    })
    .await;
}
