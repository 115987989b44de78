//! The built program on a real Python: what a user sees, and what is left behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod book;
mod branches;
mod call;
mod config;
mod doctor;
mod files;
mod node;
mod program;
mod repl;
mod replay;
mod run;
mod serve;
mod sessions;
mod stop;
mod top;
