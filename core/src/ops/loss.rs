//! The loss: one adjusted cross-entropy for all methods.

use crate::error::Error;
use crate::memory::Span;
use crate::ops::lent::{Compute, Lent, one};
use crate::ops::math::elementary::{exp, log1p};
use crate::ops::math::reduce::Total;
use crate::ops::math::rows::{expect, rows, rows_mut, whole_rows};
use crate::ops::operation::{Access, Extent, Operation, length, streams};
use crate::ops::workers::Workers;

/// The three tables of the adjusted cross-entropy, `[classes]` each, and the exponent of its focal factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Divides the logits; 1 for plain cross-entropy.
    pub scale: Span,
    /// Added to the logits; 0 for plain cross-entropy.
    pub shift: Span,
    /// Subtracted from the label's logit; 0 for plain cross-entropy.
    pub margin: Span,
    /// Exponent of `1 - p`; 0 for none.
    pub focal: f32,
}

/// The tables of the adjusted cross-entropy, `[classes]` each, and the exponent of its focal factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossTables<'a> {
    /// Divides the logits; 1 for plain cross-entropy.
    pub scale: &'a [f32],
    /// Added to the logits; 0 for plain cross-entropy.
    pub shift: &'a [f32],
    /// Subtracted from the label's logit; 0 for plain cross-entropy.
    pub margin: &'a [f32],
    /// Exponent of `1 - p`; 0 for none.
    pub focal: f32,
}

/// The adjusted softmax cross-entropy for every row, once for each group: [`cross_entropy`] on a machine.
///
/// `dlogits[g]` is overwritten with its gradient, `losses[g]` with the sum over rows of `weights[g][row] * loss`. The
/// number of classes is `terms.scale.length`. A label that is no class may be noticed after earlier rows were written, or
/// show as a loss that is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy<'a> {
    /// `[rows][classes]` each, overwritten.
    pub dlogits: &'a [Span],
    /// `[1]` each, overwritten.
    pub losses: &'a [Span],
    /// `[rows][classes]`.
    pub logits: Span,
    /// `[rows]`, class indices as numbers.
    pub labels: Span,
    /// `[rows]` each.
    pub weights: &'a [Span],
    /// Tables and exponent.
    pub terms: Terms,
}

impl Operation for CrossEntropy<'_> {
    const NAME: &'static str = "cross_entropy";

    fn extent(&self) -> Result<Extent, Error> {
        let Terms { scale, shift, margin, .. } = self.terms;
        let classes = scale.length;
        let rows = whole_rows("logits", self.logits.length, classes)?;
        expect("shift", classes, shift.length)?;
        expect("margin", classes, margin.length)?;
        expect("labels", rows, self.labels.length)?;
        if streams(&[self.dlogits, self.losses, self.weights])? > 0 {
            expect("dlogits", self.logits.length, length(self.dlogits))?;
            expect("losses", 1, length(self.losses))?;
            expect("weights", rows, length(self.weights))?;
        }
        Ok(Extent::Rows(rows, classes))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        self.dlogits.iter().chain(self.losses).for_each(|written| see(Access::Write, *written));
        let Terms { scale, shift, margin, .. } = self.terms;
        let read = [self.logits, self.labels, scale, shift, margin];
        read.iter().chain(self.weights).for_each(|read| see(Access::Read, *read));
    }

    fn streams(&self) -> usize {
        self.dlogits.len()
    }
}

/// A label stored as a number.
fn class(label: f32, classes: usize) -> Result<usize, Error> {
    if label >= 0.0 && label < classes as f32 { Ok(label as usize) } else { Err(Error::Label { label, classes }) }
}

