//! One training step: a single rule that is SGD, SAM, ImbSAM or SSE-SAM by its groups and radii.

use heapless::Vec;

use crate::backend::{Backend, Outcome, Sgd, Span};
use crate::error::Error;
use crate::plan::Arena;

/// What happens to batch-norm statistics in a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Normalise with the batch's statistics and move the running ones: a batch's first pass, at the parameters.
    Update,
    /// Normalise with the batch's statistics, leave the running ones: another pass at the parameters.
    Repeat,
    /// Normalise with the batch's statistics, leave the running ones: a pass at a perturbed point.
    Keep,
    /// Normalise with the running statistics: evaluation.
    Running,
}

/// A group of samples whose loss gradient is wanted, and the vector it is added to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The group's column in the table of sample weights.
    pub column: usize,
    /// A vector as long as the parameters.
    pub gradient: Span,
}

/// A loss over a batch that can be evaluated at any parameters: a network, or your own function.
pub trait Problem<B: Backend> {
    /// Evaluates at `params` and keeps what [`Problem::backward`] needs. A batch's first pass is one with
    /// [`Statistics::Update`] or [`Statistics::Running`].
    fn forward(&mut self, backend: &mut B, params: Span, statistics: Statistics) -> Result<(), B::Error>;

    /// Adds, for each of one or two targets, the gradient at `params` of
    /// `sum_i weight[column][i] * loss_i` to `target.gradient`. `params` are those of the last forward pass.
    fn backward(&mut self, backend: &mut B, params: Span, targets: &[Target]) -> Result<(), B::Error>;
}

/// A training method: which groups a batch is split into, and how far each is perturbed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// One group, no perturbation.
    Sgd,
    /// One group, perturbed by `rho` (Foret et al. 2021).
    Sam {
        /// Radius.
        rho: f64,
    },
    /// Head unperturbed, tail perturbed by `rho` (Zhou et al. 2023).
    ImbSam {
        /// Radius of the tail.
        rho: f64,
    },
    /// Head and tail perturbed in the first stage, the tail alone in the second (Lyu et al. 2025).
    SseSam {
        /// Radius of the head while `epoch < gamma * epochs`.
        head_rho: f64,
        /// Radius of the tail throughout.
        tail_rho: f64,
        /// Share of the epochs that form the first stage, in `0..=1`.
        gamma: f64,
    },
}

impl Method {
    /// The stage `epoch` (from 0) of `epochs` belongs to: 1 or 2 for SSE-SAM, always 1 for the others.
    pub fn stage(&self, epoch: u32, epochs: u32) -> u32 {
        match *self {
            Self::SseSam { gamma, .. } if f64::from(epoch) >= gamma * f64::from(epochs) => 2,
            _ => 1,
        }
    }

    /// Whether samples of the tail form a group of their own.
    pub fn splits(&self) -> bool {
        matches!(self, Self::ImbSam { .. } | Self::SseSam { .. })
    }

    /// The groups of `epoch` of `epochs`. Groups of radius 0 are merged.
    ///
    /// # Errors
    /// [`Error::Range`] when a radius is negative or not finite, or gamma outside `0..=1`.
    pub fn groups(&self, epoch: u32, epochs: u32) -> Result<Groups, Error> {
        let (head, tail) = match *self {
            Self::Sgd => (0.0, None),
            Self::Sam { rho } => (radius("rho", rho)?, None),
            Self::ImbSam { rho } => (0.0, Some(radius("rho", rho)?)),
            Self::SseSam { head_rho, tail_rho, gamma } => {
                if !(0.0..=1.0).contains(&gamma) {
                    return Err(Error::Range { what: "gamma", low: 0.0, high: 1.0, found: gamma as f32 });
                }
                let head = radius("head_rho", head_rho)?;
                (if self.stage(epoch, epochs) == 1 { head } else { 0.0 }, Some(radius("tail_rho", tail_rho)?))
            }
        };
        Ok(Groups { head, tail: tail.filter(|&tail| tail > 0.0 || head > 0.0) })
    }

