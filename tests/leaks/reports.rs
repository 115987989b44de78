//! Output that somebody collects, or nobody.

use std::time::Duration;

use ostler::{Report, Request, Stream, config::REPORT_TAIL};

use crate::{
    counts::{SLACK, memory, pool, settled, started},
    support::wait::pool_is,
};

const PRINTED: u64 = 256 << 20;
const FLOOD: &str = "import os\nfor _ in range(4096): os.write(1, b'x' * 65536)\n'done'";

pub(crate) async fn a_report_keeps_as_much_as_it_may_and_counts_the_rest() {
    const KEPT: usize = 1 << 20;
    settled().await;
    let (runtime, _) = started(pool(1).max_report_bytes(KEPT)).await;
    let before = memory();
    let report = runtime.run(FLOOD).await.unwrap();
    let grown = memory().saturating_sub(before);
    assert_eq!(report.outcome.to_string(), "'done'");
    let kept = |report: &Report, stream| (report.printed(stream), report.tail(stream).len());
    assert_eq!(kept(&report, Stream::Stdout), (PRINTED, REPORT_TAIL));
    // What stderr may keep of its end is not given to stdout.
    assert_eq!(report.stdout.len(), KEPT - 2 * REPORT_TAIL);
    assert_eq!(report.dropped, PRINTED - (KEPT - REPORT_TAIL) as u64);
    println!("   {PRINTED} bytes printed, {} kept, {grown} bytes more resident", report.stdout.len());
    assert!(grown < SLACK, "{grown} bytes more are resident");
    let report =
        runtime.run("import sys\nprint('x' * 600_000)\nprint('y' * 600_000, file=sys.stderr)").await.unwrap();
    let tails = kept(&report, Stream::Stdout).1 + kept(&report, Stream::Stderr).1;
    let all = report.stdout.len() + report.stderr.len() + tails;
    assert!(all <= KEPT, "the limit is for both together: {all}");
    assert_eq!(report.dropped, 1_200_002 - all as u64);

    // On disk instead: nothing is lost, and no more memory is used.
    settled().await;
    let before = memory();
    let report = runtime.run(Request::python(FLOOD).spill(PRINTED)).await.unwrap();
    let grown = memory().saturating_sub(before);
    assert_eq!((report.dropped, report.printed(Stream::Stdout)), (0, PRINTED));
    let middle = report.page(Stream::Stdout, PRINTED / 2, 100).unwrap();
    assert_eq!(middle, vec![b'x'; 100]);
    println!("   the same with its middle on disk, {grown} bytes more resident");
    assert!(grown < SLACK, "{grown} bytes more are resident");
    runtime.shutdown(Duration::from_secs(1)).await;
}

pub(crate) async fn f48_a_consumer_that_drops_the_stream_still_gets_the_outcome() {
    settled().await;
    let (runtime, _) = started(pool(1)).await;
    let before = memory();
    let mut execution = runtime.execute(FLOOD).await.unwrap();
    execution.next().await.unwrap();
    // From here on only the outcome is wanted.
    let outcome = execution.outcome().await;
    assert_eq!(outcome.to_string(), "'done'");
    let grown = memory().saturating_sub(before);
    assert!(grown < SLACK, "{grown} bytes more are resident");
    runtime.shutdown(Duration::from_secs(1)).await;
}

pub(crate) async fn a_detached_flood_runs_to_its_end() {
    settled().await;
    let (runtime, _) = started(pool(1)).await;
    let before = memory();
    drop(runtime.execute(Request::python(FLOOD).detached()).await.unwrap());
    let pool = pool_is(&runtime, "it has ended", |pool| pool.totals.in_flight == 0).await;
    assert_eq!((pool.totals.completed, pool.totals.cancelled), (1, 0), "{pool:?}");
    let grown = memory().saturating_sub(before);
    assert!(grown < SLACK, "{grown} bytes more are resident");
    runtime.shutdown(Duration::from_secs(1)).await;
}
