//! One training step: a single rule that is SGD, SAM, ImbSAM, SSE-SAM or Focal-SAM by its groups and radii.

use crate::error::Error;
use crate::machine::backend::Backend;
use crate::memory::{Place, Span};
use crate::ops::vector::{Outcome, Sgd};
use crate::ops::{Ascend, Axpy, Decay, Descend, Fill, SgdUpdate};
use crate::training::method::{Group, Present};
use crate::training::problem::{Problem, Statistics, Target};
use crate::training::vectors::Vectors;

/// One step of training on one batch.
///
/// With `L_g` the loss of group `g`, its divisor the whole batch:
/// `eps_g = rho_g * grad L_g(w) / (||grad L_g(w)||_2 + 1e-16)`, `G = sum_g grad L_g(w + eps_g)`, `w <- SGD(w, G)`.
/// One pass at `w` gives all group gradients; a group of radius 0 needs no second one. The parameters are written by
/// the last operation alone, and not at all when `G` is not finite.
///
/// # Errors
/// What the backend or the problem reports; the parameters are then unchanged, unless the update itself failed.
///
/// # Source
/// Lyu et al. 2025, algorithm 1.
pub fn step<B: Backend, P: Problem<B>>(
    backend: &mut B,
    problem: &mut P,
    vectors: &Vectors,
    groups: &Present,
    sgd: &Sgd,
    outcome: &Outcome,
) -> Result<(), B::Error> {
    clear(backend, vectors.gradient)?;
    add_gradients(backend, problem, vectors, groups, outcome)?;
    update(backend, vectors, outcome, sgd)
}

/// Zeros, for gradients to be added to.
// `inline(never)`, as the next two: stack.
#[inline(never)]
fn clear<B: Backend>(backend: &mut B, to: Span) -> Result<(), B::Error> {
    backend.run(&Fill { to, value: 0.0 })
}

/// `point <- w + radius * point / (||point||_2 + 1e-16)`.
#[inline(never)]
fn ascend<B: Backend>(
    backend: &mut B,
    point: Span,
    squared_norm: Span,
    params: Span,
    radius: f32,
) -> Result<(), B::Error> {
    backend.run(&Ascend { point, squared_norm, params, radius })
}

/// `w <- SGD(w, G)`.
#[inline(never)]
fn update<B: Backend>(backend: &mut B, vectors: &Vectors, outcome: &Outcome, sgd: &Sgd) -> Result<(), B::Error> {
    let Vectors { params, velocity, gradient, .. } = *vectors;
    backend.run(&SgdUpdate { params, velocity, outcome, gradient, sgd })
}

/// [`step()`] in less memory: gradients are added to the velocity, which needs no vector `G`.
///
/// `v <- momentum * v + weight_decay * w`, then every gradient of `G` is added to `v`, then `w <- w - learning_rate * v`.
/// A single point serves the groups that are perturbed in turn, each but the first after another forward pass at `w`;
/// batch norm's running statistics move in the first pass alone. The parameters are written by the last
/// operation alone, and not at all when `v` is not finite. The velocity is lost then: it becomes zero, so that training
/// can go on, or go back to where it was saved. `outcome` has the squared norm of `v`, for there is no other.
///
/// # Errors
/// [`Error::Nesterov`] with Nesterov momentum, which needs `G` by itself; else as [`step()`], but after any error that
/// comes later the velocity is lost.
pub fn lean_step<B: Backend, P: Problem<B>>(
    backend: &mut B,
    problem: &mut P,
    vectors: &Vectors,
    groups: &Present,
    sgd: &Sgd,
    outcome: &Outcome,
) -> Result<(), B::Error> {
    if sgd.nesterov {
        return Err(Error::Nesterov.into());
    }
    let vectors = &Vectors { gradient: vectors.velocity, ..*vectors };
    backend.run(&Decay { velocity: vectors.velocity, params: vectors.params, sgd })?;
    match vectors.points {
        [Some(point), None] => add_gradients_in_turn(backend, problem, vectors, groups, point, outcome)?,
        _ => add_gradients(backend, problem, vectors, groups, outcome)?,
    }
    backend.run(&Descend {
        params: vectors.params,
        velocity: vectors.velocity,
        outcome,
        learning_rate: sgd.learning_rate,
    })
}

/// Another learning rate for a part of the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartRate {
    /// Where the part lies in the vector of parameters.
    pub part: Place,
    /// Its learning rate, over that of the others.
    pub factor: f32,
}