    /// How many perturbed points the method needs at once in a run of `epochs`: vectors as long as the parameters.
    ///
    /// # Errors
    /// As [`Method::groups`].
    pub fn points(&self, epochs: u32) -> Result<usize, Error> {
        Ok(self.groups(0, epochs)?.all().perturbed().count())
    }
}

fn radius(what: &'static str, found: f64) -> Result<f32, Error> {
    if found >= 0.0 && (found as f32).is_finite() {
        Ok(found as f32)
    } else {
        Err(Error::Range { what, low: 0.0, high: f32::INFINITY, found: found as f32 })
    }
}

/// The groups of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Groups {
    head: f32,
    tail: Option<f32>,
}

impl Groups {
    /// Groups by their radii: all samples in one, or those of the tail in another.
    ///
    /// # Errors
    /// [`Error::Range`] when a radius is negative or not finite.
    pub fn new(head: f32, tail: Option<f32>) -> Result<Self, Error> {
        for (what, found) in [("radius", head), ("tail radius", tail.unwrap_or(0.0))] {
            if !(found >= 0.0 && found.is_finite()) {
                return Err(Error::Range { what, low: 0.0, high: f32::INFINITY, found });
            }
        }
        Ok(Self { head, tail: tail.filter(|&tail| tail > 0.0 || head > 0.0) })
    }

    /// The column of the table of sample weights in which a sample counts.
    pub fn column(&self, tail: bool) -> usize {
        usize::from(tail && self.tail.is_some())
    }

    /// Both groups, as for a batch with samples of each.
    pub fn all(&self) -> Present {
        self.present([true, true])
    }

    /// The groups that have samples in a batch, by column. A group without any adds nothing and costs nothing.
    pub fn present(&self, columns: [bool; 2]) -> Present {
        let [head, tail] = columns;
        let head = head.then_some(Group { column: 0, radius: self.head });
        let tail = self.tail.filter(|_| tail).map(|radius| Group { column: 1, radius });
        Present { groups: [head, tail] }
    }
}

/// A group with samples in the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Its column in the table of sample weights.
    pub column: usize,
    /// How far its point lies from the parameters.
    pub radius: f32,
}

/// The groups with samples in a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Present {
    groups: [Option<Group>; 2],
}

impl Present {
    /// Every group with samples, by column.
    pub fn iter(&self) -> impl Iterator<Item = Group> {
        self.groups.iter().filter_map(|group| *group)
    }

    /// The groups with a point of their own.
    pub fn perturbed(&self) -> impl Iterator<Item = Group> {
        self.iter().filter(|group| group.radius > 0.0)
    }

    /// Where each group's gradient at the parameters goes: into its point, or into the sum where its radius is 0.
    fn targets(&self, vectors: &Vectors) -> Result<Vec<Target, 2>, Error> {
        let mut targets = Vec::new();
        for group in self.iter() {
            let gradient = if group.radius > 0.0 { self.point(group, vectors)? } else { vectors.gradient };
            let target = Target { column: group.column, gradient };
            targets.push(target).map_err(|_| Error::Capacity { what: "groups", capacity: 2 })?;
        }
        Ok(targets)
    }

    fn point(&self, group: Group, vectors: &Vectors) -> Result<Span, Error> {
        let number = self.perturbed().take_while(|other| other.column < group.column).count();
        let point = vectors.points.get(number).copied().flatten();
        point.ok_or(Error::Capacity { what: "perturbed points", capacity: number })
    }
}

/// How many vectors a method works with. The mathematics is the same, sums are rounded in another order.
///
/// | memory      | step          | vectors in SSE-SAM's first stage | forward and backward passes of a batch there |
/// |-------------|---------------|----------------------------------|----------------------------------------------|
/// | `Full`      | [`step()`]    | 5: w, v, G, two points           | 3 and 4                                      |
/// | `Lean`      | [`lean_step`] | 4: w, v, two points              | 3 and 4                                      |
/// | `Recompute` | [`lean_step`] | 3: w, v, one point               | 4 and 4                                      |
///
/// [`Pieces`](crate::Pieces) take 2 and 2 passes with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// A vector for the sum of the groups' gradients, and a point for each group that is perturbed.
    #[default]
    Full,
    /// Gradients are added to the velocity.
    Lean,
    /// As `Lean`, and one point serves one group after the other.
    Recompute,
}

