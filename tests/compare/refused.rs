//! What a comparison refuses: nothing is trained, nothing is left behind.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use super::{comparison, program, run, succeed, two_classes};

/// Asserts that a command ends with `code`, says this, and makes no folder `out`.
#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32, expected: &str) {
    let outcome = run(folder, args);
    assert_eq!(outcome.code, code, "{args:?}\n{}", outcome.stderr);
    assert!(outcome.stderr.contains(expected), "{args:?}: {expected:?} is not in\n{}", outcome.stderr);
    assert_eq!(outcome.stdout, "", "{args:?}");
    assert!(!folder.join("out").exists() && !folder.join("runs").exists(), "{args:?} left a folder");
}

#[test]
fn lists_and_values_that_mean_nothing_are_refused() {
    let folder = tempdir().unwrap();
    for (options, expected) in [
        (&["--methods", "sgd,sgd"][..], "--methods names sgd twice"),
        (&["--losses", "la,ce,la"], "--losses names la twice"),
        (&["--methods", ""], "a value is required for '--methods <METHODS>'"),
        (&["--methods", "sgdd"], "sgd"),
        (&["--seeds", "0"], "no seeds at all"),
        (&["--seeds", "1,1"], "seed 1 is there twice"),
        (&["--vary", "roh=0.1"], "the nearest name is rho"),
        (&["--vary", "rho=0.1,0.1"], "rho has the value 0.1 twice"),
        (&["--vary", "rho="], "rho has no value"),
        (&["--vary", "rho=x"], "invalid value 'x' for '--rho <RHO>'"),
        (&["--vary", "rho=-1"], "rho"),
        (&["--vary", "seed=1,2"], "--seeds names the seeds"),
        (&["--vary", "rho=0.1", "--vary", "rho=0.2"], "--vary names rho twice"),
        (&["--vary", "rho=0.1,0.2", "--rho", "0.3"], "--vary rho gives rho several values, and --rho one"),
        (&["--method", "sgd"], "a comparison takes --methods instead of --method"),
        (&["--loss", "ce"], "a comparison takes --losses instead of --loss"),
        (&["--seed", "1"], "a comparison takes --seeds instead of --seed"),
        (
            &["--methods", "sgd", "--rho", "0.1"],
            "--rho does nothing in any run of this comparison: it needs --method sam",
        ),
        (
            &["--methods", "sgd", "--vary", "tau=1,2"],
            "--vary tau does nothing in any run of this comparison: it needs --loss",
        ),
        (&["--warmup", "9"], "sgd-ce: --warmup does nothing in this run: it must be at most the number of epochs, 2"),
        (&["--methods", "sgd,sam", "--baseline", "sgf"], "no arm is called \"sgf\"; the nearest name is \"sgd\""),
        (&["--jobs", "0"], "invalid value '0'"),
        (&["--data", "nowhere"], "nowhere: no such file or folder"),
        (&["--recipe", "digits"], "the nearest name is digits-lt"),
    ] {
        let code = if expected.starts_with("nowhere") { 1 } else { 2 };
        refused(folder.path(), &comparison("out", options), code, expected);
    }
}

#[test]
fn a_folder_with_other_runs_is_left_alone() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let base = ["--methods", "sgd", "--seeds", "2"];
    succeed(path, &comparison("mine", &base));
    let refuse = |out: &str, options: &[&str], expected: &[&str]| {
        let outcome = run(path, &comparison(out, options));
        assert_eq!(outcome.code, 1, "{options:?}: {}", outcome.stderr);
        expected.iter().for_each(|part| assert!(outcome.stderr.contains(part), "{part} is not in {}", outcome.stderr));
    };
    let other = ["mine: holds sgd-ce-seed1, a run that is no part of this comparison", "--out"];
    refuse("mine", &["--methods", "sgd", "--seeds", "1"], &other);
    refuse("mine", &["--methods", "sam", "--seeds", "2"], &["sgd-ce-seed0", "(and 1 more)"]);
    let settings = [&base[..], &["--weight-decay", "0.3"]].concat();
    refuse("mine", &settings, &["mine/sgd-ce-seed0: is a run with other settings: weight-decay was", "is 0.3"]);
    refuse("mine", &[&base[..], &["--epochs", "3"]].concat(), &["epochs was 2, is 3"]);
    refuse("mine/sgd-ce-seed0", &base, &["is a run, and a comparison is a folder of runs"]);
    // What says only where it is computed may change.
    succeed(path, &comparison("mine", &[&base[..], &["--threads", "1", "--keep", "1"]].concat()));
    let config = path.join("mine/sgd-ce-seed0/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("fingerprint = \"8x8", "fingerprint = \"9x9")).unwrap();
    refuse("mine", &base, &["sgd-ce-seed0: is a run on other data than those at digits are"]);
}

