//! Trains the built-in digits with every method and several seeds and prints mean and standard deviation of the
//! accuracies after the last epoch, in percent.
//!
//! `cargo run --release -p sse-sam --example compare_methods -- [SEEDS] [train's options]`

use std::error::Error;
use std::fs;

use clap::Parser;
use serde_json::Value;
use sse_sam::args::{Cli, Command};

const COLUMNS: [&str; 5] = ["overall", "balanced", "many", "medium", "few"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = std::env::args().skip(1).peekable();
    let seeds: u64 = options.next_if(|option| !option.starts_with('-')).map_or(Ok(5), |seeds| seeds.parse())?;
    let options: Vec<String> = options.collect();
    let mut lines = Vec::new();
    for method in ["sgd", "sam", "imbsam", "sse-sam"] {
        let runs: Result<Vec<_>, _> = (0..seeds).map(|seed| accuracies(method, seed, &options)).collect();
        let runs = runs?;
        let cells = (0..COLUMNS.len()).map(|column| summary(runs.iter().map(|run| run[column]).collect()));
        lines.push(format!("| {method} | {} |", cells.collect::<Vec<_>>().join(" | ")));
    }
    println!("| method | {} |\n|---|---|---|---|---|---|\n{}", COLUMNS.join(" | "), lines.join("\n"));
    Ok(())
}

fn accuracies(method: &str, seed: u64, options: &[String]) -> Result<[f64; 5], Box<dyn Error>> {
    let out = std::env::temp_dir().join(format!("sse-sam-compare-{}-{method}-{seed}", std::process::id()));
    let fixed = ["sse-sam", "train", "--method", method, "--seed", &seed.to_string(), "--out"].map(String::from);
    let arguments = fixed.into_iter().chain([out.display().to_string()]).chain(options.iter().cloned());
    let Command::Train(args) = Cli::try_parse_from(arguments)?.command else { unreachable!("train was asked for") };
    sse_sam::train::run(&args)?;
    let metrics = fs::read_to_string(out.join("metrics.jsonl"))?;
    fs::remove_dir_all(&out)?;
    let last: Value = serde_json::from_str(metrics.lines().last().ok_or("no epoch was trained")?)?;
    Ok(COLUMNS.map(|column| last["accuracy"][column].as_f64().unwrap_or(f64::NAN)))
}

/// Mean and standard deviation (over the sample, divisor n - 1).
fn summary(values: Vec<f64>) -> String {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    format!("{mean:.2} ± {:.2}", variance.sqrt())
}
