//! Everything that is measured of one group's loss at given weights.

use sse_sam_core::ops::{Axpy, Copy, Fill};
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Problem, Statistics};

use crate::device::machine::Machine;
use crate::error::Error;
use crate::spectrum::directions::deepest;
use crate::spectrum::fit::Fit;
use crate::spectrum::groups::{Classes, Group};
use crate::spectrum::hessian::{Hessian, Samples};
use crate::spectrum::lanczos::{Basis, Operator, lanczos, lowest_again};
use crate::spectrum::layout::Layout;
use crate::spectrum::quadrature::{Mean, Run, Spectrum};
use crate::spectrum::report::{Checks, Measured};
use crate::spectrum::start;

/// Largest group whose exact trace is computed, and most passes of one sample that it may take.
const EXACT: [usize; 2] = [64, 4096];

/// Numbers of the start vectors that the checks use: none of a spectrum's.
const CHECKS: [u64; 2] = [u64::MAX, u64::MAX - 1];

/// How a spectrum is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Products of a Lanczos run, at most.
    pub steps: usize,
    /// Lanczos runs.
    pub vectors: usize,
    /// Fixes the start vectors.
    pub seed: u64,
}

/// A group, and how it is cut.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Which.
    pub group: Group,
    /// The training set's classes.
    pub classes: Classes<'a>,
    /// Samples of each class that are looked at.
    pub taken: Vec<u32>,
}

impl Subject<'_> {
    /// What a sample of each class counts.
    pub fn factors(&self) -> Vec<f64> {
        self.classes.factors(self.group, &self.taken)
    }

    /// Samples that are looked at.
    pub fn samples(&self) -> usize {
        self.taken.iter().map(|&count| count as usize).sum()
    }
}

/// Measures a group; `advance` is told of every product that begins, by its number and that of all.
///
/// # Errors
/// [`Error::Usage`] when loss, gradient or a product is not finite, else what the machine reports.
pub fn measure<B: Machine, S: Samples<B>>(
    backend: &mut B,
    hessian: &mut Hessian<'_, S>,
    subject: &Subject<'_>,
    question: &Question,
    advance: &dyn Fn(usize, usize),
) -> Result<Measured, Error>
where
    Error: From<B::Error>,
{
    let layout = hessian.parts().1;
    let (room, gradient) = (&layout.room, layout.gradient());
    hessian.arrange(backend, &subject.factors())?;
    let Fit { loss, miss } = hessian.fit(backend, hessian.params())?;
    hessian.gradient(backend, gradient)?;
    let gradient_norm = room.norm(backend, gradient)?;
    finite(subject.group, "loss or gradient", loss.is_finite() && gradient_norm.is_finite())?;
    let checks = checks(backend, hessian, subject, question.seed)?;
    let spectrum = spectrum(backend, hessian, subject.group, question, advance)?;
    let along = point_downhill(backend, layout)?;
    let drop = deepest(loss, &[1.0, -1.0], |length| hessian.along(backend, layout.lowest(), length))?;
    let exact_trace = exact_trace(backend, hessian, subject)?;
    let [uphill, _] = layout.scratch();
    backend.run(&Copy { to: uphill, from: gradient })?;
    room.normalise(backend, uphill)?;
    hessian.arrange(backend, &subject.factors())?;
    let drop_gradient = deepest(loss, &[1.0], |length| hessian.along(backend, uphill, -length))?;
    let parameters = layout.network.plan.trainable() as f64;
    let Mean { mean, standard_error } = spectrum.mean_eigenvalue;
    Ok(Measured {
        group: subject.group.to_string(),
        samples: subject.samples(),
        of: subject.classes.size(subject.group),
        parameters: layout.network.plan.trainable(),
        loss,
        miss,
        gradient_norm,
        lambda_max: spectrum.lambda_max,
        lambda_min: spectrum.lambda_min,
        negative_mass: spectrum.negative_mass,
        trace: Mean { mean: mean * parameters, standard_error: standard_error.map(|error| error * parameters) },
        exact_trace,
        gradient_along_lambda_min: if gradient_norm > 0.0 { along / gradient_norm } else { 0.0 },
        drop,
        drop_gradient,
        products: spectrum.products,
        escape: None,
        checks,
        nodes: spectrum.nodes.iter().map(|run| run.iter().map(|node| node.value).collect()).collect(),
        weights: spectrum.nodes.iter().map(|run| run.iter().map(|node| node.weight).collect()).collect(),
    })
}

