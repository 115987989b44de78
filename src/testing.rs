//! Workers without processes, for tests of a service that embeds Ostler.
//!
//! A [`ScriptedSpawner`] stands where processes are started otherwise. What each worker does is a script: an async
//! function that speaks the worker's side of the protocol through its [`Stage`], and ends with the worker's exit.
//! Everything between the script and your service is real: framing, sessions, supervision, back-pressure. There is
//! no process and no thread, so a test can pause tokio's clock, and a deadline of an hour passes in no time.
//!
//! ```
//! use std::time::Duration;
//! use ostler::{Exit, Outcome, Runtime, WorkerSpec, testing::ScriptedSpawner};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tokio = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
//! # tokio.block_on(async {
//! let workers = ScriptedSpawner::new(|mut stage| async move {
//!     stage.ready().await;
//!     while let Some(execute) = stage.next_execute().await {
//!         stage.started(execute.id).await;
//!         match execute.code.as_str() {
//!             "crash" => return Exit::Signal(11),
//!             "hang" => {
//!                 stage.wait_for_cancel(execute.id).await;
//!                 stage.cancelled(execute.id).await;
//!             }
//!             code => stage.completed(execute.id, code.len() as i64).await,
//!         }
//!     }
//!     Exit::Code(0)
//! });
//! let runtime = Runtime::builder(WorkerSpec::python()).spawner(workers.clone()).start().await?;
//! assert_eq!(runtime.run("four").await?.value(), Some(&4.into()));
//! assert!(matches!(runtime.run("crash").await?.outcome, Outcome::Lost(lost) if lost.started));
//! let hung = runtime.execute("hang").await?;
//! hung.cancel();
//! assert!(matches!(hung.outcome().await, Outcome::Cancelled(_)));
//!
//! runtime.shutdown(Duration::from_secs(1)).await;
//! assert_eq!(workers.live(), 0);
//! # Ok(())
//! # })
//! # }
//! ```

mod pipe;
mod spawner;
mod stage;

use ractor::ActorCell;

use crate::{execution::Execution, runtime::Runtime};

pub use crate::worker::{
    Branch, Control, Delivery, Inspection, Launched, Order, Outbox, Pipe, Spawner, Unlaunched, Worker,
};
pub use spawner::{Entry, Fact, ScriptedSpawner};
pub use stage::Stage;

/// The supervisor actor of a pool, to see what your service makes of its death. Its children are the session actors.
#[must_use]
pub fn supervisor_of(runtime: &Runtime) -> ActorCell {
    runtime.supervisor_cell()
}

/// The actor of one execution, to see what your service makes of its death.
#[must_use]
pub fn actor_of(execution: &Execution) -> ExecutionActor<'_> {
    ExecutionActor(execution)
}

/// See [`actor_of`].
#[derive(Debug)]
pub struct ExecutionActor<'a>(&'a Execution);

impl ExecutionActor<'_> {
    /// Ends it without a word, as a panic would.
    pub fn kill(&self) {
        self.0.kill_actor();
    }
}
