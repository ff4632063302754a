//! Trains the built-in digits with every method and several seeds, as many runs at a time as there are cores, and prints
//! mean and standard deviation of the accuracies after the last epoch, in percent, as README has them.
//!
//! `cargo run --release -p sse-sam --example compare_methods -- [SEEDS] [train's options]`

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Parser;
use sse_sam::data;
use sse_sam::device::choose::Device;
use sse_sam::recipe::words::{MethodName, word};
use sse_sam::recipe::{Options, Recipe};
use sse_sam::report::Silent;
use sse_sam::train::{place, prepare};

const METHODS: [MethodName; 4] = [MethodName::Sgd, MethodName::Sam, MethodName::Imbsam, MethodName::SseSam];
const COLUMNS: [&str; 5] = ["overall", "balanced", "many", "medium", "few"];
const BALANCED: usize = 1;

/// Accuracies of one run, by column.
type Run = [f64; COLUMNS.len()];

/// What is compared.
#[derive(Parser)]
struct Arguments {
    /// Seeds of each method
    #[arg(default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    seeds: u16,
    /// Options of every training.
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { seeds, options } = Arguments::parse();
    let runs = train_all(seeds.into(), &options)?;
    println!("| method  | {} |", COLUMNS.map(|column| format!("{column:<12}")).join(" | "));
    println!("|---------|{}", format!("{}|", "-".repeat(14)).repeat(COLUMNS.len()));
    for (method, runs) in METHODS.iter().zip(&runs) {
        let cells: Vec<String> = (0..COLUMNS.len()).map(|column| cell(runs, column)).collect();
        println!("| {:<7} | {} |", word(method), cells.join(" | "));
    }
    println!();
    let [others @ .., ours] = &runs[..] else { return Ok(()) };
    for (method, runs) in METHODS.iter().zip(others) {
        let (difference, error) = above(ours, runs);
        println!("balanced accuracy of sse-sam above {}: {difference:.2}, standard error {error:.2}", word(method));
    }
    Ok(())
}

/// Every method with every seed.
fn train_all(seeds: usize, options: &Options) -> Result<Vec<Vec<Run>>, Box<dyn Error>> {
    let (next, count) = (AtomicUsize::new(0), METHODS.len() * seeds);
    let work = || {
        let mut done = Vec::new();
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= count {
                return Ok(done);
            }
            let (method, seed) = (METHODS[job / seeds], job % seeds);
            let run = train(method, seed, options);
            let run = run.map_err(|error| format!("{}, seed {seed}: {error}", word(&method)))?;
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

/// The accuracies after the last epoch.
fn train(method: MethodName, seed: usize, options: &Options) -> Result<Run, sse_sam::Error> {
    let options = Options { method: Some(method), seed: Some(seed as u64), ..options.clone() };
    let dataset = data::load(options.data.as_deref().unwrap_or("digits"), options.dataset)?;
    let recipe = Recipe::resolve(&options, &dataset)?;
    let prepared = prepare(recipe, dataset, &Silent)?;
    let placed = place(Device::choose(&options.device, &Silent)?, &prepared, &Silent)?;
    let accuracy = placed.train(&Silent)?.last.accuracy;
    let [many, medium, few] = [accuracy.many, accuracy.medium, accuracy.few].map(|share| share.unwrap_or(f64::NAN));
    Ok([accuracy.overall, accuracy.balanced, many, medium, few])
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
