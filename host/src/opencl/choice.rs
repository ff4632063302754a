//! Which form a convolution takes where a device has two: as it was chosen before, else by a timing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sse_sam_core::{Arena, Backend, Conv2d, Span};

use super::tiles::Tiles;
use super::{Convolution, DeviceInfo, Error, OpenCl, winograd};

/// Multiply-adds below which a timing is not worth its while: some 50 us of a CPU.
const SMALL: usize = 1 << 22;
/// Rounds of a timing, one form after the other: fewest, and most where they take no longer than [`BUDGET`].
const ROUNDS: (usize, usize) = (3, 9);
const BUDGET: Duration = Duration::from_millis(40);
/// What the other form's least time must be below, of the shipped one's, and in how many timings one after the other:
/// noise must not decide, since what is chosen is kept.
const MARGIN: f64 = 0.9;
const SERIES: usize = 3;

/// How an operation of a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As the formula says.
    Direct,
    /// In tiles of 4 x 4 pixels.
    Winograd,
}

impl Form {
    /// Both, in the order of their numbers.
    const ALL: [Self; 2] = [Self::Direct, Self::Winograd];

    fn other(self) -> Self {
        match self {
            Self::Direct => Self::Winograd,
            Self::Winograd => Self::Direct,
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Winograd => "winograd",
        }
    }
}

/// The forms of a convolution, of its gradient with respect to the input, and with respect to the weights.
pub type Forms = [Form; 3];

/// An operation of a convolution, by its place in [`Forms`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Forward,
    BackwardInput,
    BackwardWeight,
}

impl Operation {
    const ALL: [Self; 3] = [Self::Forward, Self::BackwardInput, Self::BackwardWeight];
}

/// Convolutions of 3 x 3 pixels and stride 1 that share a choice; written `128x32x32x16x16`, in the order of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Case {
    /// Images of the largest batch, rounded up to a power of two.
    images: usize,
    height: usize,
    width: usize,
    channels: usize,
    filters: usize,
}

impl Case {
    /// The case of `conv`, where the largest batch is of so many images.
    pub fn new(conv: &Conv2d, images: usize) -> Self {
        let Conv2d { input, output, .. } = conv;
        let images = images.next_power_of_two();
        Self { images, height: input.height, width: input.width, channels: input.channels, filters: output.channels }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, height, width, channels, filters } = self;
        write!(f, "{images}x{height}x{width}x{channels}x{filters}")
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
        let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok()).collect();
        match sizes.as_deref() {
            Some(&[images, height, width, channels, filters]) => Ok(Self { images, height, width, channels, filters }),
            _ => Err(format!("{text} is not IMAGESxHEIGHTxWIDTHxCHANNELSxFILTERS")),
        }
    }
}

/// Forms by case.
pub type Table = BTreeMap<Case, Forms>;

/// The forms in force on a backend under [`Convolution::Auto`]; what is missing takes the shipped ones.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    images: usize,
    table: Table,
}

impl Choices {
    /// Choices for batches of at most so many images.
    pub fn new(images: usize, table: Table) -> Self {
        Self { images, table }
    }

    /// The forms of a convolution.
    pub(super) fn forms(&self, conv: &Conv2d) -> Option<Forms> {
        self.table.get(&Case::new(conv, self.images)).copied()
    }

