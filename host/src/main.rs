//! The `sse-sam` program.

use std::process::ExitCode;

use sse_sam::cli::args::{Cli, Command};
use sse_sam::cli::firmware::import;
use sse_sam::cli::{
    bench, compare, devices, eval, export, footprint, predict, recipes, report, resume, runs, spectrum, train, tune,
    verify,
};
use sse_sam::report::console;
use sse_sam::run::signals;

fn main() -> ExitCode {
    signals::outlive_limits_of_files();
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return console::told_by_clap(&error),
    };
    let console = cli.command.console();
    let result = match &cli.command {
        Command::Train(args) => train::run(args, &console),
        Command::Compare(args) => compare::run(args, &console),
        Command::Resume(args) => resume::run(args, &console),
        Command::Runs(args) => runs::run(args),
        Command::Recipes(args) => recipes::run(args),
        Command::Report(args) => report::run(args, &console),
        Command::Eval(args) => eval::run(args, &console),
        Command::Predict(args) => predict::run(args, &console),
        Command::Spectrum(args) => spectrum::run(args, &console),
        Command::Devices(args) => devices::run(args, &console),
        Command::Verify(args) => verify::run(args, &console),
        Command::Bench(args) => bench::run(args, &console),
        Command::Tune(args) => tune::run(args, &console),
        Command::Export(args) => export::run(args, &console),
        Command::Import(args) => import::run(args, &console),
        Command::Footprint(args) => footprint::run(args),
    };
    console.end(result.as_ref().err(), cli.command.name());
    ExitCode::from(result.map_or_else(|error| error.exit_code(), |()| 0))
}
