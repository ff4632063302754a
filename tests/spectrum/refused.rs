//! What a spectrum does not take: one sentence that says what, where and what to do.

use std::fs;

use sse_sam::opencl::devices;
use sse_sam::weights::{self, Data};
use sse_sam_tests::needs::has_opencl;
use tempfile::{TempDir, tempdir};

use super::program::{run, train};

fn trained() -> TempDir {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    home
}

/// Asserts that `spectrum` ends with `code` and says all of `parts`, and nothing on standard output.
#[track_caller]
fn refused(home: &TempDir, args: &[&str], code: i32, parts: &[&str]) {
    let device: &[&str] = if args.contains(&"--device") { &[] } else { &["--device", "cpu"] };
    let outcome = run(home.path(), &[&["spectrum"], args, device].concat());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (code, ""), "{args:?}\n{}", outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "{args:?}: {part:?} is not in\n{}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
}

#[test]
fn a_group_without_samples() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &["--eta", "1"]);
    let tail = "--groups tail: no class has fewer than 1 training samples (eta): leave the tail out";
    refused(&home, &["run"], 2, &[tail]);
    refused(&home, &["run", "--groups", "class10"], 2, &["--groups class10: there are classes 0 to 9"]);
    refused(&home, &["run", "--groups", "rare"], 2, &["a group is all, head, tail, classes"]);
}

#[test]
fn more_steps_than_parameters() {
    let home = trained();
    let sentence = "--steps 1211: the network has 1210 parameters, and Lanczos's method no more steps than that";
    refused(&home, &["run", "--steps", "1211"], 2, &[sentence]);
    refused(&home, &["run", "--steps", "0"], 2, &["--steps"]);
    refused(&home, &["run", "--vectors", "0"], 2, &["--vectors"]);
}

#[test]
fn weights_of_another_data_set() {
    let home = trained();
    let idx = home.path().join("other");
    fs::create_dir(&idx).unwrap();
    for (name, classes) in [("train", 10_u8), ("t10k", 10)] {
        let labels: Vec<u8> = (0..400_u32).map(|at| at as u8 % classes).collect();
        let images: Vec<u8> = (0..400 * 64_u32).map(|at| (at % 251) as u8).collect();
        let header = |sizes: &[u32]| {
            let words = sizes.iter().flat_map(|size| size.to_be_bytes());
            [0, 0, 8, sizes.len() as u8].into_iter().chain(words).collect::<Vec<u8>>()
        };
        let write = |file: &str, sizes: &[u32], content: &[u8]| {
            fs::write(idx.join(format!("{name}-{file}")), [&header(sizes), content].concat()).unwrap();
        };
        write("images-idx3-ubyte", &[400, 8, 8], &images);
        write("labels-idx1-ubyte", &[400], &labels);
    }
    refused(&home, &["run", "--data", "other"], 2, &["digits"]);
    fs::copy(home.path().join("run/best-on-test.safetensors"), home.path().join("w.safetensors")).unwrap();
    let parts =
        ["w.safetensors: was trained on other images or classes than those of other", "hint: --data says where"];
    refused(&home, &["w.safetensors", "--data", "other"], 1, &parts);
    // A run's data by their fingerprint: the same sizes, and another pixel.
    let args = ["--data", "other", "--out", "second"];
    train(home.path(), "second", &args[..2]);
    let images = idx.join("train-images-idx3-ubyte");
    let mut bytes = fs::read(&images).unwrap();
    bytes[1000] ^= 1;
    fs::write(&images, bytes).unwrap();
    let parts = [
        "was trained on other data than those of other",
        "second/config.toml says which: --data says where they are now",
    ];
    refused(&home, &["second"], 1, &parts);
}

#[test]
fn memory_that_does_not_hold_the_basis() {
    let Some(device) = devices().unwrap_or_default().first().map(|device| device.selector()) else {
        has_opencl(0);
        return;
    };
    let home = trained();
    // Two network's worth of MiB for a basis of 1210 vectors of 1210 numbers each.
    let with = |memory: &str, more: &[&str]| {
        let args = ["spectrum", "run", "--groups", "tail", "--device", &device, "--device-memory", memory];
        run(home.path(), &[&args[..], more].concat())
    };
    let sizes: Vec<String> = (0..60).map(|step| format!("{:.1}", 1.0 + 0.25 * f64::from(step))).collect();
    let small = sizes.iter().find(|size| with(size, &["--steps", "20"]).code == 0).expect("some size holds 20 steps");
    let outcome = with(small, &["--steps", "1200"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("are needed for a basis of 1200 steps"), "{}", outcome.stderr);
    let fits = outcome.stderr.split("hint: --steps ").nth(1).expect("a number of steps is named");
    let fits = fits.split(' ').next().unwrap();
    assert_eq!(with(small, &["--steps", fits]).code, 0, "{small} {fits}");
    assert!(outcome.stderr.contains("--basis none keeps three vectors"), "{}", outcome.stderr);
}

#[test]
fn a_network_in_training_mode() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &["--model", "resnet8:1", "--epochs", "1", "--batch", "128"]);
    let path = home.path().join("run/best-on-test.safetensors");
    let (mut tensors, metadata) = weights::read(&path).unwrap();
    let counters = tensors.iter_mut().filter(|tensor| tensor.name.ends_with("num_batches_tracked"));
    let set = counters.map(|tensor| tensor.data = Data::I64(vec![0])).count();
    assert_eq!(set, 7);
    weights::write(&home.path().join("new.safetensors"), &tensors, &metadata).unwrap();
    let parts = [
        "new.safetensors: its batch norms have seen no batch (num_batches_tracked is 0)",
        "evaluation mode",
        "hint: take weights from after the first epoch",
    ];
    refused(&home, &["new.safetensors"], 1, &parts);
}

#[test]
fn numbers_that_are_not_finite_and_precision_that_is_not_full() {
    let home = trained();
    let (mut tensors, metadata) = weights::read(&home.path().join("run/best-on-test.safetensors")).unwrap();
    for tensor in &mut tensors {
        if let Data::F32(values) = &mut tensor.data {
            values.iter_mut().for_each(|value| *value *= 1e30);
        }
    }
    weights::write(&home.path().join("huge.safetensors"), &tensors, &metadata).unwrap();
    refused(&home, &["huge.safetensors"], 2, &["all: loss or gradient is not finite at these weights"]);
    refused(&home, &["run", "--precision", "tf32"], 2, &["leave out --precision tf32"]);
}

#[test]
fn files_that_are_something_else_stay_what_they_are() {
    let home = trained();
    fs::write(home.path().join("notes.txt"), "mine\n").unwrap();
    refused(
        &home,
        &["run", "--out", "notes.txt"],
        1,
        &["notes.txt: line 1 is no line of a spectrum", "--out takes another"],
    );
    fs::write(home.path().join("notes.txt"), "mine").unwrap();
    refused(&home, &["run", "--out", "notes.txt"], 1, &["notes.txt: holds no line of a spectrum"]);
    assert_eq!(fs::read_to_string(home.path().join("notes.txt")).unwrap(), "mine");
    refused(&home, &["run", "--out", "run/metrics.jsonl"], 1, &["is a file of a run"]);
    refused(&home, &["run", "--out", "run/best-on-test.safetensors"], 2, &["is what is read"]);
    refused(&home, &["run", "--out", "nowhere/a.jsonl"], 1, &["no such file or folder"]);
    refused(&home, &["nothing.safetensors"], 1, &["no such file or folder"]);
}
