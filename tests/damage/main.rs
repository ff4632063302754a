//! Files that are damaged or made to do harm: data, checkpoints, weights, configurations. Each is refused with a typed
//! error, in little time and memory.

mod cases;
mod checkpoints;
mod data;
mod fuzz;
mod memory;
mod weights;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use sse_sam::Error;
use sse_sam::device::choose::Device;
use sse_sam::device::layout::{Layout, Needs};
use sse_sam_core::Shape;

/// Bytes that anything may take beside what its size asks for.
const SLACK: usize = 1 << 20;

/// Where the program may remember things.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

fn program(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.env("SSE_SAM_CACHE", CACHE).args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A number from the environment, for runs that are longer than everyday ones.
fn setting(name: &str, usual: u32) -> u32 {
    std::env::var(name).map_or(usual, |value| value.parse().unwrap())
}

fn layout(model: &str) -> Layout {
    let needs = Needs { rows: 1797, ..Needs::new(Shape::new(8, 8, 1), 10, 32) };
    Device::cpu().plan_network(&model.parse().unwrap(), &needs, |_| 0).unwrap()
}

/// Whether an error says what is wrong with a file's content.
fn is_content(error: &Error) -> bool {
    matches!(error, Error::File { .. } | Error::Weights { .. })
}
