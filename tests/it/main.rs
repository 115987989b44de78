//! The real actors with scripted in-memory workers on a paused clock, the protocol's vectors, and the house rules.

mod hello;
mod support;
mod tidy;
