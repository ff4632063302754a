//! The perceptron again, by slice operations and the step alone: no graph, no plan, no executor.

use sse_sam_core::ops::{self, LossTables};
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Cpu, Error, Outcome, Problem, Span, Statistics, Vectors, step};

use crate::digits::{self, CLASSES, IMAGE, TEST, TRAIN};
use crate::executor::hash;
use crate::report::{Label, Machine, Step};
use crate::{EPOCHS, MLP_BATCH as BATCH, SGD, SSE_SAM, STEPS};

const INPUTS: usize = IMAGE.len();
const HIDDEN: usize = 32;
const PARAMETERS: usize = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * CLASSES;
/// Numbers of work memory that [`slices`] needs: five vectors, four slots, and the activations.
pub const WORK: usize = LENT + Activations::LENGTH;
/// Those of them that are lent to the backend.
const LENT: usize = 5 * PARAMETERS + 4;

/// One vector as long as the parameters after the other.
const fn vector(number: usize) -> Span {
    Span::work(number * PARAMETERS, PARAMETERS)
}

const VECTORS: Vectors =
    Vectors { params: vector(0), velocity: vector(1), gradient: vector(2), points: [Some(vector(3)), Some(vector(4))] };
/// One slot behind the vectors after the other.
const fn slot(number: usize) -> Span {
    Span::work(5 * PARAMETERS + number, 1)
}

const OUTCOME: Outcome =
    Outcome { squared_norm: slot(0), failure: slot(1), group_squared_norms: [slot(2), slot(3)], number: 0.0 };

/// The perceptron and its batch.
struct Perceptron<'m> {
    values: Activations<'m>,
    labels: [u8; BATCH],
    plain: f32,
    perturbed: bool,
}

/// Weight and bias of a layer.
type Layer<'v> = (&'v [f32], &'v [f32]);

/// Both layers in a vector as long as the parameters.
fn layers(vector: &[f32]) -> Option<[Layer<'_>; 2]> {
    let (first, second) = vector.split_at_checked((INPUTS + 1) * HIDDEN)?;
    Some([first.split_at_checked(INPUTS * HIDDEN)?, second.split_at_checked(HIDDEN * CLASSES)?])
}

/// As [`layers`], to be written.
fn layers_mut(vector: &mut [f32]) -> Option<[(&mut [f32], &mut [f32]); 2]> {
    let (first, second) = vector.split_at_mut_checked((INPUTS + 1) * HIDDEN)?;
    Some([first.split_at_mut_checked(INPUTS * HIDDEN)?, second.split_at_mut_checked(HIDDEN * CLASSES)?])
}

/// What a batch makes of the images, and room for gradients.
struct Activations<'v> {
    images: &'v mut [f32],
    before: &'v mut [f32],
    hidden: &'v mut [f32],
    logits: &'v mut [f32],
    dhidden: &'v mut [f32],
    dlogits: &'v mut [f32],
}

impl<'v> Activations<'v> {
    const LENGTH: usize = BATCH * (INPUTS + 3 * HIDDEN + 2 * CLASSES);

    fn cut(values: &'v mut [f32]) -> Option<Self> {
        let (images, rest) = values.split_at_mut_checked(BATCH * INPUTS)?;
        let (before, rest) = rest.split_at_mut_checked(BATCH * HIDDEN)?;
        let (hidden, rest) = rest.split_at_mut_checked(BATCH * HIDDEN)?;
        let (dhidden, rest) = rest.split_at_mut_checked(BATCH * HIDDEN)?;
        let (logits, dlogits) = rest.split_at_mut_checked(BATCH * CLASSES)?;
        Some(Self { images, before, hidden, logits, dhidden, dlogits })
    }
}

/// What is left of a span that is shorter than it was made.
fn too_short(span: Span) -> Error {
    Error::Bounds { space: span.space, offset: span.offset, length: PARAMETERS, available: span.length }
}

impl Problem<Cpu<'_>> for Perceptron<'_> {
    fn forward(&mut self, cpu: &mut Cpu<'_>, params: Span, statistics: Statistics) -> Result<(), Error> {
        self.perturbed = statistics == Statistics::Keep;
        let [vector] = cpu.slices_mut([params])?;
        let Some([(weight1, bias1), (weight2, bias2)]) = layers(vector) else { return Err(too_short(params)) };
        let Activations { images, before, hidden, logits, .. } = &mut self.values;
        ops::linear_forward(before, images, weight1, bias1)?;
        ops::relu_forward(hidden, before)?;
        ops::linear_forward(logits, hidden, weight2, bias2)
    }

    fn backward(&mut self, cpu: &mut Cpu<'_>, params: Span, targets: &[Target]) -> Result<(), Error> {
        let mut loss = 0.0;
        for target in targets {
            loss += self.cross_entropy(target.column == 1)?;
            let [vector, gradient] = cpu.slices_mut([params, target.gradient])?;
            let (Some([_, (weight2, _)]), Some(layers)) = (layers(vector), layers_mut(gradient)) else {
                return Err(too_short(params));
            };
            let [(dweight1, dbias1), (dweight2, dbias2)] = layers;
            let Activations { images, before: dbefore, hidden, dhidden, dlogits, .. } = &mut self.values;
            ops::linear_backward_weight(dweight2, dbias2, hidden, dlogits)?;
            ops::linear_backward_input(dhidden, dlogits, weight2, CLASSES, false)?;
            ops::relu_backward(dbefore, dhidden, hidden, false)?;
            ops::linear_backward_weight(dweight1, dbias1, images, dbefore)?;
        }
        if !self.perturbed {
            self.plain = loss;
        }
        Ok(())
    }
}

