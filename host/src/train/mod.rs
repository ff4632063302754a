//! Training and evaluation.

pub mod evaluate;
pub mod feed;
pub mod resume;
pub mod start;
pub mod trainer;
