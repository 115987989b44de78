//! E9, and fault row 46: nothing of ours blocks the thread that it runs on, whatever workers do.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ostler::Outcome;

use super::{completed, one};
use crate::support::wait::guarded;

/// A task that wants to run every millisecond may be kept waiting by so much. A worker takes longer to start than
/// this on any machine, so that one waited for would show.
const STARVED: Duration = Duration::from_millis(250);
const TICK: Duration = Duration::from_millis(1);

/// How long this thread was ready to run, and another one had the processor.
fn preempted() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = stat.split_whitespace().nth(1).and_then(|waited| waited.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

/// Ticks until it is told to stop, and returns the longest time between two ticks that this thread itself took.
async fn longest_gap(done: Arc<AtomicBool>) -> (Duration, u32) {
    let (mut longest, mut ticks) = (Duration::ZERO, 0);
    let (mut last, mut lost) = (Instant::now(), preempted());
    while !done.load(Relaxed) {
        tokio::time::sleep(TICK).await;
        let (now, lost_now) = (Instant::now(), preempted());
        longest = longest.max((now - last).saturating_sub(lost_now - lost));
        (last, lost, ticks) = (now, lost_now, ticks + 1);
    }
    (longest, ticks)
}

/// E9, fault 46. On one thread: workers start, flood, are cancelled, killed and replaced, and a neighbour hardly notices.
#[tokio::test(flavor = "current_thread")]
async fn nothing_that_workers_do_starves_a_task_of_the_same_thread() {
    guarded(async {
        // What is found out once, about the interpreter, is found out before.
        one().start().await.unwrap().shutdown(Duration::ZERO).await;
        let done = Arc::new(AtomicBool::new(false));
        let ticker = tokio::spawn(longest_gap(Arc::clone(&done)));
        let runtime = one().max_sessions(2).grace(Duration::from_millis(100)).start().await.unwrap();

        let flood = "import os\nfor _ in range(2000): os.write(1, b'x' * 65536)";
        let many = "for i in range(50_000): print(i, flush=True)";
        let (flooded, printed) = tokio::join!(runtime.run(flood), runtime.run(many));
        completed(&flooded.unwrap());
        completed(&printed.unwrap());

        for code in ["while True: print('more' * 1000)", "sum(range(10**12))", "import os; os._exit(1)"] {
            let execution = runtime.execute(code).await.unwrap();
            tokio::time::sleep(20 * TICK).await;
            execution.cancel();
            assert!(matches!(execution.outcome().await, Outcome::Cancelled(_) | Outcome::Lost(_)));
        }
        completed(&runtime.run("1").await.unwrap());
        runtime.shutdown(Duration::from_secs(1)).await;

        done.store(true, Relaxed);
        let (longest, ticks) = ticker.await.unwrap();
        println!("the longest of {ticks} waits for a tick: {longest:?}");
        assert!(longest < STARVED, "a tick was kept waiting for {longest:?}");
        assert!(ticks > 100, "{ticks} ticks");
    })
    .await;
}
