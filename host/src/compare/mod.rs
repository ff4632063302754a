//! Runs side by side: methods, losses and other settings over several seeds, and what can be told from chance.
//!
//! [`read`] makes numbers of a run's folder, [`group`] puts runs that differ in the seed alone into one arm,
//! [`Comparison`] has means, deviations and paired differences, and [`table`] and the formats beside it print them.
//! [`plan`] and [`run`] train what is missing.

pub mod comparison;
pub mod formats;
pub mod group;
pub mod plan;
pub mod read;
pub mod run;
pub mod table;
pub(crate) mod told;

pub use comparison::Comparison;