impl Compute for CrossEntropy<'_> {
    // Inlined with what it calls: where the focal exponent is the constant 0, no power function is linked.
    #[inline(always)]
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, _: &W) -> Result<(), Error> {
        self.extent()?;
        let classes = self.terms.scale.length;
        let terms = &self.terms;
        for stream in 0..self.dlogits.len() {
            let mut memory = lent.memory();
            let (scale, shift, margin) =
                (memory.read(&terms.scale), memory.read(&terms.shift), memory.read(&terms.margin));
            let tables = LossTables { scale, shift, margin, focal: terms.focal };
            let (dlogits, loss) = (memory.write(one(self.dlogits, stream)), memory.write(one(self.losses, stream)));
            let (logits, labels) = (memory.read(&self.logits), memory.read(&self.labels));
            let weights = memory.read(one(self.weights, stream));
            memory.found?;
            let outputs = rows_mut(dlogits, classes).zip(rows(logits, classes));
            let mut total = 0.0;
            for (((dlogits, logits), label), weight) in outputs.zip(labels).zip(weights) {
                total += cross_entropy(dlogits, logits, class(*label, classes)?, &tables, *weight)?;
            }
            loss.fill(total);
        }
        Ok(())
    }
}

/// Adjusted softmax cross-entropy of one sample, with its gradient: every loss of this crate.
///
/// Computes `loss = weight * (1 - p)^focal * (log sum_j exp(z_j) - z_label)` with
/// `z_c = logits_c / scale_c + shift_c - margin_c * [c == label]`, `p = softmax(z)_label`, and its gradient with
/// respect to the logits. The maximum is subtracted first: finite for finite input.
///
/// | argument  | shape       | meaning                                                                    |
/// |-----------|-------------|----------------------------------------------------------------------------|
/// | `dlogits` | `[classes]` | overwritten with the gradient                                              |
/// | `logits`  | `[classes]` | model output                                                               |
/// | `label`   | scalar      | the sample's class                                                         |
/// | `tables`  | 3 tables    | `scale`, `shift`, `margin`, each `[classes]`; 1, 0, 0 for plain CE; `focal` |
/// | `weight`  | scalar      | `class_weight / batch` when the sample is in the group, else 0             |
///
/// Returns the weighted loss in nats.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length, [`Error::Label`] when `label` is not below it.
///
/// # Source
/// `scale`, `shift`: Kini et al. 2021 (VS loss), eq. 5; `margin`: Cao et al. 2019 (LDAM), eq. 13; `focal`: Lin et al.
/// 2017, eq. 4.
#[inline(always)]
pub fn cross_entropy(
    dlogits: &mut [f32],
    logits: &[f32],
    label: usize,
    tables: &LossTables<'_>,
    weight: f32,
) -> Result<f32, Error> {
    let classes = logits.len();
    expect("dlogits", classes, dlogits.len())?;
    expect("scale", classes, tables.scale.len())?;
    expect("shift", classes, tables.shift.len())?;
    expect("margin", classes, tables.margin.len())?;
    let Some(margin) = tables.margin.get(label) else {
        return Err(Error::Label { label: label as f32, classes });
    };
    adjust(dlogits, logits, tables);
    if let Some(z) = dlogits.get_mut(label) {
        *z -= margin;
    }
    let softmax = exponentials(dlogits, label);
    let (loss, factor) = focused(&softmax, tables.focal);
    for (class, (d, scale)) in dlogits.iter_mut().zip(tables.scale).enumerate() {
        // p - 1 of the label is minus the others' sum: exact where p is close to 1.
        let p = if class == label { -softmax.others } else { *d };
        *d = weight * factor * (p / softmax.total) / scale;
    }
    Ok(weight * loss)
}

/// `z = logits / scale + shift`.
fn adjust(z: &mut [f32], logits: &[f32], tables: &LossTables<'_>) {
    for (((z, logit), scale), shift) in z.iter_mut().zip(logits).zip(tables.scale).zip(tables.shift) {
        *z = logit / scale + shift;
    }
}

/// Sums of `exp(z - max z)`, and the label's cross-entropy.
struct Softmax {
    total: f32,
    others: f32,
    loss: f32,
}

/// Replaces every `z` by `exp(z - max z)`.
fn exponentials(z: &mut [f32], label: usize) -> Softmax {
    let mut top = (0, f32::NEG_INFINITY);
    for (class, z) in z.iter().enumerate() {
        if *z > top.1 {
            top = (class, *z);
        }
    }
    let (mut own, mut own_z, mut others, mut rest) = (0.0, 0.0, 0.0, 0.0);
    for (class, z) in z.iter_mut().enumerate() {
        let below = *z - top.1;
        *z = exp(below);
        if class == label {
            (own, own_z) = (*z, below);
        } else {
            others += *z;
        }
        if class != top.0 {
            rest += *z;
        }
    }
    // The largest term is exactly 1: where the others are small, they are not rounded away.
    Softmax { total: own + others, others, loss: log1p(rest) - own_z }
}

