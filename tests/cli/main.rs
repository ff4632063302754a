//! The program, from the outside.

mod classes;
mod data;
mod devices;
mod recipes;
mod validation;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use sse_sam::weights::{self, Data, Tensor};
use sse_sam_tests::needs;
use tempfile::{TempDir, tempdir};

/// A small network, so that a test takes little time.
const SMALL: [&str; 6] = ["--model", "mlp:64-16-10", "--batch", "32", "--lr", "0.05"];

/// A cache folder of the tests' own: none may write to the user's.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program in `folder`, on the CPU core unless the arguments name a device or no work.
fn run(folder: &Path, args: &[&str]) -> Outcome {
    let works = args.first().is_some_and(|command| ["train", "eval", "verify"].contains(command));
    let device = works && !args.contains(&"--device") && args.len() > 1;
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.env("SSE_SAM_CACHE", CACHE).args(args).args(if device { &["--device", "cpu"][..] } else { &[] });
    let output = command.current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Trains a small network into `out` and returns what was printed.
#[track_caller]
fn train(folder: &Path, out: &str, args: &[&str]) -> Outcome {
    let args = [&["train", "--out", out], &SMALL[..], args].concat();
    let outcome = run(folder, &args);
    assert_eq!(outcome.code, 0, "{args:?}\n{}", outcome.stderr);
    outcome
}

/// Asserts that a command ends with `code` and says all of `parts` on standard error, and leaves no run behind.
#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let outcome = run(folder, args);
    let Outcome { stderr, stdout, .. } = &outcome;
    assert_eq!(outcome.code, code, "{args:?}\n{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(stdout, "", "{args:?}");
    assert!(!folder.join("out").exists() && !folder.join("runs").exists(), "{args:?} left a folder");
}

fn metrics(folder: &Path, out: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(out).join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn tensors(path: &Path) -> (Vec<Tensor>, BTreeMap<String, String>) {
    weights::read(path).unwrap()
}

/// What standard error says beside the lines of epochs and stages.
fn warnings(stderr: &str) -> String {
    stderr.split_inclusive('\n').filter(|line| !line.starts_with("epoch ") && !line.starts_with("stage ")).collect()
}

/// The numbers of the table's line that begins with `name`.
fn row(stdout: &str, name: &str) -> Vec<String> {
    let line = stdout.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{stdout}"));
    line.rsplit_terminator("  ")
        .filter(|cell| !cell.trim().is_empty())
        .skip(2)
        .take(5)
        .map(|c| c.trim().into())
        .collect()
}

#[test]
fn training_prints_a_headline_and_a_table_and_nothing_else() {
    let folder = tempdir().unwrap();
    let outcome = train(folder.path(), "out", &["--epochs", "3"]);
    let told: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(told.len(), 4, "a line an epoch, and one for the second stage: {told:?}");
    for (epoch, line) in told.iter().filter(|line| line.starts_with("epoch ")).enumerate() {
        assert!(line.starts_with(&format!("epoch {epoch} of 0..=2: loss ")), "{line}");
        for part in [" (head ", ", tail ", ", balanced ", " images/s, ", " left"] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
    assert_eq!(train(folder.path(), "quiet", &["--epochs", "1", "--quiet"]).stderr, "");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 9, "{}", outcome.stdout);
    assert!(lines[0].starts_with("digits: 1048 training images in 10 classes of 376 to 7 (5 head, 5 tail at eta 60)"));
    assert!(lines[1].starts_with("mlp:64-16-10 by sse-sam, 3 epochs, batch 32, on "));
    assert_eq!(
        lines[3].split_whitespace().collect::<Vec<_>>(),
        ["overall", "balanced", "many", "medium", "few", "worst", "ECE"]
    );
    assert!(
        lines[4].starts_with("last (epoch 2)") && lines[5].starts_with("best on test (epoch "),
        "{}",
        outcome.stdout
    );
    assert!(lines[7].contains("1797 test images"), "{}", outcome.stdout);
    assert_eq!(lines[8], "files in out: metrics.jsonl, evaluation.json, last.safetensors, best-on-test.safetensors");
}

#[test]
fn metrics_hold_a_line_an_epoch_with_the_documented_fields() {
    let folder = tempdir().unwrap();
    train(folder.path(), "out", &["--epochs", "4"]);
    let lines = metrics(folder.path(), "out");
    assert_eq!(lines.len(), 4);
    let fields = [
        "epoch",
        "stage",
        "learning_rate",
        "loss",
        "loss_head",
        "loss_tail",
        "perturbed_loss_head",
        "perturbed_loss_tail",
        "gradient_norm",
        "gradient_norm_head",
        "gradient_norm_tail",
        "accuracy",
    ];
    for (epoch, line) in lines.iter().enumerate() {
        let mut found: Vec<&String> = line.as_object().unwrap().keys().collect();
        let mut expected = fields;
        expected.sort_unstable();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(line["epoch"], epoch);
        assert_eq!(line["stage"], if epoch < 2 { 1 } else { 2 });
        // The head has a perturbed point in the first stage only, the tail throughout.
        assert_eq!(line["perturbed_loss_head"].is_null(), epoch >= 2, "{line}");
        assert_eq!(line["gradient_norm_head"].is_null(), epoch >= 2, "{line}");
        assert!(line["gradient_norm_head"].as_f64().is_none_or(|norm| norm > 0.0), "{line}");
        assert!(line["gradient_norm_tail"].as_f64().is_some_and(|norm| norm > 0.0), "{line}");
        assert!(line["perturbed_loss_tail"].as_f64().unwrap() > line["loss_tail"].as_f64().unwrap(), "{line}");
        let parts = line["loss_head"].as_f64().unwrap() + line["loss_tail"].as_f64().unwrap();
        assert!((parts - line["loss"].as_f64().unwrap()).abs() < 1e-9);
        let accuracy = &line["accuracy"];
        assert_eq!(accuracy["per_class"].as_array().unwrap().len(), 10);
        for kind in ["overall", "balanced", "many", "medium", "few", "worst", "top5", "ece"] {
            assert!((0.0..=100.0).contains(&accuracy[kind].as_f64().unwrap()), "{line}");
        }
    }
    assert_eq!(lines[0]["learning_rate"], 0.05);
    let loss = |line: &Value| line["loss"].as_f64().unwrap();
    assert!(loss(&lines[3]) < 0.7 * loss(&lines[0]), "it learns: {} to {}", loss(&lines[0]), loss(&lines[3]));
}

#[test]
fn weights_say_what_they_are() {
    let folder = tempdir().unwrap();
    train(folder.path(), "out", &["--epochs", "1", "--model", "resnet8:2"]);
    for name in ["last", "best-on-test"] {
        let (tensors, metadata) = tensors(&folder.path().join("out").join(name).with_extension("safetensors"));
        let says = |key: &str| metadata[key].as_str();
        assert_eq!([says("model"), says("classes"), says("dataset"), says("eta")], ["resnet8:2", "10", "digits", "60"]);
        assert_eq!(says("class_counts"), "376,243,157,102,66,42,27,17,11,7");
        assert!(metadata.contains_key("byte_mean") && metadata.contains_key("byte_inverse_std"), "{metadata:?}");
        let tensor = |name: &str| tensors.iter().find(|tensor| tensor.name == name).unwrap();
        assert_eq!(tensor("conv1.weight").shape, [2, 1, 3, 3]);
        assert_eq!(tensor("layer3.0.bn2.running_var").shape, [8]);
        assert_eq!(tensor("bn1.num_batches_tracked").data, Data::I64(vec![33]), "an update a batch");
        assert!(tensors.iter().all(Tensor::is_finite));
    }
}

#[test]
fn eval_agrees_with_the_last_line_of_training() {
    let folder = tempdir().unwrap();
    for (out, flip) in [("plain", &[][..]), ("flipped", &["--flip"][..])] {
        let trained = train(folder.path(), out, &[&["--epochs", "2", "--model", "resnet8:2"], flip].concat());
        let file = format!("{out}/last.safetensors");
        let outcome = run(folder.path(), &[&["eval", file.as_str()], flip].concat());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
        assert_eq!(row(&outcome.stdout, "accuracy %"), row(&trained.stdout, "last (epoch 1)"));
        let classes: Vec<&str> = outcome.stdout.lines().rev().take(10).collect();
        let cells: Vec<&str> = classes[0].split_whitespace().collect();
        assert_eq!((cells[0], cells[1], cells.len()), ("9", "7*", 13), "class, training samples, accuracy, confusion");
        let total: u32 =
            classes.iter().flat_map(|l| l.split_whitespace().skip(3)).map(|n| n.parse::<u32>().unwrap()).sum();
        assert_eq!(total, 1797);
    }
    let accuracy = |out| metrics(folder.path(), out)[1]["accuracy"]["overall"].as_f64().unwrap();
    assert_ne!(accuracy("plain"), accuracy("flipped"));
}

#[test]
fn training_goes_on_from_given_weights() {
    let folder = tempdir().unwrap();
    train(folder.path(), "first", &["--epochs", "3"]);
    train(folder.path(), "second", &["--epochs", "1", "--init", "first/last.safetensors", "--lr", "0"]);
    let weights = |out: &str| tensors(&folder.path().join(out).join("last.safetensors")).0;
    assert_eq!(weights("first"), weights("second"), "a rate of 0 leaves them as they were");
}

#[test]
fn two_runs_of_a_seed_are_the_same_and_another_seed_is_not() {
    let folder = tempdir().unwrap();
    let options = ["--model", "resnet8:2", "--epochs", "2", "--augment", "crop-flip", "--subset", "shuffled"];
    for (out, seed) in [("a", "7"), ("b", "7"), ("c", "8")] {
        train(folder.path(), out, &[&options[..], &["--seed", seed]].concat());
    }
    for name in ["last.safetensors", "best-on-test.safetensors", "metrics.jsonl"] {
        let bytes = |out: &str| fs::read(folder.path().join(out).join(name)).unwrap();
        assert!(bytes("a") == bytes("b"), "{name}");
        assert!(bytes("a") != bytes("c"), "{name}");
    }
}

#[test]
fn every_method_trains_with_every_loss() {
    let folder = tempdir().unwrap();
    for method in ["sgd", "sam", "imbsam", "sse-sam"] {
        for loss in ["ce", "ldam", "la", "vs", "balanced-softmax", "focal"] {
            let out = format!("{method}-{loss}");
            let drw = if loss == "ldam" { &["--drw-epoch", "0"][..] } else { &[] };
            train(folder.path(), &out, &[&["--epochs", "1", "--method", method, "--loss", loss], drw].concat());
            let line = &metrics(folder.path(), &out)[0];
            assert!(line["loss"].as_f64().is_some_and(|loss| loss > 0.0), "{out}: {line}");
            assert_eq!(line["loss_tail"].is_null(), ["sgd", "sam"].contains(&method), "{out}: {line}");
        }
    }
}

#[test]
fn schedules_and_the_rest_of_the_optimizer_are_obeyed() {
    let folder = tempdir().unwrap();
    let rates = |out: &str, options: &[&str]| -> Vec<f64> {
        train(folder.path(), out, &[&["--epochs", "4", "--nesterov", "--weight-decay", "0"], options].concat());
        metrics(folder.path(), out).iter().map(|line| line["learning_rate"].as_f64().unwrap()).collect()
    };
    assert_eq!(rates("constant", &["--schedule", "constant"]), [0.05; 4]);
    assert_eq!(rates("warmup", &["--schedule", "constant", "--warmup", "2"]), [0.025, 0.05, 0.05, 0.05]);
    let steps = rates("steps", &["--schedule", "multi-step", "--milestones", "1,3"]);
    for (found, expected) in steps.iter().zip([0.05, 0.005, 0.005, 0.0005]) {
        assert!((found - expected).abs() < 1e-15, "{steps:?}");
    }
}

#[test]
fn an_image_size_the_model_does_not_take_is_refused() {
    let folder = tempdir().unwrap();
    let with = |model| ["train", "--model", model, "--out", "out"];
    let expected = ["the model's input must hold 64 elements, got 784", "hint: this data takes --model mlp:64-"];
    refused(folder.path(), &with("mlp:784-10"), 1, &expected);
    let expected =
        ["the model's output must hold 10 elements, got 9", "hint: this data takes --model mlp:IN-HIDDEN-10"];
    refused(folder.path(), &with("mlp:64-9"), 1, &expected);
    refused(folder.path(), &with("vgg16"), 2, &["--model vgg16: unknown model; there are mlp:"]);
}

#[test]
fn numbers_out_of_range_are_refused_by_the_name_of_their_option() {
    let folder = tempdir().unwrap();
    let refuse = |options: &[&str], expected: &str| {
        let args = [&["train", "--out", "out"], options].concat();
        refused(folder.path(), &args, 2, &[expected, "hint: "]);
    };
    refuse(&["--gamma", "1.7"], "--gamma must be in 0..=1, got 1.7");
    refuse(&["--gamma", "-0.1"], "--gamma must be in 0..=1, got -0.1");
    refuse(&["--gamma", "nan"], "--gamma must be in 0..=1, got NaN");
    for option in ["--lr", "--momentum", "--weight-decay", "--tail-weight"] {
        for (value, shown) in [("-0.5", "-0.5"), ("nan", "NaN"), ("inf", "inf"), ("1e39", "1e39")] {
            refuse(&[option, value], &format!("{option} must be in 0..=3.4e38, got {shown}"));
        }
    }
    refuse(&["--head-rho", "-1"], "--head-rho must be a finite number, at least 0, got -1");
    refuse(&["--tail-rho", "nan"], "--tail-rho must be a finite number, at least 0, got NaN");
    refuse(&["--method", "sam", "--rho", "-1"], "--rho must be a finite number, at least 0, got -1");
    refuse(&["--tail-rho", "1e300"], "--tail-rho must be in 0..=3.4e38, got 1e300");
    refuse(&["--loss", "la", "--tau", "1e39"], "--tau must be in 0..=3.4e38, got 1e39");
    refuse(&["--loss", "la", "--tau", "nan"], "--tau must be a finite number, at least 0, got NaN");
    refuse(&["--loss", "ldam", "--ldam-scale", "-1"], "--ldam-scale must be");
    refuse(&["--loss", "focal", "--focal-gamma", "-1"], "--focal-gamma must be");
    refuse(&["--loss", "vs", "--vs-gamma", "-1"], "--vs-gamma must be");
    refuse(&["--epochs", "0"], "--epochs must be at least 1");
    refuse(&["--batch", "0"], "--batch must be at least 1");
    refuse(&["--many", "10", "--few", "20"], "--few 20 must not be above --many 10 plus 1");
    refuse(&["--normalize", "0.5/0"], "--normalize: deviations must be above 0");
}

#[test]
fn options_that_do_nothing_are_refused_by_every_command() {
    let folder = tempdir().unwrap();
    train(folder.path(), "run", &["--epochs", "1"]);
    let refuse = |args: &[&str], expected: &str| {
        let outcome = run(folder.path(), args);
        assert!(outcome.code == 2 && outcome.stderr.contains(expected), "{args:?}: {}", outcome.stderr);
        let hint = format!("hint: sse-sam {} --help lists its options", args[0]);
        assert!(outcome.stderr.contains(&hint), "{args:?}: {}", outcome.stderr);
    };
    let export = ["export", "run/last.safetensors", "--format", "rust", "--name", "mine"];
    refuse(&export, "--name does nothing here: it needs --format c");
    refuse(&["devices", "--device", "cpu"], "--device does nothing here: it needs --kernels");
    refuse(&["devices", "--tiles", "gpu"], "--tiles does nothing here: it needs --kernels");
}

#[test]
fn a_table_of_runs_stands_whatever_names_hold() {
    let folder = tempdir().unwrap();
    let name = "a\nb\u{1b}[2J";
    train(folder.path(), name, &["--epochs", "1", "--quiet"]);
    let text = fs::read_to_string(folder.path().join(name).join("config.toml")).unwrap();
    let named = text.replace("data = \"digits\"", "data = \"/some/where/c\\td\"");
    fs::write(folder.path().join(name).join("config.toml"), named).unwrap();
    let outcome = run(folder.path(), &["runs", "."]);
    assert_eq!(outcome.stdout.lines().count(), 2, "{}", outcome.stdout);
    let words: Vec<&str> = outcome.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..4], ["a\\nb\\u{1b}[2J", "sse-sam", "c\\td", "1/1"], "{}", outcome.stdout);
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let folder = tempdir().unwrap();
    for command in [&["train", "--out", "out"][..], &["verify", "case.json"]] {
        refused(
            folder.path(),
            &[command, &["--device", "abacus"]].concat(),
            2,
            &["no device abacus: no OpenCL ", "hint: "],
        );
    }
}