impl Memory {
    /// Vectors as long as the parameters, for a method that perturbs `points` groups.
    pub fn vectors(self, points: usize) -> usize {
        match self {
            Self::Full => 3 + points.min(2),
            Self::Lean => 2 + points.min(2),
            Self::Recompute => 2 + points.min(1),
        }
    }

    /// Gradients of one activation at a time, when `groups` take a step: what to plan a network for.
    pub fn streams(self, groups: &Present) -> usize {
        match self {
            Self::Full => groups.iter().count().max(1),
            Self::Lean => groups.perturbed().count().max(1),
            Self::Recompute => 1,
        }
    }
}

/// The vectors of a method, each as long as the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vectors {
    /// `w`.
    pub params: Span,
    /// `v`.
    pub velocity: Span,
    /// `G`, the sum over groups; the velocity itself in lean memory.
    pub gradient: Span,
    /// A group's gradient, then its perturbed parameters.
    pub points: [Option<Span>; 2],
}

impl Vectors {
    /// Plans `3 + points` vectors of `length` numbers for [`step()`].
    ///
    /// # Errors
    /// As [`Arena::allocate`].
    pub fn new(arena: &mut Arena, length: usize, points: usize) -> Result<Self, Error> {
        Self::in_memory(Memory::Full, arena, length, points)
    }

