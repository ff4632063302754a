//! The folder of a run: the one owner of its files.

pub mod checkpoint;
pub mod events;
pub mod folder;
pub mod journal;
pub mod origin;
pub mod position;
pub mod signals;
pub mod snapshot;
pub mod state;
pub mod writer;
