//! What runs operations: the contract, the CPU, and a wrapper that reports every call.

pub mod backend;
pub(crate) mod cpu;
pub mod watched;
