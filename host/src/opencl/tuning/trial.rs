//! Which form a convolution takes where a device has several: as it was chosen before, else by a timing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward, Fill};
use sse_sam_core::{Arena, Conv2d, Run, Span};

use crate::opencl::convolution::{block, winograd};
use crate::opencl::runtime::tiles::Tiles;
use crate::opencl::{Block, Class, DeviceInfo, DeviceType, Error, Fault, OpenCl, Refusal};

/// Fewer multiply-adds than this are not timed: they take some 50 us on a CPU.
const SMALL: usize = 1 << 22;
/// Rounds of a timing, one form after the other: fewest, and most where they take no longer than [`BUDGET`].
const ROUNDS: (usize, usize) = (3, 9);
const BUDGET: Duration = Duration::from_millis(40);
/// Seconds below which an operation runs several times in a timing on a GPU, and how many: to enqueue it and to wait for it
/// takes as long there as itself.
const SHORT: f64 = 1e-3;
const REPEATS: usize = 10;
/// What the other form's least time must be below, of the shipped one's, and in how many timings one after the other:
/// noise must not decide, since what is chosen is kept.
const MARGIN: f64 = 0.9;
const SERIES: usize = 3;

/// How an operation of a convolution is computed; written `direct`, `winograd`, or as the block is called, with the number
/// of parts behind a stroke: `128x64/4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Form {
    /// As the formula says; in a device of blocks, in the one that a rule finds.
    Direct,
    /// In tiles of 4 x 4 pixels.
    Winograd,
    /// In this block, the sum in so many parts as a rule finds.
    Block(Block),
    /// In this block, the sum in this many parts, or as many as it has.
    Split(Block, u16),
}

impl Form {
    /// The word for it.
    pub fn name(self) -> String {
        match self {
            Self::Direct => "direct".into(),
            Self::Winograd => "winograd".into(),
            Self::Block(block) => block.name().into(),
            Self::Split(block, parts) => format!("{block}/{parts}"),
        }
    }

    /// The block, where it is one.
    pub fn block(self) -> Option<Block> {
        match self {
            Self::Block(block) | Self::Split(block, _) => Some(block),
            Self::Direct | Self::Winograd => None,
        }
    }

    /// The parts of the sum, where they do not follow from a rule.
    pub(crate) fn parts(self) -> Option<usize> {
        if let Self::Split(_, parts) = self { Some(parts.into()) } else { None }
    }
}

impl From<Block> for Form {
    fn from(block: Block) -> Self {
        Self::Block(block)
    }
}

impl From<Form> for String {
    fn from(form: Form) -> Self {
        form.name()
    }
}

impl TryFrom<String> for Form {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "direct" => Ok(Self::Direct),
            "winograd" => Ok(Self::Winograd),
            name => match name.split_once('/') {
                None => name.parse().map(Self::Block),
                Some((block, parts)) => {
                    let parts = parts.parse().map_err(|_| format!("{parts} is not a number of parts"))?;
                    block.parse().map(|block| Self::Split(block, parts))
                }
            },
        }
    }
}

/// The forms of a convolution, of its gradient with respect to the input, and with respect to the weights.
pub type Forms = [Form; 3];

/// An operation of a convolution, by its place in [`Forms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// The forward pass.
    Forward,
    /// The gradient with respect to the input.
    BackwardInput,
    /// The gradient with respect to the weights.
    BackwardWeight,
}

impl Operation {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::BackwardInput, Self::BackwardWeight];
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward pass",
            Self::BackwardInput => "input gradient",
            Self::BackwardWeight => "weight gradient",
        })
    }
}

/// Convolutions that share a choice; written `128x32x32x16x16`, in the order of its fields, and behind it `k1s2p0` for
/// kernel, stride and padding where these are not 3, 1 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Case {
    /// Images of the largest batch, rounded up to a power of two.
    images: usize,
    height: usize,
    width: usize,
    channels: usize,
    filters: usize,
    /// Kernel, stride and padding.
    window: [usize; 3],
}

/// The usual kernel, stride and padding, which are not written.
const USUAL: [usize; 3] = [3, 1, 1];