#[test]
fn weights_of_another_model_are_refused_by_tensor_and_shape() {
    let folder = tempdir().unwrap();
    train(folder.path(), "first", &["--epochs", "1"]);
    let with = |model| ["train", "--init", "first/last.safetensors", "--out", "out", "--model", model];
    let expected = ["first/last.safetensors: tensor fc1.weight must have shape [8, 64], has [16, 64]"];
    refused(folder.path(), &with("mlp:64-8-10"), 1, &expected);
    refused(folder.path(), &with("mlp:64-16-4-10"), 1, &["tensor fc2.weight must have shape [4, 16], has [10, 16]"]);
    refused(folder.path(), &with("resnet8:2"), 1, &["the model has no tensor fc"]);

    let path = folder.path().join("changed.safetensors");
    let (whole, metadata) = tensors(&folder.path().join("first/last.safetensors"));
    let changed = |tensors: &[Tensor], expected: &str| {
        weights::write(&path, tensors, &metadata).unwrap();
        let args = ["train", "--init", "changed.safetensors", "--model", "mlp:64-16-10", "--out", "out"];
        refused(folder.path(), &args, 1, &["changed.safetensors: ", expected]);
        refused(folder.path(), &["eval", "changed.safetensors"], 1, &["changed.safetensors: ", expected]);
    };
    let bias = whole.iter().position(|tensor| tensor.name == "fc2.bias").unwrap();
    let mut less = whole.clone();
    less.remove(bias);
    changed(&less, "tensor fc2.bias is missing");
    let mut infinite = whole.clone();
    infinite[bias] = Tensor::f32("fc2.bias", &[10], vec![f32::INFINITY; 10]);
    changed(&infinite, "tensor fc2.bias holds a number that is not finite");
    let mut integers = whole.clone();
    integers[bias].data = Data::I64(vec![0; 10]);
    changed(&integers, "tensor fc2.bias must hold floating-point numbers, holds I64");
    weights::write(&path, &whole, &BTreeMap::new()).unwrap();
    refused(folder.path(), &["eval", "changed.safetensors"], 1, &["its metadata has no "]);
    fs::write(&path, &fs::read(&path).unwrap()[..200]).unwrap();
    refused(folder.path(), &["eval", "changed.safetensors"], 1, &["ends at byte 200", "hint: "]);
}

