//! Groth16 over BLS12-381 on plain CPUs, for the circuits of `bellperson`: a prover, and a generator of parameters.
//!
//! Both speak `bellperson`'s formats: a proof of one verifies with the other's keys, and parameter files are the same.

pub mod curve;
mod digits;
pub mod fft;
pub mod field;
pub mod fixed;
pub mod generator;
pub mod msm;
pub mod parameters;
pub mod prover;
pub mod synthesis;
#[cfg(target_arch = "x86_64")]
mod wide;
