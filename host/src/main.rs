//! The `sse-sam` program.

use std::process::ExitCode;

use sse_sam::args::{Cli, Command};
use sse_sam::{
    bench, devices, evaluate, export, footprint, import, progress, resume, runs, settings, signals, train, tune, verify,
};

fn main() -> ExitCode {
    signals::outlive_limits_of_files();
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return progress::told_by_clap(&error),
    };
    progress::tell_as(cli.command.log_format());
    let result = match &cli.command {
        Command::Train(args) => match &args.config {
            None => train::run(args),
            Some(file) => settings::join(args, file, std::env::args_os()).and_then(|args| train::run(&args)),
        },
        Command::Resume(args) => resume::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Eval(args) => evaluate::run(args),
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
