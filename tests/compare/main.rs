//! `sse-sam compare`, from the outside: the runs that it trains, and what it says of runs.

mod complete;
mod existing;
mod refused;
mod training;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A tiny perceptron on the digits.
const SMALL: [&str; 8] = ["--model", "mlp:64-16-10", "--batch", "128", "--lr", "0.05", "--epochs", "2"];

/// A cache folder of the tests' own: none may write to the user's.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// Files that are the same after any way through the same run.
const RESULTS: [&str; 5] =
    ["config.toml", "metrics.jsonl", "last.safetensors", "best-on-test.safetensors", "evaluation.json"];

fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).env("SSE_SAM_CACHE", CACHE);
    command
}

/// What a command printed on both outputs, and how it ended.
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let stderr = text(output.stderr);
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr }
    }
}

fn run(folder: &Path, args: &[&str]) -> Outcome {
    program(folder, args).output().unwrap().into()
}

#[track_caller]
fn succeed(folder: &Path, args: &[&str]) -> Outcome {
    let outcome = run(folder, args);
    assert_eq!(outcome.code, 0, "{args:?}\n{}", outcome.stderr);
    outcome
}

/// Arguments of a comparison of small runs on the CPU core.
fn comparison<'a>(out: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&["compare", "--out", out, "--device", "cpu"], &SMALL[..], options].concat()
}

/// A folder of IDX files: two classes of 8 x 8 images, with so many to train, and 10 each to test.
fn two_classes(folder: &Path, counts: [usize; 2]) {
    fs::create_dir_all(folder).unwrap();
    let file = |dimensions: &[u32], values: Vec<u8>| -> Vec<u8> {
        let sides = dimensions.iter().flat_map(|side| side.to_be_bytes());
        [0, 0, 8, dimensions.len() as u8].into_iter().chain(sides).chain(values).collect()
    };
    for (set, counts) in [("train", counts), ("t10k", [10, 10])] {
        let labels: Vec<u8> = [vec![0; counts[0]], vec![1; counts[1]]].concat();
        let pixels = labels
            .iter()
            .enumerate()
            .flat_map(|(index, label)| (0..64).map(move |at| 40 + 150 * label + ((index * 7 + at * 5) % 31) as u8));
        let images = file(&[labels.len() as u32, 8, 8], pixels.collect());
        fs::write(folder.join(format!("{set}-images-idx3-ubyte")), images).unwrap();
        fs::write(folder.join(format!("{set}-labels-idx1-ubyte")), file(&[labels.len() as u32], labels)).unwrap();
    }
}

/// What a comparison wrote, without times.
fn written(out: &Path) -> Value {
    let text = fs::read_to_string(out.join("comparison.json")).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    assert!(value.as_object_mut().unwrap().remove("cost").is_some());
    value
}

/// Asserts that two runs left the same bytes.
#[track_caller]
fn same(a: &Path, b: &Path) {
    for name in RESULTS {
        let read =
            |run: &Path| fs::read(run.join(name)).unwrap_or_else(|error| panic!("{}: {name}: {error}", run.display()));
        assert!(read(a) == read(b), "{} and {}: {name} differs", a.display(), b.display());
    }
}

/// The words of an array.
fn words(value: &Value, key: &str) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}
