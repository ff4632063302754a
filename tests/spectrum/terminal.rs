//! How far a measurement is, on a terminal and elsewhere.

use std::path::Path;
use std::process::{Command, Stdio};

use sse_sam_tests::needs::{runs, skip};
use tempfile::tempdir;

use super::program::{CACHE, train, works};

/// What the program prints on a terminal, where a system has `script` to make one.
fn on_terminal(folder: &Path, args: &str) -> Option<String> {
    if !runs("script") {
        skip("there is no script that makes a terminal");
        return None;
    }
    let line = format!("stty cols 150; exec '{}' {args}", env!("CARGO_BIN_EXE_sse-sam"));
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).env("SSE_SAM_CACHE", CACHE).env("TERM", "xterm");
    let output = command.current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    Some(text)
}

const MEASURE: &str = "spectrum run --device cpu --groups all,tail --steps 60 --vectors 4 --escape --escape-steps 20";

#[test]
fn a_bar_shows_the_group_and_its_products_on_a_terminal_only() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let Some(text) = on_terminal(home.path(), &format!("{MEASURE} --out a.jsonl")) else { return };
    for part in ["spectrum of all [", "spectrum of tail [", " of 240 products", "spectrum of all escape ["] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // The bar is gone before the table: nothing of it lies behind.
    let table = text.rfind("lambda_max").unwrap();
    assert!(text.rfind(" products").unwrap() < table, "{text}");
    let words: Vec<&str> = MEASURE.split(' ').chain(["--out", "b.jsonl"]).collect();
    let piped = works(home.path(), &words);
    assert!(!piped.stderr.contains("products") && !piped.stdout.contains("products"), "{}", piped.stderr);
}

#[test]
fn a_trainings_bar_says_which_spectrum_it_waits_for() {
    let home = tempdir().unwrap();
    let line = "train --model mlp:64-16-10 --batch 32 --epochs 2 --device cpu --spectrum-every 1 --out run";
    let Some(text) = on_terminal(home.path(), line) else { return };
    assert!(text.contains("spectrum of all: ") && text.contains(" of 80 products"), "{text}");
    // An epoch's line follows.
    assert!(text.contains("epoch 1 of 0..=1"), "{text}");
}
