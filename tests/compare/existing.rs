//! Comparisons of runs that exist, some of them made by hand: groups, selections, statistics, formats.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::{comparison, run, succeed, words, written};

/// A run made by hand: its settings beside the usual ones, and its balanced accuracy by epoch with that of validation.
pub(super) fn made(folder: &Path, name: &str, settings: &str, epochs: &[(f64, Option<f64>)], end: &str) {
    let path = folder.join(name);
    fs::create_dir_all(&path).unwrap();
    let origin = "[run]\nprogram = 'p'\ndevice = 'd'\ndriver = 'd'\nkernels = 'k'\nfingerprint = 'f'\n";
    let config = format!("epochs = {}\nloss = 'ce'\ndata = 'digits'\n{settings}\n{origin}", epochs.len());
    fs::write(path.join("config.toml"), config).unwrap();
    let mut lines = String::new();
    for (epoch, (balanced, validation)) in epochs.iter().enumerate() {
        let measures = |balanced: f64| json!({"overall": balanced, "balanced": balanced, "many": null, "medium": null, "few": balanced / 2.0});
        let mut line =
            json!({"epoch": epoch, "stage": 1, "learning_rate": 0.1, "loss": 1.0, "accuracy": measures(*balanced)});
        if let Some(validation) = validation {
            line["validation"] = measures(*validation);
        }
        writeln!(lines, "{line}").unwrap();
    }
    fs::write(path.join("metrics.jsonl"), lines).unwrap();
    let log = "t epoch 0: trained 1.500 s, 9 images/s\nt epoch 0: trained 2.500 s, 9 images/s\n";
    fs::write(path.join("log.txt"), format!("{log}t {end}\n")).unwrap();
}

/// Two methods of five seeds, whose last balanced accuracies scipy was asked about.
fn five(folder: &Path) {
    let (ours, theirs) = ([87.3, 88.9, 86.1, 89.0, 88.4], [85.0, 86.2, 86.3, 84.9, 86.6]);
    for (seed, (our, their)) in ours.into_iter().zip(theirs).enumerate() {
        let settings = |method| format!("method = '{method}'\nseed = {seed}");
        made(
            folder,
            &format!("a{seed}"),
            &(settings("sam") + "\nrho = 0.05"),
            &[(90.0, None), (our, None)],
            "finished",
        );
        made(folder, &format!("b{seed}"), &settings("sgd"), &[(50.0, None), (their, None)], "finished");
    }
}

pub(super) fn json_of(folder: &Path, args: &[&str]) -> Value {
    let args = [&["compare", "--format", "json"], args].concat();
    serde_json::from_str(&succeed(folder, &args).stdout).unwrap()
}

#[test]
fn differences_are_paired_by_seed_with_the_interval_that_scipy_gives() {
    let folder = tempdir().unwrap();
    five(&folder.path().join("runs"));
    let value = json_of(folder.path(), &["runs"]);
    assert_eq!(words(&value["arms"], "label"), ["sgd", "sam"]);
    let found = value["differences"].as_array().unwrap().iter();
    let found = found.filter(|found| found["measure"] == "balanced" && found["selection"] == "last");
    let [found] = found.collect::<Vec<_>>()[..] else { panic!("{value}") };
    // scipy 1.17.1: ttest_rel(ours, theirs).confidence_interval(0.95)
    let expected = [0.19926685747999584, 4.080733142520005];
    for (place, expected) in expected.into_iter().enumerate() {
        assert!((found["interval"][place].as_f64().unwrap() - expected).abs() < 1e-9, "{found}");
    }
    assert_eq!((found["is_told_from_chance"].clone(), found["seeds"].clone()), (json!(true), json!([0, 1, 2, 3, 4])));
    let text = succeed(folder.path(), &["compare", "runs"]).stdout;
    assert!(
        text.contains("sam is 2.14 points above sgd (95 % interval +0.20 to +4.08, 5 seeds): seldom by chance alone."),
        "{text}"
    );
    let reverse = succeed(folder.path(), &["compare", "runs", "--baseline", "sam"]).stdout;
    assert!(reverse.contains("sgd is 2.14 points below sam (95 % interval -4.08 to -0.20, 5 seeds)"), "{reverse}");
    // numpy 2.4.6: std([87.3, 88.9, 86.1, 89.0, 88.4], ddof=1) = 1.2300406497348004
    assert!(text.contains("87.94 ± 1.23"), "{text}");
}

