//! Long-tailed classification with SSE-SAM, SAM, ImbSAM and SGD.

pub mod opencl;
