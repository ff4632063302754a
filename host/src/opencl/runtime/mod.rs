//! OpenCL itself: the library, devices, memory, programs, launches.

pub mod blocks;
pub mod buffers;
pub mod build;
pub mod device;
pub mod error;
pub mod launch;
pub mod loader;
pub mod machine;
pub mod matrix;
pub mod measure;
pub mod program;
pub mod tiles;
pub mod verdict;
