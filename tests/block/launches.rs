//! How many kernels a training step launches on a GPU.

use assert_cmd::Command;
use serde_json::Value;

use super::rig::each_device;

/// Launches of one step of ResNet-32.
fn launches(device: &str, batch: usize, method: &str) -> u64 {
    let cache = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.env("SSE_SAM_CACHE", cache.path()).env("SSE_SAM_OPENCL_TILES", "gpu");
    // Blocks by the rule: a timing would take longer than the step.
    command.args(["bench", "--model", "resnet32", "--steps", "1", "--json", "--conv", "direct", "--stage", "1"]);
    let output =
        command.args(["--device", device, "--batch", &batch.to_string(), "--method", method]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let line: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    line["launches"].as_u64().unwrap()
}

/// Batches of two are the worst case: with more images a sum is split into fewer parts, so that fewer are merged and more
/// convolutions leave statistics.
#[test]
fn a_step_of_resnet_32_takes_at_most_400_launches_and_the_first_stage_of_sse_sam_1400() {
    each_device(|device| {
        let device = device.selector();
        let sgd = [2, 16].map(|batch| launches(&device, batch, "sgd"));
        assert!(sgd[1] <= sgd[0] && sgd[0] <= 400, "SGD with batches of 2 and of 16: {sgd:?} launches");
        let sse_sam = launches(&device, 2, "sse-sam");
        assert!(sse_sam <= 1400, "SSE-SAM, stage 1: {sse_sam} launches");
    });
}
