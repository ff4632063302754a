//! The program on people's own pictures: what was reported of other loaders, a test each, and the same pictures through every
//! way to store them.

mod formats;
mod large;
mod lists;
mod reported;
mod shared;
mod weights;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// A cache folder of the tests' own: none may write to the user's.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(folder: &Path, args: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    let output = command.env("SSE_SAM_CACHE", CACHE).args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let outcome =
        Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!outcome.stderr.contains("panicked"), "{args:?}\n{}", outcome.stderr);
    outcome
}

/// A training that takes no time: 8 x 8 pixels, four hidden units.
fn training<'a>(out: &'a str, classes: usize, args: &[&'a str]) -> Vec<&'a str> {
    let model = ["mlp:192-4-1", "mlp:192-4-2", "mlp:192-4-3", "mlp:192-4-4"][classes - 1];
    let fixed = ["train", "--image-size", "8", "--model", model, "--epochs", "1", "--method", "sgd", "--device", "cpu"];
    [&fixed[..], &["--batch", "4", "--lr", "0.05", "--out", out], args].concat()
}

/// Trains into `out` and returns what was printed.
#[track_caller]
fn train(folder: &Path, out: &str, classes: usize, args: &[&str]) -> Outcome {
    let outcome = run(folder, &training(out, classes, args));
    assert_eq!(outcome.code, 0, "{args:?}\n{}", outcome.stderr);
    outcome
}

/// Asserts that nothing is trained, and that standard error says all of `parts`.
#[track_caller]
fn refused(folder: &Path, args: &[&str], parts: &[&str]) {
    let outcome = run(folder, &training("refused", 2, args));
    assert!(outcome.code == 1 || outcome.code == 2, "{args:?}\n{}", outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "{args:?}: {part:?} is not in\n{}", outcome.stderr);
    }
    assert!(!folder.join("refused").exists(), "{args:?} left a folder");
}

/// A small picture of the tests' own, which differ from each other.
fn picture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/pictures/files").join(name)).unwrap()
}

/// Writes files below a folder.
fn write(folder: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A data set of two classes, cat and dog, with pictures to train and to test on in several formats.
fn pets() -> TempDir {
    let folder = tempdir().unwrap();
    let files = [
        ("pets/train/cat/1.jpg", "420.jpg"),
        ("pets/train/cat/2.png", "palette.png"),
        ("pets/train/cat/more/3.webp", "lossless.webp"),
        ("pets/train/dog/1.JPG", "grey.jpg"),
        ("pets/train/dog/2.bmp", "24.bmp"),
        ("pets/test/cat/9.jpg", "422.jpg"),
        ("pets/test/dog/9.png", "grey.png"),
    ];
    write(folder.path(), &files.map(|(name, file)| (name, picture(file))));
    folder
}

/// The tensors of a run's last weights as bytes, and what they say about themselves.
fn weights_of(folder: &Path, out: &str) -> (Vec<u8>, BTreeMap<String, String>) {
    let bytes = fs::read(folder.join(out).join("last.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let metadata = serde_json::from_value(header["__metadata__"].clone()).unwrap();
    (bytes[8 + length..].to_vec(), metadata)
}

/// The names of the classes that a run's weights know.
fn classes(folder: &Path, out: &str) -> Vec<String> {
    serde_json::from_str(&weights_of(folder, out).1["class_names"]).unwrap()
}