/// The loss with its focal factor, and its derivative as a multiple of that of plain cross-entropy:
/// `(1 - p)^focal * (1 + focal * p * loss / (1 - p))`.
#[inline(always)]
fn focused(softmax: &Softmax, focal: f32) -> (f32, f32) {
    let missed = softmax.others / softmax.total;
    if focal == 0.0 {
        (softmax.loss, 1.0)
    } else if missed == 0.0 {
        (0.0, 0.0)
    } else {
        let power = libm::powf(missed, focal);
        // loss / missed tends to 1 where p tends to 1.
        (power * softmax.loss, power * (1.0 + focal * (1.0 - missed) * softmax.loss / missed))
    }
}

/// The tangent of [`CrossEntropy`]'s gradient along a tangent of the logits: [`cross_entropy_tangent`] on a machine, for
/// every row.
///
/// A label that is no class may be noticed after earlier rows were written, or show as numbers that are not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyTangent {
    /// `[rows][classes]`, overwritten.
    pub dlogits: Span,
    /// `[rows][classes]`.
    pub logits: Span,
    /// `[rows][classes]`, a direction in the logits.
    pub tangent: Span,
    /// `[rows]`, class indices as numbers.
    pub labels: Span,
    /// `[rows]`.
    pub weights: Span,
    /// Tables and exponent.
    pub terms: Terms,
}

impl Operation for CrossEntropyTangent {
    const NAME: &'static str = "cross_entropy_tangent";

    fn extent(&self) -> Result<Extent, Error> {
        let Terms { scale, shift, margin, .. } = self.terms;
        let classes = scale.length;
        let rows = whole_rows("logits", self.logits.length, classes)?;
        expect("shift", classes, shift.length)?;
        expect("margin", classes, margin.length)?;
        expect("dlogits", self.logits.length, self.dlogits.length)?;
        expect("tangent", self.logits.length, self.tangent.length)?;
        expect("labels", rows, self.labels.length)?;
        expect("weights", rows, self.weights.length)?;
        Ok(Extent::Rows(rows, classes))
    }

    fn operands(&self, mut see: impl FnMut(Access, Span)) {
        see(Access::Write, self.dlogits);
        let Terms { scale, shift, margin, .. } = self.terms;
        let read = [self.logits, self.tangent, self.labels, self.weights, scale, shift, margin];
        read.into_iter().for_each(|read| see(Access::Read, read));
    }
}

impl Compute for CrossEntropyTangent {
    fn compute<W: Workers>(&self, lent: &mut Lent<'_>, _: &W) -> Result<(), Error> {
        self.extent()?;
        let (terms, classes) = (&self.terms, self.terms.scale.length);
        let mut memory = lent.memory();
        let dlogits = memory.write(&self.dlogits);
        let (scale, shift, margin) = (memory.read(&terms.scale), memory.read(&terms.shift), memory.read(&terms.margin));
        let (logits, tangent) = (memory.read(&self.logits), memory.read(&self.tangent));
        let (labels, weights) = (memory.read(&self.labels), memory.read(&self.weights));
        memory.found?;
        let tables = LossTables { scale, shift, margin, focal: terms.focal };
        let outputs = rows_mut(dlogits, classes).zip(rows(logits, classes)).zip(rows(tangent, classes));
        for (((outputs, tangent), label), weight) in outputs.zip(labels).zip(weights) {
            let (dlogits, logits) = outputs;
            cross_entropy_tangent(dlogits, logits, tangent, class(*label, classes)?, &tables, *weight)?;
        }
        Ok(())
    }
}

