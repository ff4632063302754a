//! What a run is told to do: options, their defaults, and `config.toml`.

pub mod resolved;
pub mod settings;
