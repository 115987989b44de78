//! What passes over the wire, as values: no socket, no clock and no pool is touched here.

pub(crate) mod bearer;
pub(crate) mod exposition;
pub(crate) mod form;
pub(crate) mod guard;
pub(crate) mod handle;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod ready;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod sse;