/// The derivative along `tangent` of the gradient that [`cross_entropy`] gives: the product of the loss's Hessian in the
/// logits with `tangent`.
///
/// With `z` and `p = softmax(z)` as there, `e_c = p_c - [c == label]`, `l` the plain cross-entropy, `q = 1 - p_label`,
/// `u = tangent / scale`:
///
/// ```text
/// dlogits_c = weight / scale_c * (F' * p_c * (u_c - sum_j p_j u_j) + F'' * (sum_j e_j u_j) * e_c)
/// F'  = q^focal + focal * q^(focal - 1) * p_label * l
/// F'' = focal * q^(focal - 1) * p_label * (2 - l + (focal - 1) * p_label * l / q)
/// ```
///
/// Directions are taken relative to that of the most probable class, so that nothing cancels where its probability is
/// close to 1: a sample that is certain gives a small number as exactly as any other, and a shift of all `u` gives 0.
///
/// | argument  | shape       | meaning                                                                     |
/// |-----------|-------------|-----------------------------------------------------------------------------|
/// | `dlogits` | `[classes]` | overwritten                                                                 |
/// | `logits`  | `[classes]` | model output                                                                |
/// | `tangent` | `[classes]` | a direction in the logits                                                   |
/// | `label`   | scalar      | the sample's class                                                          |
/// | `tables`  | 3 tables    | `scale`, `shift`, `margin`, each `[classes]`; 1, 0, 0 for plain CE; `focal` |
/// | `weight`  | scalar      | as in [`cross_entropy`]                                                     |
///
/// # Errors
/// [`Error::Length`] when the slices differ in length, [`Error::Label`] when `label` is not below it.
///
/// # Source
/// Pearlmutter 1994 ("Fast exact multiplication by the Hessian") for the derivative along a direction.
pub fn cross_entropy_tangent(
    dlogits: &mut [f32],
    logits: &[f32],
    tangent: &[f32],
    label: usize,
    tables: &LossTables<'_>,
    weight: f32,
) -> Result<(), Error> {
    let classes = logits.len();
    expect("dlogits", classes, dlogits.len())?;
    expect("tangent", classes, tangent.len())?;
    expect("scale", classes, tables.scale.len())?;
    expect("shift", classes, tables.shift.len())?;
    expect("margin", classes, tables.margin.len())?;
    let Some(margin) = tables.margin.get(label) else {
        return Err(Error::Label { label: label as f32, classes });
    };
    adjust(dlogits, logits, tables);
    if let Some(z) = dlogits.get_mut(label) {
        *z -= margin;
    }
    let softmax = exponentials(dlogits, label);
    // The largest term is exactly 1.
    let top = dlogits.iter().position(|&term| term == 1.0).unwrap_or(label);
    let moved = |class: usize| match (tangent.get(class), tables.scale.get(class)) {
        (Some(tangent), Some(scale)) => tangent / scale,
        _ => 0.0,
    };
    let relative = |class: usize| moved(class) - moved(top);
    let (mut others, mut mean) = (Total::default(), Total::default());
    for (class, &term) in dlogits.iter().enumerate() {
        others.add(if class == label { 0.0 } else { term });
        mean.add(term * relative(class));
    }
    let own = dlogits.get(label).copied().unwrap_or_default();
    let softmax = Softmax { total: own + others.value(), others: others.value(), ..softmax };
    let mean = mean.value() / softmax.total;
    let (first, second) = curved(&softmax, own / softmax.total, tables.focal);
    let slope = second * (mean - relative(label));
    for (class, (d, scale)) in dlogits.iter_mut().zip(tables.scale).enumerate() {
        let p = *d / softmax.total;
        let error = if class == label { -softmax.others / softmax.total } else { p };
        *d = weight * (first * p * (relative(class) - mean) + slope * error) / scale;
    }
    Ok(())
}

