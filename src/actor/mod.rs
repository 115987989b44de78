//! For hosts that are made of actors: notices in their own mailbox, and the pool under their own supervisor.
//!
//! ```no_run
//! # use ostler::{Runtime, WorkerSpec, actor::{Host, Notice}};
//! enum ServiceMsg {
//!     Ostler(Notice),
//! }
//! impl From<Notice> for ServiceMsg {
//!     fn from(notice: Notice) -> Self {
//!         Self::Ostler(notice)
//!     }
//! }
//! # async fn example(service: ractor::ActorRef<ServiceMsg>) -> Result<(), Box<dyn std::error::Error>> {
//! let runtime =
//!     Runtime::builder(WorkerSpec::python()).supervised_by(service.get_cell()).start().await?;
//! let execution = runtime.execute_for("print('hello')", Host::actor(service)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Inside, this folder holds the mailboxes: they match a message, step a machine and perform its effects.

pub(crate) mod assignment;
pub(crate) mod credit;
pub(crate) mod execution;
pub(crate) mod gauge;
mod latency;
pub(crate) mod mailbox;
pub(crate) mod messages;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod notes;
pub(crate) mod obligation;
pub(crate) mod question;
pub(crate) mod reader;
pub(crate) mod rpc;
pub(crate) mod script;
pub(crate) mod session;
mod shell;
pub(crate) mod sink;
pub(crate) mod supervisor;
pub(crate) mod tail;
mod telling;
pub(crate) mod timers;
pub(crate) mod writer;

pub use sink::{Delivery, Host, HostGone, Notice};
