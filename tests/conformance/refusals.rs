//! Operands that cannot be right are refused before anything is written.

use sse_sam_core::ops::{
    Ascend, Axpy, BatchNormBackward, BatchNormForward, BatchNormInference, BatchNormInferenceBackward, Combine,
    Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dBatchNormForward, Conv2dForward, Copy, CrossEntropy,
    CrossEntropyTangent, Decay, Descend, Dots, Fill, Gather, GlobalAveragePoolBackward, GlobalAveragePoolForward,
    LinearBackwardInput, LinearBackwardWeight, LinearForward, MaxPoolBackward, MaxPoolForward, MaxPoolTangent,
    Operation, Pool2d, ReluBackward, ReluForward, SgdUpdate, ShortcutBackward, ShortcutForward,
};
use sse_sam_core::{Backend, Batch, Conv2d, Error, Outcome, Samples, Sgd, Shape, Space, Span, Terms};

use super::{Bench, Case, Machine};

/// Runs an operation on operands, of which the first are written; the last span has the bytes of an image.
type Run<E> = fn(&mut dyn Backend<Error = E>, &[Span], Span) -> Result<(), E>;

/// An operation, or a reading or writing, with the lengths of operands that fit together.
struct Call<E> {
    name: &'static str,
    written: &'static [usize],
    read: &'static [usize],
    /// Operands that may have been written when another one, of right length, is refused: those of the first of two
    /// streams or steps.
    early: &'static [usize],
    run: Run<E>,
}

impl<E> Call<E> {
    fn of<O: Operation>(written: &'static [usize], read: &'static [usize], run: Run<E>) -> Self {
        Self { name: O::NAME, written, read, early: &[], run }
    }

    fn after(self, early: &'static [usize]) -> Self {
        Self { early, ..self }
    }

    /// Right operands: numbers that are written and numbers that are read; and the bytes of an image.
    fn operands<M: Machine>(&self, case: &mut Case<'_, M>) -> (Vec<Span>, Span) {
        let bytes = case.bytes(&[1; 32]);
        // Longer than they are: a span that is too long reaches into nothing else.
        let written = self.written.iter().map(|&length| cut(case.in_out(&[1.0; 80]), length));
        let mut operands: Vec<Span> = written.collect();
        operands.extend(self.read.iter().map(|&length| cut(case.input(&[0.0; 80]), length)));
        (operands, bytes)
    }
}

fn cut(span: Span, length: usize) -> Span {
    Span { length, ..span }
}

const IMAGE: Shape = Shape::new(4, 4, 2);
const HALF: Shape = Shape::new(2, 2, 4);
const CONV: Conv2d = Conv2d { input: IMAGE, output: IMAGE, kernel: 3, stride: 1, padding: 1 };
const POOL: Pool2d = Pool2d { input: IMAGE, output: Shape::new(2, 2, 2), kernel: 2, stride: 2, padding: 0 };
const RULE: Sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false };

fn outcome(squared_norm: Span, failure: Span) -> Outcome {
    Outcome { squared_norm, group_squared_norms: [squared_norm; 2], failure, number: 1.0 }
}

/// The names of all calls whose refusals are tested.
pub fn names() -> Vec<&'static str> {
    calls::<Error>().iter().map(|call| call.name).collect()
}