#[test]
fn a_divergence_names_epoch_and_step_and_leaves_finite_weights() {
    let folder = tempdir().unwrap();
    for (number, options) in [
        &["--lr", "1e30"][..],
        &["--lr", "1e30", "--model", "resnet8:2"],
        // The weights overflow in a single step while the gradient is still finite.
        &["--lr", "3e38", "--weight-decay", "1e38", "--method", "sgd", "--batch", "1048"],
        &["--tail-rho", "3e38"],
    ]
    .into_iter()
    .enumerate()
    {
        let out = number.to_string();
        let args = [&["train", "--out", &out, "--epochs", "2"], &SMALL[..4], options].concat();
        let outcome = run(folder.path(), &args);
        assert_eq!(outcome.code, 1, "{options:?}\n{}", outcome.stderr);
        let expected = "sse-sam: loss, gradient or weights are no longer finite in epoch 0, step ";
        assert!(outcome.stderr.starts_with(expected), "{options:?}\n{}", outcome.stderr);
        assert!(outcome.stderr.contains("hint: try a smaller --lr"), "{}", outcome.stderr);
        assert!(outcome.stderr.trim_end().ends_with(&format!("{out}/last.safetensors")), "{}", outcome.stderr);
        let last = folder.path().join(&out).join("last.safetensors");
        assert!(tensors(&last).0.iter().all(Tensor::is_finite), "{options:?}");
        assert_eq!(run(folder.path(), &["eval", last.to_str().unwrap()]).code, 0, "{options:?}");
    }
}

