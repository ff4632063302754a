//! The `tune` command: which forms of convolutions are fastest on a device, found by timing all of them.

use std::collections::BTreeSet;

use serde::Serialize;
use sse_sam_core::Conv2d;

use crate::cli::args::TuneArgs;
use crate::cli::bench::{self, kernels};
use crate::device::choose::Device;
use crate::device::layout::{Layout, Needs};
use crate::device::open::owner;
use crate::device::store::TuningStore;
use crate::error::Error;
use crate::opencl::convolution::pick;
use crate::opencl::tuning::trial::{self, Fastest, Measured};
use crate::opencl::{self, Algorithm, AlgorithmTable, Block, ConvProblem, Convolution, DeviceInfo};
use crate::recipe::resolved;
use crate::recipe::words::word;
use crate::report::Observer;
use crate::report::console::{Console, say};

/// What a line says of an operation.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cell {
    /// The fastest algorithm: to people a form.
    #[serde(rename = "form")]
    pub algorithm: Algorithm,
    /// How many times as fast as the shipped one it is, in the least favourable of some timings; none where that one fails.
    pub gain: Option<f64>,
}

impl Cell {
    fn new(fastest: Fastest) -> Self {
        Self { algorithm: fastest.resolved, gain: Some(fastest.gain).filter(|gain| gain.is_finite()) }
    }

    fn text(self) -> String {
        let name = self.algorithm.name();
        match self.gain {
            Some(1.0) => format!("{name} as shipped"),
            Some(gain) => format!("{name} {gain:.2}x"),
            None => format!("{name}, the shipped one fails"),
        }
    }
}

/// A kind of convolution, and the fastest form of each of its operations.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Its sizes.
    pub shape: String,
    /// Layers of this kind.
    pub layers: usize,
    /// Of the forward pass.
    pub forward: Cell,
    /// Of the gradient with respect to the input.
    pub backward_input: Cell,
    /// Of the gradient with respect to the weights.
    pub backward_weight: Cell,
}

impl Line {
    fn new(conv: &Conv2d, layers: usize, fastest: [Fastest; 3]) -> Self {
        let [forward, backward_input, backward_weight] = fastest.map(Cell::new);
        Self { shape: kernels::convolution(conv), layers, forward, backward_input, backward_weight }
    }

    fn text(&self) -> String {
        let Self { shape, layers, forward, backward_input, backward_weight } = self;
        let [forward, input, weight] = [forward, backward_input, backward_weight].map(|cell| cell.text());
        format!("  {:<32} {forward:<20} {input:<20} {weight}", format!("{shape} ({layers})"))
    }
}

/// All that was found, the line of `--json`.
#[derive(Debug, Serialize)]
pub struct Report {
    device: String,
    tiles: String,
    model: String,
    batch: usize,
    /// The kinds of convolutions that the device has several forms of.
    pub convolutions: Vec<Line>,
    /// Forms that the device cannot launch or computes wrongly, a sentence each.
    pub skipped: Vec<String>,
    /// The file that keeps it, where it could be written.
    pub kept: Option<String>,
}

/// The `tune` command.
///
/// # Errors
/// [`Error::Usage`] where there is nothing to choose from, else whatever is wrong with the arguments or the device.
pub fn run(args: &TuneArgs, console: &Console) -> Result<(), Error> {
    let model = resolved::model(&args.network.model)?;
    let (image, classes) = bench::data(args.network.image, args.network.classes, &model);
    let model = resolved::with_stem(model, args.network.stem, image);
    if args.device.conv.is_some_and(|conv| conv != Convolution::Auto) {
        return Err(Error::Usage("tune times every form of convolutions: --conv has no place here".into()));
    }
    let device = Device::choose(&args.device, console)?;
    let needs = Needs::new(image, classes, args.network.batch as usize);
    let layout = device.plan_network(&model, &needs, |rows| rows * (image.len() + 1))?;
    let report = tune(&device, &layout, &model.to_string(), &TuningStore::of_user(), console)?;
    if args.json { say(&report.json()?) } else { Ok(()) }
}

