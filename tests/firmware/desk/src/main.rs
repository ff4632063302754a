//! Runs a trial on the host: `sse-sam-desk economy|perceptron|slices|residual|sweep`.

use std::io::Write as _;
use std::process::ExitCode;

use sse_sam_trials::{LEAN_WORK, Label, MLP_WORK, Machine, RESIDUAL_WORK, Room, SLICES_WORK, digits};

/// Prints to standard output; has no figures for a label.
struct Desk;

impl Machine for Desk {
    const PRINTS: bool = true;

    fn text(&mut self, text: &str) {
        print!("{text}");
    }

    fn instructions(&mut self) -> u64 {
        0
    }

    fn note(&mut self, _: Label, _: u64) {}

    fn trained(&mut self, _: &[f32]) {}
}

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let (desk, samples) = (&mut Desk, digits::BYTES);
    let result = match &*name {
        "economy" => sse_sam_trials::economy(desk, &mut Room::new(), &mut [0.0; LEAN_WORK], samples),
        "perceptron" => sse_sam_trials::perceptron(desk, &mut Room::new(), &mut [0.0; MLP_WORK], samples),
        "slices" => sse_sam_trials::slices(desk, &mut (), &mut [0.0; SLICES_WORK], samples),
        "residual" => sse_sam_trials::residual(desk, &mut Room::new(), &mut vec![0.0; RESIDUAL_WORK], samples),
        "sweep" => sse_sam_trials::sweep(desk, &mut Room::new(), &mut [0.0; MLP_WORK], samples),
        _ => {
            eprintln!("usage: sse-sam-desk economy|perceptron|slices|residual|sweep");
            return ExitCode::from(2);
        }
    };
    match result.map_err(|error| error.to_string()).and_then(|()| std::io::stdout().flush().map_err(|e| e.to_string()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sse-sam-desk: {error}");
            ExitCode::FAILURE
        }
    }
}
