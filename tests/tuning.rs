//! `train` with frozen layers, in lean memory and in pieces, and `footprint`: the program, from the outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use sse_sam::opencl::devices;
use sse_sam::weights::{self, Data};
use sse_sam_tests::needs::has_opencl;
use tempfile::{TempDir, tempdir};

/// A residual network that takes little time.
const RESNET: [&str; 6] = ["--model", "resnet8:4", "--batch", "64", "--epochs", "2"];
const MLP: [&str; 6] = ["--model", "mlp:64-16-10", "--batch", "32", "--epochs", "2"];
/// What the tuned runs freeze.
const FROZEN: [&str; 4] = ["conv1.", "bn1.", "layer1.", "layer2."];

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(folder: &Path, args: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_sse-sam")).args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[track_caller]
fn train(folder: &Path, out: &str, args: &[&[&str]]) -> Outcome {
    let mut all = vec!["train", "--out", out];
    args.iter().for_each(|args| all.extend(*args));
    if !all.contains(&"--device") {
        all.extend(["--device", "cpu"]);
    }
    let outcome = run(folder, &all);
    assert_eq!(outcome.code, 0, "{all:?}\n{}", outcome.stderr);
    outcome
}

/// The numbers of a weights file by name, without counters.
fn numbers(path: &Path) -> BTreeMap<String, Vec<u32>> {
    let (tensors, _) = weights::read(path).unwrap();
    let floats = tensors.into_iter().filter_map(|tensor| match tensor.data {
        Data::F32(values) => Some((tensor.name, values.iter().map(|value| value.to_bits()).collect())),
        Data::I64(_) => None,
    });
    floats.collect()
}

fn last_line(folder: &Path, out: &str) -> Value {
    let text = fs::read_to_string(folder.join(out).join("metrics.jsonl")).unwrap();
    serde_json::from_str(text.lines().next_back().unwrap()).unwrap()
}

fn is_frozen(name: &str) -> bool {
    FROZEN.iter().any(|part| name.starts_with(part))
}

/// A folder with a trained network in `base`.
fn trained() -> TempDir {
    let folder = tempdir().unwrap();
    train(folder.path(), "base", &[&RESNET, &["--method", "sgd"]]);
    folder
}

/// `cpu`, and `opencl` where there is one.
fn machines() -> Vec<&'static str> {
    if has_opencl(devices().map_or(0, |devices| devices.len())) { vec!["cpu", "opencl"] } else { vec!["cpu"] }
}

const TUNED: [&str; 4] = ["--init", "base/last.safetensors", "--trainable-layers", "layer3"];

#[test]
fn frozen_layers_keep_every_bit_and_the_others_move() {
    let folder = trained();
    let before = numbers(&folder.path().join("base/last.safetensors"));
    for device in machines() {
        train(folder.path(), device, &[&RESNET, &TUNED, &["--device", device]]);
        for file in ["last.safetensors", "best-on-test.safetensors"] {
            let after = numbers(&folder.path().join(device).join(file));
            assert!(before.keys().eq(after.keys()));
            for (name, values) in &after {
                assert_eq!(*values == before[name], is_frozen(name), "{device} {file}: {name}");
            }
        }
        let weights = format!("{device}/last.safetensors");
        let accuracy = run(folder.path(), &["eval", &weights, "--device", "cpu"]).stdout;
        let overall = last_line(folder.path(), device)["accuracy"]["overall"].as_f64().unwrap();
        assert!(accuracy.contains(&format!("{overall:.2}")), "{overall}\n{accuracy}");
    }
}

#[test]
fn a_checkpoint_has_velocities_of_trained_layers_alone() {
    let folder = trained();
    train(folder.path(), "tuned", &[&RESNET, &TUNED]);
    let checkpoints = fs::read_dir(folder.path().join("tuned/checkpoints")).unwrap();
    let newest = checkpoints.map(|entry| entry.unwrap().path()).max().unwrap();
    let names: Vec<String> = numbers(&newest).into_keys().collect();
    let velocities: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("velocity/")).collect();
    assert!(velocities.contains(&"fc.weight") && velocities.iter().all(|name| !is_frozen(name)), "{velocities:?}");
    assert!(names.iter().any(|name| name == "layer1.0.bn1.running_var"));
}

/// How many updates a weights file says that each batch norm has seen.
fn counters(path: &Path) -> BTreeMap<String, i64> {
    let (tensors, _) = weights::read(path).unwrap();
    let counters = tensors.into_iter().filter_map(|tensor| match tensor.data {
        Data::I64(values) => Some((tensor.name, values[0])),
        Data::F32(_) => None,
    });
    counters.collect()
}

