//! Training steps and small networks for long-tailed classification: SGD, SAM, ImbSAM and SSE-SAM.
//!
//! No standard library, no allocator, no unsafe code, no panic path behind a public function. Three ways to use it,
//! each without the ones after it:
//!
//! - [`ops`]: the layers as functions over slices, each forward beside its backward;
//! - [`step()`], or [`lean_step`] in less memory: the training step over any [`Problem`], yours or a network's;
//! - [`Model`], [`Graph`], [`Plan`] and [`Network`]: whole networks, planned before memory is lent.
//!
//! Memory is always the caller's. A plan says how much is needed; a [`Backend`] such as [`Cpu`] borrows it.
#![no_std]
#![forbid(unsafe_code)]

pub mod backend;
pub mod classes;
mod cpu;
mod error;
pub mod graph;
pub mod loss;
pub mod model;
mod operands;
pub mod ops;
mod pieces;
pub mod plan;
mod run;
mod schedule;
pub mod step;
pub mod watch;

pub use backend::{Backend, Batch, Conv2d, Outcome, Row, Samples, Sgd, Shape, Space, Span, Terms};
pub use cpu::Cpu;
pub use error::Error;
pub use graph::{Graph, Node};
pub use loss::Loss;
pub use model::Model;
pub use pieces::Pieces;
pub use plan::{Arena, Plan};
pub use run::{Losses, Network};
pub use schedule::Schedule;
pub use step::{Memory, Method, Problem, Statistics, Vectors, lean_step, step};

/// The examples of the porting guide, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct PortingGuide;
