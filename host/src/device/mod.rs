//! The machine that trains: the CPU core or an OpenCL device, what fits it, and what was measured on it.

pub mod choose;
mod cpu;
pub mod layout;
pub mod machine;
pub(crate) mod open;
pub(crate) mod room;
pub mod store;
pub mod threads;
mod tiles;
