//! What runs operations: the contract, the CPU, and one that is watched.

pub mod backend;
pub(crate) mod cpu;
pub(crate) mod operands;
pub mod watched;
