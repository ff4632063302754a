//! Which runs and numbers count, and what is said of those that do not.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::tempdir;

use super::existing::{json_of, made};
use super::succeed;

/// Changes a file of a run.
fn change(folder: &Path, file: &str, change: impl Fn(&str) -> String) {
    let path = folder.join(file);
    fs::write(&path, change(&fs::read_to_string(&path).unwrap())).unwrap();
}

/// The epochs that a run was meant to have.
fn meant(folder: &Path, epochs: u32) {
    let other = |line: &str| if line.starts_with("epochs = ") { format!("epochs = {epochs}") } else { line.to_owned() };
    change(folder, "config.toml", |text| text.lines().map(|line| other(line) + "\n").collect());
}

#[test]
fn a_run_counts_when_it_has_a_line_for_every_epoch() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let epochs = [(70.0, Some(60.0)), (80.0, Some(50.0)), (75.0, Some(50.0))];
    for (seed, name) in ["whole", "cut", "gap", "twice", "early", "short", "impatient"].into_iter().enumerate() {
        let patience = if seed > 3 { "patience = 2\n" } else { "" };
        made(path, name, &format!("{patience}method = 'sgd'\nseed = {seed}"), &epochs, "finished");
    }
    let kept = |kept: &'static [usize]| {
        move |text: &str| kept.iter().map(|&line| text.lines().nth(line).unwrap().to_owned() + "\n").collect::<String>()
    };
    change(&path.join("cut"), "metrics.jsonl", kept(&[0, 1]));
    change(&path.join("gap"), "metrics.jsonl", kept(&[0, 2]));
    change(&path.join("twice"), "metrics.jsonl", kept(&[0, 1, 1, 2]));
    // Stopped by patience: the first epoch was the best of three. Two of them prove no stop, nor do three without patience.
    ["early", "short", "impatient"].into_iter().for_each(|name| meant(&path.join(name), 9));
    change(&path.join("short"), "metrics.jsonl", kept(&[0, 1]));
    change(&path.join("impatient"), "config.toml", |text| text.replace("patience = 2\n", ""));
    let value = json_of(path, &["."]);
    let finished = value["arms"].as_array().unwrap().iter().map(|arm| arm["finished"].as_u64().unwrap()).sum::<u64>();
    let text = succeed(path, &["compare", "."]).stdout;
    assert_eq!(finished, 2, "{text}");
    for (reason, count) in [
        ("metrics.jsonl has 2 of 3 epochs", 2),
        ("metrics.jsonl has epoch 1 twice", 1),
        ("metrics.jsonl has 2 of 9 epochs", 1),
        ("metrics.jsonl has 3 of 9 epochs", 1),
    ] {
        assert_eq!(text.matches(reason).count(), count, "{reason}: {text}");
    }
}

#[test]
fn passes_are_those_of_the_epochs_that_were_done() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let settings = "method = 'sse-sam'\nseed = 0\npatience = 1\nhead-rho = 0.05\ntail-rho = 0.1\ngamma = 0.5";
    made(path, "a", settings, &[(70.0, Some(60.0)), (70.0, Some(50.0))], "finished");
    meant(&path.join("a"), 10);
    let value = json_of(path, &["a"]);
    let passes = &value["cost"]["arms"][0]["passes_a_step"];
    assert_eq!((passes.as_array().unwrap().len(), passes[0]["epochs"].clone()), (1, json!(2)), "{passes}");
    let text = succeed(path, &["compare", "a"]).stdout;
    assert!(!text.contains(", then"), "{text}");
    assert!(text.contains("sse-sam: 1 of 1 run, seed 0"), "{text}");
    // A run that has got so far is none of these.
    change(&path.join("a"), "metrics.jsonl", |text| {
        let (first, second) = text.split_once('\n').unwrap();
        format!("{first}\n{}", second.replace("\"stage\":1", "\"stage\":2"))
    });
    let text = succeed(path, &["compare", "a"]).stdout;
    assert!(text.contains(", then") && !text.contains("sse-sam: 1 of 1"), "{text}");
}

