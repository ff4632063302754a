//! Platforms and devices that fail beside others that are whole, and names of devices.
//!
//! The same driver twice stands for two platforms; the first of them is made to fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sse_sam::opencl::{Error, select};
use sse_sam_tests::needs::skip;

use super::each_device;

/// A folder in which every driver of this system is registered twice; none where drivers are not registered in files.
fn doubled(folder: &Path) -> Option<PathBuf> {
    let vendors = folder.join("vendors");
    fs::create_dir(&vendors).unwrap();
    let place = std::env::var_os("OCL_ICD_VENDORS").map_or_else(|| "/etc/OpenCL/vendors".into(), PathBuf::from);
    for (number, file) in fs::read_dir(place).ok()?.flatten().enumerate() {
        for copy in ["a", "b"] {
            fs::copy(file.path(), vendors.join(format!("{copy}-{number}.icd"))).unwrap();
        }
    }
    let twice = |output: Output| String::from_utf8_lossy(&output.stdout).contains("opencl:1.0");
    let found = twice(run(&vendors, "0", &["devices"]));
    if !found {
        skip("this loader does not take a driver twice");
    }
    found.then_some(vendors)
}

/// Runs the program with these drivers; `failure` is the call that fails.
fn run(vendors: &Path, failure: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.env("OCL_ICD_VENDORS", vendors).env("SSE_SAM_OPENCL_FAIL", failure);
    command.env("SSE_SAM_CACHE", vendors.with_file_name("cache")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The calls that fail: after two for the list of platforms, two for the first one's name, two for its devices, and those
/// that describe the first device.
const FAILURES: [(&str, &str, &str); 4] = [
    ("3:-6", "OpenCL platform 0 cannot be used: clGetPlatformInfo failed with -6", "opencl:0.0 "),
    ("5:-6", "cannot be used: clGetDeviceIDs failed with -6 (CL_OUT_OF_HOST_MEMORY)", "opencl:0.0 "),
    ("6:-9999", "cannot be used: clGetDeviceIDs failed with -9999", "opencl:0.0 "),
    ("7:-33", "OpenCL device opencl:0.0 (", "opencl:0.0  "),
];

#[test]
fn what_fails_takes_no_other_platforms_devices_away() {
    each_device(|_| ());
    let folder = tempfile::tempdir().unwrap();
    let Some(vendors) = doubled(folder.path()) else { return };
    for (failure, sentence, gone) in FAILURES {
        let listed = run(&vendors, failure, &["devices"]);
        let lines = text(&listed.stdout);
        assert!(listed.status.success() && lines.contains(sentence), "{failure}: {lines}{}", text(&listed.stderr));
        assert!(!lines.lines().any(|line| line.starts_with(gone)) && lines.contains("\nopencl:1.0"), "{lines}");
        assert!(lines.lines().any(|line| line.starts_with("opencl:1.0") && line.ends_with("<- auto")), "{lines}");
    }
}

#[test]
fn a_run_takes_a_device_that_is_whole_and_says_what_is_broken() {
    each_device(|_| ());
    let folder = tempfile::tempdir().unwrap();
    let Some(vendors) = doubled(folder.path()) else { return };
    for device in ["opencl", "auto", "opencl:1.0"] {
        let options = ["bench", "--model", "mlp:4-3-2", "--batch", "2", "--steps", "1", "--device", device];
        let output = run(&vendors, "5:-6", &options);
        let (said, table) = (text(&output.stderr), text(&output.stdout));
        assert!(output.status.success() && table.contains("opencl:1.0)"), "{device}: {said}{table}");
        let warned = said.contains("warning: OpenCL platform 0") && said.contains("clGetDeviceIDs failed with -6");
        assert_eq!(warned, device != "opencl:1.0", "{device}: {said}");
    }
    let gone = run(&vendors, "5:-6", &["bench", "--model", "mlp:4-3-2", "--device", "opencl:0.0"]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(text(&gone.stderr).contains("clGetDeviceIDs failed with -6"), "{}", text(&gone.stderr));
}

fn sse_sam(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sse-sam")).args(arguments).output().unwrap()
}

#[test]
fn a_name_that_no_device_has_is_answered_with_what_there_is() {
    for name in ["cuda", "mps", "rocm", "hip", "opencl:9.9", "opencl:", "opencl0", "abacus"] {
        let output = sse_sam(&["bench", "--model", "mlp:4-3-2", "--device", name]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(&format!("no device {name}: ")), "{said}");
        let without = said.contains("no OpenCL library was found");
        let forms = "auto, cpu, opencl, opencl:P.D, or a part of a device's name; sse-sam devices lists what there is";
        assert!(without || said.contains(forms), "{said}");
    }
    for name in ["", " ", "\t"] {
        let output = sse_sam(&["bench", "--model", "mlp:4-3-2", "--device", name]);
        assert_eq!(output.status.code(), Some(2), "{name:?}");
        assert!(text(&output.stderr).contains("--device names no device: it takes auto, cpu"), "{name:?}");
    }
}

#[test]
fn a_part_of_a_name_means_a_device_that_can_be_used_where_there_is_one() {
    each_device(|whole| {
        let mut broken = whole.clone();
        (broken.platform, broken.unusable) = (97, Some("it is not available"));
        let both = [broken.clone(), whole.clone()];
        assert_eq!(select(&both, &whole.name).unwrap().platform, whole.platform);
        assert!(matches!(select(&[broken], &whole.name), Err(Error::Unusable { .. })));
    });
}

#[test]
fn names_of_devices_are_the_same_in_capitals() {
    for name in ["CPU", "Cpu", " cpu "] {
        let output = sse_sam(&["bench", "--model", "mlp:4-3-2", "--batch", "2", "--steps", "1", "--device", name]);
        assert!(output.status.success() && text(&output.stdout).contains("CPU core, "), "{name}");
    }
    each_device(|_| {
        let output = sse_sam(&["bench", "--model", "mlp:4-3-2", "--batch", "2", "--steps", "1", "--device", "OPENCL"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    });
}

#[test]
fn device_memory_outside_its_range_is_a_usage_error() {
    for number in ["-1", "0", "0.5", "nan", "inf"] {
        for arguments in [vec!["--device-memory", number], vec![&*format!("--device-memory={number}")]] {
            let output = sse_sam(&[&["bench", "--model", "mlp:4-3-2"], &arguments[..]].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{number}: {said}");
            assert!(said.contains("--device-memory must be a number of MiB from 1 on"), "{arguments:?}: {said}");
        }
    }
}

#[test]
#[cfg(unix)]
fn a_reader_who_goes_away_ends_the_list_quietly() {
    let program = env!("CARGO_BIN_EXE_sse-sam");
    let script = format!("'{program}' devices 2>&1 >&3 3>&- | cat; exit ${{PIPESTATUS[0]}}");
    let script = format!("exec 3> >(head -c 0); sleep 0.2; {script}");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}