/// First and second derivative of the loss with its focal factor by plain cross-entropy; `p` is the label's probability.
fn curved(softmax: &Softmax, p: f32, focal: f32) -> (f32, f32) {
    let missed = softmax.others / softmax.total;
    if focal == 0.0 {
        (1.0, 0.0)
    } else if missed == 0.0 {
        (0.0, 0.0)
    } else {
        // loss / missed tends to 1 where p tends to 1.
        let (power, ratio) = (libm::powf(missed, focal), p * softmax.loss / missed);
        (power * (1.0 + focal * ratio), focal * (power / missed) * p * (2.0 - softmax.loss + (focal - 1.0) * ratio))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::super::testing::{Vec, assert_close, differences, numbers, wide};
    use super::*;

    fn reference(logits: &[f64], label: usize, tables: &LossTables<'_>) -> f64 {
        let z = |c: usize| {
            let margin = if c == label { f64::from(tables.margin[c]) } else { 0.0 };
            logits[c] / f64::from(tables.scale[c]) + f64::from(tables.shift[c]) - margin
        };
        let total: f64 = (0..logits.len()).map(|c| libm::exp(z(c))).sum();
        let p = libm::exp(z(label)) / total;
        libm::pow(1.0 - p, f64::from(tables.focal)) * (libm::log(total) - z(label))
    }

    #[test]
    fn the_loss_and_its_gradient_follow_the_formula() {
        for (classes, focal) in [(2, 0.0), (7, 0.0), (10, 1.0), (10, 0.5), (3, 2.0)] {
            let logits = numbers(1, classes);
            let (mut scale, shift, margin) = (numbers(2, classes), numbers(3, classes), numbers(4, classes));
            scale.iter_mut().for_each(|scale| *scale += 2.0);
            let tables = LossTables { scale: &scale, shift: &shift, margin: &margin, focal };
            let mut dlogits = numbers(5, classes);
            for label in 0..classes {
                let loss = cross_entropy(&mut dlogits, &logits, label, &tables, 0.5).unwrap();
                assert_close(&[loss], &[0.5 * reference(&wide(&logits), label, &tables)], 1e-5);
                assert_close(&dlogits, &differences(&wide(&logits), |z| 0.5 * reference(z, label, &tables)), 1e-5);
            }
        }
    }

    /// The gradient of [`reference`] as the formula has it.
    fn gradient(logits: &[f64], label: usize, tables: &LossTables<'_>) -> Vec<f64> {
        differences(logits, |z| reference(z, label, tables))
    }

    #[test]
    fn the_tangent_is_the_derivative_of_the_gradient_along_a_direction() {
        for (classes, focal) in [(2, 0.0), (7, 0.0), (10, 1.0), (10, 0.5), (3, 2.0)] {
            let (logits, direction) = (numbers(1, classes), numbers(6, classes));
            let (mut scale, shift, margin) = (numbers(2, classes), numbers(3, classes), numbers(4, classes));
            scale.iter_mut().for_each(|scale| *scale += 2.0);
            let tables = LossTables { scale: &scale, shift: &shift, margin: &margin, focal };
            let mut found = numbers(5, classes);
            for label in 0..classes {
                cross_entropy_tangent(&mut found, &logits, &direction, label, &tables, 0.5).unwrap();
                let moved = |by: f64| -> Vec<f64> {
                    let line = wide(&logits).into_iter().zip(wide(&direction));
                    gradient(&line.map(|(z, u)| z + by * u).collect::<Vec<_>>(), label, &tables)
                };
                let slope = |(a, b): (f64, f64)| 0.5 * (a - b) / 2e-3;
                let expected: Vec<f64> = moved(1e-3).into_iter().zip(moved(-1e-3)).map(slope).collect();
                assert_close(&found, &expected, 1e-5);
            }
        }
    }

    #[test]
    fn the_tangent_of_a_certain_sample_keeps_its_digits() {
        // p and 1 - p are 1 and 2e-9: e and its derivative are numbers of that size, here to first order in it.
        let small = libm::exp(-20.0);
        for label in [0, 1] {
            let tables = LossTables { scale: &[1.0; 3], shift: &[0.0; 3], margin: &[0.0; 3], focal: 0.0 };
            let mut found = [f32::NAN; 3];
            cross_entropy_tangent(&mut found, &[20.0, 0.0, 0.0], &[3.0, 1.0, -2.0], label, &tables, 1.0).unwrap();
            assert_close(&found, &[7.0 * small, -2.0 * small, -5.0 * small], 1e-6);
        }
    }

    #[test]
    fn a_shift_of_all_logits_moves_no_gradient() {
        for focal in [0.0, 1.0] {
            let tables = LossTables { scale: &[2.0; 4], shift: &[0.5; 4], margin: &[0.1; 4], focal };
            let mut found = [f32::NAN; 4];
            cross_entropy_tangent(&mut found, &[0.3, 1.5, -0.7, 0.2], &[0.7; 4], 2, &tables, 1.0).unwrap();
            assert_eq!(found, [0.0; 4]);
        }
    }

    #[test]
    fn tangents_of_certain_and_hopeless_samples_are_finite() {
        for focal in [0.0, 0.5, 1.0, 2.0] {
            let tables = LossTables { scale: &[1.0; 3], shift: &[0.0; 3], margin: &[0.0; 3], focal };
            for label in 0..3 {
                let mut found = [f32::NAN; 3];
                cross_entropy_tangent(&mut found, &[1000.0, -1000.0, 0.0], &[1.0, -2.0, 3.0], label, &tables, 1.0)
                    .unwrap();
                assert_eq!(found.map(f32::abs), [0.0; 3], "label {label}, focal {focal}");
            }
        }
        let tables = LossTables { scale: &[1.0; 3], shift: &[0.0; 3], margin: &[0.0; 3], focal: 0.0 };
        assert!(cross_entropy_tangent(&mut [0.0; 3], &[0.0; 3], &[0.0; 2], 0, &tables, 1.0).is_err());
        let label = cross_entropy_tangent(&mut [0.0; 3], &[0.0; 3], &[0.0; 3], 3, &tables, 1.0);
        assert_eq!(label, Err(Error::Label { label: 3.0, classes: 3 }));
    }

    #[test]
    fn certain_and_hopeless_samples_stay_finite() {
        for focal in [0.0, 0.5, 1.0, 2.0] {
            let tables = LossTables { scale: &[1.0; 3], shift: &[0.0; 3], margin: &[0.0; 3], focal };
            for (label, expected) in [(0, 0.0), (1, 2000.0)] {
                let mut dlogits = [f32::NAN; 3];
                let loss = cross_entropy(&mut dlogits, &[1000.0, -1000.0, 0.0], label, &tables, 1.0).unwrap();
                assert_eq!(loss, expected);
                assert!(dlogits.iter().all(|d| d.is_finite()));
            }
        }
    }

    #[test]
    fn labels_and_lengths_are_checked() {
        let tables = LossTables { scale: &[1.0; 3], shift: &[0.0; 3], margin: &[0.0; 3], focal: 0.0 };
        let label = cross_entropy(&mut [0.0; 3], &[0.0; 3], 3, &tables, 1.0);
        assert_eq!(label, Err(Error::Label { label: 3.0, classes: 3 }));
        assert!(matches!(cross_entropy(&mut [0.0; 2], &[0.0; 2], 0, &tables, 1.0), Err(Error::Length { .. })));
    }

    #[test]
    fn each_length_is_checked_by_itself() {
        const LONG: [f32; 4] = [1.0; 4];
        for found in [2, 4] {
            for wrong in 0..4 {
                let length = |at: usize| if at == wrong { found } else { 3 };
                let [scale, shift, margin] = [1, 2, 3].map(|at| LONG.get(..length(at)).unwrap());
                let tables = LossTables { scale, shift, margin, focal: 0.0 };
                let mut dlogits = [7.0; 4];
                let refused = cross_entropy(&mut dlogits[..length(0)], &[0.0; 3], 0, &tables, 1.0);
                let what = ["dlogits", "scale", "shift", "margin"][wrong];
                assert_eq!(refused, Err(Error::Length { what, expected: 3, found }));
                assert_eq!(dlogits, [7.0; 4], "{what}: nothing is written");
            }
        }
    }

    #[test]
    fn of_equal_logits_the_first_is_the_largest() {
        let tables = LossTables { scale: &[1.0; 4], shift: &[0.0; 4], margin: &[0.0; 4], focal: 0.0 };
        let loss = cross_entropy(&mut [0.0; 4], &[0.0, -16.7, -16.7, 0.0], 0, &tables, 1.0).unwrap();
        let small = exp(-16.7);
        // In this order the two are not rounded away, as they are one by one.
        assert_eq!(loss, log1p(small + small + 1.0));
        assert_ne!(loss, log1p(1.0 + small + small));
    }

    #[test]
    fn a_single_class_is_certain() {
        let tables = LossTables { scale: &[2.0], shift: &[1.0], margin: &[3.0], focal: 1.0 };
        let mut dlogits = [7.0];
        assert_eq!(cross_entropy(&mut dlogits, &[5.0], 0, &tables, 1.0), Ok(0.0));
        assert_eq!(dlogits, [0.0]);
    }
}
