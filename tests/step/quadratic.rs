//! A loss of the caller's own, stepped by the closed formula.

use sse_sam_core::training::problem::Target;
use sse_sam_core::{Arena, Cpu, Economy, Error, Machine, Problem, Session, Span, Statistics};
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::{relative_error, wide};

use crate::rig::{SGD, SSE_SAM, demand};

/// A function of the caller's own: `L_g(w) = sum_i curvature[g][i] / 2 * (w_i - target[g][i])^2`.
struct Quadratic {
    curvature: [Vec<f32>; 2],
    target: [Vec<f32>; 2],
    passes: Vec<Statistics>,
}

impl Quadratic {
    fn slope(&self, column: usize, w: &[f64]) -> Vec<f64> {
        let terms = self.curvature[column].iter().zip(&self.target[column]).zip(w);
        terms.map(|((&curvature, &target), w)| f64::from(curvature) * (w - f64::from(target))).collect()
    }
}

impl Problem<Cpu<'_>> for Quadratic {
    fn forward(&mut self, _: &mut Cpu<'_>, _: Span, statistics: Statistics) -> Result<(), Error> {
        self.passes.push(statistics);
        Ok(())
    }

    fn backward(&mut self, backend: &mut Cpu<'_>, params: Span, targets: &[Target]) -> Result<(), Error> {
        for target in targets {
            let [gradient, w] = backend.slices_mut([target.gradient, params])?;
            let terms = self.curvature[target.column].iter().zip(&self.target[target.column]);
            for ((gradient, w), (curvature, target)) in gradient.iter_mut().zip(w).zip(terms) {
                *gradient += curvature * (*w - target);
            }
        }
        Ok(())
    }
}

/// `w + radius * g / (||g|| + 1e-16)`, in f64.
fn climbed(w: &[f64], slope: &[f64], radius: f64) -> Vec<f64> {
    let norm = slope.iter().map(|g| g * g).sum::<f64>().sqrt() + 1e-16;
    w.iter().zip(slope).map(|(w, g)| w + radius * g / norm).collect()
}

/// Economy, epoch of 2, radii, and the passes that a step takes.
const STEPS: [(Economy, u32, [f64; 2], &[Statistics]); 5] = [
    (Economy::Full, 0, [0.05, 0.1], &[Statistics::Update, Statistics::Keep, Statistics::Keep]),
    (Economy::Full, 1, [0.0, 0.1], &[Statistics::Update, Statistics::Keep]),
    (Economy::Lean, 0, [0.05, 0.1], &[Statistics::Update, Statistics::Keep, Statistics::Keep]),
    (Economy::Recompute, 0, [0.05, 0.1], &[Statistics::Update, Statistics::Keep, Statistics::Repeat, Statistics::Keep]),
    (Economy::Recompute, 1, [0.0, 0.1], &[Statistics::Update, Statistics::Keep]),
];

#[test]
fn a_function_of_ones_own_is_stepped_by_the_closed_formula() {
    const LENGTH: usize = 11;
    for (memory, epoch, radii, statistics) in STEPS {
        let what = format!("{memory:?}, epoch {epoch}");
        let mut numbers = Numbers::named("quadratic");
        let mut problem = Quadratic {
            curvature: [(); 2].map(|()| numbers.list_between(LENGTH, 0.5, 2.0)),
            target: [(); 2].map(|()| numbers.list(LENGTH)),
            passes: Vec::new(),
        };
        let mut arena = Arena::new(1);
        let session = Session::new(LENGTH, &demand(memory), 0, 1, &mut arena).unwrap();
        let vectors = session.vectors;
        let mut work = vec![0.0; arena.len()];
        let mut backend = Cpu::new(&mut work, &[], &[]);
        let start = numbers.list(LENGTH);
        backend.write(vectors.params, &start).unwrap();
        let groups = SSE_SAM.groups(epoch, 2).unwrap().all();
        let (mut w, mut v) = (wide(&start), vec![0.0; LENGTH]);
        for _ in 0..5 {
            problem.passes.clear();
            session.step(&mut backend, &mut problem, &groups, &SGD, 0).unwrap();
            assert_eq!(problem.passes, statistics, "{what}");
            let squares = [0, 1].map(|group| problem.slope(group, &w).iter().map(|g| g * g).sum::<f64>());
            let points = [0, 1].map(|group| climbed(&w, &problem.slope(group, &w), radii[group]));
            let slopes = [0, 1].map(|group| problem.slope(group, &points[group]));
            let sum: Vec<f64> = slopes[0].iter().zip(&slopes[1]).map(|(head, tail)| head + tail).collect();
            for ((w, v), g) in w.iter_mut().zip(&mut v).zip(&sum) {
                *v = 0.9 * *v + g + 5e-4 * *w;
                *w -= 0.1 * *v;
            }
            let record = session.record(&mut backend).unwrap();
            let norms = record.group_squared_norms;
            for group in 0..2 {
                // A group of radius 0 leaves its slot as it is.
                let expected = if radii[group] > 0.0 { squares[group] } else { 0.0 };
                let error = (f64::from(norms[group]) - expected).abs();
                assert!(error <= 1e-6 * expected, "{what}: {norms:?}, {squares:?}");
            }
            for (span, expected) in [(vectors.params, &w), (vectors.velocity, &v)] {
                let mut found = vec![0.0; LENGTH];
                backend.read(&mut found, span).unwrap();
                let error = relative_error(&wide(&found), expected);
                assert!(error < 1e-6, "{what}: {error:e}");
            }
            let of = if memory == Economy::Full { &sum } else { &v };
            let expected = of.iter().map(|g| g * g).sum::<f64>();
            assert!((f64::from(record.squared_norm) / expected - 1.0).abs() < 1e-5, "{what}");
        }
    }
}
