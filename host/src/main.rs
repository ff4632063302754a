//! The `sse-sam` program.

use std::process::ExitCode;

use sse_sam::cli::args::{Cli, Command};
use sse_sam::cli::firmware::{export, import};
use sse_sam::cli::{bench, devices, eval, footprint, runs, tune, verify};
use sse_sam::recipe::settings;
use sse_sam::report::progress;
use sse_sam::run::signals;
use sse_sam::train::{resume, start};

fn main() -> ExitCode {
    signals::outlive_limits_of_files();
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return progress::told_by_clap(&error),
    };
    progress::tell_as(cli.command.log_format());
    let result = match &cli.command {
        Command::Train(args) => match &args.config {
            None => start::run(args),
            Some(file) => settings::join(args, file, std::env::args_os()).and_then(|args| start::run(&args)),
        },
        Command::Resume(args) => resume::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Tune(args) => tune::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Footprint(args) => footprint::run(args),
    };
    progress::end(result.as_ref().err(), cli.command.name());
    ExitCode::from(result.map_or_else(|error| error.exit_code(), |()| 0))
}
