//! The `compare` command.

use std::fs;
use std::path::Path;

use crate::cli::args::CompareArgs;
use crate::cli::train;
use crate::compare::comparison::Comparison;
use crate::compare::formats::{self, Format};
use crate::compare::plan::{Plan, Wanted, usual_methods};
use crate::compare::read::Run;
use crate::compare::run::{Settings, train as train_all, usual_folder};
use crate::error::Error;
use crate::recipe::file;
use crate::report::console::{Console, say};
use crate::train::work::Call;

/// Seeds of a comparison where none are named.
const SEEDS: u64 = 5;

/// The `compare` command: of runs that it trains, or of those that are named.
///
/// # Errors
/// Whatever is wrong with the options, with folders of runs, or with a training; [`Error::Failed`] when all that could be
/// trained is, and some runs have failed.
pub fn run(args: &CompareArgs, console: &Console) -> Result<(), Error> {
    if !args.runs.is_empty() {
        nothing_of_training(args)?;
        let differs = (!args.different_data).then_some(&[][..]);
        let comparison = Comparison::read(&args.runs, differs, args.baseline.as_deref(), console)?;
        return print(args, &comparison, args.train.out.as_deref());
    }
    let (call, recipe) = train::call(&args.train)?;
    let plan = Plan::new(wanted(args, call)?, console)?;
    check_baseline(&plan, args.baseline.as_deref())?;
    let out = args.train.out.clone().unwrap_or_else(|| usual_folder(&plan));
    let settings = Settings { out: &out, jobs: args.jobs as usize, retries: args.retry_failed };
    let all = plan.runs().count();
    let failed = train_all(&plan, settings, console)?;
    let runs = plan.runs().map(|(arm, seed)| Run::read(&out.join(arm.run(seed)))).collect::<Result<Vec<_>, Error>>()?;
    // They differ as the plan says, in the data too where that was asked for.
    let comparison = Comparison::new(runs, None, args.baseline.as_deref())?;
    formats::write(&out, &comparison)?;
    match args.format {
        Some(format) => say(format.print(&comparison).trim_end())?,
        None => {
            console.tell_people(Format::Text.print(&comparison).trim_end());
            train::tell_published(recipe.as_ref(), console);
        }
    }
    if failed > 0 { Err(Error::Failed { failed, all }) } else { Ok(()) }
}

/// Prints a comparison, and writes it into a folder where one is named.
fn print(args: &CompareArgs, comparison: &Comparison, out: Option<&Path>) -> Result<(), Error> {
    if let Some(out) = out {
        fs::create_dir_all(out).map_err(|source| Error::io(out, source))?;
        formats::nothing_is_lost(out)?;
        formats::write(out, comparison)?;
    }
    say(args.format.unwrap_or_default().print(comparison).trim_end())
}

/// Refuses what is about trainings beside runs that exist.
fn nothing_of_training(args: &CompareArgs) -> Result<(), Error> {
    let CompareArgs { methods, losses, seeds, vary, jobs, retry_failed, train, .. } = args;
    let lists = [
        ("methods", methods.is_some()),
        ("losses", losses.is_some()),
        ("seeds", seeds.is_some()),
        ("vary", !vary.is_empty()),
        ("jobs", *jobs != 1),
        ("retry-failed", *retry_failed),
        ("config", train.config.is_some()),
        ("recipe", train.recipe.is_some()),
    ];
    let typed = train.options.table()?;
    let first = typed.keys().next().map(String::as_str);
    match lists.into_iter().find(|(_, is_given)| *is_given).map(|(option, _)| option).or(first) {
        Some(option) => {
            Err(Error::Usage(format!("--{option} is about training, and where runs are named nothing is trained")))
        }
        None => Ok(()),
    }
}

/// What is asked for, by a call of `train` and the lists beside it; without a list it is what a file says.
fn wanted(args: &CompareArgs, call: Call) -> Result<Wanted, Error> {
    let Call { options, typed, origin, fingerprint, .. } = call;
    let alone = [
        ("method", "methods", typed.method.is_some()),
        ("loss", "losses", typed.loss.is_some()),
        ("seed", "seeds", typed.seed.is_some()),
    ];
    if let Some((one, many, _)) = alone.into_iter().find(|(_, _, is_given)| *is_given) {
        return Err(Error::Usage(format!("a comparison takes --{many} instead of --{one}")));
    }
    Ok(Wanted {
        methods: args
            .methods
            .clone()
            .unwrap_or_else(|| options.method.map_or_else(usual_methods, |method| vec![method])),
        losses: args.losses.clone().unwrap_or_else(|| vec![options.loss.unwrap_or_default()]),
        seeds: args.seeds.clone().map_or_else(|| usual_seeds(options.seed), |seeds| seeds.0),
        varied: args.vary.clone(),
        options,
        typed,
        origin,
        fingerprint,
    })
}

/// The seed of a file, else those of a comparison where none are named.
fn usual_seeds(seed: Option<u64>) -> Vec<u64> {
    seed.map_or_else(|| (0..SEEDS).collect(), |seed| vec![seed])
}

/// Refuses a baseline that no arm is called, before anything is trained.
fn check_baseline(plan: &Plan, baseline: Option<&str>) -> Result<(), Error> {
    let labels = || plan.arms.iter().map(|arm| arm.label.as_str());
    match baseline.filter(|wanted| labels().all(|label| label != *wanted)) {
        None => Ok(()),
        Some(wanted) => {
            let nearest = file::nearest(wanted, labels());
            Err(Error::Usage(format!("--baseline: no arm is called {wanted:?}; the nearest name is {nearest:?}")))
        }
    }
}
