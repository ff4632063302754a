//! Weights and data from elsewhere, given to the program: what fits is taken, and what does not is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use sse_sam::weights::{self, Data, Tensor};
use tempfile::{TempDir, tempdir};

const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// Exit code, standard output and standard error.
type Outcome = (i32, String, String);

/// Runs the program in `folder`, on the CPU core where it computes.
#[track_caller]
fn run(folder: &Path, args: &[&str]) -> Outcome {
    let computes = matches!(args[0], "train" | "eval");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.env("SSE_SAM_CACHE", CACHE).args(args).args(if computes { &["--device", "cpu"][..] } else { &[] });
    let output = command.current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stderr.contains("panicked"), "{args:?}\n{stderr}");
    (output.status.code().unwrap(), stdout, stderr)
}

/// The same, where it must succeed: what was printed.
#[track_caller]
fn done(folder: &Path, args: &[&str]) -> (String, String) {
    let (code, stdout, stderr) = run(folder, args);
    assert_eq!(code, 0, "{args:?}\n{stderr}");
    (stdout, stderr)
}

/// The same, where it must fail with all of `parts` on standard error and nothing on standard output.
#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let (found, stdout, stderr) = run(folder, args);
    assert_eq!((found, stdout.as_str()), (code, ""), "{args:?}\n{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in\n{stderr}");
    }
}

/// A folder with a run of one epoch, `run`.
fn trained(model: &str, options: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    let args = ["train", "--model", model, "--out", "run", "--epochs", "1", "--batch", "128", "--quiet"];
    done(folder.path(), &[&args[..], options].concat());
    folder
}

/// The tensors of a run's best weights.
fn best(folder: &TempDir) -> (Vec<Tensor>, BTreeMap<String, String>) {
    weights::read(&folder.path().join("run/best-on-test.safetensors")).unwrap()
}

fn put(folder: &TempDir, name: &str, tensors: &[Tensor], metadata: &BTreeMap<String, String>) {
    weights::write(&folder.path().join(name), tensors, metadata).unwrap();
}

