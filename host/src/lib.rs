//! Long-tailed classification with SSE-SAM, SAM, ImbSAM and SGD.
//!
//! The program is `sse-sam`; this library is what it is made of. A training from a program of one's own, on the built-in
//! digits:
//!
//! ```
//! use sse_sam::data;
//! use sse_sam::device::choose::Device;
//! use sse_sam::recipe::{Options, Recipe};
//! use sse_sam::report::Silent;
//! use sse_sam::train::{place, prepare};
//!
//! # fn main() -> Result<(), sse_sam::Error> {
//! let options = Options { model: Some("mlp:64-32-10".into()), epochs: Some(5), ..Options::default() };
//! let dataset = data::load("digits", None)?;
//! let recipe = Recipe::resolve(&options, &dataset)?;
//! let prepared = prepare(recipe, dataset, &Silent)?;
//! let placed = place(Device::cpu(), &prepared, &Silent)?;
//! let outcome = placed.train(&Silent)?;
//! println!("balanced accuracy in %: {:.2}", outcome.last.accuracy.balanced);
//! # assert_eq!(outcome.last.epoch, 4);
//! # assert!(outcome.last.accuracy.balanced > 40.0 && outcome.best.accuracy.balanced >= outcome.last.accuracy.balanced);
//! # Ok(())
//! # }
//! ```
//!
//! [`Options`](recipe::Options) are those of `sse-sam train`. An [`Observer`](report::Observer) in place of `Silent` sees
//! every epoch; a folder keeps checkpoints, metrics and weights
//! ([`Trainer::in_folder`](train::trainer::Trainer::in_folder)).

pub mod cli;
pub mod compare;
pub mod data;
pub mod device;
mod error;
mod files;
pub mod opencl;
pub mod page;
pub mod paths;
pub mod recipe;
pub mod report;
pub mod run;
pub mod shown;
pub mod spectrum;
pub mod train;
pub mod weights;

pub use error::Error;