/// Turns the vector of the smallest eigenvalue so that the loss falls along it at first, and says how much of the gradient
/// lies along it: its sign alone would be a matter of chance.
fn point_downhill<B: Machine>(backend: &mut B, layout: &Layout) -> Result<f64, Error>
where
    Error: From<B::Error>,
{
    let (lowest, [spare, _]) = (layout.lowest(), layout.scratch());
    let along = layout.room.dot(backend, layout.gradient(), lowest)?;
    if along > 0.0 {
        backend.run(&Copy { to: spare, from: lowest })?;
        backend.run(&Axpy { y: lowest, alpha: -2.0, x: spare })?;
    }
    Ok(along.abs())
}

fn finite(group: Group, what: &str, is_finite: bool) -> Result<(), Error> {
    if is_finite {
        return Ok(());
    }
    Err(Error::Usage(format!("{group}: {what} is not finite at these weights: take those of an earlier epoch")))
}

/// The spectrum of a group whose samples are arranged; the vector of the smallest eigenvalue is left in its place.
///
/// # Errors
/// As [`measure`].
pub fn spectrum<B: Machine, S: Samples<B>>(
    backend: &mut B,
    hessian: &mut Hessian<'_, S>,
    group: Group,
    question: &Question,
    advance: &dyn Fn(usize, usize),
) -> Result<Spectrum, Error>
where
    Error: From<B::Error>,
{
    let layout = hessian.parts().1;
    let (room, length, places) = (&layout.room, layout.network.plan.parameters(), start::places(&layout.network));
    let Question { steps, vectors, seed } = *question;
    let is_kept = room.basis() == Basis::Full;
    let all = steps * (vectors + usize::from(!is_kept));
    let vector = |number: usize| start::vector(length, &places, seed, number as u64);
    let mut runs: Vec<Run> = Vec::with_capacity(vectors);
    for number in 0..vectors {
        let told = |_: &mut B, step, _| {
            advance(number * steps + step, all);
            Ok(())
        };
        runs.push(lanczos(backend, hessian, room, (&vector(number), steps), told)?);
        let found = Spectrum::of(&runs);
        finite(group, "a product with the Hessian", found.is_some())?;
        // The basis of the lowest run so far is there now, and gone after the next one.
        if is_kept && found.is_some_and(|found| found.lowest == number) {
            let shares = runs[number].matrix.lowest_vector().unwrap_or_default();
            room.assemble(backend, layout.lowest(), &shares)?;
        }
    }
    let Some(found) = Spectrum::of(&runs) else {
        return Err(Error::Usage("a spectrum needs a start vector and a step".into()));
    };
    if !is_kept {
        let shares = runs[found.lowest].matrix.lowest_vector().unwrap_or_default();
        let start = vector(found.lowest);
        lowest_again(backend, hessian, room, (&start, &shares), layout.lowest(), |step| {
            advance(vectors * steps + step, all);
            Ok(())
        })?;
    }
    advance(all, all);
    Ok(found)
}