#[test]
fn a_run_that_another_process_works_on_is_named() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let args = comparison("busy", &["--methods", "sgd", "--seeds", "2", "--epochs", "100000"]);
    let mut child = program(path, &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !fs::read_to_string(path.join("busy/sgd-ce-seed0/log.txt")).is_ok_and(|log| log.contains("training from")) {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing begins");
        sleep(Duration::from_millis(5));
    }
    let outcome = run(path, &args);
    let listed = run(path, &["compare", "busy"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("busy/sgd-ce-seed0: another process is working on this run"), "{}", outcome.stderr);
    assert!(listed.stdout.contains("in work: "), "{}{}", listed.stdout, listed.stderr);
}

#[test]
fn a_model_that_does_not_fit_the_data_is_refused_before_any_run() {
    let folder = tempdir().unwrap();
    let options = ["--methods", "sgd", "--vary", "model=mlp:64-8-10,mlp:63-8-10"];
    let args = comparison("out", &options);
    // The varied model takes the place of the one of all runs.
    let args: Vec<&str> = args.into_iter().filter(|word| *word != "--model" && *word != "mlp:64-16-10").collect();
    refused(folder.path(), &args, 2, "sgd-ce-model-mlp-63-8-10: ");
}

#[test]
fn a_value_in_two_spellings_is_refused_before_any_run() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    two_classes(&path.join("d1"), [30, 6]);
    let of_data = ["compare", "--out", "out", "--device", "cpu", "--model", "mlp:64-4-2", "--epochs", "1"];
    let lists = ["--methods", "sgd,sam", "--seeds", "1", "--vary"];
    refused(path, &[&of_data[..], &lists, &["data=d1,d1/"]].concat(), 2, "--vary data: d1 and d1/ are the same");
    let channels = ["--vary", "normalize=0.5/0.5;0.50/0.5"];
    refused(path, &comparison("out", &channels), 2, "--vary normalize: 0.5/0.5 and 0.50/0.5 are the same");
    succeed(path, &["train", "--out", "w", "--quiet", "--device", "cpu", "--model", "mlp:64-4-10", "--epochs", "1"]);
    let weights = "init=w/last.safetensors,./w/../w/last.safetensors";
    let of_weights = ["compare", "--out", "out", "--device", "cpu", "--model", "mlp:64-4-10", "--epochs", "1"];
    refused(path, &[&of_weights[..], &lists, &[weights]].concat(), 2, "are the same");
}

#[test]
fn a_damaged_run_can_be_removed_and_is_trained_anew() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let args = comparison("out", &["--methods", "sgd", "--seeds", "2"]);
    succeed(path, &args);
    for (file, text) in
        [("metrics.jsonl", "{\n"), ("config.toml", "lrr = 1\n[run]\n"), ("config.toml", "lr = 'x'\n[run]\n")]
    {
        let damaged = path.join("out/sgd-ce-seed1");
        fs::write(damaged.join(file), text).unwrap();
        for (args, hint) in [
            (&args[..], "hint: remove out/sgd-ce-seed1: the same command trains it anew"),
            (&["compare", "out"], "hint: remove out/sgd-ce-seed1, or name the other runs"),
        ] {
            let outcome = run(path, args);
            assert!(outcome.code == 1 && outcome.stderr.contains(hint), "{file}: {}", outcome.stderr);
        }
        fs::remove_dir_all(&damaged).unwrap();
        succeed(path, &args);
    }
    // One that goes on, but cannot.
    fs::write(path.join("out/sgd-ce-seed1/log.txt"), "t interrupted by signal 2\n").unwrap();
    fs::write(path.join("out/sgd-ce-seed1/metrics.jsonl"), "").unwrap();
    let checkpoints = path.join("out/sgd-ce-seed1/checkpoints");
    let last = fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    fs::rename(last, checkpoints.join("epoch-000001-step-0000000.safetensors")).unwrap();
    let outcome = run(path, &args);
    assert!(outcome.stderr.contains("hint: remove out/sgd-ce-seed1: the same"), "{}", outcome.stderr);
}

#[test]
fn files_that_are_no_comparisons_are_not_written_over() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("mine")).unwrap();
    fs::write(path.join("mine/comparison.csv"), "my own\n").unwrap();
    let args = comparison("mine", &["--methods", "sgd", "--seeds", "1"]);
    let elsewhere = comparison("out", &["--methods", "sgd", "--seeds", "1"]);
    succeed(path, &elsewhere);
    for args in [&args[..], &["compare", "out", "--out", "mine"]] {
        let outcome = run(path, args);
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("mine holds comparison.csv, which is none of ours"), "{}", outcome.stderr);
        assert_eq!(fs::read_to_string(path.join("mine/comparison.csv")).unwrap(), "my own\n");
        assert_eq!(fs::read_dir(path.join("mine")).unwrap().count(), 1);
    }
    // Its own files it writes again, beside runs and without.
    succeed(path, &elsewhere);
    (0..2).for_each(|_| drop(succeed(path, &["compare", "out", "--out", "copy"])));
}