/// A file as another program writes it: each tensor of this type, where it is one of numbers.
fn put_as(folder: &TempDir, name: &str, tensors: &[Tensor], dtype: Dtype, convert: impl Fn(f32) -> Vec<u8>) {
    let bytes: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|tensor| match &tensor.data {
            Data::F32(values) => {
                let bytes = values.iter().flat_map(|&value| convert(value)).collect();
                (tensor.name.clone(), dtype, tensor.shape.clone(), bytes)
            }
            // A counter of one dimension in a float.
            Data::I64(values) => {
                let bytes = (values[0] as f32).to_le_bytes().to_vec();
                (tensor.name.clone(), Dtype::F32, vec![1], bytes)
            }
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(folder.path().join(name), serialize(views, None).unwrap()).unwrap();
}

/// Numbers that every type of floating point holds.
fn coarse(tensors: &[Tensor]) -> Vec<Tensor> {
    let coarse = |&value: &f32| {
        let short = f32::from_bits(value.to_bits() & 0xffff_0000);
        if short.abs() < 1e-4 { 0.0 } else { short }
    };
    let tensor = |tensor: &Tensor| match &tensor.data {
        Data::F32(values) => Tensor::f32(tensor.name.clone(), &tensor.shape, values.iter().map(coarse).collect()),
        Data::I64(_) => tensor.clone(),
    };
    tensors.iter().map(tensor).collect()
}

fn renamed(tensors: &[Tensor], new: impl Fn(&str) -> String) -> Vec<Tensor> {
    tensors.iter().map(|tensor| Tensor { name: new(&tensor.name), ..tensor.clone() }).collect()
}

/// The line of accuracies.
fn accuracies(stdout: &str) -> String {
    stdout.lines().find(|line| line.starts_with("accuracy %")).unwrap_or_else(|| panic!("{stdout}")).to_owned()
}

const BARE: [&str; 4] = ["--model", "resnet8:2", "--data", "digits"];

#[test]
fn a_state_under_other_usual_names_is_the_same_state() {
    let folder = trained("resnet8:2", &[]);
    let (tensors, metadata) = best(&folder);
    let expected = done(folder.path(), &["eval", "run/best-on-test.safetensors"]).0;
    let head =
        |name: &str, other: &str| name.strip_prefix("fc.").map_or(name.to_owned(), |rest| format!("{other}.{rest}"));
    let with = |prefix: &'static str| renamed(&tensors, move |name| format!("{prefix}{name}"));
    let beside = |outer: &str| {
        renamed(&tensors, |name| {
            if name.starts_with("fc.") { format!("{outer}{name}") } else { format!("{outer}backbone.{name}") }
        })
    };
    let mut averaged = with("module.");
    averaged.push(Tensor::i64("n_averaged", 7));
    let cases = [
        with("module."),
        with("model."),
        with("_orig_mod."),
        with("state_dict."),
        with("net.backbone."),
        averaged,
        renamed(&tensors, |name| head(name, "linear")),
        renamed(&tensors, |name| head(name, "classifier")),
        renamed(&tensors, |name| format!("module.{}", head(name, "head"))),
        renamed(&tensors, |name| head(name, "classifier.1")),
        renamed(&tensors, |name| head(name, "fc.0")),
        renamed(&tensors, |name| head(name, "head.fc")),
        renamed(&tensors, |name| head(name, "heads.head")),
        renamed(&tensors, |name| head(name, "out")),
        renamed(&tensors, |name| head(name, "cls")),
        beside(""),
        beside("module."),
    ];
    for (number, state) in cases.iter().enumerate() {
        put(&folder, "other.safetensors", state, &metadata);
        assert_eq!(done(folder.path(), &["eval", "other.safetensors"]).0, expected, "{number}");
        put(&folder, "bare.safetensors", state, &BTreeMap::new());
        let out = number.to_string();
        let init = ["train", "--epochs", "1", "--lr", "0", "--quiet", "--init", "bare.safetensors", "--out", &out];
        let stderr = done(folder.path(), &[&init[..], &["--model", "resnet8:2"]].concat()).1;
        let is_wrapped = !state.iter().any(|tensor| tensor.name == "conv1.weight");
        assert_eq!(stderr.contains(" is left out in front of names"), is_wrapped, "{number}: {stderr}");
        assert_eq!(stderr.lines().count(), usize::from(is_wrapped), "{number}: {stderr}");
        let last = weights::read(&folder.path().join(&out).join("last.safetensors")).unwrap().0;
        let same = |tensor: &Tensor| !tensor.name.contains("running") && !tensor.name.contains("tracked");
        assert!(last.iter().filter(|tensor| same(tensor)).all(|tensor| tensors.contains(tensor)), "{number}");
    }
    // A prefix that not all share is a name of another network.
    let mut mixed = with("module.");
    mixed[0].name = mixed[0].name.replace("module.", "other.");
    put(&folder, "mixed.safetensors", &mixed, &metadata);
    refused(folder.path(), &["eval", "mixed.safetensors"], 1, &["mixed.safetensors: the model has no tensor"]);
}

#[test]
fn shortcuts_by_their_other_name_are_found() {
    let folder = trained("resnet18:1", &[]);
    let (tensors, metadata) = best(&folder);
    let other = renamed(&tensors, |name| name.replace("downsample", "shortcut").replace("fc.", "linear."));
    assert_ne!(other, tensors);
    put(&folder, "other.safetensors", &other, &metadata);
    let eval = |file| done(folder.path(), &["eval", file]).0;
    assert_eq!(eval("other.safetensors"), eval("run/best-on-test.safetensors"));
}

#[test]
fn numbers_of_other_types_and_counters_of_any_are_read() {
    let folder = trained("resnet8:2", &[]);
    let coarse = coarse(&best(&folder).0);
    put(&folder, "plain.safetensors", &coarse, &BTreeMap::new());
    let eval = |file| done(folder.path(), &[&["eval", file], &BARE[..]].concat()).0;
    let expected = eval("plain.safetensors");
    put_as(&folder, "bf16.safetensors", &coarse, Dtype::BF16, |value| value.to_le_bytes()[2..].to_vec());
    put_as(&folder, "f64.safetensors", &coarse, Dtype::F64, |value| f64::from(value).to_le_bytes().to_vec());
    for file in ["bf16.safetensors", "f64.safetensors"] {
        assert_eq!(eval(file), expected, "{file}");
    }
    // What frozen batch norms have seen goes on from the counter, whatever its type.
    put_as(&folder, "f32.safetensors", &coarse, Dtype::F32, |value| value.to_le_bytes().to_vec());
    let frozen =
        ["train", "--model", "resnet8:2", "--init", "f32.safetensors", "--trainable-layers", "1", "--epochs", "1"];
    done(folder.path(), &[&frozen[..], &["--quiet", "--out", "frozen"]].concat());
    let counter =
        |list: &[Tensor]| list.iter().find(|tensor| tensor.name == "bn1.num_batches_tracked").unwrap().data.clone();
    let last = weights::read(&folder.path().join("frozen/last.safetensors")).unwrap().0;
    assert!(counter(&last) == counter(&coarse) && counter(&last) != Data::I64(vec![0]), "{:?}", counter(&last));
}

#[test]
fn a_head_for_other_classes_is_drawn_as_without_given_weights() {
    for (model, others) in [("resnet8:2", [100, 2]), ("mlp:64-6-10", [3, 11])] {
        let folder = trained(model, &["--seed", "5"]);
        let (tensors, _) = best(&folder);
        let head = if model.starts_with("mlp") { "fc2" } else { "fc" };
        let start = |out: &str, options: &[&str]| {
            let args =
                ["train", "--model", model, "--epochs", "1", "--lr", "0", "--seed", "9", "--out", out, "--quiet"];
            let stderr = done(folder.path(), &[&args[..], options].concat()).1;
            (weights::read(&folder.path().join(out).join("last.safetensors")).unwrap().0, stderr)
        };
        let find = |list: &[Tensor], name: &str| list.iter().find(|tensor| tensor.name == name).unwrap().data.clone();
        let drawn = start("drawn", &[]).0;
        for classes in others {
            let mut state: Vec<Tensor> = tensors.iter().filter(|t| !t.name.starts_with(head)).cloned().collect();
            let inputs = tensors.iter().find(|t| t.name == format!("{head}.weight")).unwrap().shape[1];
            state.push(Tensor::f32("linear.weight", &[classes, inputs], vec![0.5; classes * inputs]));
            state.push(Tensor::f32("linear.bias", &[classes], vec![0.5; classes]));
            put(&folder, "other.safetensors", &state, &BTreeMap::new());
            let (started, stderr) = start(&classes.to_string(), &["--init", "other.safetensors"]);
            let notice = format!(
                "other.safetensors: its last layer is for {classes} classes: {head}.weight and its bias are drawn anew for 10 classes"
            );
            assert!(stderr.contains(&notice), "{stderr}");
            for name in [format!("{head}.weight"), format!("{head}.bias")] {
                assert_eq!(find(&started, &name), find(&drawn, &name), "{name}");
            }
            let body = if head == "fc" { "conv1.weight" } else { "fc1.weight" };
            assert_eq!(find(&started, body), find(&tensors, body), "what fits is taken");
            assert_ne!(find(&started, body), find(&drawn, body));
            // Nothing but fine-tuning can draw a head.
            let eval = ["eval", "other.safetensors", "--model", model, "--data", "digits"];
            refused(folder.path(), &eval, 1, &[&format!("tensor {head}.weight must have shape")]);
        }
        let headless: Vec<Tensor> = tensors.iter().filter(|t| !t.name.starts_with(head)).cloned().collect();
        put(&folder, "headless.safetensors", &headless, &BTreeMap::new());
        let (started, stderr) = start("headless", &["--init", "headless.safetensors"]);
        assert!(stderr.contains("has no last layer"), "{stderr}");
        assert_eq!(find(&started, &format!("{head}.weight")), find(&drawn, &format!("{head}.weight")));
    }
}

#[test]
fn a_variance_below_zero_is_refused_wherever_weights_come_in() {
    let folder = trained("resnet8:2", &[]);
    let (mut tensors, metadata) = best(&folder);
    let variance = tensors.iter_mut().find(|tensor| tensor.name == "layer2.0.bn1.running_var").unwrap();
    *variance = Tensor::f32("layer2.0.bn1.running_var", &[4], vec![1.0, 0.0, -1e-9, 1.0]);
    put(&folder, "bad.safetensors", &tensors, &metadata);
    let says = ["tensor layer2.0.bn1.running_var holds a variance below 0"];
    refused(folder.path(), &["eval", "bad.safetensors"], 1, &says);
    refused(folder.path(), &["export", "bad.safetensors", "--format", "c"], 1, &says);
    let init = ["train", "--init", "bad.safetensors", "--model", "resnet8:2", "--out", "out"];
    refused(folder.path(), &init, 1, &says);
    let count = tensors.iter().map(|t| if let Data::F32(values) = &t.data { values.len() } else { 0 }).sum();
    fs::write(folder.path().join("dump"), format!("weights {}", " bf800000".repeat(count))).unwrap();
    let import = ["import", "dump", "--like", "run", "--out", "new.safetensors"];
    refused(folder.path(), &import, 1, &["dump: tensor bn1.running_var holds a variance below 0"]);
    assert!(!folder.path().join("new.safetensors").exists());
}

#[test]
fn outputs_that_are_not_finite_are_no_accuracy() {
    let folder = trained("mlp:64-6-10", &[]);
    let (mut tensors, metadata) = best(&folder);
    let layers = tensors.iter_mut().filter(|tensor| tensor.name.ends_with(".weight"));
    layers.for_each(|tensor| {
        if let Data::F32(values) = &mut tensor.data {
            values.fill(3e38);
        }
    });
    put(&folder, "huge.safetensors", &tensors, &metadata);
    refused(
        folder.path(),
        &["eval", "huge.safetensors"],
        1,
        &["huge.safetensors: gives no finite outputs for ", "hint: "],
    );
    for (key, value) in
        [("byte_mean", "NaN"), ("byte_inverse_std", "0"), ("byte_inverse_std", "-1"), ("byte_mean", "inf")]
    {
        let metadata = [metadata.clone(), [(key.to_owned(), value.to_owned())].into()].into_iter().flatten().collect();
        put(&folder, "bad.safetensors", &best(&folder).0, &metadata);
        refused(folder.path(), &["eval", "bad.safetensors"], 1, &["bad.safetensors: its metadata's normalization"]);
    }
}

#[test]
fn a_bare_state_is_evaluated_as_the_command_line_says() {
    let folder = trained("resnet8:2", &[]);
    let (tensors, metadata) = best(&folder);
    put(&folder, "bare.safetensors", &tensors, &BTreeMap::new());
    let path = folder.path();
    refused(path, &["eval", "bare.safetensors"], 1, &["its metadata has no data", "hint: --model and --data say"]);
    let only_data = ["eval", "bare.safetensors", "--data", "digits"];
    refused(path, &only_data, 1, &["its metadata has no model", "hint: --model says what it is"]);
    let with = |more: &[&str]| done(path, &[&["eval", "bare.safetensors"], &BARE[..], more].concat()).0;
    assert_eq!(with(&[]), done(path, &["eval", "run"]).0, "digits are cut and normalised as in training");
    assert_ne!(accuracies(&with(&["--normalize", "none"])), accuracies(&with(&[])));
    let shots = with(&["--many", "50", "--few", "9", "--eta", "20", "--imbalance", "10"]);
    assert!(shots.contains("many: above 50 training samples, few: below 9; * tail: below 20"), "{shots}");
    assert!(shots.contains("9       37 "), "the smallest class of a tenth of 376\n{shots}");
    let other = ["eval", "bare.safetensors", "--data", "digits", "--model", "resnet8:3"];
    refused(path, &other, 1, &["bare.safetensors: tensor conv1.weight must have shape [3, 1, 3, 3], has [2, 1, 3, 3]"]);
    // What is said once counts; the same said again is no contradiction.
    let said = |more: &[&'static str]| [&["eval", "run/best-on-test.safetensors"], more].concat();
    let agrees =
        ["--model", "resnet8:2", "--eta", "60", "--dataset", "digits", "--normalize", "data", "--imbalance", "50"];
    assert_eq!(done(path, &said(&agrees)).0, done(path, &said(&[])).0);
    for (option, value, key) in [
        ("--model", "resnet8", "model"),
        ("--eta", "7", "eta"),
        ("--normalize", "none", "byte_mean"),
        ("--many", "70", "many"),
    ] {
        let (code, _, stderr) = run(path, &said(&[option, value]));
        assert_eq!(code, 2, "{stderr}");
        assert!(
            stderr.contains(&format!("{option} contradicts run/best-on-test.safetensors, whose {key} is ")),
            "{stderr}"
        );
    }
    let mut half = metadata.clone();
    half.remove("model");
    put(&folder, "half.safetensors", &tensors, &half);
    assert_eq!(done(path, &["eval", "half.safetensors", "--model", "resnet8:2"]).0, done(path, &["eval", "run"]).0);
}

#[test]
fn a_runs_folder_means_its_best_weights() {
    let folder = trained("mlp:64-6-10", &[]);
    let path = folder.path();
    let (stdout, stderr) = done(path, &["eval", "run"]);
    assert_eq!(
        (stdout, stderr.as_str()),
        (
            done(path, &["eval", "run/best-on-test.safetensors"]).0,
            "sse-sam: taking run/best-on-test.safetensors, whose epoch was chosen on the test set\n"
        )
    );
    let export = |from| done(path, &["export", from, "--format", "c"]).0;
    assert_eq!(export("run"), export("run/best-on-test.safetensors"));
    done(path, &["train", "--model", "mlp:64-6-10", "--init", "run", "--epochs", "1", "--quiet", "--out", "on"]);
    for name in ["config.toml", "metrics.jsonl", "log.txt"] {
        let file = format!("run/{name}");
        refused(
            path,
            &["eval", &file],
            1,
            &["is a file of a run, not its weights", "hint: run/best-on-test.safetensors has them"],
        );
    }
    refused(
        path,
        &["eval", "run/checkpoints"],
        1,
        &["hint: there is run/checkpoints/epoch-000001-step-0000000.safetensors"],
    );
    refused(
        path,
        &["eval", "run/best-on-test"],
        1,
        &["no such file or folder", "hint: there is run/best-on-test.safetensors"],
    );
    fs::create_dir(path.join("empty")).unwrap();
    let init = ["train", "--init", "empty", "--model", "mlp:64-6-10", "--out", "out"];
    refused(
        path,
        &init,
        1,
        &[
            "empty: is a folder without weights of a run (best.safetensors, best-on-test.safetensors, last.safetensors)",
            "hint: give a .safetensors",
        ],
    );
    fs::remove_file(path.join("run/best-on-test.safetensors")).unwrap();
    assert_eq!(done(path, &["eval", "run"]).1, "sse-sam: taking run/last.safetensors\n");
}

#[test]
fn control_characters_in_names_reach_no_terminal() {
    let folder = trained("mlp:64-6-10", &[]);
    let (mut tensors, mut metadata) = best(&folder);
    tensors[0].name = "\x1b[2Jfc1\n.weight".into();
    put(&folder, "bad\x1b[31m.safetensors", &tensors, &metadata);
    metadata.insert("data".into(), "nowhere\r\x1b[1A".into());
    put(&folder, "data.safetensors", &best(&folder).0, &metadata);
    for args in [["eval", "bad\x1b[31m.safetensors"], ["eval", "data.safetensors"], ["eval", "\x07"]] {
        let (code, _, stderr) = run(folder.path(), &args);
        assert!(code > 0, "{stderr}");
        assert!(stderr.chars().all(|letter| letter == '\n' || !letter.is_control()), "{stderr:?}");
        assert!(stderr.contains("\\u{"), "{stderr}");
    }
}

#[test]
fn a_head_of_several_layers_is_none_of_ours_and_of_an_unknown_name_is_not_drawn_anew() {
    let folder = trained("resnet8:2", &[]);
    let (tensors, metadata) = best(&folder);
    let mut several = renamed(&tensors, |name| name.replace("fc.", "classifier.0."));
    several.push(Tensor::f32("classifier.2.weight", &[10, 10], vec![0.0; 100]));
    put(&folder, "several.safetensors", &several, &metadata);
    refused(folder.path(), &["eval", "several.safetensors"], 1, &["the model has no tensor classifier."]);
    put(&folder, "upper.safetensors", &renamed(&tensors, |name| name.replace("fc.", "FC.")), &metadata);
    let init = ["train", "--init", "upper.safetensors", "--model", "resnet8:2", "--out", "out"];
    let (code, _, stderr) = run(folder.path(), &init);
    assert!(code == 1 && stderr.contains("the model has no tensor FC.") && !stderr.contains("drawn anew"), "{stderr}");
}

/// The commands that write a file, without its name: what they read lies in the run and in `dump`.
fn writers(folder: &TempDir) -> [Vec<&'static str>; 2] {
    let count = best(folder).0.iter().map(|t| if let Data::F32(values) = &t.data { values.len() } else { 0 }).sum();
    fs::write(folder.path().join("dump"), format!("weights{}", " 3f800000".repeat(count))).unwrap();
    [vec!["export", "run", "--format", "c", "--out"], vec!["import", "dump", "--like", "run", "--out"]]
}

#[test]
fn what_is_read_and_what_a_run_wrote_is_never_overwritten() {
    let folder = trained("mlp:64-6-10", &[]);
    let path = folder.path();
    fs::copy(path.join("run/best-on-test.safetensors"), path.join("own.safetensors")).unwrap();
    let files = ["dump", "own.safetensors", "run/best-on-test.safetensors", "run/last.safetensors", "run/config.toml"];
    let checkpoint = fs::read_dir(path.join("run/checkpoints")).unwrap().next().unwrap().unwrap().file_name();
    let checkpoint = format!("run/checkpoints/{}", checkpoint.to_str().unwrap());
    let writers = writers(&folder);
    let before = files.map(|file| fs::read(path.join(file)).unwrap());
    for writer in &writers {
        for file in files[2..].iter().copied().chain([&*checkpoint, "run/log.txt", "./run/../run/metrics.jsonl"]) {
            let (code, stdout, stderr) = run(path, &[&writer[..], &[file]].concat());
            let says = ["is what is read", "is a file of a run, which is not overwritten"];
            assert!(code > 0 && stdout.is_empty() && says.iter().any(|says| stderr.contains(says)), "{file}: {stderr}");
        }
    }
    refused(path, &["import", "dump", "--like", "run", "--out", "dump"], 2, &["--out dump is what is read"]);
    let own = ["export", "own.safetensors", "--format", "c", "--out", "./own.safetensors"];
    refused(path, &own, 2, &["--out ./own.safetensors is what is read: name another file"]);
    let like = ["import", "dump", "--like", "own.safetensors", "--out", "own.safetensors"];
    refused(path, &like, 2, &["is what is read"]);
    assert_eq!(files.map(|file| fs::read(path.join(file)).unwrap()), before);
    // Beside them a file of one's own may lie, and be written again.
    for _ in 0..2 {
        done(path, &["export", "run", "--format", "c", "--out", "run/network.h"]);
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_pipes_are_written_into() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let folder = trained("mlp:64-6-10", &[]);
    let path = folder.path();
    fs::create_dir(path.join("far")).unwrap();
    fs::write(path.join("far/there"), "old").unwrap();
    for (number, writer) in writers(&folder).iter().enumerate() {
        fn to<'a>(writer: &[&'a str], name: &'a str) -> Vec<&'a str> {
            [writer, &[name]].concat()
        }
        done(path, &to(writer, "plain"));
        let expected = fs::read(path.join("plain")).unwrap();
        for target in ["far/there", "far/new"] {
            let link = format!("link-{number}-{}", target.replace('/', "-"));
            symlink(target, path.join(&link)).unwrap();
            done(path, &to(writer, &link));
            assert!(path.join(&link).is_symlink());
            assert_eq!(fs::read(path.join(target)).unwrap(), expected, "{target}");
            fs::remove_file(path.join(target)).unwrap();
        }
        let link = format!("run-{number}");
        symlink("run/log.txt", path.join(&link)).unwrap();
        refused(
            path,
            &to(writer, &link),
            1,
            &["is a file of a run, which is not overwritten", "hint: --out takes any other name"],
        );
        let pipe = path.join(format!("pipe-{number}"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        assert_eq!(done(path, &to(writer, pipe.to_str().unwrap())).0, "");
        assert!(reader.join().unwrap() == expected, "what comes out of the pipe");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }
}

#[test]
fn of_several_dumps_the_last_is_taken_and_sentences_are_passed_over() {
    let folder = trained("mlp:64-6-10", &[]);
    let path = folder.path();
    let [_, import] = writers(&folder);
    done(path, &[&import[..], &["one.safetensors"]].concat());
    let dump = fs::read_to_string(path.join("dump")).unwrap();
    let log = format!("weights follow:\nloading weights deadbeef from flash\n{}\n{dump}\n", dump.replace("3f8", "3f0"));
    fs::write(path.join("dump"), log).unwrap();
    let stderr = done(path, &[&import[..], &["two.safetensors"]].concat()).1;
    assert!(stderr.contains("dump: holds 2 dumps: the last one is taken"), "{stderr}");
    let read = |name: &str| fs::read(path.join(name)).unwrap();
    assert!(read("one.safetensors") == read("two.safetensors"));
}

#[test]
fn hints_name_options_that_the_command_has() {
    let folder = trained("mlp:64-6-10", &[]);
    let path = folder.path();
    let (tensors, mut metadata) = best(&folder);
    refused(
        path,
        &["eval", "run", "--data", "elsewhere"],
        2,
        &["was trained on the built-in digits: leave --data out"],
    );
    put(&folder, "bare.safetensors", &tensors, &BTreeMap::new());
    refused(
        path,
        &["export", "bare.safetensors", "--format", "c"],
        1,
        &["hint: weights that train wrote", "train --init"],
    );
    metadata.insert("dataset".into(), "idx".into());
    metadata.insert("data".into(), "gone".into());
    put(&folder, "moved.safetensors", &tensors, &metadata);
    refused(path, &["eval", "moved.safetensors"], 1, &["gone: no such file or folder", "--data says where it is now"]);
    refused(path, &["eval", "run", "--imbalance", "-1"], 2, &["--imbalance"]);
    assert!(!run(path, &["eval", "run", "--imbalance", "-1"]).2.contains("unexpected argument"));
    let (_, _, stderr) = run(path, &["footprint", "--model", "resnet8", "--trainable-layers", "-1"]);
    assert!(!stderr.contains("unexpected argument"), "{stderr}");
}
