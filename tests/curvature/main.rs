//! Products of a network's Hessian with vectors: against PyTorch's in f64, against differences of naive gradients, and by
//! what must hold for any network.
//!
//! Every check runs on the CPU core and on every OpenCL device found; without one it says so, unless
//! `SSE_SAM_REQUIRE_OPENCL=1`.

mod dense;
mod golden;
mod laws;
mod planted;
mod rig;
