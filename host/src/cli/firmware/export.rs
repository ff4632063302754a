//! The `export` command: weights and their network as constants for firmware.

use std::fmt::{Debug, Write as _};

use sse_sam_core::network::models::Stem;
use sse_sam_core::{Model, Shape};

use crate::cli::args::{ExportArgs, ExportFormat};
use crate::cli::firmware::numbers::Numbers;
use crate::error::Error;
use crate::report::console::{Console, say};
use crate::weights::{Description, Out, Weights};

/// Columns of a line of numbers.
const COLUMNS: usize = 110;

/// Writes a weights file as C or Rust.
///
/// # Errors
/// Whatever is wrong with the weights, or with the file to write: as [`Out::new`].
pub fn run(args: &ExportArgs, console: &Console) -> Result<(), Error> {
    if args.name.is_some() && args.format != ExportFormat::C {
        return Err(Error::Usage("--name does nothing here: it needs --format c".into()));
    }
    let out = args.out.as_ref().map(|path| Out::new("--out", path, &[&args.weights])).transpose()?;
    let weights = Weights::read(&args.weights, console)?;
    if is_too_large(&weights.description.model) {
        let message = format!("firmware has no {}: --format onnx writes it", weights.description.model);
        return Err(Error::weights(weights.path(), message));
    }
    let numbers = Numbers::new(&weights)?;
    let constants =
        Constants { description: &weights.description, parameters: numbers.parameters(), values: numbers.values()? };
    let text = match args.format {
        ExportFormat::C => constants.c(args.name.as_deref().unwrap_or("network")),
        _ => constants.rust(),
    };
    match out {
        Some(out) => out.write(|file| file.write_all(text.as_bytes())),
        None => say(text.trim_end()),
    }
}

/// Whether a network is none that chips build: for large pictures, or of bottlenecks.
fn is_too_large(model: &Model) -> bool {
    matches!(model, Model::Bottleneck { .. }) || model.stem() == Some(Stem::ImageNet)
}

/// What firmware needs to know.
struct Constants<'a> {
    description: &'a Description,
    parameters: usize,
    /// Parameters, then running statistics.
    values: Vec<f32>,
}

