//! What the tests of sse-sam share: a naive f64 reference of every operation, and one conformance body for all backends.

pub mod conformance;
pub mod random;
pub mod recorder;
pub mod reference;
