//! Ostler.