#[test]
fn unknown_options_and_commands_exit_with_two() {
    let folder = tempdir().unwrap();
    refused(folder.path(), &["train", "--radius", "1"], 2, &["--radius"]);
    refused(folder.path(), &["train", "--method", "adam"], 2, &["adam", "sse-sam"]);
    refused(folder.path(), &["train", "--epochs", "many"], 2, &["many", "--epochs"]);
    refused(folder.path(), &["predict"], 2, &["predict"]);
    refused(folder.path(), &[], 2, &["train", "eval", "verify"]);
    refused(folder.path(), &["verify"], 2, &["CASE.json"]);
    refused(
        folder.path(),
        &["train", "--dataset", "cifar10", "--out", "out"],
        2,
        &["digits cannot be read as cifar10"],
    );
}

#[test]
fn a_folder_that_holds_a_run_is_refused_and_left_alone() {
    let folder = tempdir().unwrap();
    train(folder.path(), "taken", &["--epochs", "1"]);
    let content = || {
        let files = fs::read_dir(folder.path().join("taken")).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect::<BTreeMap<_, _>>()
    };
    let before = content();
    assert_eq!(before.len(), 7);
    refused(
        folder.path(),
        &["train", "--out", "taken"],
        2,
        &["taken already holds a run; name another folder, or go on: sse-sam resume taken"],
    );
    assert!(before == content());
    fs::write(folder.path().join("file"), "").unwrap();
    refused(folder.path(), &["train", "--out", "file"], 1, &["file: "]);
}

