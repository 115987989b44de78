//! Ostler runs code in supervised worker subprocesses.

pub mod config;
mod error;
mod machine;
mod outcome;
pub mod protocol;
mod request;
mod status;
mod worker;