/// [`step()`] with another learning rate for a part of the parameters, as PyTorch has it with two groups of parameters.
///
/// In the part `G <- factor * G + (factor - 1) * weight_decay * w` before the update, so that its velocity is `factor` times
/// what it would be, and its step `factor * learning_rate` times that. Points are climbed to as ever. The squared norm in
/// `outcome` is that of G as the update finds it.
///
/// # Errors
/// As [`step()`].
pub fn step_with_part<B: Backend, P: Problem<B>>(
    backend: &mut B,
    problem: &mut P,
    vectors: &Vectors,
    groups: &Present,
    (sgd, rate): (&Sgd, &PartRate),
    outcome: &Outcome,
) -> Result<(), B::Error> {
    let (gradient, params) = (rate.part.of(vectors.gradient)?, rate.part.of(vectors.params)?);
    let scale = Sgd { momentum: rate.factor, weight_decay: (rate.factor - 1.0) * sgd.weight_decay, ..*sgd };
    clear(backend, vectors.gradient)?;
    add_gradients(backend, problem, vectors, groups, outcome)?;
    backend.run(&Decay { velocity: gradient, params, sgd: &scale })?;
    update(backend, vectors, outcome, sgd)
}

/// [`lean_step`] with another learning rate for a part of the parameters.
///
/// After the update `w <- w - (factor - 1) * learning_rate * v` in the part. A velocity that was not finite is zero by then,
/// so that the parameters do not change with it.
///
/// # Errors
/// As [`lean_step`].
pub fn lean_step_with_part<B: Backend, P: Problem<B>>(
    backend: &mut B,
    problem: &mut P,
    vectors: &Vectors,
    groups: &Present,
    (sgd, rate): (&Sgd, &PartRate),
    outcome: &Outcome,
) -> Result<(), B::Error> {
    let (velocity, params) = (rate.part.of(vectors.velocity)?, rate.part.of(vectors.params)?);
    lean_step(backend, problem, vectors, groups, sgd, outcome)?;
    backend.run(&Axpy { y: params, alpha: (1.0 - rate.factor) * sgd.learning_rate, x: velocity })
}

/// Adds every group's gradient at its point to `vectors.gradient`; one pass at the parameters serves all groups.
fn add_gradients<B: Backend, P: Problem<B>>(
    backend: &mut B,
    problem: &mut P,
    vectors: &Vectors,
    groups: &Present,
    outcome: &Outcome,
) -> Result<(), B::Error> {
    let targets = groups.targets(vectors)?;
    let perturbed = || groups.iter().zip(&targets).filter(|(group, _)| group.radius > 0.0);
    for (_, target) in perturbed() {
        clear(backend, target.gradient)?;
    }
    problem.forward(backend, vectors.params, Statistics::Update)?;
    problem.backward(backend, vectors.params, &targets)?;
    for (group, target) in perturbed() {
        add_perturbed(backend, problem, vectors, group, target.gradient, outcome)?;
    }
    Ok(())
}

/// The same with one point for all groups, and one gradient at a time.
fn add_gradients_in_turn<B: Backend, P: Problem<B>>(
    backend: &mut B,
    problem: &mut P,
    vectors: &Vectors,
    groups: &Present,
    point: Span,
    outcome: &Outcome,
) -> Result<(), B::Error> {
    let params = vectors.params;
    problem.forward(backend, params, Statistics::Update)?;
    for group in groups.iter().filter(|group| group.radius == 0.0) {
        problem.backward(backend, params, &[Target { column: group.column, gradient: vectors.gradient }])?;
    }
    for (number, group) in groups.perturbed().enumerate() {
        if number > 0 {
            problem.forward(backend, params, Statistics::Repeat)?;
        }
        clear(backend, point)?;
        problem.backward(backend, params, &[Target { column: group.column, gradient: point }])?;
        add_perturbed(backend, problem, vectors, group, point, outcome)?;
    }
    Ok(())
}

/// Climbs from the parameters along a group's gradient, which `point` holds, and adds the gradient that is found there.
fn add_perturbed<B: Backend, P: Problem<B>>(
    backend: &mut B,
    problem: &mut P,
    vectors: &Vectors,
    group: Group,
    point: Span,
    outcome: &Outcome,
) -> Result<(), B::Error> {
    let [head, tail] = outcome.group_squared_norms;
    let squared_norm = if group.column == 0 { head } else { tail };
    ascend(backend, point, squared_norm, vectors.params, group.radius)?;
    problem.forward(backend, point, Statistics::Keep)?;
    problem.backward(backend, point, &[Target { column: group.column, gradient: vectors.gradient }])
}
