//! Spectra while a network is trained.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::tempdir;

use super::program::{lines, run, train, works};

const SSE: [&str; 6] = ["--method", "sse-sam", "--gamma", "0.5", "--epochs", "4"];

fn epochs(folder: &Path, out: &str) -> Vec<u64> {
    let found = lines(&fs::read_to_string(folder.join(out).join("spectrum.jsonl")).unwrap());
    assert!(found.chunks(3).all(|epoch| epoch.iter().map(|line| &line["group"]).eq(["all", "head", "tail"].iter())));
    found.chunks(3).map(|epoch| epoch[0]["epoch"].as_u64().unwrap()).collect()
}

#[test]
fn epochs_are_chosen_by_number_and_by_word_and_no_bit_of_the_training_changes() {
    let home = tempdir().unwrap();
    train(home.path(), "plain", &SSE);
    train(home.path(), "at", &[&SSE[..], &["--spectrum-at", "0,switch,last"]].concat());
    train(home.path(), "every", &[&SSE[..], &["--spectrum-every", "2"]].concat());
    assert_eq!((epochs(home.path(), "at"), epochs(home.path(), "every")), (vec![0, 1, 3], vec![1, 3]));
    assert!(!home.path().join("plain/spectrum.jsonl").exists());
    for file in ["metrics.jsonl", "last.safetensors", "best-on-test.safetensors"] {
        let bytes = ["plain", "at", "every"].map(|out| fs::read(home.path().join(out).join(file)).unwrap());
        assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2], "{file}");
    }
    let picture = fs::read_to_string(home.path().join("at/spectrum.svg")).unwrap();
    assert!(picture.contains("stage 2 from epoch 2") && picture.contains("lambda_min"));
}

#[test]
fn the_command_finds_the_same_numbers_at_the_same_weights() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &["--spectrum-at", "last"]);
    let text = fs::read_to_string(home.path().join("run/spectrum.jsonl")).unwrap();
    let args = ["spectrum", "run/last.safetensors", "--device", "cpu", "--json"];
    let later = lines(&works(home.path(), &args).stdout);
    for (mut line, later) in lines(&text).into_iter().zip(later) {
        assert_eq!(line["epoch"], 1);
        line.as_object_mut().unwrap().remove("epoch");
        assert_eq!(line, later);
    }
}

#[test]
fn a_run_that_goes_on_measures_what_comes_after_its_checkpoint() {
    let home = tempdir().unwrap();
    let all = [&SSE[..], &["--spectrum-every", "1", "--checkpoint-every", "2", "--keep", "9"]].concat();
    train(home.path(), "whole", &all);
    train(home.path(), "half", &all);
    // As if killed after the third epoch's spectrum, before the checkpoint of the fourth.
    let half = home.path().join("half");
    fs::remove_file(half.join("checkpoints/epoch-000004-step-0000000.safetensors")).unwrap();
    let kept: Vec<String> = fs::read_to_string(half.join("spectrum.jsonl"))
        .unwrap()
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).unwrap()["epoch"].as_u64() < Some(3))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(half.join("spectrum.jsonl"), kept.concat() + "{\"epoch\":3,\"gro").unwrap();
    works(home.path(), &["resume", "half", "--quiet"]);
    let text = |out: &str| fs::read_to_string(home.path().join(out).join("spectrum.jsonl")).unwrap();
    assert_eq!(text("half"), text("whole"));
    assert_eq!(epochs(home.path(), "half"), [0, 1, 2, 3]);
}

#[test]
fn epochs_that_there_are_not_are_refused() {
    let home = tempdir().unwrap();
    let refused = |args: &[&str], expected: &str| {
        let args = [&["train", "--device", "cpu", "--epochs", "4", "--out", "out"], args].concat();
        let outcome = run(home.path(), &args);
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
        assert!(!home.path().join("out").exists());
    };
    refused(&["--spectrum-at", "1,4"], "must be below the number of epochs, 4: they count from 0");
    refused(&["--method", "sgd", "--spectrum-at", "switch"], "names switch, which needs --method sse-sam");
    refused(&["--method", "sse-sam", "--gamma", "1", "--spectrum-at", "switch"], "names switch, which needs");
    refused(&["--spectrum-at", "first"], "an epoch is a number from 0, or switch, or last");
    refused(&["--spectrum-every", "5"], "must be at most the number of epochs, 4");
}