/// Every operation, on two images of [`IMAGE`] and with two streams where it takes any.
fn calls<E: From<Error>>() -> Vec<Call<E>> {
    vec![
        Call { name: "write", written: &[64], read: &[], early: &[], run: |b, s, _| b.write(s[0], &[0.0; 64]) },
        Call { name: "read", written: &[], read: &[64], early: &[], run: |b, s, _| b.read(&mut [0.0; 64], s[0]) },
        Call::of::<Fill>(&[64], &[], |b, s, _| b.run(&Fill { to: s[0], value: 1.0 })),
        Call::of::<Copy>(&[64], &[64], |b, s, _| b.run(&Copy { to: s[0], from: s[1] })),
        Call::of::<Gather<'_>>(&[32, 1, 1, 1], &[4, 4], |b, s, bytes| {
            let batch = Batch { images: s[0], labels: s[1], weights: [s[2], s[3]] };
            let samples = Samples { images: bytes, image: IMAGE, normalization: s[5] };
            b.run(&Gather { batch: &batch, rows: s[4], samples: &samples })
        }),
        Call::of::<Axpy>(&[64], &[64], |b, s, _| b.run(&Axpy { y: s[0], alpha: 1.0, x: s[1] })),
        Call::of::<Dots>(&[4], &[64, 16], |b, s, _| b.run(&Dots { to: s[0], basis: s[1], x: s[2] })),
        Call::of::<Combine>(&[16], &[4, 64], |b, s, _| b.run(&Combine { y: s[0], coefficients: s[1], basis: s[2] })),
        Call::of::<Ascend>(&[64, 1], &[64], |b, s, _| {
            b.run(&Ascend { point: s[0], squared_norm: s[1], params: s[2], radius: 1.0 })
        }),
        Call::of::<SgdUpdate<'_>>(&[64, 64, 1, 1], &[64], |b, s, _| {
            let (params, velocity, outcome) = (s[0], s[1], &outcome(s[2], s[3]));
            b.run(&SgdUpdate { params, velocity, outcome, gradient: s[4], sgd: &RULE })
        }),
        Call::of::<Decay<'_>>(&[64], &[64], |b, s, _| b.run(&Decay { velocity: s[0], params: s[1], sgd: &RULE })),
        Call::of::<Descend<'_>>(&[64, 64, 1, 1], &[], |b, s, _| {
            let (params, velocity, outcome) = (s[0], s[1], &outcome(s[2], s[3]));
            b.run(&Descend { params, velocity, outcome, learning_rate: 0.1 })
        }),
        Call::of::<LinearForward>(&[8], &[16, 32, 4], |b, s, _| {
            b.run(&LinearForward { y: s[0], x: s[1], weight: s[2], bias: s[3] })
        }),
        Call::of::<LinearBackwardInput<'_>>(&[16, 16], &[8, 8, 32], |b, s, _| {
            b.run(&LinearBackwardInput { dx: &s[..2], dy: &s[2..4], weight: s[4], outputs: 4, accumulate: false })
        })
        .after(&[0]),
        Call::of::<LinearBackwardWeight<'_>>(&[32, 32, 4, 4], &[16, 8, 8], |b, s, _| {
            b.run(&LinearBackwardWeight { dweight: &s[..2], dbias: &s[2..4], x: s[4], dy: &s[5..] })
        })
        .after(&[0, 2]),
        Call::of::<Conv2dForward<'_>>(&[64], &[64, 36], |b, s, _| {
            b.run(&Conv2dForward { y: s[0], x: s[1], weight: s[2], conv: &CONV })
        }),
        Call::of::<Conv2dBackwardInput<'_>>(&[64, 64], &[64, 64, 36], |b, s, _| {
            b.run(&Conv2dBackwardInput { dx: &s[..2], dy: &s[2..4], weight: s[4], conv: &CONV, accumulate: false })
        })
        .after(&[0]),
        Call::of::<Conv2dBackwardWeight<'_>>(&[36, 36], &[64, 64, 64], |b, s, _| {
            b.run(&Conv2dBackwardWeight { dweight: &s[..2], x: s[2], dy: &s[3..], conv: &CONV })
        })
        .after(&[0]),
        Call::of::<Conv2dBatchNormForward<'_>>(&[64, 64, 4, 4], &[64, 36, 2, 2, 64], |b, s, _| {
            let convolution = Conv2dForward { y: s[0], x: s[4], weight: s[5], conv: &CONV };
            let (y, saved, running, x) = (s[1], s[2], Some(s[3]), s[0]);
            let (weight, bias, residual) = (s[6], s[7], Some(s[8]));
            let norm = BatchNormForward { y, saved, running, x, weight, bias, residual, relu: true };
            b.run(&Conv2dBatchNormForward { convolution, norm })
        })
        .after(&[0]),
        Call::of::<BatchNormForward>(&[64, 8, 8], &[64, 4, 4, 64], |b, s, _| {
            let (y, saved, running) = (s[0], s[1], Some(s[2]));
            let (x, weight, bias, residual) = (s[3], s[4], s[5], Some(s[6]));
            b.run(&BatchNormForward { y, saved, running, x, weight, bias, residual, relu: true })
        }),
        Call::of::<BatchNormInference>(&[64], &[64, 4, 4, 8, 64], |b, s, _| {
            let (y, x, weight, bias, running, residual) = (s[0], s[1], s[2], s[3], s[4], Some(s[5]));
            b.run(&BatchNormInference { y, x, weight, bias, running, residual, relu: true })
        }),
        Call::of::<BatchNormBackward<'_>>(&[64, 64, 4, 4, 4, 4, 64, 64], &[64, 64, 4, 4, 8], |b, s, _| {
            let (dx, dweight, dbias, dy) = (&s[..2], &s[2..4], &s[4..6], &s[6..8]);
            let (y, x, weight, bias, saved) = (s[8], s[9], s[10], s[11], s[12]);
            let (relu, residual, accumulate) = (true, false, false);
            b.run(&BatchNormBackward { dx, dweight, dbias, dy, y, x, weight, bias, saved, relu, residual, accumulate })
        })
        .after(&[0, 2, 4, 6]),
        Call::of::<BatchNormInferenceBackward<'_>>(&[64, 64, 4, 4, 4, 4, 64, 64], &[64, 64, 4, 8], |b, s, _| {
            let (dx, dweight, dbias, dy) = (&s[..2], &s[2..4], &s[4..6], &s[6..8]);
            let (y, x, weight, running) = (s[8], s[9], s[10], s[11]);
            let (relu, accumulate) = (true, false);
            b.run(&BatchNormInferenceBackward { dx, dweight, dbias, dy, y, x, weight, running, relu, accumulate })
        })
        .after(&[0, 2, 4, 6]),
        Call::of::<ReluForward>(&[64], &[64], |b, s, _| b.run(&ReluForward { y: s[0], x: s[1] })),
        Call::of::<ReluBackward<'_>>(&[64, 64], &[64, 64, 64], |b, s, _| {
            b.run(&ReluBackward { dx: &s[..2], dy: &s[2..4], y: s[4], accumulate: false })
        })
        .after(&[0]),
        Call::of::<ShortcutForward>(&[32], &[64], |b, s, _| {
            b.run(&ShortcutForward { y: s[0], x: s[1], input: IMAGE, output: HALF })
        }),
        Call::of::<ShortcutBackward<'_>>(&[64, 64], &[32, 32], |b, s, _| {
            b.run(&ShortcutBackward { dx: &s[..2], dy: &s[2..], input: IMAGE, output: HALF, accumulate: false })
        })
        .after(&[0]),
        Call::of::<GlobalAveragePoolForward>(&[4], &[64], |b, s, _| {
            b.run(&GlobalAveragePoolForward { y: s[0], x: s[1], input: IMAGE })
        }),
        Call::of::<GlobalAveragePoolBackward<'_>>(&[64, 64], &[4, 4], |b, s, _| {
            b.run(&GlobalAveragePoolBackward { dx: &s[..2], dy: &s[2..], input: IMAGE, accumulate: false })
        })
        .after(&[0]),
        Call::of::<MaxPoolForward<'_>>(&[16], &[64], |b, s, _| {
            b.run(&MaxPoolForward { y: s[0], x: s[1], pool: &POOL })
        }),
        Call::of::<MaxPoolBackward<'_>>(&[64, 64], &[16, 16, 64], |b, s, _| {
            b.run(&MaxPoolBackward { dx: &s[..2], dy: &s[2..4], x: s[4], pool: &POOL, accumulate: false })
        })
        .after(&[0]),
        Call::of::<MaxPoolTangent<'_>>(&[16], &[64, 64], |b, s, _| {
            b.run(&MaxPoolTangent { y: s[0], tangent: s[1], x: s[2], pool: &POOL })
        }),
        Call::of::<CrossEntropy<'_>>(&[8, 8, 1, 1], &[8, 2, 2, 2, 4, 4, 4], |b, s, _| {
            let (dlogits, losses, logits, labels, weights) = (&s[..2], &s[2..4], s[4], s[5], &s[6..8]);
            let terms = Terms { scale: s[8], shift: s[9], margin: s[10], focal: 0.0 };
            b.run(&CrossEntropy { dlogits, losses, logits, labels, weights, terms })
        })
        .after(&[0, 2]),
        Call::of::<CrossEntropyTangent>(&[8], &[8, 8, 2, 2, 4, 4, 4], |b, s, _| {
            let (dlogits, logits, tangent, labels, weights) = (s[0], s[1], s[2], s[3], s[4]);
            let terms = Terms { scale: s[5], shift: s[6], margin: s[7], focal: 0.0 };
            b.run(&CrossEntropyTangent { dlogits, logits, tangent, labels, weights, terms })
        }),
    ]
}

