//! The `export` command: weights and their network for other programs and for firmware.

use crate::cli::args::{ExportArgs, ExportFormat};
use crate::cli::firmware;
use crate::error::Error;
use crate::report::console::{Console, say};
use crate::weights::{Out, Weights, onnx};

/// Writes a weights file as an ONNX model, or as constants of C or Rust.
///
/// # Errors
/// Whatever is wrong with the weights, or with the file to write: as [`Out::new`].
pub fn run(args: &ExportArgs, console: &Console) -> Result<(), Error> {
    match args.format {
        ExportFormat::C | ExportFormat::Rust => firmware::export::run(args, console),
        ExportFormat::Onnx => model(args, console),
    }
}

/// Writes a model, beside the weights where no file is named, and says where.
fn model(args: &ExportArgs, console: &Console) -> Result<(), Error> {
    if args.name.is_some() {
        return Err(Error::Usage("--name does nothing here: it needs --format c".into()));
    }
    let weights = Weights::read(&args.weights, console)?;
    let beside = weights.path().with_extension("onnx");
    let path = args.out.as_ref().unwrap_or(&beside);
    let out = Out::new("--out", path, &[&args.weights, weights.path()])?;
    let bytes = onnx::model(&weights)?;
    out.write(|file| file.write_all(&bytes))?;
    if out.is_stream() { Ok(()) } else { say(&path.display().to_string()) }
}
