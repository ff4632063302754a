//! The commands, one file each.

pub mod args;
pub mod bench;
pub(crate) mod described;
pub mod devices;
pub mod eval;
pub mod firmware;
pub mod footprint;
pub mod runs;
pub mod tune;
pub(crate) mod unused;
pub mod verify;
