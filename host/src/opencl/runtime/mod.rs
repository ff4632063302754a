//! OpenCL itself: the library, devices, memory, programs, launches.

pub mod device;
pub mod error;
pub mod launch;
pub mod loader;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod program;
pub mod tiles;
