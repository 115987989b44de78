//! A seam for tests of services that embed Ostler: workers without processes.
pub use crate::worker::{Control, Outbox, Pipe, Spawner, Worker};
