//! Output without end, and what it costs this process: a window and no more (P4, P11).

use std::time::{Duration, Instant};

use ostler::{Event, Execution, Outcome, Runtime, Stream, Transport, WorkerSpec};

use crate::{
    counts::{SLACK, memory, pool, settled, sleeps},
    support::wait::{SOON, pool_is},
};

const GIB: u64 = 1 << 30;
const GRACE: Duration = Duration::from_secs(30);

/// Writes a GiB past all buffers, to this descriptor.
fn flood(fd: u8) -> String {
    format!(
        "import os\nchunk = b'x' * 65536\nfor _ in range(16384): os.write({fd}, chunk)\nos.write({fd}, b'the end')"
    )
}

/// Waits for the start, and returns the worker.
async fn running(execution: &mut Execution) -> u32 {
    loop {
        match execution.next().await {
            Some(Event::Started { pid, .. }) => return pid.unwrap(),
            Some(_) => {}
            None => panic!("it ended before it started"),
        }
    }
}

async fn waits_in_the_worker(transport: Transport, code: &str) {
    settled().await;
    let spec = WorkerSpec::python().transport(transport);
    let runtime = Runtime::builder(spec).max_sessions(2).min_idle(2).grace(GRACE).start().await.unwrap();
    pool_is(&runtime, "both workers are ready", |pool| pool.idle == 2).await;
    let before = memory();

    // The events are there to be taken, and nobody takes them.
    let mut execution = runtime.execute(code).await.unwrap();
    let worker = running(&mut execution).await;
    sleeps(worker).await;
    let held = memory().saturating_sub(before);

    let begun = Instant::now();
    for n in 0..20 {
        let report = runtime.run("6 * 7").await.unwrap();
        assert_eq!(report.outcome.to_string(), "42", "neighbour {n}");
    }
    let neighbours = begun.elapsed() / 20;

    let begun = Instant::now();
    execution.cancel();
    let outcome = execution.outcome().await;
    let cancelled = begun.elapsed();
    assert!(matches!(outcome, Outcome::Cancelled(_)), "{outcome}");
    println!(
        "   {transport:?}: {held} bytes more resident; a neighbour's execution {neighbours:?}; cancelled in {cancelled:?}"
    );
    assert!(held < SLACK, "{held} bytes more are resident");
    assert!(cancelled < GRACE, "{cancelled:?}");
    assert_eq!(runtime.run("1").await.unwrap().outcome.to_string(), "1");
    assert_eq!(runtime.status().await.spawned, 2, "the worker obeyed and was kept");
    runtime.shutdown(Duration::from_secs(1)).await;
}

pub(crate) async fn f29_a_flood_that_nobody_reads_waits_in_the_worker() {
    waits_in_the_worker(Transport::Socket, &flood(1)).await;
}

/// Here prints are frames, on the one pipe.
pub(crate) async fn f29_a_flood_on_the_stdio_transport_waits_too() {
    waits_in_the_worker(Transport::Stdio, "line = 'x' * 65535\nfor _ in range(16384): print(line)").await;
}

pub(crate) async fn f29_a_flood_that_is_read_arrives_whole_and_is_not_kept() {
    settled().await;
    let runtime = pool(1).start().await.unwrap();
    let (before, begun) = (memory(), Instant::now());
    let mut execution = runtime.execute(flood(1)).await.unwrap();
    let (mut bytes, mut most, mut end) = (0, 0, Vec::new());
    while let Some(event) = execution.next().await {
        if let Event::Output { stream: Stream::Stdout, data } = event {
            bytes += data.len() as u64;
            if bytes >= GIB {
                end.extend_from_slice(&data);
            }
            most = most.max(memory());
        }
    }
    let took = begun.elapsed();
    assert!(execution.outcome().await.is_completed());
    assert_eq!(bytes, GIB + 7);
    assert!(end.ends_with(b"the end"));
    let grown = most.saturating_sub(before);
    println!("   a GiB in {took:?}; at most {grown} bytes more resident");
    assert!(grown < SLACK, "{grown} bytes more were resident");
    runtime.shutdown(Duration::from_secs(1)).await;
}

pub(crate) async fn f32_a_flood_on_stderr_is_bounded_and_its_end_is_kept() {
    settled().await;
    // The reports are read meanwhile, and may not hold it either.
    let runtime = pool(1).max_report_bytes(1 << 20).start().await.unwrap();
    let before = memory();
    // Outside an execution nobody reads it, and the worker does not wait for anybody.
    let session = runtime.session().await.unwrap();
    let code = format!(
        "import threading\ndef flood():\n    {}\n    os._exit(3)\nthreading.Timer(0.05, flood).start()",
        flood(2).replace('\n', "\n    ")
    );
    session.run(code).await.unwrap();
    let begun = Instant::now();
    let ended = loop {
        match session.run("import time; time.sleep(0.01)").await {
            Err(error) => break error.to_string(),
            Ok(report) => match report.outcome {
                Outcome::Lost(lost) => break lost.to_string(),
                outcome => assert!(outcome.is_completed(), "{outcome}"),
            },
        }
        assert!(begun.elapsed() < SOON * 10, "the flood does not end");
    };
    let grown = memory().saturating_sub(before);
    println!("   a GiB of stderr in {:?}; {grown} bytes more resident", begun.elapsed());
    assert!(
        ended.contains("exit code 3") && ended.ends_with("the end"),
        "{}",
        &ended[ended.len().saturating_sub(200)..]
    );
    assert!(ended.len() < 2 * ostler::config::STDERR_TAIL, "{} bytes are shown", ended.len());
    assert!(grown < SLACK, "{grown} bytes more are resident");
    drop(session);
    runtime.shutdown(Duration::from_secs(1)).await;
}
