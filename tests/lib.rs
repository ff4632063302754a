//! What the tests of sse-sam share: a naive f64 reference of every operation, one conformance body for all backends, one
//! generator of random numbers, and what is said where a test lacks what it needs.

pub mod conformance;
pub mod needs;
pub mod random;
pub mod recorder;
pub mod reference;
