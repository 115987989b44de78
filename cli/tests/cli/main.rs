//! The built program on a real Python: what a user sees, and what is left behind.

mod doctor;
mod program;
mod repl;
mod run;
mod stop;