#[test]
fn one_seed_gives_no_interval_and_none_in_common_no_difference() {
    let folder = tempdir().unwrap();
    five(folder.path());
    let one = succeed(folder.path(), &["compare", "a0", "b0"]).stdout;
    assert!(one.contains("sam is 2.30 points above sgd with one seed, which says nothing about chance"), "{one}");
    assert!(!one.contains("±\u{a0}") && !one.contains("87.30 ±") && !one.contains("interval of"), "{one}");
    let none = succeed(folder.path(), &["compare", "a0", "b1"]).stdout;
    assert!(none.contains("there is no seed that both have finished, so nothing can be compared"), "{none}");
    let two = succeed(folder.path(), &["compare", "a1", "a2", "b1", "b2"]).stdout;
    assert!(two.contains("cannot be told apart: +1.25 points"), "{two}");
}

#[test]
fn an_epoch_is_chosen_on_validation_where_there_is_one_and_never_called_best() {
    let folder = tempdir().unwrap();
    for seed in 0..2 {
        let settings = format!("method = 'sgd'\nseed = {seed}");
        made(
            folder.path(),
            &format!("v{seed}"),
            &settings,
            &[(70.0, Some(60.0)), (80.0, Some(50.0)), (75.0, Some(60.0))],
            "finished",
        );
    }
    let value = json_of(folder.path(), &["v0", "v1"]);
    let arm = &value["arms"][0];
    assert_eq!(
        (arm["chosen_on"].clone(), arm["chosen"]["balanced"]["values"].clone()),
        (json!("validation"), json!([70.0, 70.0]))
    );
    assert_eq!(arm["last"]["balanced"]["mean"], 75.0);
    let text = succeed(folder.path(), &["compare", "v0", "v1"]).stdout;
    assert!(text.contains("chosen on validation") && !text.contains("best"), "{text}");
    let other = tempdir().unwrap();
    made(other.path(), "t", "method = 'sgd'", &[(70.0, None), (80.0, None), (80.0, None)], "finished");
    let value = json_of(other.path(), &["t"]);
    assert_eq!(
        (value["runs"][0]["chosen"]["epoch"].clone(), value["runs"][0]["chosen_on"].clone()),
        (json!(1), json!("test"))
    );
    let text = succeed(other.path(), &["compare", "t"]).stdout;
    assert!(text.contains("chosen on the test set") && !text.contains("best"), "{text}");
    // Neither calibration nor the worst class was measured, and what was trained again counts once.
    assert!(!text.contains("ECE") && !text.contains("worst"), "{text}");
    assert_eq!(value["cost"]["runs"][0]["seconds"], 2.5);
}

#[test]
fn runs_that_are_not_finished_are_in_no_mean() {
    let folder = tempdir().unwrap();
    made(folder.path(), "done", "method = 'sgd'\nseed = 0", &[(80.0, None)], "finished");
    made(folder.path(), "cut", "method = 'sgd'\nseed = 1", &[(10.0, None)], "interrupted by signal 2");
    made(folder.path(), "lost", "method = 'sgd'\nseed = 2", &[(10.0, None)], "failed: the device_is & gone");
    let text = succeed(folder.path(), &["compare", "."]).stdout;
    assert!(
        text.contains("unfinished: 1 of 1 epochs") && text.contains("failed after 1 of 1 epochs: the device_is & gone"),
        "{text}"
    );
    let value = json_of(folder.path(), &["."]);
    assert_eq!(
        (value["arms"][0]["finished"].clone(), value["arms"][0]["last"]["balanced"]["mean"].clone()),
        (json!(1), json!(80.0))
    );
    let latex = succeed(folder.path(), &["compare", ".", "--format", "latex"]).stdout;
    assert!(latex.contains("the device\\_is \\& gone"), "{latex}");
    let markdown = succeed(folder.path(), &["compare", ".", "--format", "markdown"]).stdout;
    assert!(markdown.contains("the device\\_is & gone"), "{markdown}");
}