impl Perceptron<'_> {
    /// The sum of the losses of one group of the batch, and its gradient.
    fn cross_entropy(&mut self, tail: bool) -> Result<f32, Error> {
        let tables = LossTables { scale: &[1.0; CLASSES], shift: &[0.0; CLASSES], margin: &[0.0; CLASSES], focal: 0.0 };
        let mut total = 0.0;
        let Activations { logits, dlogits, .. } = &mut self.values;
        let rows = dlogits.chunks_exact_mut(CLASSES).zip(logits.chunks_exact(CLASSES));
        for ((dlogits, logits), label) in rows.zip(self.labels) {
            let weight = if digits::is_tail(label) == tail { 1.0 / BATCH as f32 } else { 0.0 };
            total += ops::cross_entropy(dlogits, logits, usize::from(label), &tables, weight)?;
        }
        Ok(total)
    }

    /// Makes the samples `indices` the batch; images and labels lie as in [`digits::BYTES`].
    fn gather(&mut self, samples: &[u8], indices: impl Iterator<Item = usize>) -> Result<(), Error> {
        let [mean, factor] = digits::NORMALIZATION;
        let (labels, pictures) = samples.split_at_checked(TRAIN + TEST).unwrap_or_default();
        let batch = self.values.images.chunks_exact_mut(INPUTS).zip(&mut self.labels);
        for ((image, label), index) in batch.zip(indices) {
            let (Some(class), Some(picture)) = (labels.get(index), pictures.chunks_exact(INPUTS).nth(index)) else {
                return Err(Error::Sample { index, samples: labels.len() });
            };
            for (value, byte) in image.iter_mut().zip(picture) {
                *value = (f32::from(*byte) - mean) * factor;
            }
            *label = *class;
        }
        Ok(())
    }

    /// Test images that are classified correctly.
    fn correct(&mut self, cpu: &mut Cpu<'_>, samples: &[u8], params: Span) -> Result<u32, Error> {
        let mut correct = 0;
        for first in (0..TEST).step_by(BATCH) {
            let rows = BATCH.min(TEST - first);
            self.gather(samples, (first..first + rows).map(|test| TRAIN + test))?;
            self.forward(cpu, params, Statistics::Running)?;
            let rows = self.values.logits.chunks_exact(CLASSES).zip(self.labels).take(rows);
            correct += rows.filter(|(logits, label)| digits::argmax(logits) == usize::from(*label)).count() as u32;
        }
        Ok(correct)
    }
}

/// Uniform in `+-1/sqrt(fan_in)`, as the executor starts a perceptron.
fn initialize(cpu: &mut Cpu<'_>, params: Span) -> Result<(), Error> {
    let mut counter = 0;
    let [values] = cpu.slices_mut([params])?;
    for (place, value) in values.iter_mut().enumerate() {
        let first = place < (INPUTS + 1) * HIDDEN;
        let bound = if first { 1.0 / 8.0 } else { core::f32::consts::FRAC_1_SQRT_2 / 4.0 };
        let unit = (digits::draw(&mut counter) >> 8) as f32 * (1.0 / 16_777_216.0);
        *value = (2.0 * unit - 1.0) * bound;
    }
    Ok(())
}

/// What [`crate::perceptron`] does, and the same bits, without graph, plan and executor.
pub fn slices<M: Machine>(machine: &mut M, _: &mut (), work: &mut [f32], samples: &[u8]) -> Result<(), Error> {
    let params = VECTORS.params;
    machine.note(Label::Arena, 4 * WORK as u64);
    let lacking = Error::Length { what: "work memory", expected: WORK, found: work.len() };
    let (work, values) = work.split_at_mut_checked(LENT).ok_or(lacking)?;
    let values = Activations::cut(values).ok_or(lacking)?;
    let mut perceptron = Perceptron { values, labels: [0; BATCH], plain: 0.0, perturbed: false };
    let mut cpu = Cpu::new(work, &[], samples);
    initialize(&mut cpu, params)?;
    for (epoch, number) in (0..EPOCHS).flat_map(|epoch| (0..STEPS).map(move |number| (epoch, number))) {
        let groups = SSE_SAM.groups(epoch, EPOCHS)?;
        let started = machine.instructions();
        let first = number as usize * BATCH;
        perceptron.gather(samples, (first..first + BATCH).map(|position| digits::sample(epoch, position)))?;
        let mut columns = [false; 2];
        perceptron.labels.iter().for_each(|label| columns[usize::from(digits::is_tail(*label))] = true);
        step(&mut cpu, &mut perceptron, &VECTORS, &groups.present(columns), &SGD, &OUTCOME)?;
        if number == 0 {
            let instructions = machine.instructions().wrapping_sub(started);
            machine.note(Label::Step(SSE_SAM.stage(epoch, EPOCHS)), instructions);
        }
        if M::PRINTS {
            let loss = perceptron.plain;
            let correct = perceptron.correct(&mut cpu, samples, params)?;
            Step { epoch, step: number, loss, correct, hash: hash(&mut cpu, params)? }.print(machine);
        }
    }
    let [params] = cpu.slices_mut([params])?;
    machine.trained(params);
    Ok(())
}
