//! `axpy`, `dots`, `combine`, `ascend`, `sgd`, `decay` and `descend`.

use sse_sam_core::ops::{Ascend, Axpy, Combine, Decay, Descend, Dots, SgdUpdate};
use sse_sam_core::{Outcome, Sgd};

use super::memory::LENGTHS;
use super::{Bench, Machine};
use crate::reference::{vectors as reference, wide};

pub fn axpy<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        for alpha in [1.0, -0.3] {
            bench.case(&format!("{length} numbers, alpha {alpha}"), |case| {
                let (y, x) = (case.numbers.list(length), case.numbers.list(length));
                let expected: Vec<f32> = y.iter().zip(&x).map(|(y, x)| y + alpha * x).collect();
                let (y, x) = (case.in_out(&y), case.input(&x));
                case.run(|backend| backend.run(&Axpy { y, alpha, x }));
                case.same("y", y, &expected);
            });
        }
    }
}

/// Rows of a basis: around those that a work-group takes at once.
const ROWS: [usize; 6] = [1, 3, 4, 5, 9, 80];

pub fn dots<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        for rows in ROWS.into_iter().filter(|rows| rows * length < 1_000_000) {
            for constant in [false, true] {
                bench.case(&format!("{rows} rows of {length}, in constant memory: {constant}"), |case| {
                    let (basis, x) = (case.numbers.list(rows * length), case.numbers.list(length));
                    let expected = reference::dots(&wide(&basis), &wide(&x));
                    let terms = basis.iter().zip(x.iter().cycle()).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    let scale = terms.map(|term| term * term).sum::<f64>().sqrt();
                    let [basis, x] = [&basis, &x].map(|v| if constant { case.constant(v) } else { case.input(v) });
                    let to = case.output(rows);
                    case.run(|backend| backend.run(&Dots { to, basis, x }));
                    case.close_to_scale("dots", "to", to, &expected, scale);
                });
            }
        }
    }
}

/// A row's product is the same bits whatever other rows there are.
pub fn dots_of_each_row_alone<M: Machine>(bench: &mut Bench<'_, M>) {
    for (rows, length) in [(2, 33), (7, 4097), (9, 1000)] {
        bench.case(&format!("{rows} rows of {length}"), |case| {
            let (basis, x) = (case.numbers.list(rows * length), case.numbers.list(length));
            let (basis, x) = (case.input(&basis), case.input(&x));
            let (all, one) = (case.output(rows), case.output(rows));
            case.run(|backend| {
                backend.run(&Dots { to: all, basis, x })?;
                (0..rows).try_for_each(|row| {
                    let part = basis.part(row * length, length)?;
                    backend.run(&Dots { to: one.part(row, 1)?, basis: part, x })
                })
            });
            let expected = case.get(all);
            case.same("one by one", one, &expected);
        });
    }
}

pub fn combine<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        for rows in ROWS.into_iter().filter(|rows| rows * length < 1_000_000) {
            bench.case(&format!("{rows} rows of {length}"), |case| {
                let (y, c) = (case.numbers.list(length), case.numbers.list(rows));
                let basis = case.numbers.list(rows * length);
                let expected = reference::combine(&wide(&y), &wide(&c), &wide(&basis));
                let (y, coefficients, basis) = (case.in_out(&y), case.input(&c), case.input(&basis));
                case.run(|backend| backend.run(&Combine { y, coefficients, basis }));
                case.close("combine", "y", y, &expected);
            });
        }
    }
}