/// Times the forms of every convolution of a network on a device, says what was found, and keeps it.
///
/// # Errors
/// [`Error::Usage`] for a device that has one form of each only, else what the device reports.
pub fn tune(
    device: &Device,
    layout: &Layout,
    model: &str,
    store: &TuningStore,
    observer: &dyn Observer,
) -> Result<Report, Error> {
    let Device::OpenCl { info, .. } = device else {
        return Err(Error::Usage(format!(
            "{} has one form of each convolution: there is nothing to tune{}",
            device.name(),
            opencl::absence()
        )));
    };
    let batch = layout.plan.max_batch();
    let tiles = word(&info.tiling());
    let mut report = Report {
        device: device.name(),
        tiles: tiles.clone(),
        model: model.into(),
        batch,
        convolutions: Vec::new(),
        skipped: Vec::new(),
        kept: None,
    };
    say(&format!("{model}, batch {batch}, on {}, tiles: {tiles}", report.device))?;
    say(
        "fastest forms of forward pass, input gradient and weight gradient, and how many times as fast as the shipped ones",
    )?;
    report.skip(too_large(info))?;
    let table = report.measure(info, layout, observer)?;
    report.keep(store, info, &table, observer)?;
    Ok(report)
}

impl Report {
    fn skip(&mut self, sentences: impl IntoIterator<Item = String>) -> Result<(), Error> {
        for sentence in sentences {
            say(&format!("  {sentence}"))?;
            self.skipped.push(sentence);
        }
        Ok(())
    }

    fn measure(
        &mut self,
        info: &DeviceInfo,
        layout: &Layout,
        observer: &dyn Observer,
    ) -> Result<AlgorithmTable, Error> {
        let (batch, kinds) = (layout.plan.max_batch(), layout.kinds());
        let several = pick::problems(info, batch, layout.convolutions());
        let (mut table, mut said) = (AlgorithmTable::new(), BTreeSet::new());
        for (number, (conv, layers)) in kinds.iter().enumerate() {
            let (problem, shape) = (ConvProblem::new(conv, batch), kernels::convolution(conv));
            if !several.contains_key(&problem) {
                say(&format!("  {:<32} has one form only", format!("{shape} ({layers})")))?;
                continue;
            }
            observer.warn(&format!("timing {shape}, {} of {}", number + 1, kinds.len()));
            let measured @ Measured { fastest, .. } = &trial::measure(info, conv, batch)?;
            let skipped = measured.skipped.iter().map(ToString::to_string);
            self.skip(skipped.filter(|sentence| said.insert(sentence.clone())))?;
            let line = Line::new(conv, *layers, *fastest);
            say(&line.text())?;
            self.convolutions.push(line);
            table.insert(problem, measured.algorithms());
        }
        Ok(table)
    }

    fn keep(
        &mut self,
        store: &TuningStore,
        info: &DeviceInfo,
        table: &AlgorithmTable,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        if table.is_empty() {
            return say("nothing is to be chosen here, and nothing is kept");
        }
        match store.replace(&owner(info), table, observer) {
            Ok(()) => {
                self.kept = Some(store.place());
                say(&format!("kept in {}", store.place()))
            }
            Err(reason) => {
                observer.warn(&format!("warning: what was measured is not kept: {reason}"));
                Ok(())
            }
        }
    }

    /// All of it in one line.
    ///
    /// # Errors
    /// None for numbers that are finite.
    pub fn json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::io("standard output", error.into()))
    }
}

/// A sentence for each block that a device has no work-groups for.
fn too_large(info: &DeviceInfo) -> Vec<String> {
    let blocks = Block::ALL.into_iter().filter(|block| !info.tiles.is_cpu() && !block.is_within(info));
    let sentence = |block: Block| {
        let [items, most] = [block.items(info), info.largest_group];
        if items > most {
            return format!("{block} is skipped: it needs {items} work-items a group, the device has {most}");
        }
        let [needed, there] = [block.local_bytes(info), info.local_memory].map(grouped);
        format!("{block} is skipped: it needs {needed} bytes of local memory, the device has {there}")
    };
    blocks.map(sentence).collect()
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let numbers = [(0, "0"), (999, "999"), (1_000, "1,000"), (33_792, "33,792"), (1_234_567, "1,234,567")];
        for (number, text) in numbers {
            assert_eq!(grouped(number), text);
        }
    }
}