#[test]
fn runs_that_do_not_belong_in_one_table_are_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    made(path, "a", "method = 'sgd'", &[(80.0, None)], "finished");
    made(path, "again", "method = 'sgd'\nthreads = 3", &[(80.0, None)], "finished");
    made(path, "cut", "method = 'sam'\nrho = 0.1\nimbalance = 10.0", &[(80.0, None)], "finished");
    made(path, "other", "method = 'sam'\nrho = 0.1", &[(80.0, None)], "finished");
    let config = path.join("other/config.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("'f'", "'g'")).unwrap();
    fs::create_dir(path.join("empty")).unwrap();
    for (args, code, expected) in [
        (&["a", "again"][..], 2, "a and again are the same run twice: equal settings and seed 0"),
        (&["a", "a"], 2, "a and a are the same run twice"),
        (&["a", "cut"], 2, "differ in their data: imbalance is none and 10"),
        (&["a", "other"], 2, "were trained on different data"),
        (&["a", "nowhere"], 1, "nowhere: holds no run"),
        (&["empty"], 1, "empty: holds no runs"),
        (&["a", "--epochs", "3"], 2, "--epochs is about training, and where runs are named nothing is trained"),
        (&["a", "--seeds", "3"], 2, "--seeds is about training"),
        (&["a", "--baseline", "sam"], 2, "no arm is called \"sam\""),
    ] {
        let outcome = run(path, &[&["compare"], args].concat());
        assert_eq!(outcome.code, code, "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(expected) && outcome.stdout.is_empty(), "{args:?}: {}", outcome.stderr);
    }
    let both = succeed(path, &["compare", "a", "cut", "other", "--different-data"]).stdout;
    assert!(both.contains("sam") && both.contains("imbalance=10"), "{both}");
}

/// The cells of a line of CSV, none of which has quotes.
fn cells(line: &str) -> Vec<&str> {
    line.split(',').collect()
}

#[test]
fn every_format_is_written_and_printed_alike() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    succeed(path, &comparison("out", &["--methods", "sgd,sam", "--seeds", "2"]));
    for (format, ending) in [("text", "txt"), ("markdown", "md"), ("csv", "csv"), ("latex", "tex"), ("json", "json")] {
        let file = fs::read_to_string(path.join("out").join(format!("comparison.{ending}"))).unwrap();
        let printed = succeed(path, &["compare", "out", "--format", format]).stdout;
        assert_eq!(file, printed, "{format}");
        let trained =
            succeed(path, &comparison("out", &["--methods", "sgd,sam", "--seeds", "2", "--quiet", "--format", format]));
        assert_eq!(trained.stdout, file, "{format} is printed where it is asked for");
    }
    let csv = fs::read_to_string(path.join("out/comparison.csv")).unwrap();
    let (head, rows) = csv.split_once('\n').unwrap();
    let head = cells(head);
    assert_eq!(head[..9], ["run", "arm", "seed", "state", "selection", "chosen_on", "epoch", "overall", "balanced"]);
    assert!(["worst", "ece", "top5", "rho", "method"].iter().all(|key| head.contains(key)), "{head:?}");
    assert_eq!(rows.lines().count(), 2 * 2 * 2);
    let value = written(&path.join("out"));
    for row in rows.lines().map(cells) {
        assert_eq!(row.len(), head.len());
        let known = value["runs"].as_array().unwrap().iter().find(|run| run["run"] == row[0]).unwrap();
        assert_eq!(known[row[4]]["accuracy"]["balanced"].as_f64(), row[8].parse().ok(), "full precision");
    }
    let latex = fs::read_to_string(path.join("out/comparison.tex")).unwrap();
    assert_eq!(latex.matches("\\begin{tabular}").count(), latex.matches("\\bottomrule").count());
    let code = latex.lines().filter(|line| !line.starts_with('%'));
    code.for_each(|line| assert!(!line.replace("\\%", "").contains(['%', '±', '_']), "{line}"));
    let passes = &serde_json::from_str::<Value>(&fs::read_to_string(path.join("out/comparison.json")).unwrap())
        .unwrap()["cost"]["arms"][1]["passes_a_step"];
    assert_eq!(*passes, json!([{"forward": 2, "backward": 2, "epochs": 2}]));
    // Elsewhere too, without a training.
    succeed(path, &["compare", "out", "--out", "elsewhere"]);
    assert_eq!(written(&path.join("elsewhere")), value);
}

