//! The network on any OpenCL device.
//!
//! The library is looked for at run time: [`devices`] is empty where there is none. [`OpenCl`] is a
//! [`sse_sam_core::Backend`] on one of them.

mod arguments;
mod backend;
mod batch_norm;
mod block;
mod check;
pub mod choice;
mod convolution;
mod device;
mod error;
mod launch;
mod loader;
mod matrix;
mod measure;
mod memory;
mod network;
mod program;
mod tiles;
mod vectors;
mod winograd;

pub use backend::OpenCl;
pub use block::Block;
pub use check::{Fault, Refusal};
#[doc(hidden)]
pub use check::{falsify, forget_checks};
pub use device::{Broken, DeviceInfo, DeviceType, Survey, devices, preferred, select, survey, usable};
pub use error::Error;
#[doc(hidden)]
pub use loader::{calls, fail_after, live_buffers, live_objects};
#[doc(hidden)]
pub use program::{KernelUsage, Unit, build_logs, kernel_usages, units};
pub use program::{kernel_names, kernel_table};
pub use tiles::{Class, Matrix, Precision};
pub use winograd::Convolution;

/// Why there is no OpenCL library, if there is none.
pub fn library_error() -> Option<&'static str> {
    loader::library().err()
}

/// What to add where an OpenCL device is missed and there is no OpenCL library; else nothing.
pub(crate) fn absence() -> String {
    library_error().map(|reason| format!("; no OpenCL library was found ({reason})")).unwrap_or_default()
}
