//! The `sse-sam` program.

use std::process::ExitCode;

use clap::Parser;
use sse_sam::args::{Cli, Command};
use sse_sam::{bench, device, evaluate, train, verify};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Train(args) => train::run(args),
        Command::Eval(args) => evaluate::run(args),
        Command::Devices => device::list(),
        Command::Verify(args) => verify::run(args),
        Command::Bench(args) => bench::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sse-sam: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("  hint: {hint}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