/// How symmetric products are, and, of all samples, how well those of head and tail add up to them.
///
/// # Errors
/// What the machine reports.
pub fn checks<B: Machine, S: Samples<B>>(
    backend: &mut B,
    hessian: &mut Hessian<'_, S>,
    subject: &Subject<'_>,
    seed: u64,
) -> Result<Checks, Error>
where
    Error: From<B::Error>,
{
    let layout = hessian.parts().1;
    let (room, length, places) = (&layout.room, layout.network.plan.parameters(), start::places(&layout.network));
    let ([v, hv], [u, hu]) = ([layout.point(), layout.lowest()], layout.scratch());
    for (span, number) in [(v, CHECKS[0]), (u, CHECKS[1])] {
        backend.write(span, &start::vector(length, &places, seed, number))?;
    }
    hessian.product(backend, hv, v)?;
    hessian.product(backend, hu, u)?;
    let (uhv, vhu) = (room.dot(backend, u, hv)?, room.dot(backend, v, hu)?);
    let norms = [room.norm(backend, hu)?, room.norm(backend, hv)?];
    let symmetry = if norms[0] > 0.0 { (vhu - uhv).abs() / norms[0] } else { 0.0 };
    if subject.group != Group::All || norms[1] == 0.0 {
        return Ok(Checks { symmetry, linearity: None });
    }
    let factors = subject.factors();
    for part in [Group::Head, Group::Tail] {
        let masked: Vec<f64> = factors
            .iter()
            .enumerate()
            .map(|(class, &factor)| if subject.classes.belongs(class, part) { factor } else { 0.0 })
            .collect();
        hessian.arrange(backend, &masked)?;
        hessian.product(backend, hu, v)?;
        backend.run(&Axpy { y: hv, alpha: -1.0, x: hu })?;
    }
    let linearity = room.norm(backend, hv)? / norms[1];
    hessian.arrange(backend, &factors)?;
    Ok(Checks { symmetry, linearity: Some(linearity) })
}

/// The trace without chance, of a group that is small: for networks whose outputs are affine in each single parameter, as
/// all of ours are, it is `sum_i factor_i sum_k s_k |J_i' a_k|^2` with `sum_k s_k a_k a_k'` the second derivative of the
/// loss in the outputs. Every `J' a_k` is a gradient of the cross-entropy: that of label `k`.
///
/// # Errors
/// What the machine reports.
pub fn exact_trace<B: Machine, S: Samples<B>>(
    backend: &mut B,
    hessian: &mut Hessian<'_, S>,
    subject: &Subject<'_>,
) -> Result<Option<f64>, Error>
where
    Error: From<B::Error>,
{
    let (samples, layout, tables) = hessian.parts();
    let (count, classes) = (subject.samples(), layout.classes());
    if count > EXACT[0] || count * classes > EXACT[1] {
        return Ok(None);
    }
    let (room, params, [to, _]) = (&layout.room, layout.network.session.vectors.params, layout.scratch());
    let (factors, ones) = (subject.factors(), vec![1.0; classes]);
    let mut engine = layout.network.network(0.0)?;
    let mut trace = 0.0;
    samples.arrange(backend, 1, &ones)?;
    samples.each(backend, &mut engine, &mut |backend, engine, loaded| {
        let Some(&label) = loaded.labels.first() else { return Ok(()) };
        write_tables(backend, &layout.network.plan.terms, &tables.of_label(label))?;
        engine.forward(backend, params, Statistics::Running)?;
        let mut logits = vec![0.0; classes];
        backend.read(&mut logits, engine.logits()?)?;
        let slopes = tables.slopes(&logits, label);
        let mut sum = 0.0;
        for (class, probability) in slopes.probabilities.iter().enumerate() {
            backend.write(engine.batch()?.labels, &[class as f32])?;
            backend.run(&Fill { to, value: 0.0 })?;
            engine.backward(backend, params, &[Target { column: 0, gradient: to }])?;
            let squared = room.norm(backend, to)?.powi(2);
            let own = if class == label as usize { slopes.second } else { 0.0 };
            sum += (slopes.first * probability + own) * squared;
        }
        trace += factors[label as usize] * sum;
        Ok(())
    })?;
    write_tables(backend, &layout.network.plan.terms, &tables.all())?;
    Ok(Some(trace))
}

fn write_tables<B: Machine>(
    backend: &mut B,
    spans: &[sse_sam_core::Span; 3],
    tables: &[Vec<f32>; 3],
) -> Result<(), Error>
where
    Error: From<B::Error>,
{
    Ok(spans.iter().zip(tables).try_for_each(|(&span, table)| backend.write(span, table))?)
}