/// What is looked at before anything is written.
const LENGTHS: &str = "of a wrong length";

/// Runs every call once for each operand and each wrong one that `wrong` makes of it; the operand's number comes first.
fn each_operand<M: Machine>(
    bench: &mut Bench<'_, M>,
    what: &str,
    wrong: impl Fn(&Call<M::Error>, usize, &[Span]) -> Vec<Span>,
) {
    for call in calls::<M::Error>() {
        for at in 0..call.written.len() + call.read.len() {
            bench.case(&format!("{}, {what}, operand {at}", call.name), |case| {
                let (mut operands, bytes) = call.operands(case);
                let right = operands[at];
                let early = call.early.iter().filter(|_| what != LENGTHS).map(|&early| operands[early]);
                let early: Vec<Span> = early.collect();
                let replacements = wrong(&call, at, &operands);
                // Where nothing can be wrong, right operands are taken.
                case.expect(true, String::new);
                for replacement in replacements {
                    operands[at] = replacement;
                    let what = format!("{} with {replacement:?} for operand {at}, {right:?},", call.name);
                    case.refused_after(&early, &what, |backend| (call.run)(backend, &operands, bytes));
                }
            });
        }
    }
}

/// What the other checks replace operands of is not refused itself.
pub fn right<M: Machine>(bench: &mut Bench<'_, M>) {
    for call in calls::<M::Error>() {
        bench.case(call.name, |case| {
            let (operands, bytes) = call.operands(case);
            case.run(|backend| (call.run)(backend, &operands, bytes));
            case.expect(true, String::new);
        });
    }
}

