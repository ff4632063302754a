//! Training steps and small networks for long-tailed classification: SGD, SAM, ImbSAM, SSE-SAM and Focal-SAM.
//!
//! No standard library, no allocator, no unsafe code, no panic path behind a public function. Four ways to use it,
//! each without the ones after it:
//!
//! - [`ops`]: the layers as functions over slices, each forward beside its backward;
//! - [`step()`], or [`lean_step`] in less memory: the training step over any [`Problem`], yours or a network's;
//! - [`Model`], [`Graph`], [`Plan`] and [`Network`]: whole networks, planned before memory is lent;
//! - [`Curvature`]: exact products of a network's Hessian with vectors.
//!
//! Memory is always the caller's. A plan says how much is needed; a [`Backend`] such as [`Cpu`] borrows it.
#![no_std]
#![forbid(unsafe_code)]

pub mod curvature;
mod error;
pub mod longtail;
pub mod machine;
pub mod memory;
pub mod network;
pub mod ops;
pub mod shape;
pub mod space;
pub mod training;

pub use curvature::{Curvature, Tangents};
pub use error::{Error, Quantity};
pub use longtail::loss::Loss;
pub use machine::backend::{Backend, Machine, Run};
pub use machine::cpu::Cpu;
pub use memory::{Arena, Span};
pub use network::executor::Network;
pub use network::graph::Graph;
pub use network::layer::Node;
pub use network::models::Model;
pub use network::pieces::Pieces;
pub use network::plan::Plan;
pub use ops::{Batch, Outcome, Row, Samples, Sgd, Terms};
pub use shape::{Conv2d, Shape};
pub use space::Space;
pub use training::method::Method;
pub use training::problem::{Problem, Statistics};
pub use training::rule::{Rule, Tail, Tally};
pub use training::schedule::Schedule;
pub use training::session::{Losses, Record, Session};
pub use training::step::{PartRate, lean_step, lean_step_with_part, step, step_with_part};
pub use training::vectors::{Demand, Economy, Vectors};

/// The examples of the porting guide, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct PortingGuide;