#[test]
fn a_folder_that_looks_like_a_run_and_is_none_is_named() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    made(path, "a", "method = 'sgd'", &[(80.0, None)], "finished");
    made(path, "bare", "method = 'sgd'\nseed = 1", &[(80.0, None)], "finished");
    fs::remove_file(path.join("bare/config.toml")).unwrap();
    fs::create_dir_all(path.join("torn/checkpoints")).unwrap();
    fs::write(path.join("torn/config.toml"), "epochs = 1\n").unwrap();
    fs::create_dir(path.join("notes")).unwrap();
    let outcome = succeed(path, &["compare", "."]);
    for part in [
        "warning: ./bare looks like a run, but has no config.toml: it is left out",
        "warning: ./torn looks like a run, but its config.toml has no [run]: it is left out",
    ] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("notes"), "{}", outcome.stderr);
    let report = succeed(path, &["report", ".", "--out", "page.html"]);
    assert!(report.stderr.contains("./bare looks like a run"), "{}", report.stderr);
    assert_eq!(report.stdout, "1 run in page.html\n");
}

#[cfg(unix)]
#[test]
fn what_files_say_moves_no_terminal() {
    let folder = tempdir().unwrap();
    made(folder.path(), "two\nlines", "method = 'sgd'", &[(80.0, None)], "failed: \u{1b}[31mred");
    let text = succeed(folder.path(), &["compare", "."]).stdout;
    assert!(text.contains("two\\nlines") && text.contains("\\u{1b}[31mred") && !text.contains('\u{1b}'), "{text}");
    let csv = succeed(folder.path(), &["compare", ".", "--format", "csv"]).stdout;
    assert_eq!(csv.lines().count(), 1 + 2, "{csv}");
}

#[test]
fn the_baseline_that_a_comparison_was_written_with_is_kept() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    five(&path.join("runs"));
    fs::write(path.join("runs/comparison.json"), r#"{"baseline": "sam"}"#).unwrap();
    let baseline = |args: &[&str]| json_of(path, &[&["runs"], args].concat())["baseline"].clone();
    assert_eq!((baseline(&[]), baseline(&["--baseline", "sgd"])), (json!("sam"), json!("sgd")));
    succeed(path, &["report", "runs", "--out", "page.html"]);
    assert!(fs::read_to_string(path.join("page.html")).unwrap().contains("Difference to sam"));
    // One that is no arm of these runs, and a file that is none of ours, say nothing.
    for text in [r#"{"baseline": "imbsam"}"#, "none"] {
        fs::write(path.join("runs/comparison.json"), text).unwrap();
        assert_eq!(baseline(&[]), "sgd");
    }
}

#[test]
fn a_setting_that_is_called_like_a_measure_has_a_column_of_its_own_name() {
    let folder = tempdir().unwrap();
    for many in ["10", "20"] {
        made(folder.path(), many, &format!("method = 'sgd'\nmany = {many}"), &[(80.0, None)], "finished");
        let metrics = folder.path().join(many).join("metrics.jsonl");
        fs::write(&metrics, fs::read_to_string(&metrics).unwrap().replace("\"many\":null", "\"many\":7.5")).unwrap();
    }
    let csv = succeed(folder.path(), &["compare", ".", "--different-data", "--format", "csv"]).stdout;
    let lines: Vec<Vec<&str>> = csv.lines().map(cells).collect();
    let column = |name: &str| {
        let places: Vec<usize> = (0..lines[0].len()).filter(|&place| lines[0][place] == name).collect();
        assert_eq!(places.len(), 1, "{name}: {csv}");
        (lines[1][places[0]], lines[3][places[0]])
    };
    assert_eq!((column("many"), column("setting:many")), (("7.5", "7.5"), ("10", "20")));
}

#[test]
fn the_data_are_named_without_their_place() {
    let folder = tempdir().unwrap();
    made(folder.path(), "a", "method = 'sgd'", &[(80.0, None)], "finished");
    let config = folder.path().join("a/config.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("'digits'", "'/home/me/faces'")).unwrap();
    assert_eq!(json_of(folder.path(), &["a"])["data"], json!(["faces"]));
    let text = succeed(folder.path(), &["compare", "a"]).stdout;
    assert!(text.contains("Accuracy on the test set of faces in %") && !text.contains("/home/me"), "{text}");
}

#[test]
fn an_unknown_recipe_has_a_nearest_name() {
    let folder = tempdir().unwrap();
    let outcome = run(folder.path(), &["recipes", "digit-lt"]);
    assert!(outcome.code == 2 && outcome.stderr.contains("the nearest name is digits-lt"), "{}", outcome.stderr);
}
