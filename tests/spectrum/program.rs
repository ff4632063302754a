//! The `spectrum` and `verify` commands.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use sse_sam::opencl::devices;
use sse_sam_tests::needs::has_opencl;
use tempfile::tempdir;

/// A small network, so that a test takes little time.
const SMALL: [&str; 9] = ["train", "--model", "mlp:64-16-10", "--batch", "32", "--epochs", "2", "--device", "cpu"];

pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program in `folder`.
pub fn run(folder: &Path, args: &[&str]) -> Outcome {
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    let output = command.env("SSE_SAM_CACHE", cache).args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs what has to succeed.
#[track_caller]
pub fn works(folder: &Path, args: &[&str]) -> Outcome {
    let outcome = run(folder, args);
    assert_eq!(outcome.code, 0, "{args:?}\n{}", outcome.stderr);
    outcome
}

/// Trains a small network into `out`.
#[track_caller]
pub fn train(folder: &Path, out: &str, args: &[&str]) {
    works(folder, &[&SMALL[..], &["--quiet", "--out", out], args].concat());
}

pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const SPECTRUM: [&str; 6] = ["spectrum", "run", "--device", "cpu", "--steps", "30"];

#[test]
fn a_table_for_people_lines_for_programs_and_a_picture() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let told = works(home.path(), &[&SPECTRUM[..], &["--vectors", "2", "--groups", "all,head,tail,class9"]].concat());
    for part in
        ["lambda_max", "lambda_min", "drop along u", "class9", "exact", "symmetry", "Hv of head", "tail below 60"]
    {
        assert!(told.stdout.contains(part), "{part} is not in\n{}", told.stdout);
    }
    let file = home.path().join("run/best-on-test.spectrum.jsonl");
    let found = lines(&fs::read_to_string(&file).unwrap());
    assert_eq!(
        found.iter().map(|line| line["group"].as_str().unwrap()).collect::<Vec<_>>(),
        ["all", "head", "tail", "class9"]
    );
    for line in &found {
        let number = |key: &str| line[key].as_f64().unwrap();
        let end = |key: &str| (line[key]["value"].as_f64().unwrap(), line[key]["bound"].as_f64().unwrap());
        let ((high, high_bound), (low, low_bound)) = (end("lambda_max"), end("lambda_min"));
        assert!(low < 0.0 && high > 0.0 && high_bound < 1e-4 * high && low_bound < 0.2 * high, "{line}");
        assert!(number("loss") > 0.0 && number("miss") > 0.0 && number("gradient_norm") > 0.0);
        assert!((0.0..=1.0).contains(&number("gradient_along_lambda_min")));
        // The step against the gradient is never worse than none.
        assert!(line["drop_gradient"]["fall"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["checks"]["symmetry"].as_f64().unwrap() < 1e-6);
        assert_eq!(line["checks"]["linearity"].is_null(), line["group"] != "all");
        let sums = line["weights"]
            .as_array()
            .unwrap()
            .iter()
            .map(|weights| weights.as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap()).sum::<f64>());
        assert!(sums.collect::<Vec<_>>().iter().all(|sum| (sum - 1.0).abs() < 1e-9));
        assert_eq!(line["nodes"].as_array().unwrap().len(), 2);
        assert_eq!(line["negative_mass"].as_array().unwrap().len(), 2);
    }
    // The trace without chance, of a class of seven, is where chance says it is.
    let (trace, exact) = (&found[3]["trace"], found[3]["exact_trace"].as_f64().unwrap());
    let off = (trace["mean"].as_f64().unwrap() - exact).abs() / trace["standard_error"].as_f64().unwrap();
    assert!(off < 10.0, "{off}");
    let picture = fs::read_to_string(file.with_extension("svg")).unwrap();
    assert!(picture.contains(">head<") && picture.contains(">tail<") && !picture.contains(">class9<"));
}

