//! The network on any OpenCL device.
//!
//! The library is looked for at run time: [`devices`] is empty where there is none. [`OpenCl`] is a
//! [`sse_sam_core::Backend`] on one of them.

mod algorithm;
pub mod convolution;
mod operations;
mod runtime;
pub mod tuning;

pub use algorithm::{
    Algorithm, AlgorithmTable, Algorithms, Block, ConvProblem, Convolution, Direction, Matrix, Selection,
};
pub use runtime::device::{
    Broken, DeviceInfo, DeviceType, Precision, Survey, Tiling, devices, preferred, select, survey, usable,
};
pub use runtime::error::Error;
#[doc(hidden)]
pub use runtime::loader::{calls, fail_after, live_buffers, live_objects};
pub use runtime::machine::OpenCl;
#[doc(hidden)]
pub use runtime::program::{KernelUsage, Unit, build_logs, kernel_usages, units};
pub use runtime::program::{kernel_names, kernel_table};
pub use runtime::verdict::{Fault, Refusal};
#[doc(hidden)]
pub use tuning::check::{falsify, forget_checks};

/// Why there is no OpenCL library, if there is none.
pub fn library_error() -> Option<&'static str> {
    runtime::loader::library().err()
}

/// What to add where an OpenCL device is missed and there is no OpenCL library; else nothing.
pub(crate) fn absence() -> String {
    library_error().map(|reason| format!("; no OpenCL library was found ({reason})")).unwrap_or_default()
}
