//! The adjusted cross-entropy.

use sse_sam_core::ops::{CrossEntropy, CrossEntropyTangent};
use sse_sam_core::{Span, Terms};

use super::{Bench, Case, Machine};
use crate::reference::{cross_entropy as reference, wide};

/// (batch, classes).
const SIZES: [(usize, usize); 11] =
    [(3, 10_000), (1, 2), (2, 1), (5, 7), (7, 10), (1, 15), (16, 16), (17, 17), (2, 33), (5, 100), (128, 101)];

/// A whole problem: logits, labels, the weights of each group, and the tables.
pub struct Problem {
    pub logits: Vec<f32>,
    pub labels: Vec<f32>,
    pub weights: Vec<Vec<f32>>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    pub margin: Vec<f32>,
    pub focal: f32,
}

/// Where a problem and its results lie.
pub struct Placed {
    pub dlogits: Vec<Span>,
    pub losses: Vec<Span>,
    pub logits: Span,
    pub labels: Span,
    pub weights: Vec<Span>,
    pub terms: Terms,
}

impl Problem {
    /// Plain cross-entropy of these logits with weight 1 and one group.
    pub fn plain(logits: &[f32], labels: &[f32]) -> Self {
        let classes = logits.len() / labels.len();
        Self {
            logits: logits.to_vec(),
            labels: labels.to_vec(),
            weights: vec![vec![1.0; labels.len()]],
            scale: vec![1.0; classes],
            shift: vec![0.0; classes],
            margin: vec![0.0; classes],
            focal: 0.0,
        }
    }

    pub fn place(&self, case: &mut Case<'_, impl Machine>) -> Placed {
        let groups = 0..self.weights.len();
        Placed {
            dlogits: groups.clone().map(|_| case.output(self.logits.len())).collect(),
            losses: groups.clone().map(|_| case.output(1)).collect(),
            logits: case.input(&self.logits),
            labels: case.input(&self.labels),
            weights: groups.map(|group| case.input(&self.weights[group])).collect(),
            terms: Terms {
                scale: case.input(&self.scale),
                shift: case.input(&self.shift),
                margin: case.input(&self.margin),
                focal: self.focal,
            },
        }
    }

    /// Runs it and compares every group's loss and gradient with the reference.
    pub fn check(&self, case: &mut Case<'_, impl Machine>) -> Placed {
        let placed = self.place(case);
        let Placed { dlogits, losses, logits, labels, weights, terms } = &placed;
        case.run(|backend| {
            backend.run(&CrossEntropy { dlogits, losses, logits: *logits, labels: *labels, weights, terms: *terms })
        });
        let tables = self.tables();
        let logits = wide(&self.logits);
        for (group, weights) in self.weights.iter().enumerate() {
            let (mut loss, mut gradient) = (0.0, Vec::new());
            for ((logits, &label), &weight) in logits.chunks_exact(self.scale.len()).zip(&self.labels).zip(weights) {
                loss += reference::forward(logits, label as usize, f64::from(weight), &tables);
                gradient.extend(reference::backward(logits, label as usize, f64::from(weight), &tables));
            }
            case.close("loss", "loss", placed.losses[group], &[loss]);
            case.close("dlogits", "dlogits", placed.dlogits[group], &gradient);
        }
        placed
    }

    fn tables(&self) -> reference::Terms {
        reference::Terms {
            scale: wide(&self.scale),
            shift: wide(&self.shift),
            margin: wide(&self.margin),
            focal: f64::from(self.focal),
        }
    }

    /// Compares the first group's derivative along a direction with the reference.
    pub fn check_tangent(&self, case: &mut Case<'_, impl Machine>) {
        let (placed, classes) = (self.place(case), self.scale.len());
        let direction = case.numbers.list(self.logits.len());
        let (dlogits, tangent) = (placed.dlogits[0], case.input(&direction));
        let (logits, labels, weights, terms) = (placed.logits, placed.labels, placed.weights[0], placed.terms);
        case.run(|backend| backend.run(&CrossEntropyTangent { dlogits, logits, tangent, labels, weights, terms }));
        let (tables, logits, direction) = (self.tables(), wide(&self.logits), wide(&direction));
        let rows = logits.chunks_exact(classes).zip(direction.chunks_exact(classes));
        let expected: Vec<f64> = rows
            .zip(self.labels.iter().zip(&self.weights[0]))
            .flat_map(|((logits, u), (&label, &weight))| {
                reference::tangent(logits, u, label as usize, f64::from(weight), &tables)
            })
            .collect();
        case.close("dlogits_tangent", "dlogits", dlogits, &expected);
    }
}

/// Weights as a batch has them: one group, or head and tail, with class weights.
fn draw_weights(case: &mut Case<'_, impl Machine>, batch: usize, groups: usize) -> Vec<Vec<f32>> {
    let numbers = &mut case.numbers;
    let drawn: Vec<(usize, f32)> =
        (0..batch).map(|_| (numbers.below(groups), numbers.between(0.2, 2.0) / batch as f32)).collect();
    let weights_of = |group| drawn.iter().map(|row| if row.0 == group { row.1 } else { 0.0 }).collect();
    (0..groups).map(weights_of).collect()
}

pub fn cross_entropy<M: Machine>(bench: &mut Bench<'_, M>) {
    each_problem(bench, |case, problem| {
        problem.check(case);
    });
}

pub fn tangent<M: Machine>(bench: &mut Bench<'_, M>) {
    each_problem(bench, |case, problem| problem.check_tangent(case));
}

fn each_problem<M: Machine>(bench: &mut Bench<'_, M>, check: impl Fn(&mut Case<'_, M>, &Problem)) {
    for (batch, classes) in SIZES {
        for focal in [0.0, 1.0, 2.0, 0.5] {
            for (groups, adjusted) in [(1, false), (2, true), (2, false)] {
                let sizes =
                    format!("batch {batch}, {classes} classes, focal {focal}, {groups} groups, tables {adjusted}");
                bench.case(&sizes, |case| {
                    let logits: Vec<f32> = case.numbers.list(batch * classes).iter().map(|value| 2.0 * value).collect();
                    let mut labels = vec![0.0; batch];
                    for label in &mut labels {
                        *label = case.numbers.below(classes) as f32;
                    }
                    labels[0] = (classes - 1) as f32;
                    let weights = draw_weights(case, batch, groups);
                    let mut problem = Problem { weights, focal, ..Problem::plain(&logits, &labels) };
                    if adjusted {
                        problem.scale = case.numbers.list_between(classes, 0.5, 2.0);
                        problem.shift = case.numbers.list(classes);
                        problem.margin = case.numbers.list(classes);
                    }
                    check(case, &problem);
                });
            }
        }
    }
}
