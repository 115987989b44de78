//! Real actors, scripted workers in memory, a paused clock; and the rules of the house.

mod hello;
mod start_faults;
mod support;
mod tidy;
mod workers;
