//! How workers end, and what they are told meanwhile.

use super::*;

#[tokio::test]
async fn the_exit_says_how_the_worker_ended() {
    for (script, expected) in [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("kill -SEGV $$", Exit::Signal(11)),
        ("kill -ABRT $$", Exit::Signal(6)),
        ("kill -TERM $$", Exit::Signal(15)),
        ("kill -KILL $$", Exit::Signal(9)),
    ] {
        let worker = start(sh(script)).await;
        assert_eq!(soon("exit", worker.exit).await, expected, "after `{script}`");
    }
}

#[tokio::test]
async fn a_killed_worker_is_dead_at_once_and_may_be_killed_again() {
    let worker = start(sh("trap '' INT TERM HUP; while :; do sleep 1000; done")).await;
    worker.control.kill();
    worker.control.kill();
    assert_eq!(soon("exit", worker.exit).await, Exit::Signal(9));
    worker.control.kill();
    worker.control.interrupt();
}

/// f5: what it wrote before it died is still there to be read.
#[tokio::test]
async fn f5_the_words_of_a_worker_that_dies_at_once_can_be_read_after_its_exit() {
    let worker = start(sh("echo no such module >&2; exit 3")).await;
    assert_eq!(soon("exit", worker.exit).await, Exit::Code(3));
    let mut said = bytes::BytesMut::new();
    worker.stderr.unwrap().read_held(&mut said).unwrap();
    assert_eq!(said, "no such module\n");
}

/// f37: the exit is the worker's, not the end of its pipes; and its group ends with it.
#[tokio::test]
async fn f37_a_grandchild_that_holds_the_pipe_neither_delays_the_exit_nor_survives_it() {
    let tag = tag();
    let mut worker = start_tagged(sh("sleep 1000 & echo $!; exit 0"), &tag).await;
    let grandchild: u32 = line(&mut worker).await.parse().unwrap();
    assert_eq!(soon("exit", &mut worker.exit).await, Exit::Code(0));
    assert_eq!(rest(&mut worker).await, "", "nobody holds the pipe");
    assert!(!tagged(&tag).contains(&grandchild));
}

#[tokio::test]
async fn an_interrupt_rings_the_worker_and_reaches_what_it_has_started_in_its_group() {
    let script = "
import os, signal, subprocess, sys
def say(text): os.write(1, text.encode() + b'\\n')
signal.signal(signal.SIGURG, lambda *_: say('bell'))
signal.signal(signal.SIGINT, lambda *_: say('a worker is told by a message'))
say('alone')
sys.stdin.readline()
apart = subprocess.Popen(['sleep', '1000'], start_new_session=True)
child = subprocess.Popen(['sh', '-c', 'trap : INT; sh -c \"echo child; exec sleep 1000\"; exit $?'])
say('child ended with ' + str(child.wait()))
say('apart: ' + str(apart.poll()))
sys.stdin.readline()
";
    let mut worker = start(WorkerSpec::command("python3").arg("-c").arg(script)).await;
    assert_eq!(line(&mut worker).await, "alone");
    worker.control.interrupt();
    assert_eq!(line(&mut worker).await, "bell");
    write(&worker, b"\n").await;
    assert_eq!(line(&mut worker).await, "child");
    worker.control.interrupt();
    let mut told = [line(&mut worker).await, line(&mut worker).await, line(&mut worker).await];
    told.sort();
    assert_eq!(told, ["apart: None", "bell", "child ended with 130"]);
}

async fn write(worker: &Worker, bytes: &[u8]) {
    soon("a writable pipe", std::future::poll_fn(|context| worker.outbox.poll_writable(context)))
        .await
        .unwrap();
    assert_eq!(worker.outbox.try_write(bytes).unwrap(), bytes.len());
}

/// f16: a crash leaves no core file, whatever the host's own limit is.
#[tokio::test]
async fn a_worker_dumps_no_core() {
    let mut worker = start(sh("read go; ulimit -c; ulimit -Hc")).await;
    write(&worker, b"\n").await;
    assert_eq!(rest(&mut worker).await, "0\n0\n");
}

/// f61: a worker that asked to die with its parent lives on when the thread that wanted it ends.
#[tokio::test]
async fn f61_a_worker_outlives_the_thread_that_asked_for_it() {
    let script = "
import ctypes, signal, sys
assert ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0) == 0
print('armed', flush=True)
print('answer to', sys.stdin.readline(), end='', flush=True)
";
    let spec = WorkerSpec::command("python3").arg("-c").arg(script);
    let handle = tokio::runtime::Handle::current();
    let asking = std::thread::spawn(move || {
        handle.block_on(async {
            let mut worker = start(spec).await;
            assert_eq!(line(&mut worker).await, "armed");
            worker
        })
    });
    let mut worker =
        soon("the asking thread", tokio::task::spawn_blocking(|| asking.join())).await.unwrap().unwrap();
    write(&worker, b"a question\n").await;
    assert_eq!(line(&mut worker).await, "answer to a question");
    assert_eq!(soon("exit", worker.exit).await, Exit::Code(0));
}

#[tokio::test]
async fn what_a_pipe_holds_is_read_exactly_and_a_writer_cannot_hold_the_reader() {
    let mut worker = start(sh("printf held >&2; echo done; exec yes >&2")).await;
    assert_eq!(line(&mut worker).await, "done");
    let pipe = worker.stderr.as_mut().unwrap();
    let mut read = bytes::BytesMut::new();
    let held = pipe.read_held(&mut read).unwrap();
    assert!(read.starts_with(b"held"));
    assert_eq!(held, read.len());
    for _ in 0..100 {
        let before = read.len();
        assert_eq!(pipe.read_held(&mut read).unwrap(), read.len() - before, "appends");
    }
}