impl Case {
    /// The case of `conv`, where the largest batch is of so many images.
    pub fn new(conv: &Conv2d, images: usize) -> Self {
        let Conv2d { input, output, kernel, stride, padding } = *conv;
        Self {
            images: images.next_power_of_two(),
            height: input.height,
            width: input.width,
            channels: input.channels,
            filters: output.channels,
            window: [kernel, stride, padding],
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, height, width, channels, filters, window } = self;
        write!(f, "{images}x{height}x{width}x{channels}x{filters}")?;
        match window {
            &USUAL => Ok(()),
            [kernel, stride, padding] => write!(f, "k{kernel}s{stride}p{padding}"),
        }
    }
}

impl From<Case> for String {
    fn from(case: Case) -> Self {
        case.to_string()
    }
}

impl TryFrom<String> for Case {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numbers = |text: &str, marks: &[char]| -> Option<Vec<usize>> {
            text.split(marks).map(|size| size.parse().ok()).collect()
        };
        let (sizes, window) = match text.split_once('k') {
            Some((sizes, window)) => (sizes, numbers(window, &['s', 'p'])),
            None => (text.as_str(), Some(USUAL.to_vec())),
        };
        match (numbers(sizes, &['x']).as_deref(), window.as_deref()) {
            (Some(&[images, height, width, channels, filters]), Some(&[kernel, stride, padding])) => {
                Ok(Self { images, height, width, channels, filters, window: [kernel, stride, padding] })
            }
            _ => Err(format!("{text} is not IMAGESxHEIGHTxWIDTHxCHANNELSxFILTERS")),
        }
    }
}

/// Forms by case.
pub type Table = BTreeMap<Case, Forms>;

/// The forms in force on a backend under [`crate::opencl::Convolution::Auto`]; what is missing takes the shipped ones.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    images: usize,
    table: Table,
}

impl Choices {
    /// Choices for batches of at most this many images.
    pub fn new(images: usize, table: Table) -> Self {
        Self { images, table }
    }

    /// The forms of a convolution.
    pub(crate) fn forms(&self, conv: &Conv2d) -> Option<Forms> {
        self.table.get(&Case::new(conv, self.images)).copied()
    }

    /// All of them.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// The convolutions among these that a device has several forms of, each case once.
pub fn cases(device: &DeviceInfo, images: usize, convolutions: impl Iterator<Item = Conv2d>) -> BTreeMap<Case, Conv2d> {
    let several = convolutions.filter(|conv| candidates(device, conv).len() > 1);
    several.map(|conv| (Case::new(&conv, images), conv)).collect()
}

/// The forms that a device has of a convolution: the ones that a table of tiles has and that it can launch.
fn candidates(device: &DeviceInfo, conv: &Conv2d) -> Vec<Form> {
    match device.tiles {
        Class::Cpu if winograd::fits(&Tiles::of(Class::Cpu), conv) => vec![Form::Direct, Form::Winograd],
        Class::Cpu => vec![Form::Direct],
        Class::Gpu => block::candidates(device, conv).map(Form::Block).collect(),
    }
}

/// The same block with fewer and with more parts of the sum.
fn splits(device: &DeviceInfo, form: Form, operation: Operation, conv: &Conv2d, images: usize) -> Vec<Form> {
    let Form::Block(block) = form else { return Vec::new() };
    let rule = block::splits(device, block, operation, conv, images);
    let parts: BTreeSet<usize> = [1, rule / 4, rule / 2, rule * 2 / 3, rule * 3 / 2, rule * 2, rule * 4]
        .into_iter()
        .filter(|n| *n > 0)
        .collect();
    let split = |parts: usize| Some(Form::Split(block, u16::try_from(parts).ok()?));
    parts.into_iter().filter(|parts| *parts != rule).filter_map(split).collect()
}

/// The forms a convolution takes until something faster is found.
pub fn shipped(device: &DeviceInfo, conv: &Conv2d) -> Forms {
    let tiled = winograd::fits(&Tiles::for_device(device), conv) && winograd::pays(conv);
    [if tiled { Form::Winograd } else { Form::Direct }; 3]
}

/// Whether so little is to be done that the shipped forms are taken without a timing.
pub fn is_small(conv: &Conv2d, images: usize) -> bool {
    let pixels = images.saturating_mul(conv.output.height * conv.output.width);
    pixels.saturating_mul(conv.weights()) < SMALL
}

/// What a timing found for an operation.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The form to take: where the shipped one stays, under the name that it is shipped by.
    pub form: Form,
    /// What that form comes to.
    pub resolved: Form,
    /// How many times as fast as the shipped form it was, in the least favourable of some timings; 1 where it is that
    /// one, infinite where that one fails.
    pub gain: f64,
}