pub fn past_the_end<M: Machine>(bench: &mut Bench<'_, M>) {
    each_operand(bench, "past the end", |_, at, operands| {
        let length = operands[at].length;
        vec![Span::work(1 << 20, length), Span::work(usize::MAX - length / 2, length)]
    });
}

pub fn overlap<M: Machine>(bench: &mut Bench<'_, M>) {
    // Both start at the same element, so they overlap whatever their lengths.
    each_operand(bench, "over another operand", |call, at, operands| {
        let others = operands.iter().enumerate().filter(|(other, _)| *other != at);
        let written = others.filter(|(other, _)| at.min(*other) < call.written.len());
        written.map(|(_, other)| cut(*other, operands[at].length)).collect()
    });
}

pub fn read_only<M: Machine>(bench: &mut Bench<'_, M>) {
    each_operand(bench, "in read-only memory", |call, at, operands| {
        let spaces = [Space::Constant, Space::Samples].into_iter().filter(|_| at < call.written.len());
        spaces.map(|space| Span { space, offset: 0, length: operands[at].length }).collect()
    });
}

pub fn wrong_lengths<M: Machine>(bench: &mut Bench<'_, M>) {
    each_operand(bench, LENGTHS, |call, at, operands| {
        // Nothing says how long the operand of a fill must be.
        let lengths = [operands[at].length - 1, operands[at].length + 1];
        let wrong = lengths.into_iter().filter(|_| call.name != Fill::NAME);
        wrong.map(|length| cut(operands[at], length)).collect()
    });
}