#[test]
fn two_runs_give_the_same_bytes() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let mut named = vec!["cpu".to_owned()];
    let found = devices().unwrap_or_default();
    if has_opencl(found.len()) {
        named.extend(found.iter().map(|device| device.selector()));
    }
    for device in &named {
        for basis in ["full", "none"] {
            let bytes = ["a", "b"].map(|name| {
                let out = format!("{name}-{basis}-{}.jsonl", device.replace(':', "-"));
                let args = ["spectrum", "run", "--device", device, "--steps", "20", "--basis", basis, "--out", &out];
                let printed = works(home.path(), &[&args[..], &["--json"]].concat()).stdout;
                assert_eq!(printed, fs::read_to_string(home.path().join(&out)).unwrap());
                printed
            });
            assert_eq!(bytes[0], bytes[1], "{device}, {basis}");
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let with = |threads: &str| {
        let out = format!("{threads}.jsonl");
        works(home.path(), &[&SPECTRUM[..], &["--threads", threads, "--json", "--out", &out]].concat()).stdout
    };
    assert_eq!(with("1"), with("2"));
}

#[test]
fn groups_that_were_measured_are_not_measured_again() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let with = |groups: &str| works(home.path(), &[&SPECTRUM[..], &["--json", "--groups", groups]].concat());
    let first = with("head");
    assert!(!first.stderr.contains("measured before"));
    let both = with("head,tail");
    assert!(both.stderr.contains("1 of 2 groups were measured before"), "{}", both.stderr);
    assert!(both.stdout.starts_with(&first.stdout));
    // A line that a killed process has half written is cut off; what was whole stays.
    let file = home.path().join("run/best-on-test.spectrum.jsonl");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 40]).unwrap();
    assert!(with("head,tail").stderr.contains("1 of 2 groups"));
    assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    // Another number of steps is another measurement.
    let other = works(home.path(), &["spectrum", "run", "--device", "cpu", "--steps", "10", "--groups", "head"]);
    assert!(!other.stderr.contains("measured before"));
    assert!(fs::read_to_string(&file).unwrap().starts_with(&whole));
}

#[test]
fn a_group_that_is_cut_says_so_and_keeps_the_shares_of_classes() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let with = |samples: &str| {
        let out = format!("{samples}.jsonl");
        let args = ["--samples", samples, "--groups", "all,tail", "--out", &out];
        works(home.path(), &[&SPECTRUM[..], &args].concat()).stdout
    };
    let told = with("500");
    // 104 of the tail, whole, and 392 of 944 of the head: a share of 396 to 944, rounded down by class.
    assert!(told.contains("+ all: 496 of its 1048 samples, each class weighed as in the whole"), "{told}");
    assert!(!told.contains("+ tail") && !with("1048").contains("samples, each class"));
}

#[test]
fn another_loss_gives_another_spectrum_and_the_runs_own_gives_the_same() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &["--loss", "la", "--tau", "0.5"]);
    let with = |args: &[&str], out: &str| {
        let args = [&SPECTRUM[..], args, &["--groups", "tail", "--json", "--out", out]].concat();
        lines(&works(home.path(), &args).stdout).remove(0)
    };
    let [own, same, other] =
        [with(&[], "own.jsonl"), with(&["--loss", "la"], "same.jsonl"), with(&["--loss", "ce"], "other.jsonl")];
    assert_eq!(own, same);
    assert!(own["loss"].as_f64() != other["loss"].as_f64() && own["lambda_min"] != other["lambda_min"]);
}

#[test]
fn weights_outside_of_a_run_take_the_first_samples_of_each_class() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    fs::copy(home.path().join("run/best-on-test.safetensors"), home.path().join("w.safetensors")).unwrap();
    let alone = works(home.path(), &["spectrum", "w.safetensors", "--device", "cpu", "--steps", "30", "--json"]);
    assert!(alone.stderr.contains("taking cross-entropy"), "{}", alone.stderr);
    let own = works(home.path(), &[&SPECTRUM[..], &["--json"]].concat());
    let group = |text: &str| lines(text).into_iter().map(|line| line["lambda_min"].clone()).collect::<Vec<_>>();
    assert_eq!(group(&alone.stdout), group(&own.stdout));
    assert!(home.path().join("w.spectrum.jsonl").exists() && home.path().join("w.spectrum.svg").exists());
}

#[test]
fn verify_knows_a_spectrum_by_its_content_and_ends_with_1_outside_of_bounds() {
    let home = tempdir().unwrap();
    let same = super::changed("mlp-ce", home.path(), |case| case["seed"] = 2.into());
    let told = works(home.path(), &["verify", "--device", "cpu", same.to_str().unwrap()]);
    for part in ["tail loss", "class9 product", "all lambda_min", "head gradient norm", "1 of 1 cases within bounds"] {
        assert!(told.stdout.contains(part), "{part} is not in\n{}", told.stdout);
    }
    let wrong = super::changed("mlp-ce", home.path(), |case| case["records"]["tail"]["loss"] = 0.31.into());
    let told = run(home.path(), &["verify", "--device", "cpu", wrong.to_str().unwrap()]);
    assert_eq!(told.code, 1);
    assert!(told.stdout.lines().any(|line| line.contains("tail loss") && line.ends_with("OUTSIDE")));
    assert!(told.stderr.contains("1 of 1 cases are outside their bounds"));
}