/// What a timing found for a convolution.
#[derive(Clone, Debug)]
pub struct Measured {
    /// For each operation.
    pub found: [Found; 3],
    /// Forms that could not be timed, or that compute something else.
    pub skipped: Vec<Refusal>,
}

impl Measured {
    /// The forms to take.
    pub fn forms(&self) -> Forms {
        self.found.map(|found| found.form)
    }
}

/// The forms that are fastest on `device`, found by running all of them in turn; where others are hardly faster, the
/// shipped ones. Blocks are checked before.
///
/// # Errors
/// [`Error::Memory`] when the device has no room for three activations, [`Error::Build`] and [`Error::Call`] when the
/// driver fails, with every form of an operation.
pub fn measure(device: &DeviceInfo, conv: &Conv2d, images: usize) -> Result<Measured, Error> {
    let mut trial = Trial::new(device, conv, images)?;
    let (forms, rules) = (candidates(device, conv), shipped(device, conv));
    let mut find = |operation: Operation| -> Result<Found, Error> {
        let blocks = forms.iter().filter_map(|form| form.block().map(|block| (operation, block)));
        let refusals = trial.machine.check(blocks)?;
        trial.skipped.extend(refusals);
        let rule = rules[operation as usize];
        // What the rule finds is among the candidates by its own name.
        let shipped = trial.machine.resolve(operation, rule, conv, images, true);
        let forms: Vec<Form> = forms.iter().copied().filter(|form| !trial.is_skipped(operation, *form)).collect();
        let (block, gain) = fastest(shipped, &forms, |forms| trial.least(operation, forms))?;
        let splits = splits(device, block, operation, conv, images);
        let (resolved, more) = fastest(block, &splits, |forms| trial.least(operation, forms))?;
        let gain = gain * more;
        Ok(Found { form: if resolved == shipped { rule } else { resolved }, resolved, gain })
    };
    let [forward, backward_input, backward_weight] = Operation::ALL;
    let found = [find(forward)?, find(backward_input)?, find(backward_weight)?];
    Ok(Measured { found, skipped: trial.skipped })
}

/// The form to take by timings that give the least seconds of each: the fastest of a first one, if it stays faster than
/// the shipped one by a margin in some more; and how many times as fast it was in all of them.
fn fastest<E>(
    shipped: Form,
    candidates: &[Form],
    mut least: impl FnMut(&[Form]) -> Result<Vec<f64>, E>,
) -> Result<(Form, f64), E> {
    let others: Vec<Form> = candidates.iter().copied().filter(|form| *form != shipped).collect();
    if others.is_empty() {
        return Ok((shipped, 1.0));
    }
    let (mut field, mut gain) = ([&[shipped], &others[..]].concat(), f64::INFINITY);
    for _ in 0..SERIES {
        let times = least(&field)?;
        let best = (1..field.len()).min_by(|&a, &b| times[a].total_cmp(&times[b]));
        let Some(best) = best.filter(|&best| times[best] < MARGIN * times[0]) else { return Ok((shipped, 1.0)) };
        gain = gain.min(times[0] / times[best]);
        field = vec![shipped, field[best]];
    }
    Ok((field[1], gain))
}

/// A convolution with memory of its own to try it out.
struct Trial {
    machine: OpenCl,
    conv: Conv2d,
    x: Span,
    y: Span,
    /// What forward and input gradient write: never what they read, or numbers would grow beyond all bounds.
    out: Span,
    weight: Span,
    dweight: Span,
    skipped: Vec<Refusal>,
}

impl Trial {
    fn new(device: &DeviceInfo, conv: &Conv2d, images: usize) -> Result<Self, Error> {
        let mut arena = Arena::segmented(OpenCl::alignment(), OpenCl::segment(device));
        let (inputs, outputs) = (images * conv.input.len(), images * conv.output.len());
        let [x, y, out] = [inputs, outputs, inputs.max(outputs)].map(|length| arena.allocate(length));
        let [weight, dweight] = [conv.weights(); 2].map(|length| arena.allocate(length));
        let (x, y, out, weight, dweight) = (x?, y?, out?, weight?, dweight?);
        let mut machine = OpenCl::new(device, arena.len(), &[], &[])?;
        machine.reserve_convolution(conv, images)?;
        for (span, value) in [(x, 0.5), (y, 0.25), (weight, 0.01)] {
            machine.run(&Fill { to: span, value })?;
        }
        Ok(Self { machine, conv: *conv, x, y, out, weight, dweight, skipped: Vec::new() })
    }

