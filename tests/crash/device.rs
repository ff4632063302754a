//! Devices that fail in the middle of a run.

use super::*;

/// A run on OpenCL whose `call`-th call of it fails with `code`, and with `..` every call after it too.
fn failing(folder: &Path, call: u64, code: &str) -> Output {
    let args = training("run", &["--device", "opencl", "--epochs", "2", "--model", "mlp:64-4-10"]);
    program(folder, &args).env("SSE_SAM_OPENCL_FAIL", format!("{call}{code}")).output().unwrap()
}

#[test]
fn a_device_that_fails_leaves_a_run_that_goes_on_with_or_without_it() {
    if !has_opencl() {
        return;
    }
    let whole = tempdir().unwrap();
    succeed(whole.path(), &training("run", &["--device", "opencl", "--epochs", "2", "--model", "mlp:64-4-10"]));
    let layout = layout("mlp:64-4-10");
    let codes = [
        (":-5", "CL_OUT_OF_RESOURCES"),
        ("..:-2", "CL_DEVICE_NOT_AVAILABLE"),
        (":-4", "CL_MEM_OBJECT_ALLOCATION_FAILURE"),
        ("..:-9999", "a code of the driver's own"),
    ];
    // Percent from one call that fails to the next.
    let growth = if faults::failing_calls() > 3 { 105 } else { 160 };
    let (mut call, mut failures) = (400, 0);
    for (number, (code, name)) in codes.into_iter().cycle().enumerate() {
        let folder = tempdir().unwrap();
        let output = failing(folder.path(), call, code);
        if output.status.success() {
            break;
        }
        let (what, text, run) = (format!("call {call}{code}"), stderr(&output), folder.path().join("run"));
        assert!(text.contains(name) && text.contains("sse-sam: OpenCL: cl"), "{what}: {text}");
        assert!(!text.contains("panicked") && output.status.code() == Some(1), "{what}: {text}");
        if run.join("config.toml").exists() {
            failures += 1;
            assert!(
                text.contains("hint: sse-sam resume run goes on from the last checkpoint; with --device cpu"),
                "{what}"
            );
            checkpoints(&run).iter().for_each(|path| drop(Checkpoint::read(path, &layout).unwrap()));
            if number % 2 == 0 {
                succeed(folder.path(), &["resume", "run", "--quiet"]);
                same(&whole.path().join("run"), &run, &what);
            } else {
                succeed(folder.path(), &["resume", "run", "--quiet", "--device", "cpu"]);
                assert!(run.join("last.safetensors").exists(), "{what}");
            }
        }
        call = call * growth / 100;
    }
    assert!(failures >= 4, "only {failures} failures in mid-run");
    println!("{failures} failures in mid-run");
}
