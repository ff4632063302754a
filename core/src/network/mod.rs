//! Networks: graph, plan, executor.

pub mod executor;
pub mod graph;
pub(crate) mod initial;
pub mod layer;
pub mod models;
pub(crate) mod pieces;
pub mod plan;
