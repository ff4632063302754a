//! Devices and memory that are not there, and options about devices that do nothing.

use sse_sam::device::threads::{Cores, Level};

use super::*;

/// Runs the program with no OpenCL library to be found.
fn without_opencl(folder: &Path, args: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.env("SSE_SAM_CACHE", CACHE).env("SSE_SAM_OPENCL_LIBRARY", "/nowhere/libOpenCL.so");
    outcome(command.current_dir(folder).args(args).output().unwrap())
}

fn outcome(output: std::process::Output) -> Outcome {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the program with so many KiB of addresses.
#[cfg(target_os = "linux")]
fn within(folder: &Path, kibibytes: u32, args: &str) -> Outcome {
    let script = format!("ulimit -v {kibibytes}; exec '{}' {args} --device cpu", env!("CARGO_BIN_EXE_sse-sam"));
    let mut command = Command::new("bash");
    outcome(command.env("SSE_SAM_CACHE", CACHE).current_dir(folder).args(["-c", &script]).output().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn memory_that_the_system_refuses_is_an_error_before_there_is_a_run() {
    let folder = tempdir().unwrap();
    for (kibibytes, args) in [
        // Less than the vectors take, less than their copies take, and less than the best weights take beside them.
        (300_000, "train --out out --model mlp:64-3000000-10 --batch 1"),
        (300_000, "bench --model mlp:16-3000000-5 --batch 1 --steps 1"),
        (4_000_000, "train --out out --model mlp:64-2000000-10 --batch 1 --method sgd"),
        (4_000_000, "train --out out --model mlp:64-2500000-10 --batch 1 --method sse-sam"),
    ] {
        let Outcome { code, stderr, .. } = within(folder.path(), kibibytes, args);
        assert_eq!(code, 1, "{args}: {stderr}");
        let sentence = "MiB of this computer's memory are needed, the system refuses them";
        assert!(stderr.contains(sentence) && stderr.contains("hint: not even one sample a batch fits"), "{stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains("2^32"), "{stderr}");
        assert!(!folder.path().join("out").exists(), "{args} left a folder");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_batch_that_is_named_on_the_cpu_core_is_one_that_the_system_has_memory_for() {
    let folder = tempdir().unwrap();
    let bench =
        |batch: &str| within(folder.path(), 600_000, &format!("bench --model mlp:8-100-2 --steps 1 --batch {batch}"));
    let Outcome { code, stderr, .. } = bench("4000000");
    assert_eq!(code, 1, "{stderr}");
    let fits = stderr.split_once("hint: --batch ").expect("a batch is named").1.split(' ').next().unwrap();
    let outcome = bench(fits);
    assert_eq!(outcome.code, 0, "batch {fits}: {}", outcome.stderr);
}

#[test]
fn a_word_about_the_device_means_the_same_in_capitals_and_with_spaces() {
    let folder = tempdir().unwrap();
    for device in ["cpu", "CPU", " cpu", "Cpu "] {
        let args = ["train", "--out", "out", "--device", device, "--device-memory", "10"];
        refused(folder.path(), &args, 2, &["--device-memory is about OpenCL devices, and the device is the CPU core"]);
    }
    assert_eq!(run(folder.path(), &["devices", "--device", " AUTO "]).code, 0);
}

#[test]
fn options_about_kernels_and_forms_that_do_nothing_are_refused() {
    let folder = tempdir().unwrap();
    let convolutions = "it needs a model with convolutions";
    for (args, sentence) in [
        (&["devices", "--kernels", "--conv", "direct"][..], "--conv does nothing here"),
        (&["devices", "--kernels", "--device-memory", "10"], "--device-memory does nothing here"),
        (&["bench", "--model", "mlp:4-3-2", "--conv", "winograd"], convolutions),
    ] {
        refused(folder.path(), args, 2, &[sentence]);
    }
    if has_opencl() {
        let args = ["--device", "opencl", "--conv", "winograd", "--epochs", "1"];
        refused(folder.path(), &[&["train", "--out", "out"], &SMALL[..], &args].concat(), 2, &[convolutions]);
        // What a file says is left alone.
        fs::write(folder.path().join("run.toml"), "conv = \"winograd\"\n").unwrap();
        let args = ["--device", "opencl", "--config", "run.toml", "--epochs", "1"];
        train(folder.path(), "configured", &args);
        let args = ["eval", "configured", "--device", "opencl", "--conv", "winograd"];
        refused(folder.path(), &args, 2, &[convolutions]);
    }
}

#[test]
fn a_missing_library_is_named_wherever_an_opencl_device_is_missed() {
    let folder = tempdir().unwrap();
    for args in [
        &["devices", "--kernels"][..],
        &["tune", "--model", "resnet8:4", "--image", "8x8x3"],
        &["bench", "--model", "mlp:4-3-2", "--device", "cuda"],
    ] {
        let Outcome { code, stderr, .. } = without_opencl(folder.path(), args);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("no OpenCL library was found"), "{stderr}");
        assert!(args[0] != "bench" || stderr.contains("sse-sam devices lists what there is"), "{stderr}");
    }
}

#[test]
fn a_library_that_fails_takes_the_cpu_core_from_nobody() {
    if !has_opencl() {
        return;
    }
    let folder = tempdir().unwrap();
    let failing = |call: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
        command.env("SSE_SAM_CACHE", CACHE).env("SSE_SAM_OPENCL_FAIL", call);
        outcome(command.current_dir(folder.path()).args(args).output().unwrap())
    };
    let Outcome { code, stdout, stderr } = failing("1", &["devices"]);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{stdout}{stderr}");
    assert!(lines[0].starts_with("cpu") && lines[0].ends_with("<- auto"), "{stdout}");
    assert!(lines[1].starts_with("OpenCL cannot be used: clGetPlatformIDs failed with -5"), "{stdout}");
    // The device is there, and broken: no other command line helps.
    let Outcome { code, stderr, .. } = failing("8", &["bench", "--model", "mlp:4-3-2", "--device", "OpenCL:0.0"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("failed with -5") && stderr.contains("--device cpu needs no OpenCL"), "{stderr}");
}

#[test]
fn a_limit_that_was_typed_is_named_where_it_is_the_cause() {
    if !has_opencl() {
        return;
    }
    let folder = tempdir().unwrap();
    for device in ["auto", "opencl"] {
        let args = ["train", "--out", "out", "--device", device, "--device-memory", "1", "--model", "mlp:64-16-10"];
        let parts = ["1 MiB are there", "not even one sample a batch fits; a larger --device-memory allows more"];
        refused(folder.path(), &args, 1, &parts);
    }
}

#[test]
fn threads_and_vectors_that_are_not_there_are_refused_with_a_sentence() {
    let folder = tempdir().unwrap();
    let bench = ["bench", "--model", "mlp:64-32-10", "--steps", "1", "--device", "cpu"];
    let refuse = |options: &[&str], expected: &str| {
        let Outcome { code, stderr, .. } = without_opencl(folder.path(), &[&bench, options].concat());
        assert_eq!(code, 2, "{options:?}: {stderr}");
        assert!(stderr.contains(expected) && !stderr.contains("panicked"), "{options:?}: {stderr}");
    };
    refuse(&["--threads", "0"], "--threads must be at least 1, got 0");
    refuse(&["--threads", "-1"], "invalid value '-1' for '--threads <N>'");
    refuse(&["--simd", "mmx"], "invalid value 'mmx' for '--simd <LEVEL>'");
    for level in Level::ALL {
        let name = level.name();
        if level.is_there() {
            let Outcome { code, stdout, stderr } =
                without_opencl(folder.path(), &[&bench[..], &["--simd", name, "--threads", "3"]].concat());
            assert_eq!(code, 0, "{stderr}");
            assert!(stdout.contains(&format!("CPU core, 3 threads, {name}")), "{stdout}");
        } else {
            refuse(&["--simd", name], &format!("--simd {name}: this processor has none of that"));
        }
    }
    let Outcome { code, stderr, .. } = without_opencl(folder.path(), &["devices", "--threads", "2"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--threads does nothing here"), "{stderr}");
}

#[test]
fn threads_of_the_cpu_core_mean_nothing_to_an_opencl_device() {
    if !has_opencl() {
        return;
    }
    let folder = tempdir().unwrap();
    for option in [["--threads", "2"], ["--simd", "baseline"]] {
        let bench = ["bench", "--model", "mlp:64-32-10", "--steps", "1", "--device", "opencl"];
        let Outcome { code, stderr, .. } = run(folder.path(), &[&bench[..], &option].concat());
        assert_eq!(code, 2, "{stderr}");
        let expected = format!("{} is about the CPU core, and the device is ", option[0]);
        assert!(stderr.contains(&expected) && stderr.contains("--device cpu takes the CPU core"), "{stderr}");
    }
}

#[test]
fn more_threads_than_help_are_done_without() {
    let folder = tempdir().unwrap();
    let bench = ["bench", "--model", "mlp:64-32-10", "--steps", "1", "--device", "cpu", "--threads", "4000000"];
    let Outcome { code, stdout, stderr } = without_opencl(folder.path(), &bench);
    assert_eq!(code, 0, "{stderr}");
    let threads = Cores::most();
    let expected =
        format!("warning: --threads 4000000 is more than helps: computing with {threads}, 4 for each processor");
    assert!(stderr.contains(&expected), "{stderr}");
    assert!(stdout.contains(&format!("CPU core, {threads} threads")), "{stdout}");
}