pub fn ascend<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        // Parameters of zero show the step itself; a usual radius shows that they are added.
        for (radius, size) in [(0.05, 1.0), (2.0, 0.0), (0.0, 1.0)] {
            bench.case(&format!("{length} numbers, radius {radius}, parameters times {size}"), |case| {
                let gradient = case.numbers.list(length);
                let params: Vec<f32> = case.numbers.list(length).iter().map(|value| value * size).collect();
                let expected = reference::ascend(&wide(&gradient), &wide(&params), f64::from(radius));
                let (point, params) = (case.in_out(&gradient), case.input(&params));
                let squared_norm = case.output(1);
                case.run(|backend| backend.run(&Ascend { point, squared_norm, params, radius }));
                case.close("ascend", "point", point, &expected);
                let expected = reference::squared_norm(&wide(&gradient));
                case.close("squared_norm", "squared norm", squared_norm, &[expected]);
            });
        }
    }
}

const RULES: [Sgd; 4] = [
    Sgd { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false },
    Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false },
    Sgd { learning_rate: 0.03, momentum: 0.9, weight_decay: 5e-4, nesterov: false },
    Sgd { learning_rate: 0.03, momentum: 0.9, weight_decay: 2e-4, nesterov: true },
];

/// The rule in plain f32, one rounding an operation.
pub fn plain_sgd(params: &mut [f32], velocity: &mut [f32], gradient: &[f32], sgd: &Sgd) {
    for ((w, v), g) in params.iter_mut().zip(velocity).zip(gradient) {
        let d = g + sgd.weight_decay * *w;
        *v = sgd.momentum * *v + d;
        let step = if sgd.nesterov { d + sgd.momentum * *v } else { *v };
        *w -= sgd.learning_rate * step;
    }
}

pub fn sgd<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        for rule in RULES {
            bench.case(&format!("{length} numbers, {rule:?}"), |case| {
                let [mut w, mut v, g] = [(); 3].map(|()| case.numbers.list(length));
                let (params, velocity, gradient) = (case.in_out(&w), case.in_out(&v), case.input(&g));
                let (squared_norm, failure) = (case.output(1), case.in_out(&[0.0]));
                let outcome = Outcome { squared_norm, group_squared_norms: [squared_norm; 2], failure, number: 7.0 };
                case.run(|backend| {
                    backend.run(&SgdUpdate { params, velocity, outcome: &outcome, gradient, sgd: &rule })
                });
                plain_sgd(&mut w, &mut v, &g, &rule);
                case.same("params", params, &w);
                case.same("velocity", velocity, &v);
                case.same("failure", outcome.failure, &[0.0]);
                case.close("squared_norm", "squared norm", outcome.squared_norm, &[reference::squared_norm(&wide(&g))]);
            });
        }
    }
}

pub fn decay<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        for rule in RULES {
            bench.case(&format!("{length} numbers, {rule:?}"), |case| {
                let (v, w) = (case.numbers.list(length), case.numbers.list(length));
                let expected: Vec<f32> =
                    v.iter().zip(&w).map(|(v, w)| rule.momentum * v + rule.weight_decay * w).collect();
                let (velocity, params) = (case.in_out(&v), case.input(&w));
                case.run(|backend| backend.run(&Decay { velocity, params, sgd: &rule }));
                case.same("velocity", velocity, &expected);
            });
        }
    }
}

pub fn descend<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        for rate in [0.1, 0.03, 0.0] {
            bench.case(&format!("{length} numbers, rate {rate}"), |case| {
                let (w, v) = (case.numbers.list(length), case.numbers.list(length));
                let expected: Vec<f32> = w.iter().zip(&v).map(|(w, v)| w - rate * v).collect();
                let (params, velocity) = (case.in_out(&w), case.in_out(&v));
                let (squared_norm, failure) = (case.output(1), case.in_out(&[0.0]));
                let outcome = Outcome { squared_norm, group_squared_norms: [squared_norm; 2], failure, number: 7.0 };
                case.run(|backend| backend.run(&Descend { params, velocity, outcome: &outcome, learning_rate: rate }));
                case.same("params", params, &expected);
                case.same("velocity", velocity, &v);
                case.same("failure", outcome.failure, &[0.0]);
                case.close("squared_norm", "squared norm", outcome.squared_norm, &[reference::squared_norm(&wide(&v))]);
            });
        }
    }
}