#[test]
fn frozen_batch_norms_keep_their_counts_of_updates() {
    let folder = trained();
    let base = folder.path().join("base/last.safetensors");
    let (mut tensors, metadata) = weights::read(&base).unwrap();
    let mut count = 1000;
    for tensor in &mut tensors {
        if let Data::I64(values) = &mut tensor.data {
            values[0] = count;
            count += 1;
        }
    }
    weights::write(&base, &tensors, &metadata).unwrap();
    let before = counters(&base);
    assert_eq!((before.len(), before["bn1.num_batches_tracked"]), (7, 1000));
    train(folder.path(), "tuned", &[&RESNET, &TUNED]);
    let run_folder = folder.path().join("tuned");
    let newest = run_folder.join("checkpoints/epoch-000002-step-0000000.safetensors");
    let files = ["last.safetensors", "best-on-test.safetensors"].map(|name| run_folder.join(name));
    let check = |file: &Path| {
        for (name, count) in counters(file) {
            let own = name.strip_prefix("best/").unwrap_or(&name);
            // The others count this run's: two epochs of 17 batches, or one where the first was the best.
            let expected = if is_frozen(own) { vec![before[own]] } else { vec![17, 34] };
            assert!(expected.contains(&count), "{}: {name} is {count}, not {expected:?}", file.display());
        }
    };
    files.iter().chain([&newest]).for_each(|file| check(file));
    assert_eq!(counters(&newest).len(), 14, "those of the best weights too");
    // As a kill after the first epoch would leave it, without what the run began with.
    fs::remove_file(&files[0]).unwrap();
    fs::remove_file(&newest).unwrap();
    fs::remove_file(&base).unwrap();
    assert_eq!(run(folder.path(), &["resume", "tuned"]).code, 0);
    files.iter().chain([&newest]).for_each(|file| check(file));
}

