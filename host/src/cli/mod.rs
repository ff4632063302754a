//! The commands, one file each.

pub mod args;
pub mod bench;
pub mod compare;
pub(crate) mod described;
pub mod devices;
pub mod eval;
pub mod export;
pub mod firmware;
pub mod footprint;
pub mod predict;
pub mod recipes;
pub mod report;
pub mod resume;
pub mod runs;
pub mod spectrum;
pub mod train;
pub mod tune;
pub mod verify;
