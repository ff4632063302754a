//! What a training is told to do: options, their defaults, and `config.toml`.

pub mod defaults;
pub mod file;
pub mod imbalance;
pub mod moments;
pub mod normalize;
pub mod options;
pub mod ranges;
pub mod rates;
pub mod recipes;
pub mod resolved;
pub mod unused;
pub mod words;

pub use options::{DeviceOptions, Options};
pub use resolved::Recipe;