    fn is_skipped(&self, operation: Operation, form: Form) -> bool {
        self.skipped.iter().any(|skipped| (skipped.operation, skipped.form) == (operation, form))
    }

    /// Least seconds of an operation in each of these forms, infinite where it fails.
    fn least(&mut self, operation: Operation, forms: &[Form]) -> Result<Vec<f64>, Error> {
        // Some drivers compile kernels and allocate memory at the first use only.
        for form in forms {
            self.attempt(operation, *form)?;
        }
        let (mut least, started) = (vec![f64::INFINITY; forms.len()], Instant::now());
        for round in 0..ROUNDS.1 {
            if round >= ROUNDS.0 && started.elapsed() > BUDGET {
                break;
            }
            for (form, least) in forms.iter().zip(&mut least) {
                *least = self.attempt(operation, *form)?.min(*least);
            }
        }
        for (form, least) in forms.iter().zip(&mut least) {
            *least = if self.is_skipped(operation, *form) { f64::INFINITY } else { *least };
        }
        let failure = self.skipped.last().filter(|_| least.iter().all(|seconds| seconds.is_infinite()));
        match failure.map(|refusal| &refusal.fault) {
            Some(Fault::Fails(error)) => Err(error.clone()),
            _ => Ok(least),
        }
    }

    /// Seconds of an operation in a form, which is skipped from now on if it fails.
    fn attempt(&mut self, operation: Operation, form: Form) -> Result<f64, Error> {
        if self.is_skipped(operation, form) {
            return Ok(f64::INFINITY);
        }
        match self.seconds(operation, form) {
            Err(error @ Error::Call { .. }) => {
                self.skipped.push(Refusal { operation, form, fault: Fault::Fails(error), first: true });
                Ok(f64::INFINITY)
            }
            seconds => seconds,
        }
    }

    fn seconds(&mut self, operation: Operation, form: Form) -> Result<f64, Error> {
        let Self { ref mut machine, ref conv, x, .. } = *self;
        let images = x.length / conv.input.len();
        machine.set_choices(Choices::new(images, Table::from([(Case::new(conv, images), [form; 3])])));
        let (kind, once) = (machine.device().kind, self.seconds_each(operation, 1)?);
        if kind == DeviceType::Gpu && once < SHORT { self.seconds_each(operation, REPEATS) } else { Ok(once) }
    }

    /// Seconds that each of so many runs of an operation takes.
    fn seconds_each(&mut self, operation: Operation, repeats: usize) -> Result<f64, Error> {
        let Self { ref mut machine, ref conv, x, y, out, weight, dweight, .. } = *self;
        machine.finish()?;
        let started = Instant::now();
        for _ in 0..repeats {
            match operation {
                Operation::Forward => machine.run(&Conv2dForward { y: out.part(0, y.length)?, x, weight, conv })?,
                Operation::BackwardInput => {
                    machine.run(&Conv2dBackwardInput {
                        dx: &[out.part(0, x.length)?],
                        dy: &[y],
                        weight,
                        conv,
                        accumulate: false,
                    })?;
                }
                Operation::BackwardWeight => {
                    machine.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[y], conv })?
                }
            }
        }
        machine.finish()?;
        Ok(started.elapsed().as_secs_f64() / repeats as f64)
    }
}

#[cfg(test)]
mod tests {
    use sse_sam_core::Shape;

    use super::*;

    fn conv(side: usize, channels: usize) -> Conv2d {
        Conv2d::new(Shape::new(side, side, channels), channels, 3, 1, 1).unwrap()
    }

    const BLOCK: Form = Form::Block(Block::B64x64);

    /// The form taken of three, and how many timings that took; the times are those of direct, Winograd and block.
    fn decide(shipped: Form, series: &[[f64; 3]]) -> (Form, usize) {
        let (mut times, candidates) = (series.iter(), [Form::Direct, Form::Winograd, BLOCK]);
        let mut least = |forms: &[Form]| {
            let times = times.next().ok_or(())?;
            let place = |form| candidates.iter().position(|other| other == form).ok_or(());
            forms.iter().map(|form| place(form).map(|place| times[place])).collect()
        };
        let (form, _) = fastest(shipped, &candidates, &mut least).unwrap();
        (form, series.len() - times.len())
    }

