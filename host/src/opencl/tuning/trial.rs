//! Which form a convolution takes where a device has several: as it was chosen before, else by a timing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward, Fill};
use sse_sam_core::{Arena, Conv2d, Run, Span};

use crate::opencl::algorithm::{Case, Choices, Form, Forms, Operation, Table};
use crate::opencl::convolution::block;
use crate::opencl::convolution::pick::{candidates, shipped};
use crate::opencl::runtime::device::{DeviceInfo, DeviceType};
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::verdict::{Fault, Refusal};

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
    use super::*;
    use crate::opencl::algorithm::Block;

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
}
