//! The training step, on the CPU core: what it asks of a backend, and what it computes.

mod braid;
mod frozen;
mod layers;
mod lean;
mod numbers;
mod passes;
mod pieces;
mod plan;
mod quadratic;
mod rig;
mod saddles;
