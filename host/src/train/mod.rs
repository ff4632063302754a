//! Training and evaluation.

pub mod epoch;
pub mod evaluate;
pub mod feed;
mod keeper;
pub mod outcome;
pub mod place;
pub mod prepare;
pub mod resume;
mod spectra;
pub mod start;
pub mod told;
pub mod trainer;
pub mod window;
pub mod work;

pub use place::{Placed, place};
pub use prepare::{Prepared, prepare};