#[test]
fn help_explains_every_option() {
    let folder = tempdir().unwrap();
    for command in ["train", "eval", "verify"] {
        let Outcome { code, stdout, stderr } = run(folder.path(), &[command, "--help"]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        let mut lines = stdout.lines().peekable();
        while let Some(line) = lines.next() {
            if line.trim_start().starts_with("--") {
                let explained = line.trim().contains("  ") || lines.peek().is_some_and(|next| !next.trim().is_empty());
                assert!(explained, "{command}: {line}");
            }
        }
    }
}

#[test]
fn verify_prints_each_error_beside_its_bound_and_fails_outside() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let folder = tempdir().unwrap();
    let good = golden.join("mlp-sam-ce.json");
    let outcome = run(folder.path(), &["verify", good.to_str().unwrap()]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(outcome.stdout.contains("step 0 ") && outcome.stdout.contains("bound "), "{}", outcome.stdout);
    assert!(outcome.stdout.ends_with("1 of 1 cases within bounds\n"), "{}", outcome.stdout);
    let wrong = folder.path().join("wrong.json");
    fs::write(&wrong, fs::read_to_string(&good).unwrap().replace("\"rho\": 0.05", "\"rho\": 0.06")).unwrap();
    fs::copy(good.with_extension("safetensors"), wrong.with_extension("safetensors")).unwrap();
    let outcome = run(folder.path(), &["verify", good.to_str().unwrap(), "wrong.json"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stdout.contains("OUTSIDE"), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("1 of 2 cases are outside their bounds"), "{}", outcome.stderr);
}

#[test]
fn without_an_opencl_library_the_cpu_core_is_used_at_once() {
    let folder = tempdir().unwrap();
    let nothing = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
        command.env("SSE_SAM_CACHE", CACHE).env("SSE_SAM_OPENCL_LIBRARY", "/nowhere/libOpenCL.so");
        command.current_dir(folder.path()).args(args);
        command.output().unwrap()
    };
    let started = std::time::Instant::now();
    let devices = String::from_utf8(nothing(&["devices"]).stdout).unwrap();
    assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    let lines: Vec<&str> = devices.lines().collect();
    assert!(lines[0].starts_with("cpu") && lines[0].ends_with("<- auto"), "{devices}");
    assert!(lines.len() == 2 && lines[1].starts_with("no OpenCL library was found"), "{devices}");

    let trained = nothing(&[&["train", "--epochs", "1", "--out", "out"], &SMALL[..]].concat());
    let headline = String::from_utf8(trained.stdout).unwrap();
    assert!(trained.status.success() && headline.contains("on CPU core, "), "{headline}");
    let asked = nothing(&["train", "--device", "opencl", "--out", "asked"]);
    let stderr = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(asked.status.code(), Some(1));
    assert!(stderr.contains("no OpenCL library was found"), "{stderr}");
}

fn has_opencl() -> bool {
    needs::has_opencl(sse_sam::opencl::devices().map_or(0, |devices| devices.len()))
}

#[test]
fn a_staged_data_set_gives_the_same_bits_as_one_on_the_device() {
    if !has_opencl() {
        return;
    }
    let folder = tempdir().unwrap();
    let with = |out: &str, memory: &[&str]| {
        let outcome = train(folder.path(), out, &[&["--device", "opencl", "--epochs", "2"], memory].concat());
        (outcome.stdout.contains("staged"), fs::read(folder.path().join(out).join("last.safetensors")).unwrap())
    };
    let (staged, whole) = with("whole", &[]);
    assert!(!staged);
    // From too little for the network to enough for all: somewhere between, the data set is staged.
    let mut sizes = (0..40).map(|step| format!("{:.2}", 4.0 + 0.1 * f64::from(step)));
    let staged = sizes.find_map(|size| {
        let options = ["train", "--device", "opencl", "--epochs", "2", "--out", &size, "--device-memory", &size];
        let outcome = run(folder.path(), &[&options[..], &SMALL[..]].concat());
        outcome.stdout.contains("data staged").then_some(size)
    });
    let staged = staged.expect("some size has room for the network and not for the data");
    assert_eq!(fs::read(folder.path().join(staged).join("last.safetensors")).unwrap(), whole);
}

#[test]
fn a_device_without_enough_memory_says_which_batch_fits() {
    if !has_opencl() {
        return;
    }
    let folder = tempdir().unwrap();
    let with = |memory, batch| {
        run(
            folder.path(),
            &["train", "--device", "opencl", "--device-memory", memory, "--batch", batch, "--out", "out"],
        )
    };
    let outcome = with("6", "512");
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("MiB are needed at batch 512, 6 MiB are there"), "{}", outcome.stderr);
    assert!(!folder.path().join("out").exists());
    let hint = outcome.stderr.split("hint: --batch ").nth(1).expect("a batch is named");
    let fits = hint.split(' ').next().unwrap();
    assert_eq!(with("6", fits).code, 0);
    assert!(with("1", "8").stderr.contains("not even one sample a batch fits"));
}
