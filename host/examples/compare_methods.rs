//! Trains the built-in digits with every method and several seeds, as many runs at a time as there are cores, and prints
//! mean and standard deviation of the accuracies after the last epoch, in percent, as README has them.
//!
//! `cargo run --release -p sse-sam --example compare_methods -- [SEEDS] [train's options]`

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use clap::Parser;
use serde_json::Value;
use sse_sam::cli::args::{Cli, Command};

const METHODS: [&str; 4] = ["sgd", "sam", "imbsam", "sse-sam"];
const COLUMNS: [&str; 5] = ["overall", "balanced", "many", "medium", "few"];
const BALANCED: usize = 1;

/// Accuracies of one run, by column.
type Run = [f64; COLUMNS.len()];

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = std::env::args().skip(1).peekable();
    let seeds: usize = options.next_if(|option| !option.starts_with('-')).map_or(Ok(5), |seeds| seeds.parse())?;
    if seeds == 0 {
        return Err("a comparison needs a seed".into());
    }
    let runs = train_all(seeds, &options.collect::<Vec<_>>())?;
    println!("| method  | {} |", COLUMNS.map(|column| format!("{column:<12}")).join(" | "));
    println!("|---------|{}", format!("{}|", "-".repeat(14)).repeat(COLUMNS.len()));
    for (method, runs) in METHODS.iter().zip(&runs) {
        let cells: Vec<String> = (0..COLUMNS.len()).map(|column| cell(runs, column)).collect();
        println!("| {method:<7} | {} |", cells.join(" | "));
    }
    println!();
    let [others @ .., ours] = &runs[..] else { return Ok(()) };
    for (method, runs) in METHODS.iter().zip(others) {
        let (difference, error) = above(ours, runs);
        println!("balanced accuracy of sse-sam above {method}: {difference:.2}, standard error {error:.2}");
    }
    Ok(())
}

/// Every method with every seed.
fn train_all(seeds: usize, options: &[String]) -> Result<Vec<Vec<Run>>, Box<dyn Error>> {
    let (next, count) = (AtomicUsize::new(0), METHODS.len() * seeds);
    let work = || {
        let mut done = Vec::new();
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= count {
                return Ok(done);
            }
            let (method, seed) = (METHODS[job / seeds], job % seeds);
            let run = train(method, seed, options).map_err(|error| format!("{method}, seed {seed}: {error}"))?;
            done.push((job, run));
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut done = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let results = threads.into_iter().map(|thread| thread.join().map_err(|_| "a run has panicked".to_owned())?);
        results.collect::<Result<Vec<_>, String>>()
    })?
    .concat();
    done.sort_by_key(|&(job, _)| job);
    let runs: Vec<Run> = done.into_iter().map(|(_, run)| run).collect();
    Ok(runs.chunks(seeds).map(<[Run]>::to_vec).collect())
}

fn train(method: &str, seed: usize, options: &[String]) -> Result<Run, Box<dyn Error>> {
    let out = std::env::temp_dir().join(format!("sse-sam-compare-{}-{method}-{seed}", std::process::id()));
    let fixed = ["sse-sam", "train", "--quiet", "--method", method, "--seed", &seed.to_string(), "--out"];
    let arguments = fixed.map(String::from).into_iter().chain([out.display().to_string()]).chain(options.to_vec());
    let Command::Train(args) = Cli::try_parse_from(arguments)?.command else { unreachable!("train was asked for") };
    sse_sam::train::start::run(&args)?;
    let metrics = fs::read_to_string(out.join("metrics.jsonl"))?;
    fs::remove_dir_all(&out)?;
    let last: Value = serde_json::from_str(metrics.lines().last().ok_or("no epoch was trained")?)?;
    Ok(COLUMNS.map(|column| last["accuracy"][column].as_f64().unwrap_or(f64::NAN)))
}

/// Mean and variance (over the sample, divisor n - 1) of a column.
fn moments(runs: &[Run], column: usize) -> (f64, f64) {
    let count = runs.len() as f64;
    let mean = runs.iter().map(|run| run[column]).sum::<f64>() / count;
    let squares = runs.iter().map(|run| (run[column] - mean).powi(2));
    (mean, squares.sum::<f64>() / (count - 1.0).max(1.0))
}

/// Mean and standard deviation.
fn cell(runs: &[Run], column: usize) -> String {
    let (mean, variance) = moments(runs, column);
    format!("{mean:.2} ± {:.2}", variance.sqrt())
}

/// By how much the balanced accuracy of `ours` is higher on average, and the standard error of that.
fn above(ours: &[Run], theirs: &[Run]) -> (f64, f64) {
    let [(our_mean, our_variance), (mean, variance)] = [ours, theirs].map(|runs| moments(runs, BALANCED));
    (our_mean - mean, (our_variance / ours.len() as f64 + variance / theirs.len() as f64).sqrt())
}
