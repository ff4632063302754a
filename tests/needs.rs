//! What a test needs and a machine may lack: a device, a compiler, data.

use std::io::Write as _;
use std::process::Command;

/// Says that something is not tested here, on standard error directly: the harness hides what a passing test prints.
pub fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Whether what a test needs was found; says so where it was not.
///
/// # Panics
/// When it was not, and the environment's `variable` is 1.
#[track_caller]
pub fn found(found: bool, variable: &str, missing: &str) -> bool {
    if !found {
        assert!(std::env::var(variable).as_deref() != Ok("1"), "{missing}");
        skip(missing);
    }
    found
}

/// clang as `SSE_SAM_CLANG` names it, else by its usual names; says so where there is none.
///
/// # Panics
/// When there is none, and `SSE_SAM_REQUIRE_CLANG` is 1.
#[track_caller]
pub fn clang() -> Option<String> {
    let versions = (11..40).rev().map(|version| format!("clang-{version}"));
    let names = std::env::var("SSE_SAM_CLANG").into_iter().chain(["clang".to_owned()]).chain(versions);
    let clang = names.into_iter().find(|name| runs(name));
    found(clang.is_some(), "SSE_SAM_REQUIRE_CLANG", "clang was not found; SSE_SAM_CLANG says where it is");
    clang
}

/// Whether there is a program of this name that says its version.
pub fn runs(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Whether there is an OpenCL device, by how many were found; says so where there is none.
///
/// # Panics
/// When there is none, and `SSE_SAM_REQUIRE_OPENCL` is 1.
#[track_caller]
pub fn has_opencl(devices: usize) -> bool {
    found(devices > 0, "SSE_SAM_REQUIRE_OPENCL", "no OpenCL device was found")
}
