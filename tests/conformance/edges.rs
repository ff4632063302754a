//! What the backends promise where the formulas end: zeros, infinities, single values, equal bits.

use std::cell::RefCell;

use sse_sam_core::ops::{
    Ascend, BatchNormForward, Conv2dBackwardWeight, Conv2dForward, CrossEntropy, CrossEntropyTangent, Descend,
    GlobalAveragePoolForward, ReluBackward, ReluForward, SgdUpdate,
};
use sse_sam_core::{Conv2d, Outcome, Sgd, Shape};

use super::loss::{Placed, Problem};
use super::{Bench, Case, Machine};

pub use super::normalization::far_from_zero;

pub fn ascend_of_zero<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in [1, 17, 4097] {
        bench.case(&format!("{length} numbers"), |case| {
            let params = case.numbers.list(length);
            let (point, from) = (case.in_out(&vec![0.0; length]), case.input(&params));
            let squared_norm = case.in_out(&[1.0]);
            case.run(|backend| backend.run(&Ascend { point, squared_norm, params: from, radius: 0.05 }));
            case.same("squared_norm", squared_norm, &[0.0]);
            case.same("point", point, &params);
        });
    }
}

const RULE: Sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4, nesterov: true };

pub fn sgd_refuses<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in [1, 16, 33, 4097] {
        // The square of 1e30 is beyond f32: so is the squared norm.
        for (at, wrong) in [(0, f32::NAN), (length - 1, f32::INFINITY), (length / 2, f32::NEG_INFINITY), (0, 1e30)] {
            bench.case(&format!("{wrong} at {at} of {length}"), |case| {
                let [w, v, mut g] = [(); 3].map(|()| case.numbers.list(length));
                g[at] = wrong;
                let (params, velocity, gradient) = (case.in_out(&w), case.in_out(&v), case.input(&g));
                let (squared_norm, failure) = (case.in_out(&[1.0]), case.in_out(&[0.0]));
                let outcome = Outcome { squared_norm, group_squared_norms: [squared_norm; 2], failure, number: 7.0 };
                case.run(|backend| {
                    backend.run(&SgdUpdate { params, velocity, outcome: &outcome, gradient, sgd: &RULE })
                });
                case.same("params", params, &w);
                case.same("velocity", velocity, &v);
                case.same("failure", outcome.failure, &[7.0]);
                let norm = case.get(outcome.squared_norm)[0];
                case.expect(!norm.is_finite(), || format!("the squared norm is {norm}"));
            });
        }
    }
}

pub fn descend_refuses<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in [1, 16, 33, 4097] {
        for (at, wrong) in [(0, f32::NAN), (length - 1, f32::INFINITY), (length / 2, f32::NEG_INFINITY), (0, 1e30)] {
            bench.case(&format!("{wrong} at {at} of {length}"), |case| {
                let [w, mut v] = [(); 2].map(|()| case.numbers.list(length));
                v[at] = wrong;
                let (params, velocity) = (case.in_out(&w), case.in_out(&v));
                let (squared_norm, failure) = (case.in_out(&[1.0]), case.in_out(&[0.0]));
                let outcome = Outcome { squared_norm, group_squared_norms: [squared_norm; 2], failure, number: 7.0 };
                case.run(|backend| backend.run(&Descend { params, velocity, outcome: &outcome, learning_rate: 0.1 }));
                case.same("params", params, &w);
                case.same("velocity", velocity, &vec![0.0; length]);
                case.same("failure", failure, &[7.0]);
                let norm = case.get(squared_norm)[0];
                case.expect(!norm.is_finite(), || format!("the squared norm is {norm}"));
            });
        }
    }
}

pub fn sgd_keeps_first_failure<M: Machine>(bench: &mut Bench<'_, M>) {
    bench.case("two failures and a good step", |case| {
        let [w, v, g] = [(); 3].map(|()| case.numbers.list(33));
        let (params, velocity, good) = (case.in_out(&w), case.in_out(&v), case.input(&g));
        let bad = case.input(&[f32::NAN; 33]);
        let (squared_norm, failure) = (case.in_out(&[0.0]), case.in_out(&[0.0]));
        case.run(|backend| {
            for (number, gradient) in [(1.0, good), (2.0, bad), (3.0, bad), (4.0, good)] {
                let outcome = Outcome { squared_norm, group_squared_norms: [squared_norm; 2], failure, number };
                backend.run(&SgdUpdate { params, velocity, outcome: &outcome, gradient, sgd: &RULE })?;
            }
            Ok(())
        });
        let (mut w, mut v) = (w, v);
        super::vectors::plain_sgd(&mut w, &mut v, &g, &RULE);
        super::vectors::plain_sgd(&mut w, &mut v, &g, &RULE);
        case.same("failure", failure, &[2.0]);
        case.same("params", params, &w);
        case.same("velocity", velocity, &v);
    });
}

