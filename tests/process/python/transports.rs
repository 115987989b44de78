//! Both transports and both codecs keep the same promises (A2).

use std::time::Duration;

use ostler::{
    CancelStage, Codec, Event, Outcome, Request, Runtime, RuntimeBuilder, Transport, Value, WorkerSpec,
};

use super::{completed, shows};
use crate::support::wait::guarded;

fn builder(transport: Transport, codec: Codec) -> RuntimeBuilder {
    let spec = WorkerSpec::python().transport(transport).codec(codec);
    Runtime::builder(spec).max_sessions(1).grace(Duration::from_secs(20))
}

/// The core of what a worker does.
async fn core(transport: Transport, codec: Codec) {
    let runtime = builder(transport, codec).warmup("warm = 1").start().await.unwrap();

    let report =
        runtime.run("import sys\nprint('out ∑')\nprint('err', file=sys.stderr)\n[1, 'two', b'3', 4.5]").await;
    let report = report.unwrap();
    completed(&report);
    assert_eq!((&*report.stdout_text(), &*report.stderr_text()), ("out ∑\n", "err\n"));
    let value = Value::List(vec![1.into(), "two".into(), b"3".as_slice().into(), 4.5.into()]);
    assert_eq!(report.value(), Some(&value));

    let report = runtime.run("1 / 0").await.unwrap();
    assert!(
        report.outcome.to_string().ends_with("ZeroDivisionError: division by zero"),
        "{}",
        report.outcome
    );

    let session = runtime.session().await.unwrap();
    assert_eq!(shows(&session, "x = warm + 40\nx").await, "41");
    let mut execution = session.execute(Request::python("x += int(input('? '))\nx")).await.unwrap();
    let request = loop {
        match execution.next().await {
            Some(Event::Input(input)) => break input.request,
            Some(_) => {}
            None => panic!("no question"),
        }
    };
    execution.input(request, "1");
    assert_eq!(execution.outcome().await.to_string(), "42");

    let report = session.run("print('x' * 3_000_000)").await.unwrap();
    completed(&report);
    assert_eq!(report.stdout.len(), 3_000_001);

    let mut execution = session.execute("print('go')\nwhile True: pass").await.unwrap();
    while !matches!(execution.next().await, Some(Event::Output { .. })) {}
    execution.cancel();
    let outcome = execution.outcome().await;
    assert!(matches!(&outcome, Outcome::Cancelled(it) if it.stage != CancelStage::Kill), "{outcome}");
    assert_eq!(shows(&session, "x").await, "42");

    runtime.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn socket_and_messagepack_do_it_all() {
    guarded(core(Transport::Socket, Codec::MessagePack)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn socket_and_json_do_it_all() {
    guarded(core(Transport::Socket, Codec::Json)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdio_and_messagepack_do_it_all() {
    guarded(core(Transport::Stdio, Codec::MessagePack)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdio_and_json_do_it_all() {
    guarded(core(Transport::Stdio, Codec::Json)).await;
}

/// E8.
#[tokio::test(flavor = "current_thread")]
async fn one_thread_is_enough() {
    guarded(core(Transport::Socket, Codec::MessagePack)).await;
}