    /// All of them.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// The convolutions among these that a device has both forms of, each case once.
pub fn cases(device: &DeviceInfo, images: usize, convolutions: impl Iterator<Item = Conv2d>) -> BTreeMap<Case, Conv2d> {
    let tiles = Tiles::of(device);
    let both = convolutions.filter(|conv| winograd::fits(&tiles, conv));
    both.map(|conv| (Case::new(&conv, images), conv)).collect()
}

/// The forms that a convolution takes as long as nothing better is known.
pub fn shipped(conv: &Conv2d) -> Forms {
    let form = if winograd::pays(conv) { Form::Winograd } else { Form::Direct };
    [form; 3]
}

/// Whether so little is to be done that the shipped forms are taken without a timing.
pub fn is_small(conv: &Conv2d, images: usize) -> bool {
    let pixels = images.saturating_mul(conv.output.height * conv.output.width);
    pixels.saturating_mul(conv.weights()) < SMALL
}

/// The forms that are faster on `device`, found by running both in turn; where they are alike, the shipped ones.
///
/// # Errors
/// [`Error::Memory`] when the device has no room for three activations, [`Error::Build`] and [`Error::Call`] when the
/// driver fails.
pub fn measure(device: &DeviceInfo, conv: &Conv2d, images: usize) -> Result<Forms, Error> {
    let mut trial = Trial::new(device, conv, images)?;
    let mut forms = shipped(conv);
    for (operation, form) in Operation::ALL.into_iter().zip(&mut forms) {
        *form = faster(*form, || trial.least(operation))?;
    }
    Ok(forms)
}

/// The form to take by timings that give the least seconds of each.
fn faster<E>(shipped: Form, mut least: impl FnMut() -> Result<[f64; 2], E>) -> Result<Form, E> {
    let other = shipped.other();
    for _ in 0..SERIES {
        let least = least()?;
        if least[other as usize] >= MARGIN * least[shipped as usize] {
            return Ok(shipped);
        }
    }
    Ok(other)
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
            machine.fill(span, value)?;
        }
        Ok(Self { machine, conv: *conv, x, y, out, weight, dweight })
    }

    /// Least seconds of an operation in each form.
    fn least(&mut self, operation: Operation) -> Result<[f64; 2], Error> {
        // Drivers finish kernels and memory at the first use.
        for form in Form::ALL {
            self.seconds(operation, form)?;
        }
        let (mut least, started) = ([f64::INFINITY; 2], Instant::now());
        for round in 0..ROUNDS.1 {
            if round >= ROUNDS.0 && started.elapsed() > BUDGET {
                break;
            }
            for (form, least) in Form::ALL.into_iter().zip(&mut least) {
                *least = self.seconds(operation, form)?.min(*least);
            }
        }
        Ok(least)
    }

    fn seconds(&mut self, operation: Operation, form: Form) -> Result<f64, Error> {
        let Self { ref mut machine, ref conv, x, y, out, weight, dweight } = *self;
        machine.set_convolution(match form {
            Form::Direct => Convolution::Direct,
            Form::Winograd => Convolution::Winograd,
        });
        machine.finish()?;
        let started = Instant::now();
        match operation {
            Operation::Forward => machine.conv2d_forward(out.part(0, y.length)?, x, weight, conv)?,
            Operation::BackwardInput => {
                machine.conv2d_backward_input(&[out.part(0, x.length)?], &[y], weight, conv, false)?;
            }
            Operation::BackwardWeight => machine.conv2d_backward_weight(&[dweight], x, &[y], conv)?,
        }
        machine.finish()?;
        Ok(started.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use sse_sam_core::Shape;

    use super::*;

    fn conv(side: usize, channels: usize) -> Conv2d {
        Conv2d::new(Shape::new(side, side, channels), channels, 3, 1, 1).unwrap()
    }

    /// The form taken, and how many timings that took.
    fn decide(shipped: Form, series: &[[f64; 2]]) -> (Form, usize) {
        let mut times = series.iter();
        let form = faster(shipped, || times.next().copied().ok_or(())).unwrap();
        (form, series.len() - times.len())
    }

    #[test]
    fn only_a_clear_difference_overrules_what_is_shipped() {
        assert_eq!(decide(Form::Direct, &[[1.0, 0.91]; 3]), (Form::Direct, 1));
        assert_eq!(decide(Form::Direct, &[[1.0, 0.89]; 3]), (Form::Winograd, 3));
        assert_eq!(decide(Form::Winograd, &[[0.91, 1.0]; 3]), (Form::Winograd, 1));
        assert_eq!(decide(Form::Winograd, &[[0.89, 1.0]; 3]), (Form::Direct, 3));
    }

    #[test]
    fn a_difference_must_be_there_every_time() {
        assert_eq!(decide(Form::Winograd, &[[0.5, 1.0], [1.0, 0.5], [0.5, 1.0]]), (Form::Winograd, 2));
        assert_eq!(decide(Form::Direct, &[[1.0, 0.5], [1.0, 0.5], [1.0, 0.95]]), (Form::Direct, 3));
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
        let case = Case::new(&conv(7, 48), 3);
        assert_eq!(Case::try_from(case.to_string()), Ok(case));
        for text in ["", "1x2x3x4", "1x2x3x4x5x6", "1x2x3x4x-5", "1x2x3x4xfive"] {
            assert!(Case::try_from(text.to_owned()).is_err(), "{text}");
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
