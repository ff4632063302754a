//! What can go wrong on an OpenCL device.

use std::fmt;

use crate::opencl::runtime::loader;
use crate::shown::QUOTED;

/// A failure of the OpenCL backend, with the call and the device where there is one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// An operation was asked for something that no backend does.
    Core(sse_sam_core::Error),
    /// A call of OpenCL failed.
    Call {
        /// The function.
        call: &'static str,
        /// The device it was for; empty before one is chosen.
        device: String,
        /// What it returned.
        code: i32,
    },
    /// A file of kernels does not build.
    Build {
        /// The file.
        file: &'static str,
        /// The device it was built for.
        device: String,
        /// What the device's compiler says.
        log: String,
    },
    /// There is no OpenCL library.
    Library {
        /// Why, as the system says.
        reason: String,
    },
    /// No device answers to a name.
    Device {
        /// The name.
        wanted: String,
        /// Names of the devices there are.
        found: Vec<String>,
    },
    /// A device that is there cannot be used.
    Unusable {
        /// The device.
        device: String,
        /// Why.
        reason: &'static str,
    },
    /// A memory does not fit the device.
    Memory {
        /// Which memory.
        what: &'static str,
        /// The device.
        device: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes the device has, or allows in one piece.
        available: u64,
    },
    /// Matrix instructions compute something else than they are asked for.
    Matrix {
        /// The device.
        device: String,
        /// A number of a product.
        found: f32,
        /// What it should be.
        expected: f32,
    },
    /// An operation needs more scratch memory than was reserved for it before.
    Scratch {
        /// `f32` needed.
        needed: usize,
        /// `f32` reserved.
        reserved: usize,
    },
}

impl Error {
    /// The error of a failed call on `device`.
    pub(crate) fn of(device: &str, error: &ocl::core::Error) -> Self {
        let device = device.to_owned();
        match loader::take_failure() {
            Some(failure) => Self::Call { call: failure.call, device, code: failure.code },
            None => Self::Build { file: "ocl", device, log: error.to_string() },
        }
    }
}

impl Error {
    /// The error of a launch of a kernel that `device` has none of: `CL_INVALID_KERNEL_NAME`.
    pub(crate) fn absent(device: &str) -> Self {
        Self::Call { call: "clCreateKernel", device: device.to_owned(), code: -46 }
    }
}

impl From<sse_sam_core::Error> for Error {
    fn from(error: sse_sam_core::Error) -> Self {
        Self::Core(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(error) => error.fmt(f),
            Self::Call { call, device, code } => {
                write!(f, "{call} failed with {code} ({})", code_name(*code))?;
                if device.is_empty() { Ok(()) } else { write!(f, " on {device}") }
            }
            Self::Build { file, device, log } => {
                write!(f, "{file} does not build on {device}:")?;
                log.lines().filter(|line| !line.trim().is_empty()).try_for_each(|line| write!(f, "{QUOTED}{line}"))
            }
            Self::Library { reason } => write!(f, "no OpenCL library was found: {reason}"),
            Self::Device { wanted, found } if found.is_empty() => {
                write!(f, "no OpenCL device answers to \"{wanted}\": none was found")
            }
            Self::Device { wanted, found } => {
                write!(f, "no OpenCL device answers to \"{wanted}\"; there are {}", found.join(", "))
            }
            Self::Unusable { device, reason } => write!(f, "{device} cannot be used: {reason}"),
            Self::Memory { what, device, needed, available } => {
                write!(f, "{what} memory of {needed} bytes does not fit {device}, which has {available}")
            }
            Self::Matrix { device, found, expected } => {
                write!(f, "matrix instructions of {device} give {found} where {expected} is right")
            }
            Self::Scratch { needed, reserved } => {
                write!(f, "an operation needs {needed} numbers of scratch memory, {reserved} are reserved")
            }
        }
    }
}

impl std::error::Error for Error {}

/// The name that OpenCL gives to a code.
fn code_name(code: i32) -> &'static str {
    match code {
        -1 => "CL_DEVICE_NOT_FOUND",
        -2 => "CL_DEVICE_NOT_AVAILABLE",
        -3 => "CL_COMPILER_NOT_AVAILABLE",
        -4 => "CL_MEM_OBJECT_ALLOCATION_FAILURE",
        -5 => "CL_OUT_OF_RESOURCES",
        -6 => "CL_OUT_OF_HOST_MEMORY",
        -7 => "CL_PROFILING_INFO_NOT_AVAILABLE",
        -8 => "CL_MEM_COPY_OVERLAP",
        -11 => "CL_BUILD_PROGRAM_FAILURE",
        -12 => "CL_MAP_FAILURE",
        -13 => "CL_MISALIGNED_SUB_BUFFER_OFFSET",
        -14 => "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST",
        -15 => "CL_COMPILE_PROGRAM_FAILURE",
        -16 => "CL_LINKER_NOT_AVAILABLE",
        -17 => "CL_LINK_PROGRAM_FAILURE",
        -30 => "CL_INVALID_VALUE",
        -31 => "CL_INVALID_DEVICE_TYPE",
        -32 => "CL_INVALID_PLATFORM",
        -33 => "CL_INVALID_DEVICE",
        -34 => "CL_INVALID_CONTEXT",
        -35 => "CL_INVALID_QUEUE_PROPERTIES",
        -36 => "CL_INVALID_COMMAND_QUEUE",
        -38 => "CL_INVALID_MEM_OBJECT",
        -43 => "CL_INVALID_BUILD_OPTIONS",
        -44 => "CL_INVALID_PROGRAM",
        -45 => "CL_INVALID_PROGRAM_EXECUTABLE",
        -46 => "CL_INVALID_KERNEL_NAME",
        -47 => "CL_INVALID_KERNEL_DEFINITION",
        -48 => "CL_INVALID_KERNEL",
        -49 => "CL_INVALID_ARG_INDEX",
        -50 => "CL_INVALID_ARG_VALUE",
        -51 => "CL_INVALID_ARG_SIZE",
        -52 => "CL_INVALID_KERNEL_ARGS",
        -54 => "CL_INVALID_WORK_GROUP_SIZE",
        -55 => "CL_INVALID_WORK_ITEM_SIZE",
        -57 => "CL_INVALID_EVENT_WAIT_LIST",
        -58 => "CL_INVALID_EVENT",
        -59 => "CL_INVALID_OPERATION",
        -61 => "CL_INVALID_BUFFER_SIZE",
        -63 => "CL_INVALID_GLOBAL_WORK_SIZE",
        -1001 => "CL_PLATFORM_NOT_FOUND_KHR",
        _ => "a code of the driver's own",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compilers_log_is_printed_as_lines_and_nothing_else_in_it_gets_through() {
        let log = "a.cl:1: error\n\n\x1b[31m  here\n".into();
        let error = crate::Error::from(Error::Build { file: "a.cl", device: "a\ncard".into(), log });
        let text = "OpenCL: a.cl does not build on a\\ncard:\n  | a.cl:1: error\n  | \\u{1b}[31m  here";
        assert_eq!(error.to_string(), text);
    }
}