pub fn single_value<M: Machine>(bench: &mut Bench<'_, M>) {
    for channels in [1, 16, 17] {
        bench.case(&format!("{channels} channels"), |case| {
            let [x, w, b, r] = [(); 4].map(|()| case.numbers.list(channels));
            let statistics = case.numbers.list_between(2 * channels, 0.5, 2.0);
            let (y, saved, running) = (case.output(channels), case.output(2 * channels), case.in_out(&statistics));
            let [x, weight, bias, residual] = [&x, &w, &b, &r].map(|values| case.input(values));
            case.run(|backend| {
                backend.run(&BatchNormForward {
                    y,
                    saved,
                    running: Some(running),
                    x,
                    weight,
                    bias,
                    residual: Some(residual),
                    relu: false,
                })
            });
            case.same("running statistics", running, &statistics);
            let sums: Vec<f32> = b.iter().zip(&r).map(|(b, r)| b + r).collect();
            case.same("y", y, &sums);
        });
    }
}

pub fn not_finite_batch<M: Machine>(bench: &mut Bench<'_, M>) {
    for wrong in [f32::NAN, f32::INFINITY, 3e38] {
        bench.case(&format!("{wrong} in the second of three channels"), |case| {
            let (channels, pixels) = (3, 10);
            let mut values = case.numbers.list(channels * pixels);
            values[channels * 4 + 1] = wrong;
            let [w, b] = [(); 2].map(|()| case.numbers.list(channels));
            let statistics = case.numbers.list_between(2 * channels, 0.5, 2.0);
            let (y, saved, running) = (case.output(values.len()), case.output(2 * channels), case.in_out(&statistics));
            let [x, weight, bias] = [&values, &w, &b].map(|values| case.input(values));
            case.run(|backend| {
                backend.run(&BatchNormForward {
                    y,
                    saved,
                    running: Some(running),
                    x,
                    weight,
                    bias,
                    residual: None,
                    relu: true,
                })
            });
            let after = case.get(running);
            for at in 0..2 * channels {
                let (moved, may_move) = (after[at].to_bits() != statistics[at].to_bits(), at % channels != 1);
                case.expect(moved == may_move, || format!("running[{at}]: {} became {}", statistics[at], after[at]));
            }
        });
    }
}

pub fn extreme_logits<M: Machine>(bench: &mut Bench<'_, M>) {
    let rows: [[f32; 4]; 6] = [
        [1e4, -1e4, 0.0, 0.0],
        [-1e4, 1e4, 0.0, 0.0],
        [100.0, 0.0, 0.0, 0.0],
        [1e38, -1e38, 1.0, 1.0],
        [-1e4; 4],
        [20.0, 1.0, 2.0, 3.0],
    ];
    for focal in [0.0, 0.5, 1.0, 2.0] {
        for label in [0.0, 1.0, 3.0] {
            bench.case(&format!("focal {focal}, label {label}"), |case| {
                let problem = Problem { focal, ..Problem::plain(rows.as_flattened(), &[label; 6]) };
                let placed = problem.place(case);
                case.run(|backend| {
                    let (dlogits, losses, weights) = (&placed.dlogits, &placed.losses, &placed.weights);
                    backend.run(&CrossEntropy {
                        dlogits,
                        losses,
                        logits: placed.logits,
                        labels: placed.labels,
                        weights,
                        terms: placed.terms,
                    })
                });
                let found = case.get(placed.dlogits[0]);
                case.expect(found.iter().all(|value| value.is_finite()), || format!("dlogits {found:?}"));
            });
        }
    }
}

pub fn extreme_tangents<M: Machine>(bench: &mut Bench<'_, M>) {
    let rows = [[1e4, -1e4, 0.0, 0.0], [-1e4, 1e4, 0.0, 0.0], [1e38, -1e38, 1.0, 1.0], [20.0, 1.0, 2.0, 3.0]];
    for focal in [0.0, 0.5, 1.0, 2.0] {
        for label in [0.0, 1.0, 3.0] {
            bench.case(&format!("focal {focal}, label {label}"), |case| {
                let problem = Problem { focal, ..Problem::plain(rows.as_flattened(), &[label; 4]) };
                let found = tangent_of(case, &problem, |at| at as f32 - 3.0);
                case.expect(found.iter().all(|value| value.is_finite()), || format!("dlogits {found:?}"));
            });
        }
    }
}

/// A direction that is the same number for every class changes no probability.
pub fn shift<M: Machine>(bench: &mut Bench<'_, M>) {
    for (focal, classes) in [(0.0, 5), (1.0, 100), (0.5, 300)] {
        bench.case(&format!("focal {focal}, {classes} classes"), |case| {
            let logits = case.numbers.list(2 * classes);
            let problem = Problem { focal, ..Problem::plain(&logits, &[1.0, 4.0]) };
            let found = tangent_of(case, &problem, |_| 0.7);
            case.expect(found.iter().all(|value| *value == 0.0), || format!("dlogits {found:?}"));
        });
    }
}

