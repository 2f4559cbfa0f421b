//! The tests of the arithmetic again, with the instructions that every machine has.

#[path = "arithmetic.rs"]
mod arithmetic;
