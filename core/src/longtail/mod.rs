//! Long-tailed classification: classes by their counts, and losses that know them.

pub mod classes;
pub mod loss;