    #[test]
    fn only_a_clear_difference_overrules_what_is_shipped() {
        assert_eq!(decide(Form::Direct, &[[1.0, 0.91, 2.0]; 3]), (Form::Direct, 1));
        assert_eq!(decide(Form::Direct, &[[1.0, 0.89, 2.0]; 3]), (Form::Winograd, 3));
        assert_eq!(decide(Form::Winograd, &[[0.91, 1.0, 2.0]; 3]), (Form::Winograd, 1));
        assert_eq!(decide(Form::Winograd, &[[0.89, 1.0, 2.0]; 3]), (Form::Direct, 3));
        assert_eq!(decide(Form::Winograd, &[[0.8, 1.0, 0.7]; 3]), (BLOCK, 3));
    }

    #[test]
    fn a_difference_must_be_there_every_time() {
        assert_eq!(decide(Form::Winograd, &[[0.5, 1.0, 9.0], [1.0, 0.5, 9.0], [0.5, 1.0, 9.0]]), (Form::Winograd, 2));
        assert_eq!(decide(Form::Direct, &[[1.0, 0.5, 9.0], [1.0, 0.5, 9.0], [1.0, 0.95, 9.0]]), (Form::Direct, 3));
        // Only the fastest of the first timing is timed again.
        assert_eq!(decide(Form::Direct, &[[1.0, 0.6, 0.5], [1.0, 0.5, 0.95]]), (Form::Direct, 2));
    }

    #[test]
    fn a_gain_is_the_least_of_all_timings_and_a_form_that_fails_is_beaten() {
        let gain = |series: [[f64; 2]; 3]| {
            let mut times = series.into_iter();
            fastest(Form::Direct, &[Form::Direct, BLOCK], |_| times.next().map(|times| times.to_vec()).ok_or(()))
                .unwrap()
        };
        assert_eq!(gain([[4.0, 1.0], [3.0, 2.0], [4.0, 2.0]]), (BLOCK, 1.5));
        assert_eq!(gain([[4.0, 1.0], [3.0, 2.0], [2.0, 2.0]]), (Form::Direct, 1.0));
        assert_eq!(gain([[f64::INFINITY, 1.0]; 3]), (BLOCK, f64::INFINITY));
        assert_eq!(gain([[1.0, f64::INFINITY]; 3]), (Form::Direct, 1.0));
    }

    #[test]
    fn batches_of_the_same_order_share_a_case() {
        let conv = conv(32, 16);
        assert_eq!(Case::new(&conv, 100), Case::new(&conv, 128));
        assert_ne!(Case::new(&conv, 128), Case::new(&conv, 129));
        assert_eq!(Case::new(&conv, 100).to_string(), "128x32x32x16x16");
    }

    #[test]
    fn a_case_survives_the_way_through_its_text() {
        let halving = Conv2d::new(Shape::new(7, 9, 48), 96, 1, 2, 0).unwrap();
        for case in [Case::new(&conv(7, 48), 3), Case::new(&halving, 3)] {
            assert_eq!(Case::try_from(case.to_string()), Ok(case));
        }
        assert_eq!(Case::new(&halving, 3).to_string(), "4x7x9x48x96k1s2p0");
        for text in ["", "1x2x3x4", "1x2x3x4x5x6", "1x2x3x4x-5", "1x2x3x4xfive", "1x2x3x4x5k1s2", "1x2x3x4x5k1s2p0s1"] {
            assert!(Case::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_form_survives_the_way_through_its_text() {
        let split = Form::Split(Block::B128x64, 12);
        assert_eq!(split.name(), "128x64/12");
        for form in [Form::Direct, Form::Winograd, split].into_iter().chain(Block::ALL.map(Form::Block)) {
            assert_eq!(Form::try_from(String::from(form)), Ok(form));
        }
        for text in ["96x96", "128x64/", "128x64/many", "direct/2", "128x64/65536"] {
            assert!(Form::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_digits_are_small_and_cifars_layers_are_not() {
        assert!(is_small(&conv(4, 16), 64) && is_small(&conv(2, 32), 64));
        for (side, channels) in [(32, 16), (16, 32), (8, 64)] {
            assert!(!is_small(&conv(side, channels), 128));
        }
    }
}
