//! Little memory: pictures that are staged batch by batch, and a training whose device has no room for a spectrum.

use std::fs;
use std::path::Path;

use sse_sam::opencl::devices;
use sse_sam_tests::needs::has_opencl;
use tempfile::tempdir;

use super::program::{run, train, works};

/// Mebibytes that tell all pictures of the digits apart from a few batches of eight: 65 KiB are less than 4 KiB and this.
const CLOSE: f64 = 0.03;

/// The least MiB of a device's memory, to within [`CLOSE`], that `args` succeed with, which write to `out`. With less not even
/// staged pictures fit, so that with this much they are staged.
fn least(folder: &Path, args: &[&str], out: &str) -> String {
    let with = |memory: f64| {
        let memory = format!("{memory:.3}");
        let outcome = run(folder, &[args, &["--out", out, "--device-memory", &memory]].concat());
        let lacks = outcome.stderr.contains("memory") || outcome.stderr.contains("MiB");
        assert!(outcome.code == 0 || lacks, "{memory}: {}", outcome.stderr);
        // What is there would not be computed again.
        let (path, is_there) = (folder.join(out), folder.join(out).exists());
        assert!(is_there || outcome.code != 0);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        outcome.code == 0
    };
    let (mut low, mut high) = (0.0, 64.0);
    assert!(with(high));
    while high - low > CLOSE {
        let middle = (low + high) / 2.0;
        if with(middle) { high = middle } else { low = middle }
    }
    format!("{high:.3}")
}

#[test]
fn pictures_that_are_staged_give_the_bytes_of_those_that_lie_on_the_device() {
    let found = devices().unwrap_or_default();
    if !has_opencl(found.len()) {
        return;
    }
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let base =
        ["spectrum", "run", "--groups", "all,tail,class9", "--batch", "8", "--json", "--steps", "2", "--vectors", "2"];
    let escape = ["--escape", "--escape-steps", "5", "--escape-batch", "8", "--device"];
    for (at, device) in found.iter().enumerate() {
        let device = device.selector();
        let args = [&base[..], &escape[..], &[&device]].concat();
        let [trial, whole, staged] = ["trial", "whole", "staged"].map(|what| format!("{what}-{at}.jsonl"));
        let memory = least(home.path(), &args, &trial);
        let all = works(home.path(), &[&args[..], &["--out", &whole]].concat()).stdout;
        let limit = ["--device-memory", &memory, "--out", &staged];
        assert_eq!(works(home.path(), &[&args[..], &limit].concat()).stdout, all, "{memory} MiB");
    }
}

#[test]
fn a_spectrum_that_does_not_fit_beside_its_training_costs_a_warning_and_no_bit() {
    let Some(device) = devices().unwrap_or_default().first().map(|device| device.selector()) else {
        has_opencl(0);
        return;
    };
    let home = tempdir().unwrap();
    let base = ["train", "--model", "mlp:64-16-10", "--batch", "32", "--epochs", "2", "--device", &device, "--quiet"];
    // For the training alone: eighty vectors of 1210 numbers are more than all pictures and its own five.
    let memory = least(home.path(), &base, "trial");
    let with = |out: &str, args: &[&str]| {
        works(home.path(), &[&base[..], &["--device-memory", &memory, "--out", out], args].concat())
    };
    with("plain", &[]);
    let told = with("measured", &["--spectrum-every", "1"]);
    let log = fs::read_to_string(home.path().join("measured/log.txt")).unwrap();
    for epoch in 0..2 {
        let text = format!("no spectrum of epoch {epoch}: ");
        assert!(told.stderr.contains(&format!("warning: {text}")), "{}", told.stderr);
        assert!(told.stderr.contains("are needed for a basis of 80 steps") && log.contains(&text), "{log}");
    }
    assert!(!home.path().join("measured/spectrum.jsonl").exists());
    for file in ["metrics.jsonl", "last.safetensors", "best-on-test.safetensors"] {
        let bytes = ["plain", "measured"].map(|out| fs::read(home.path().join(out).join(file)).unwrap());
        assert!(bytes[0] == bytes[1], "{file}");
    }
}
