//! Takes output while the code runs, answers its question, and cancels what does not end.
//!
//! `cargo run --example stream`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "events that this example does not expect are shown as they are"
)]

use std::time::Duration;

use ostler::{CancelStage, Event, Outcome, Request, Runtime, WorkerSpec};

const COUNT: &str = r"
for i in range(3):
    print('line', i)
name = input('who? ')
print('hello,', name)
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder(WorkerSpec::python()).start().await?;

    let mut execution = runtime.execute(Request::python(COUNT).label("count")).await?;
    let mut seen = Vec::new();
    while let Some(event) = execution.next().await {
        match event {
            Event::Started { pid, .. } => println!("[started in process {pid:?}]"),
            Event::Output { data, .. } => {
                print!("{}", String::from_utf8_lossy(&data));
                seen.extend_from_slice(&data);
            }
            Event::Input(question) => {
                println!("{}Ada", question.prompt);
                execution.input(question.request, "Ada");
            }
            other => println!("[{other:?}]"),
        }
    }
    assert!(execution.outcome().await.is_completed());
    assert!(String::from_utf8(seen)?.ends_with("hello, Ada\n"));

    let mut endless = runtime.execute("import time\nwhile True: print('tick'); time.sleep(0.01)").await?;
    for _ in 0..5 {
        println!("{:?}", endless.next().await);
    }
    endless.cancel_because("seen enough");
    let outcome = endless.outcome().await;
    println!("{outcome}");
    assert!(matches!(outcome, Outcome::Cancelled(cancelled) if cancelled.stage == CancelStage::Interrupt));

    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
