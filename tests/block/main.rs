//! Convolutions in blocks on every OpenCL device, which is taken for a GPU: against the reference, and against
//! themselves.

mod launches;
mod operations;
mod rig;
mod statistics;
