//! Runs one line of Python on a supervised worker, and prints what came of it.
//!
//! `cargo run --example hello`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use ostler::{Outcome, Runtime, Value, WorkerSpec};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder(WorkerSpec::python()).start().await?;

    let report = runtime.run("print('hello from a worker')\n6 * 7").await?;
    print!("{}", report.stdout_text());
    println!("value: {:?}", report.value());
    assert_eq!(report.stdout_text(), "hello from a worker\n");
    assert_eq!(report.value(), Some(&Value::from(42)));

    // An error of the code is an outcome, shown as Python shows it. The worker goes on.
    let report = runtime.run("1 / 0").await?;
    println!("{}", report.outcome);
    assert!(matches!(report.outcome, Outcome::Failed(_)));

    runtime.shutdown(std::time::Duration::from_secs(1)).await;
    Ok(())
}