#[test]
fn tuned_runs_repeat_and_resume_with_the_same_bits() {
    let folder = trained();
    for device in machines() {
        let [once, twice] = ["once", "twice"].map(|name| format!("{name}-{device}"));
        let lean = ["--memory", "recompute", "--device", device];
        train(folder.path(), &once, &[&RESNET, &TUNED, &lean]);
        train(folder.path(), &twice, &[&RESNET, &TUNED, &lean]);
        // As a kill after the first epoch would leave it, without what the run began with.
        let run_folder = folder.path().join(&twice);
        fs::remove_file(run_folder.join("last.safetensors")).unwrap();
        fs::remove_file(run_folder.join("checkpoints/epoch-000002-step-0000000.safetensors")).unwrap();
        let outcome = run(folder.path(), &["resume", &twice]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        for file in ["last.safetensors", "metrics.jsonl", "config.toml"] {
            let read = |out: &str| fs::read(folder.path().join(out).join(file)).unwrap();
            assert!(read(&once) == read(&twice), "{device}: {file}");
        }
        let config = fs::read_to_string(run_folder.join("config.toml")).unwrap();
        assert!(
            config.contains("trainable-layers = \"layer3\"") && config.contains("memory = \"recompute\""),
            "{config}"
        );
    }
}

#[test]
fn lean_memory_reports_the_norm_of_what_it_has() {
    let folder = tempdir().unwrap();
    train(folder.path(), "full", &[&MLP]);
    train(folder.path(), "lean", &[&MLP, &["--memory", "lean"]]);
    let [full, lean] = ["full", "lean"].map(|out| last_line(folder.path(), out));
    assert!(full["gradient_norm"].is_f64() && full.get("velocity_norm").is_none(), "{full}");
    assert!(lean["gradient_norm"].is_null() && lean["velocity_norm"].is_f64(), "{lean}");
    let loss = |line: &Value| line["loss"].as_f64().unwrap();
    assert!((loss(&full) / loss(&lean) - 1.0).abs() < 1e-3, "{full} {lean}");
}

#[test]
fn pieces_of_any_size_train_as_the_batch_does() {
    let folder = tempdir().unwrap();
    train(folder.path(), "whole", &[&MLP]);
    let whole = last_line(folder.path(), "whole")["loss"].as_f64().unwrap();
    for device in machines() {
        for (size, memory) in [("1", "recompute"), ("5", "lean"), ("32", "full")] {
            let out = format!("{device}-{size}");
            train(folder.path(), &out, &[&MLP, &["--micro-batch", size, "--memory", memory, "--device", device]]);
            let found = last_line(folder.path(), &out)["loss"].as_f64().unwrap();
            assert!((found / whole - 1.0).abs() < 1e-3, "{out}: {found} {whole}");
        }
    }
}

#[test]
fn what_cannot_be_tuned_is_refused_with_the_next_move() {
    let folder = trained();
    let cases: [(&[&str], &str); 7] = [
        (&["--trainable-layers", "fc"], "--trainable-layers needs weights to start from: --init"),
        (
            &["--init", "base/last.safetensors", "--trainable-layers", "layer9"],
            "there is no layer layer9; there are conv1",
        ),
        (&["--init", "base/last.safetensors", "--trainable-layers", "0"], "must be in 1..=15 for this model, got 0"),
        (&["--init", "base/last.safetensors", "--trainable-layers", "16"], "must be in 1..=15 for this model, got 16"),
        (&["--micro-batch", "4"], "batch normalisation needs the whole batch at once"),
        (&["--micro-batch", "0"], "--micro-batch must be at least 1"),
        (&["--memory", "lean", "--nesterov"], "keep no gradient, which --nesterov needs"),
    ];
    for (args, message) in cases {
        let outcome = run(folder.path(), &[&["train", "--out", "out", "--device", "cpu"], &RESNET[..], args].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{args:?}");
        assert!(outcome.stderr.contains(message), "{args:?}: {}", outcome.stderr);
        assert!(!folder.path().join("out").exists(), "{args:?}");
    }
    let fc = ["--init", "base/last.safetensors", "--trainable-layers", "1", "--micro-batch", "4"];
    train(folder.path(), "fc", &[&RESNET, &fc]);
}

/// The last line of `footprint --json`.
#[track_caller]
fn footprint(args: &[&str]) -> Value {
    let outcome = run(Path::new("."), &[&["footprint", "--json"], args].concat());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{args:?}");
    let json: Value = serde_json::from_str(outcome.stdout.lines().next_back().unwrap()).unwrap();
    let arena = json["arena_f32"].as_u64().unwrap();
    let c_arena = json["c_arena_f32"].as_u64().unwrap();
    for constant in [format!("const ARENA: usize = {arena};"), format!("#define SSE_SAM_ARENA {c_arena} ")] {
        assert!(outcome.stdout.contains(&constant), "{constant} in\n{}", outcome.stdout);
    }
    json
}

#[test]
fn the_footprint_is_the_arena_that_the_firmware_announces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/firmware/trials/src");
    let source: String = ["lib.rs", "economy.rs"].map(|name| fs::read_to_string(folder.join(name)).unwrap()).concat();
    let announced = |name: &str| -> u64 {
        let text = source.split_once(&format!("pub const {name}: usize = ")).unwrap().1;
        text.split_once(';').unwrap().0.replace('_', "").parse().unwrap()
    };
    let mlp = |options: &[&str]| {
        footprint(&[&["--model", "mlp:64-32-10", "--batch", "16", "--method", "sse-sam"], options].concat())
    };
    assert_eq!(mlp(&[])["arena_f32"], announced("MLP_WORK"));
    assert_eq!(mlp(&["--memory", "lean"])["arena_f32"], announced("LEAN_WORK"));
    let smallest = mlp(&["--memory", "recompute", "--micro-batch", "1"]);
    assert_eq!(smallest["arena_f32"], announced("SMALLEST_WORK"));
    let residual = ["--model", "resnet8:4", "--image", "8x8x1", "--classes", "10", "--batch", "8"];
    assert_eq!(footprint(&residual)["arena_f32"], announced("RESIDUAL_WORK"));
}

#[test]
fn every_row_of_a_footprint_adds_up_and_lean_rows_are_no_larger() {
    for more in [&[][..], &["--micro-batch", "1"], &["--trainable-layers", "1"], &["--trainable-layers", "fc2"]] {
        let json = footprint(&[&["--model", "mlp:20-11-9-4", "--batch", "6"], more].concat());
        let forms = json["forms"].as_array().unwrap();
        assert_eq!(forms.len(), 15);
        for form in forms {
            let number = |key: &str| form[key].as_u64().unwrap();
            let parts = ["vectors_f32", "activations_f32", "gradients_f32", "statistics_f32", "tables_f32"];
            assert_eq!(parts.iter().map(|key| number(key)).sum::<u64>(), number("total_f32"), "{form}");
            assert_eq!(number("total_bytes"), 4 * number("total_f32"));
            assert_eq!(number("vectors_f32"), number("vectors") * json["parameters"].as_u64().unwrap());
        }
        let totals: Vec<u64> = forms.iter().map(|form| form["total_f32"].as_u64().unwrap()).collect();
        assert!(totals.chunks(3).all(|forms| forms[0] > forms[1] && forms[1] >= forms[2]), "{totals:?}");
    }
}

#[test]
fn a_footprint_says_what_frozen_layers_save() {
    let model = ["--model", "mlp:20-11-9-4", "--batch", "6", "--memory", "recompute"];
    let (whole, tuned) = (footprint(&model), footprint(&[&model[..], &["--trainable-layers", "1"]].concat()));
    let number = |json: &Value, key: &str| json[key].as_u64().unwrap();
    assert_eq!([number(&tuned, "parameters"), number(&tuned, "frozen_f32")], [9 * 4 + 4, 21 * 11 + 12 * 9]);
    assert_eq!(number(&tuned, "saved_f32"), number(&whole, "arena_f32") - number(&tuned, "arena_f32"));
    assert!(number(&tuned, "saved_f32") > 3 * number(&tuned, "frozen_f32"));
    assert_eq!(number(&whole, "saved_f32"), 0);
    let refused = run(Path::new("."), &["footprint", "--model", "resnet8", "--micro-batch", "2"]);
    assert!(refused.code == 2 && refused.stderr.contains("needs the whole batch at once"), "{}", refused.stderr);
}
