//! Compiles files of kernels for a device.

use std::ffi::CString;

use ocl::core::{self, Context, Program};
use sse_sam_kernels::{self as sources, Source};

use crate::opencl::runtime::device::DeviceInfo;
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::loader;

/// `CL_BUILD_PROGRAM_FAILURE`.
const BUILD_FAILURE: i32 = -11;

/// What is built for `source`: what every file starts with, then the file; a build log names the two.
pub(crate) fn text(source: &Source) -> String {
    let common = sources::COMMON;
    format!("#line 1 \"{}\"\n{}\n#line 1 \"{}\"\n{}", common.name, common.text, source.name, source.text)
}

/// The program of a file.
///
/// # Errors
/// [`Error::Build`] with the compiler's log, [`Error::Call`] when the driver fails otherwise.
pub(crate) fn build(context: &Context, device: &DeviceInfo, source: &Source, options: &str) -> Result<Program, Error> {
    let failed = |log: String| Error::Build { file: source.name, device: device.name.clone(), log };
    let text = CString::new(text(source)).map_err(|error| failed(error.to_string()))?;
    let options = CString::new(options).map_err(|error| failed(error.to_string()))?;
    let program =
        core::create_program_with_source(context, &[text]).map_err(|error| Error::of(&device.name, &error))?;
    // `ocl` takes a failed build with an empty log for a success, so the loader's last failure is looked at too.
    let result = core::build_program(&program, Some(&[device.id]), &options, None, None);
    match (loader::take_failure(), result) {
        (None, Ok(())) => Ok(program),
        (Some(failure), _) if failure.code != BUILD_FAILURE => {
            Err(Error::Call { call: failure.call, device: device.name.clone(), code: failure.code })
        }
        _ => Err(failed(build_log(&program, device))),
    }
}

/// What the compiler said.
pub(crate) fn build_log(program: &Program, device: &DeviceInfo) -> String {
    match core::get_program_build_info(program, device.id, core::ProgramBuildInfo::BuildLog) {
        Ok(core::ProgramBuildInfoResult::BuildLog(log)) => log,
        _ => "the driver keeps no log".to_owned(),
    }
}
