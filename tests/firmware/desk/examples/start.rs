//! Makes `assets/start.bin`, what fine-tuning starts from: the parameters that the trial `perceptron` ends with, 32-bit
//! floats, least significant byte first. `start START`.

use std::error::Error;

use sse_sam_trials::{Label, MLP_WORK, Machine, Room, digits};

/// Prints nothing and keeps what was trained.
#[derive(Default)]
struct Keeper {
    bytes: Vec<u8>,
}

impl Machine for Keeper {
    const PRINTS: bool = false;

    fn text(&mut self, _: &str) {}

    fn instructions(&mut self) -> u64 {
        0
    }

    fn note(&mut self, _: Label, _: u64) {}

    fn trained(&mut self, params: &[f32]) {
        self.bytes = params.iter().flat_map(|value| value.to_le_bytes()).collect();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: start START")?;
    let mut keeper = Keeper::default();
    sse_sam_trials::perceptron(&mut keeper, &mut Room::new(), &mut [0.0; MLP_WORK], digits::BYTES)
        .map_err(|error| error.to_string())?;
    Ok(std::fs::write(path, keeper.bytes)?)
}