    /// Plans the vectors of a method that perturbs `points` groups: [`Memory::vectors`] of `length` numbers.
    ///
    /// # Errors
    /// As [`Arena::allocate`].
    pub fn in_memory(memory: Memory, arena: &mut Arena, length: usize, points: usize) -> Result<Self, Error> {
        let (params, velocity) = (arena.allocate(length)?, arena.allocate(length)?);
        let gradient = if memory == Memory::Full { arena.allocate(length)? } else { velocity };
        let mut vectors = Self { params, velocity, gradient, points: [None; 2] };
        let points = if memory == Memory::Recompute { points.min(1) } else { points };
        for point in vectors.points.iter_mut().take(points) {
            *point = Some(arena.allocate(length)?);
        }
        Ok(vectors)
    }
}

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
    backend.fill(vectors.gradient, 0.0)?;
    add_gradients(backend, problem, vectors, groups, outcome)?;
    backend.sgd(vectors.params, vectors.velocity, outcome, vectors.gradient, sgd)
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
    backend.decay(vectors.velocity, vectors.params, sgd)?;
    match vectors.points {
        [Some(point), None] => add_gradients_in_turn(backend, problem, vectors, groups, point, outcome)?,
        _ => add_gradients(backend, problem, vectors, groups, outcome)?,
    }
    backend.descend(vectors.params, vectors.velocity, outcome, sgd.learning_rate)
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
        backend.fill(target.gradient, 0.0)?;
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
        backend.fill(point, 0.0)?;
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
    backend.ascend(point, squared_norm, vectors.params, group.radius)?;
    problem.forward(backend, point, Statistics::Keep)?;
    problem.backward(backend, point, &[Target { column: group.column, gradient: vectors.gradient }])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSE: Method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 };

    fn radii(method: Method, epoch: u32, epochs: u32) -> [Option<f32>; 2] {
        let present = method.groups(epoch, epochs).unwrap().all();
        present.groups.map(|group| group.map(|group| group.radius))
    }

    #[test]
    fn methods_differ_only_in_groups_and_radii() {
        assert_eq!(radii(Method::Sgd, 0, 4), [Some(0.0), None]);
        assert_eq!(radii(Method::Sam { rho: 0.05 }, 0, 4), [Some(0.05), None]);
        assert_eq!(radii(Method::ImbSam { rho: 0.05 }, 0, 4), [Some(0.0), Some(0.05)]);
        assert_eq!(radii(SSE, 1, 4), [Some(0.05), Some(0.1)]);
        assert_eq!(radii(SSE, 2, 4), [Some(0.0), Some(0.1)]);
    }

    #[test]
    fn the_first_stage_ends_at_gamma_of_the_epochs() {
        assert_eq!([0, 1, 2, 3, 4].map(|epoch| SSE.stage(epoch, 5)), [1, 1, 1, 2, 2]);
        let gamma = |gamma| Method::SseSam { head_rho: 1.0, tail_rho: 1.0, gamma };
        assert_eq!([gamma(0.0).stage(0, 5), gamma(1.0).stage(4, 5)], [2, 1]);
    }

    #[test]
    fn groups_by_their_radii_are_those_of_the_methods() {
        assert_eq!(Groups::new(0.05, Some(0.1)), SSE.groups(1, 4));
        assert_eq!(Groups::new(0.0, Some(0.1)), SSE.groups(2, 4));
        assert_eq!(Groups::new(0.05, None), Method::Sam { rho: 0.05 }.groups(0, 4));
        assert_eq!(Groups::new(0.0, Some(0.0)), Method::Sgd.groups(0, 4));
        for (head, tail) in [(-0.1, None), (f32::NAN, Some(0.1)), (0.1, Some(f32::INFINITY)), (0.1, Some(-0.1))] {
            assert!(matches!(Groups::new(head, tail), Err(Error::Range { .. })));
        }
    }

    #[test]
    fn groups_of_radius_zero_are_merged() {
        assert_eq!(radii(Method::ImbSam { rho: 0.0 }, 0, 4), [Some(0.0), None]);
        let merged = Method::ImbSam { rho: 0.0 }.groups(0, 4).unwrap();
        assert_eq!(merged.column(true), 0);
        // Not where the other group is perturbed: a sample then counts in one of them alone.
        let still_tail = Method::SseSam { head_rho: 0.1, tail_rho: 0.0, gamma: 0.5 };
        assert_eq!([0, 2].map(|epoch| radii(still_tail, epoch, 4)), [[Some(0.1), Some(0.0)], [Some(0.0), None]]);
        assert_eq!([0, 2].map(|epoch| still_tail.groups(epoch, 4).unwrap().column(true)), [1, 0]);
        assert_eq!(SSE.groups(0, 4).unwrap().column(true), 1);
    }

    #[test]
    fn points_are_planned_for_the_hungriest_stage() {
        assert_eq!(Method::Sgd.points(4), Ok(0));
        assert_eq!(Method::Sam { rho: 0.1 }.points(4), Ok(1));
        assert_eq!(Method::ImbSam { rho: 0.1 }.points(4), Ok(1));
        assert_eq!(SSE.points(4), Ok(2));
    }

    #[test]
    fn memory_counts_the_vectors_that_are_planned() {
        for memory in [Memory::Full, Memory::Lean, Memory::Recompute] {
            for points in 0..=2 {
                let mut arena = Arena::new(1);
                Vectors::in_memory(memory, &mut arena, 7, points).unwrap();
                assert_eq!(arena.len(), 7 * memory.vectors(points), "{memory:?}, {points} points");
            }
        }
        assert_eq!([Memory::Full, Memory::Lean, Memory::Recompute].map(|memory| memory.vectors(2)), [5, 4, 3]);
        let both = SSE.groups(0, 4).unwrap().all();
        assert_eq!([Memory::Full, Memory::Lean, Memory::Recompute].map(|memory| memory.streams(&both)), [2, 2, 1]);
        let one = Method::ImbSam { rho: 0.1 }.groups(0, 4).unwrap().all();
        assert_eq!([Memory::Full, Memory::Lean, Memory::Recompute].map(|memory| memory.streams(&one)), [2, 1, 1]);
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        for gamma in [-0.1, 1.7, f64::NAN] {
            let method = Method::SseSam { head_rho: 0.1, tail_rho: 0.1, gamma };
            assert!(matches!(method.groups(0, 1), Err(Error::Range { what: "gamma", .. })), "{gamma}");
        }
        for bad in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            let methods = [
                ("rho", Method::Sam { rho: bad }),
                ("rho", Method::ImbSam { rho: bad }),
                ("head_rho", Method::SseSam { head_rho: bad, tail_rho: 0.1, gamma: 0.5 }),
                ("tail_rho", Method::SseSam { head_rho: 0.1, tail_rho: bad, gamma: 0.5 }),
            ];
            for (name, method) in methods {
                // In either stage, though the head's radius counts in the first one only.
                for epoch in [0, 1] {
                    let refused = method.groups(epoch, 2);
                    assert!(matches!(refused, Err(Error::Range { what, .. }) if what == name), "{method:?}");
                }
                assert!(method.points(2).is_err(), "{method:?}");
            }
        }
        for gamma in [0.0, 1.0] {
            assert!(Method::SseSam { head_rho: 0.1, tail_rho: 0.1, gamma }.groups(0, 1).is_ok());
        }
    }

    #[test]
    fn every_radius_of_groups_must_be_finite_and_not_negative() {
        for bad in [-1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (head, tail) = (Groups::new(bad, Some(0.1)), Groups::new(0.1, Some(bad)));
            assert!(matches!(head, Err(Error::Range { what: "radius", .. })), "{head:?}");
            assert!(matches!(tail, Err(Error::Range { what: "tail radius", .. })), "{tail:?}");
        }
    }

    #[test]
    fn the_second_stage_begins_at_the_first_epoch_that_gamma_does_not_reach() {
        // Exactly as f64 has it: 0.3 * 10 is 3, 0.29 * 100 lies just below 29.
        let first = |gamma, epochs| {
            let method = Method::SseSam { head_rho: 0.1, tail_rho: 0.1, gamma };
            (0..=epochs).find(|&epoch| method.stage(epoch, epochs) == 2)
        };
        assert_eq!([first(0.3, 10), first(0.5, 5), first(0.29, 100), first(0.7, 200)], [3, 3, 29, 140].map(Some));
        assert_eq!([first(0.0, 7), first(1.0, 7), first(0.5, 0)], [0, 7, 0].map(Some));
        for method in [Method::Sgd, Method::Sam { rho: 0.1 }, Method::ImbSam { rho: 0.1 }] {
            assert_eq!(method.stage(9, 10), 1, "{method:?}");
        }
    }

    #[test]
    fn methods_with_a_group_for_the_tail_split() {
        let split = [Method::ImbSam { rho: 0.1 }, SSE].map(|method| method.splits());
        assert_eq!(split, [true; 2]);
        assert_eq!([Method::Sgd, Method::Sam { rho: 0.1 }].map(|method| method.splits()), [false; 2]);
    }

    #[test]
    fn points_go_to_the_perturbed_groups_in_order() {
        let mut arena = Arena::new(1);
        let vectors = Vectors::new(&mut arena, 3, 2).unwrap();
        let targets = |groups: Groups| {
            let targets = groups.all().targets(&vectors).unwrap();
            [0, 1].map(|at| targets.get(at).map(|target| (target.column, target.gradient)))
        };
        let (sum, [first, second]) = (vectors.gradient, vectors.points.map(Option::unwrap));
        assert_eq!(targets(Groups::new(0.1, Some(0.2)).unwrap()), [Some((0, first)), Some((1, second))]);
        assert_eq!(targets(Groups::new(0.0, Some(0.2)).unwrap()), [Some((0, sum)), Some((1, first))]);
        assert_eq!(targets(Groups::new(0.1, Some(0.0)).unwrap()), [Some((0, first)), Some((1, sum))]);
        assert_eq!(targets(Groups::new(0.1, None).unwrap()), [Some((0, first)), None]);
        let none = Vectors { points: [None; 2], ..vectors };
        let refused = Groups::new(0.1, Some(0.2)).unwrap().all().targets(&none);
        assert_eq!(refused, Err(Error::Capacity { what: "perturbed points", capacity: 0 }));
    }
}