impl Constants<'_> {
    /// What it is, in one line.
    fn title(&self) -> String {
        let Description { model, image: Shape { height, width, channels }, counts, .. } = self.description;
        let program = concat!("sse-sam ", env!("CARGO_PKG_VERSION"));
        let classes = counts.len();
        format!("{model} for images of {height} x {width} x {channels} in {classes} classes, by {program} (export).")
    }

    /// Depth and width of a residual network, as in its name.
    fn residual(&self) -> Option<(String, u32)> {
        let name = self.description.model.to_string();
        let depth = name.trim_start_matches("resnet").split(':').next()?.to_owned();
        match self.description.model {
            Model::Mlp(_) => None,
            Model::Cifar { width, .. } | Model::Projected { width, .. } | Model::Bottleneck { width, .. } => {
                Some((depth, width))
            }
        }
    }

    fn c(&self, name: &str) -> String {
        let Description { model, image: Shape { height, width, channels }, counts, eta, normalization, .. } =
            self.description;
        let (upper, lower) = (name.to_ascii_uppercase(), name.to_ascii_lowercase());
        let (parameters, weights, classes) = (self.parameters, self.values.len(), counts.len());
        let network = match (self.residual(), model) {
            (Some((depth, width)), _) => format!(
                "/* sse_sam_resnet's depth and width. */\n#define {upper}_DEPTH {depth}\n#define {upper}_FILTERS {width}\n"
            ),
            (None, Model::Mlp(sizes)) => format!(
                "/* sse_sam_mlp's layer sizes. */\n#define {upper}_LAYER_SIZES {}\n\
                 static const uint32_t {lower}_layer_sizes[{upper}_LAYER_SIZES] = {{{}}};\n",
                sizes.len(),
                list(sizes, "")
            ),
            _ => String::new(),
        };
        format!(
            "/* {}\n *\n * Decimals are the shortest that a compiler reads as the same floats. Everything is const: it \
             stays in flash. */\n\
             #ifndef {upper}_H\n#define {upper}_H\n\n#include <stdint.h>\n\n\
             #define {upper}_MODEL \"{model}\"\n\
             /* One image, and the number of classes. */\n\
             #define {upper}_HEIGHT {height}\n#define {upper}_WIDTH {width}\n#define {upper}_CHANNELS {channels}\n\
             #define {upper}_CLASSES {classes}\n{network}\
             /* sse_sam_set_normalization: mean of the bytes of each channel, then one over their deviation. */\n\
             static const float {lower}_normalization[2 * {upper}_CHANNELS] = {{{}}};\n\
             /* sse_sam_set_loss: training samples of each class; classes with fewer than this are tail. */\n\
             #define {upper}_ETA {eta}\n\
             static const uint32_t {lower}_class_counts[{upper}_CLASSES] = {{{}}};\n\
             /* sse_sam_load: parameters, then running statistics. */\n\
             #define {upper}_PARAMETERS {parameters}\n#define {upper}_WEIGHTS {weights}\n\
             static const float {lower}_weights[{upper}_WEIGHTS] = {{\n{}}};\n\n#endif\n",
            self.title(),
            list(normalization, "f"),
            list(counts, ""),
            lines(&self.values, "  ", "f"),
        )
    }

    fn rust(&self) -> String {
        let Description { model, image: Shape { height, width, channels }, counts, eta, normalization, .. } =
            self.description;
        let network = match (self.residual(), model) {
            (Some((depth, width)), _) => format!(
                "/// Weighted layers, as in the model's name.\npub const DEPTH: u32 = {depth};\n\
                 /// Channels of the first stage.\npub const FILTERS: usize = {width};\n"
            ),
            (None, Model::Mlp(sizes)) => format!(
                "/// Sizes of the layers from the input to the output.\npub const LAYER_SIZES: [u32; {}] = [{}];\n",
                sizes.len(),
                list(sizes, "")
            ),
            _ => String::new(),
        };
        format!(
            "//! {}\n//!\n//! Decimals are the shortest that a compiler reads as the same floats.\n\
             #![allow(dead_code)]\n\n\
             /// The model's name.\npub const MODEL: &str = \"{model}\";\n\
             /// Height, width and channels of one image.\npub const IMAGE: [usize; 3] = [{height}, {width}, {channels}];\n\
             /// Number of classes.\npub const CLASSES: usize = {};\n{network}\
             /// Mean of the bytes of each channel, then one over their deviation.\n\
             pub const NORMALIZATION: [f32; {}] = [{}];\n\
             /// Classes with fewer training samples than this are the tail.\npub const ETA: u32 = {eta};\n\
             /// Training samples of each class.\npub const CLASS_COUNTS: [u32; CLASSES] = [{}];\n\
             /// How many of [`WEIGHTS`] are parameters.\npub const PARAMETERS: usize = {};\n\
             /// Parameters, in the order of a plan of alignment 1; then mean and variance of each batch norm.\n\
             pub static WEIGHTS: [f32; {}] = [\n{}];\n",
            self.title(),
            counts.len(),
            normalization.len(),
            list(normalization, ""),
            list(counts, ""),
            self.parameters,
            self.values.len(),
            lines(&self.values, "    ", ""),
        )
    }
}

/// Numbers in a row.
fn list<T: Debug>(values: &[T], suffix: &str) -> String {
    values.iter().map(|value| format!("{value:?}{suffix}")).collect::<Vec<_>>().join(", ")
}

/// Numbers in lines.
fn lines(values: &[f32], indent: &str, suffix: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for value in values {
        let number = format!("{value:?}{suffix},");
        if column > 0 && column + number.len() >= COLUMNS {
            text.push('\n');
            column = 0;
        }
        column += number.len() + if column == 0 { indent.len() } else { 1 };
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{number}", if text.is_empty() || text.ends_with('\n') { indent } else { " " });
    }
    text + "\n"
}