/// The tangent of a problem's gradient along the direction of these numbers.
fn tangent_of<M: Machine>(case: &mut Case<'_, M>, problem: &Problem, direction: impl Fn(usize) -> f32) -> Vec<f32> {
    let placed = problem.place(case);
    let direction: Vec<f32> = (0..problem.logits.len()).map(direction).collect();
    let tangent = case.input(&direction);
    let Placed { dlogits, logits, labels, weights, terms, .. } = placed;
    case.run(|backend| {
        let (dlogits, weights) = (dlogits[0], weights[0]);
        backend.run(&CrossEntropyTangent { dlogits, logits, tangent, labels, weights, terms })
    });
    case.get(dlogits[0])
}

pub fn equal_logits<M: Machine>(bench: &mut Bench<'_, M>) {
    for (classes, value) in [(2, 0.0), (7, -3.5), (10, 80.0), (17, -200.0), (100, 1e3)] {
        for focal in [0.0, 1.0] {
            bench.case(&format!("{classes} classes, all {value}, focal {focal}"), |case| {
                let labels: Vec<f32> = (0..classes).map(|label| label as f32).collect();
                let problem = Problem { focal, ..Problem::plain(&vec![value; classes * classes], &labels) };
                problem.check(case);
            });
        }
    }
}

pub fn weight_zero<M: Machine>(bench: &mut Bench<'_, M>) {
    bench.case("the second of three rows, and a group without rows", |case| {
        let logits = case.numbers.list(3 * 17);
        let weights = vec![vec![0.5, 0.0, 0.25], vec![0.0; 3]];
        let placed = Problem { weights, focal: 1.0, ..Problem::plain(&logits, &[3.0, 16.0, 0.0]) }.check(case);
        let values =
            [case.get(placed.dlogits[0])[17..34].to_vec(), case.get(placed.dlogits[1]), case.get(placed.losses[1])];
        case.expect(values.iter().flatten().all(|value| *value == 0.0), || format!("{values:?}"));
    });
}

pub fn relu_specials<M: Machine>(bench: &mut Bench<'_, M>) {
    bench.case("zeros, infinities and a NaN", |case| {
        let smallest = f32::from_bits(1 << 23);
        let x = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, smallest, -smallest];
        let (y, x) = (case.output(7), case.input(&x));
        let (dx, dy) = (case.output(7), case.input(&[1.0, f32::NAN, 3.0, f32::INFINITY, 5.0, 6.0, 7.0]));
        case.run(|backend| {
            backend.run(&ReluForward { y, x })?;
            backend.run(&ReluBackward { dx: &[dx], dy: &[dy], y, accumulate: false })
        });
        case.same("y", y, &[0.0, 0.0, f32::INFINITY, 0.0, 0.0, smallest, 0.0]);
        case.same("dx", dx, &[0.0, 0.0, 3.0, 0.0, 0.0, 6.0, 0.0]);
    });
}

pub fn same_bits<M: Machine>(bench: &mut Bench<'_, M>) {
    // A case runs in every placement: the results may not depend on where the spans lie either.
    let first: RefCell<Option<Vec<u32>>> = RefCell::new(None);
    for repeat in 0..3 {
        bench.case("a chain of reductions", |case| {
            let conv = Conv2d::new(Shape::new(17, 13, 16), 33, 3, 1, 1).expect("the kernel fits");
            let mut numbers = crate::random::Numbers::new(5);
            let mut draw = |length: usize| numbers.list(length);
            let [x, w] = [2 * conv.input.len(), conv.weights()].map(|length| case.input(&draw(length)));
            let [one, two] = [33, 33].map(|length| case.input(&draw(length)));
            let (y, z) = (case.output(2 * conv.output.len()), case.output(2 * conv.output.len()));
            let (saved, dw) = (case.output(66), case.in_out(&vec![0.0; conv.weights()]));
            let (pooled, squared_norm) = (case.output(66), case.output(1));
            case.run(|backend| {
                backend.run(&Conv2dForward { y, x, weight: w, conv: &conv })?;
                backend.run(&BatchNormForward {
                    y: z,
                    saved,
                    running: None,
                    x: y,
                    weight: one,
                    bias: two,
                    residual: None,
                    relu: true,
                })?;
                backend.run(&GlobalAveragePoolForward { y: pooled, x: z, input: conv.output })?;
                backend.run(&Conv2dBackwardWeight { dweight: &[dw], x, dy: &[z], conv: &conv })?;
                backend.run(&Ascend { point: dw, squared_norm, params: w, radius: 0.5 })
            });
            let found: Vec<u32> = [y, z, saved, pooled, dw, squared_norm]
                .iter()
                .flat_map(|span| case.get(*span))
                .map(f32::to_bits)
                .collect();
            let same = *first.borrow_mut().get_or_insert_with(|| found.clone()) == found;
            case.expect(same, || format!("repeat {repeat} differs from the first run"));
        });
    }
}
