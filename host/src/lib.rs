//! Long-tailed classification with SSE-SAM, SAM, ImbSAM and SGD.
//!
//! The program is `sse-sam`; this library is what it is made of.

pub mod adapt;
pub mod args;
pub mod bench;
pub mod cache;
pub mod checkpoint;
pub mod config;
pub mod data;
mod described;
pub mod device;
pub mod devices;
mod error;
pub mod evaluate;
pub mod events;
pub mod export;
pub mod feed;
pub mod footprint;
mod formats;
mod forms;
pub mod import;
pub mod layout;
pub mod metrics;
pub mod numbers;
pub mod opencl;
pub mod order;
pub mod progress;
mod rates;
pub mod resume;
mod room;
pub mod run;
pub mod runs;
pub mod settings;
pub mod shown;
pub mod signals;
pub mod snapshot;
pub mod split;
pub mod state;
pub mod train;
pub mod training;
pub mod tune;
mod unused;
pub mod verify;
pub mod weights;
pub mod writer;

pub use error::Error;
