//! Real actors, scripted workers in memory, a paused clock; and the rules of the house.

mod hello;
mod support;
mod tidy;