#[test]
fn an_arm_without_finished_runs_was_chosen_on_what_its_settings_say() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    made(path, "none", "method = 'sgd'\nvalidation = 0.2", &[], "failed: the device is gone");
    made(path, "some", "method = 'sam'\nrho = 0.1\nvalidation = 0.2", &[(70.0, Some(60.0))], "interrupted by signal 2");
    let value = json_of(path, &["."]);
    let chosen_on = value["arms"].as_array().unwrap().iter().map(|arm| &arm["chosen_on"]);
    assert_eq!(chosen_on.collect::<Vec<_>>(), ["validation"; 2]);
    let text = succeed(path, &["compare", "."]).stdout;
    assert!(!text.contains("chosen on the test set"), "{text}");
}

#[test]
fn equal_differences_have_no_spread_and_say_nothing_of_chance() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    for (seed, balanced) in [(0, 87.3), (1, 90.1), (2, 85.7)] {
        let run = |name: &str, settings: &str, balanced: f64| {
            let settings = format!("{settings}\nseed = {seed}");
            made(path, &format!("{name}{seed}"), &settings, &[(balanced, None)], "finished");
        };
        run("a", "method = 'sgd'", balanced);
        run("b", "method = 'sam'\nrho = 0.1", balanced);
        run("c", "method = 'imbsam'\nrho = 0.1", balanced + 1.3);
    }
    let text = succeed(path, &["compare", "."]).stdout;
    assert!(text.contains("sam and sgd are equal in all 3 seeds."), "{text}");
    assert!(text.contains("imbsam is 1.30 points above sgd in each of 3 seeds"), "{text}");
    assert!(!text.contains("chance alone") && !text.contains("cannot be told apart"), "{text}");
    let value = json_of(path, &["."]);
    let found = value["differences"].as_array().unwrap().iter();
    let told: Vec<_> = found
        .filter(|found| found["measure"] == "balanced" && found["selection"] == "last")
        .map(|found| found["is_told_from_chance"].clone())
        .collect();
    assert_eq!(told, [json!(false), json!(null)]);
}

#[test]
fn a_number_of_fewer_runs_than_its_row_says_so() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    for seed in 0..2 {
        made(path, &seed.to_string(), &format!("method = 'sgd'\nseed = {seed}"), &[(80.0, None)], "finished");
    }
    change(&path.join("1"), "metrics.jsonl", |text| text.replace("\"few\":", "\"ece\":3.0,\"few\":"));
    let text = succeed(path, &["compare", "."]).stdout;
    assert_eq!(text.matches("3.00 (1 seed)").count(), 2, "{text}");
    assert_eq!(text.matches("seed)").count(), 2, "{text}");
    // Nor are all differences from all seeds.
    for seed in 0..2 {
        made(path, &format!("sam{seed}"), &format!("method = 'sam'\nseed = {seed}"), &[(80.0, None)], "finished");
    }
    change(&path.join("sam1"), "metrics.jsonl", |text| text.replace("\"few\":40.0", "\"few\":null"));
    let text = succeed(path, &["compare", "."]).stdout;
    assert_eq!(text.matches("40.00 (1 seed)").count(), 2, "{text}");
    assert_eq!(text.matches("+0.00 (1 seed)").count(), 2, "{text}");
}

#[test]
fn a_run_that_patience_stopped_is_finished_though_its_log_lacks_the_last_line() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let settings = "method = 'sgd'\npatience = 2\nseed = 0";
    made(path, "early", settings, &[(70.0, Some(60.0)), (70.0, Some(50.0)), (70.0, Some(50.0))], "waited");
    meant(&path.join("early"), 9);
    fs::create_dir(path.join("early/checkpoints")).unwrap();
    fs::write(path.join("early/checkpoints/epoch-000003-step-0000000.safetensors"), "").unwrap();
    let listed = succeed(path, &["runs", "."]).stdout;
    assert!(listed.lines().nth(1).unwrap().ends_with("finished"), "{listed}");
}
