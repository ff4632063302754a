//! The `sse-sam` program.

use std::process::ExitCode;

use clap::Parser;
use sse_sam::args::{Cli, Command};
use sse_sam::{bench, device, evaluate, footprint, progress, resume, runs, settings, train, verify};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Train(args) => match &args.config {
            None => train::run(args),
            Some(file) => settings::join(file, std::env::args_os()).and_then(|args| train::run(&args)),
        },
        Command::Resume(args) => resume::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Eval(args) => evaluate::run(args),
        Command::Devices => device::list(),
        Command::Verify(args) => verify::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Footprint(args) => footprint::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = error.hint().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
            progress::warn(&format!("{error}{hint}"));
            ExitCode::from(error.exit_code())
        }
    }
}
