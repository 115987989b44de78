//! Real actors, scripted workers in memory, a paused clock; and the rules of the house.

mod tidy;
