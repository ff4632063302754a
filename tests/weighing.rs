//! `--tail-weight` through the command line: what it does to losses and steps, and where it does nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sse_sam::weights::{self, Tensor};
use tempfile::tempdir;

/// A cache folder of the tests' own: none may write to the user's.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// The first epoch's line of metrics, and the weights after it.
fn train(folder: &Path, out: &str, options: &[&str]) -> (Value, Vec<Tensor>) {
    let fixed = ["train", "--quiet", "--device", "cpu", "--model", "mlp:64-8-10", "--epochs", "1", "--out", out];
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    let output = command.env("SSE_SAM_CACHE", CACHE).current_dir(folder).args(fixed).args(options).output().unwrap();
    assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
    let metrics = fs::read_to_string(folder.join(out).join("metrics.jsonl")).unwrap();
    let line = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    (line, weights::read(&folder.join(out).join("last.safetensors")).unwrap().0)
}

fn losses(line: &Value) -> [f64; 2] {
    ["loss_head", "loss_tail"].map(|key| line[key].as_f64().unwrap())
}

#[test]
fn the_tails_loss_is_weighed_and_the_heads_is_not() {
    let folder = tempdir().unwrap();
    // At a rate of 0 the losses are those of the same weights, and a factor that is a power of two rounds nothing.
    for method in ["imbsam", "sse-sam"] {
        let [once, twice, default] =
            [("once", &["--tail-weight", "1"][..]), ("twice", &["--tail-weight", "2"]), ("none", &[])].map(
                |(name, weight)| {
                    let out = format!("{method}-{name}");
                    losses(&train(folder.path(), &out, &[&["--method", method, "--lr", "0"], weight].concat()).0)
                },
            );
        assert!(once[0] > 0.0 && once[1] > 0.0, "{method}: {once:?}");
        assert_eq!(twice, [once[0], 2.0 * once[1]], "{method}");
        assert_eq!(default, once, "{method}: the default is 1");
    }
}

#[test]
fn steps_follow_the_weighed_loss_and_a_runs_configuration_keeps_the_weight() {
    let folder = tempdir().unwrap();
    let imbsam = ["--method", "imbsam", "--lr", "0.05"];
    let (_, plain) = train(folder.path(), "plain", &imbsam);
    let (_, weighed) = train(folder.path(), "weighed", &[&imbsam[..], &["--tail-weight", "2"]].concat());
    assert_ne!(plain, weighed);
    let config = fs::read_to_string(folder.path().join("weighed/config.toml")).unwrap();
    assert!(config.lines().any(|line| line == "tail-weight = 2.0"), "{config}");
    let (_, again) = train(folder.path(), "again", &["--config", "weighed/config.toml"]);
    assert_eq!(again, weighed);
}
