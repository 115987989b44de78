//! A real server before a real pool, spoken to over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abuse;
mod access;
mod client;
mod drain;
mod keys;
mod openapi;
mod runs;
mod server;
mod sessions;
