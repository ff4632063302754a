//! Arguments that cannot be right are refused before anything is written.

use sse_sam_core::{Backend, Batch, Conv2d, Outcome, Row, Samples, Sgd, Shape, Span, Terms};

use super::{Bench, Machine};

/// Every span that a round of calls uses; each method's own spans are right unless one is replaced.
struct Arguments {
    /// Written: 64 numbers each.
    out: [Span; 5],
    /// Read: 64 numbers each.
    from: [Span; 5],
    table: Span,
    bytes: Span,
}

const IMAGE: Shape = Shape::new(4, 4, 2);
const RULE: Sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false };

/// What is wrong with a call: the method, and which of its arguments.
type Call<'c, E> = (&'static str, Box<dyn Fn(&mut dyn Backend<Error = E>) -> Result<(), E> + 'c>);

fn cut(span: Span, length: usize) -> Span {
    Span { length, ..span }
}

/// A call of every method, its first written span and its first read span of the right lengths but taken from
/// `written` and `read`.
fn calls<'c, E: From<sse_sam_core::Error> + 'c>(
    arguments: &'c Arguments,
    written: Span,
    read: Span,
) -> Vec<Call<'c, E>> {
    let Arguments { out, from, table, bytes } = arguments;
    let (w, r) = (move |length| cut(written, length), move |length| cut(read, length));
    let conv = Conv2d::new(IMAGE, 2, 3, 1, 1).expect("the kernel fits");
    let half = Shape::new(2, 2, 4);
    let (table, bytes) = (*table, *bytes);
    let batch = move || Batch { images: w(32), labels: cut(out[1], 1), weights: [cut(out[2], 1), cut(out[3], 1)] };
    let samples = move || Samples { images: cut(bytes, 32), image: IMAGE, normalization: r(4) };
    let group_squared_norms = [cut(out[1], 0); 2];
    let outcome =
        move || Outcome { squared_norm: cut(out[1], 1), group_squared_norms, failure: cut(out[2], 1), number: 1.0 };
    let terms = move || Terms { scale: cut(from[1], 4), shift: cut(from[2], 4), margin: cut(from[3], 4), focal: 0.0 };
    let (o, f) = (move |at: usize, length| cut(out[at], length), move |at: usize, length| cut(from[at], length));
    vec![
        ("fill", Box::new(move |b| b.fill(w(64), 1.0))),
        ("write", Box::new(move |b| b.write(w(64), &[0.0; 64]))),
        ("copy", Box::new(move |b| b.copy(w(64), r(64)))),
        ("gather", Box::new(move |b| b.gather(&batch(), table, &samples()))),
        ("axpy", Box::new(move |b| b.axpy(w(64), 1.0, r(64)))),
        ("ascend", Box::new(move |b| b.ascend(w(64), cut(out[1], 1), r(64), 1.0))),
        ("sgd", Box::new(move |b| b.sgd(w(64), o(3, 64), &outcome(), r(64), &RULE))),
        ("decay", Box::new(move |b| b.decay(w(64), r(64), &RULE))),
        ("descend", Box::new(move |b| b.descend(o(3, 64), w(64), &outcome(), 0.1))),
        ("linear_forward", Box::new(move |b| b.linear_forward(w(8), r(16), f(1, 32), f(2, 4)))),
        ("linear_backward_input", Box::new(move |b| b.linear_backward_input(&[w(16)], &[r(8)], f(1, 32), 4, false))),
        (
            "linear_backward_weight",
            Box::new(move |b| b.linear_backward_weight(&[w(32)], &[o(1, 4)], r(16), &[f(1, 8)])),
        ),
        ("conv2d_forward", Box::new(move |b| b.conv2d_forward(w(64), r(64), f(1, 36), &conv))),
        (
            "conv2d_backward_input",
            Box::new(move |b| b.conv2d_backward_input(&[w(64)], &[r(64)], f(1, 36), &conv, false)),
        ),
        ("conv2d_backward_weight", Box::new(move |b| b.conv2d_backward_weight(&[w(36)], r(64), &[f(1, 64)], &conv))),
        (
            "batch_norm_forward",
            Box::new(move |b| b.batch_norm_forward(w(64), o(1, 8), Some(o(2, 8)), r(64), f(1, 4), f(2, 4), None, true)),
        ),
        (
            "batch_norm_inference",
            Box::new(move |b| b.batch_norm_inference(w(64), r(64), f(1, 4), f(2, 4), f(3, 8), None, true)),
        ),
        (
            "batch_norm_backward",
            Box::new(move |b| {
                let (dx, dw, db, dy) = (&[w(64)], &[o(1, 4)], &[o(2, 4)], &[o(3, 64)]);
                b.batch_norm_backward(dx, dw, db, dy, f(1, 64), r(64), f(2, 4), f(4, 4), f(3, 8), true, false, false)
            }),
        ),
        ("relu_forward", Box::new(move |b| b.relu_forward(w(64), r(64)))),
        ("relu_backward", Box::new(move |b| b.relu_backward(&[w(64)], &[r(64)], f(1, 64), false))),
        ("shortcut_forward", Box::new(move |b| b.shortcut_forward(w(32), r(64), IMAGE, half))),
        ("shortcut_backward", Box::new(move |b| b.shortcut_backward(&[w(64)], &[r(32)], IMAGE, half, false))),
        ("global_average_pool_forward", Box::new(move |b| b.global_average_pool_forward(w(4), r(64), IMAGE))),
        (
            "global_average_pool_backward",
            Box::new(move |b| b.global_average_pool_backward(&[w(64)], &[r(4)], IMAGE, false)),
        ),
        ("cross_entropy", Box::new(move |b| b.cross_entropy(&[w(8)], &[o(1, 1)], r(8), f(4, 2), &[f(0, 2)], &terms()))),
    ]
}

/// Runs each call with its written and read spans replaced; a method that reads nothing skips the second.
fn each_call<M: Machine>(bench: &mut Bench<'_, M>, what: &str, replace: impl Fn(&Arguments) -> (Span, Span)) {
    // A backend a method: a refusal must leave all memory as it was.
    for at in 0..25 {
        bench.case(&format!("{what}, method {at}"), |case| {
            let out = [(); 5].map(|()| case.in_out(&[1.0; 64]));
            let from = [(); 5].map(|()| case.input(&[0.5; 64]));
            let row = Row { index: 0, label: 0, top: 0, left: 0, flip: false, weights: [1.0, 0.0] };
            let table = case.input(&row.encode());
            let bytes = case.bytes(&[1; 64]);
            // Labels of the cross-entropy: 0 whatever they are cut from.
            let labels = case.input(&[0.0; 64]);
            let from = [from[0], from[1], from[2], from[3], labels];
            let arguments = Arguments { out, from, table, bytes };
            let (written, read) = replace(&arguments);
            let list = calls::<M::Error>(&arguments, written, read);
            let (method, call) = &list[at];
            let reads_nothing = matches!(*method, "fill" | "write" | "descend");
            if !(reads_nothing && written == out[0]) {
                case.refused(method, |backend| call(backend));
            }
        });
    }
}

pub fn past_the_end<M: Machine>(bench: &mut Bench<'_, M>) {
    let beyond = Span::work(1 << 20, 64);
    let overflowing = Span::work(usize::MAX - 31, 64);
    for (name, beyond) in [("far beyond", beyond), ("beyond usize", overflowing)] {
        each_call(bench, &format!("written {name}"), |arguments| (beyond, arguments.from[0]));
        each_call(bench, &format!("read {name}"), |arguments| (arguments.out[0], beyond));
    }
}

pub fn overlap<M: Machine>(bench: &mut Bench<'_, M>) {
    // Both spans start at the same element, so they overlap whatever their lengths; fill and write have but one.
    each_call(bench, "read and written alike", |arguments| (arguments.out[0], arguments.out[0]));
    bench.case("two streams into one span", |case| {
        let dx = case.in_out(&[1.0; 64]);
        let [p, q, y] = [(); 3].map(|()| case.input(&[0.5; 64]));
        case.refused("relu_backward", |backend| backend.relu_backward(&[dx, dx], &[p, q], y, false));
    });
    bench.case("a gradient over the other stream's input", |case| {
        let [dx, p] = [(); 2].map(|()| case.in_out(&[1.0; 64]));
        let [q, y] = [(); 2].map(|()| case.input(&[0.5; 64]));
        case.refused("relu_backward", |backend| backend.relu_backward(&[p, dx], &[q, p], y, false));
    });
}

pub fn read_only<M: Machine>(bench: &mut Bench<'_, M>) {
    for space in [sse_sam_core::Space::Constant, sse_sam_core::Space::Samples] {
        each_call(bench, &format!("written in {space}"), |arguments| {
            (Span { space, offset: 0, length: 64 }, arguments.from[0])
        });
    }
}

/// One argument of each method one number too long or too short; the second of two streams too.
pub fn wrong_lengths<M: Machine>(bench: &mut Bench<'_, M>) {
    for at in 0..27 {
        bench.case(&format!("call {at}"), |case| {
            let [a, b, c, d] = [(); 4].map(|()| case.in_out(&[1.0; 64]));
            let [p, q, s, t] = [(); 4].map(|()| case.input(&[0.0; 64]));
            let conv = Conv2d::new(IMAGE, 2, 3, 1, 1).expect("the kernel fits");
            let half = Shape::new(2, 2, 4);
            let group_squared_norms = [cut(c, 0); 2];
            let outcome = Outcome { squared_norm: cut(c, 1), group_squared_norms, failure: cut(d, 1), number: 1.0 };
            let terms = Terms { scale: cut(p, 4), shift: cut(p, 4), margin: cut(p, 3), focal: 0.0 };
            case.refused("a wrong length", |k| match at {
                0 => k.write(a, &[0.0; 63]),
                1 => k.copy(a, cut(p, 63)),
                2 => k.axpy(a, 1.0, cut(p, 63)),
                3 => k.ascend(a, cut(b, 1), cut(p, 63), 1.0),
                4 => k.sgd(a, b, &outcome, cut(p, 63), &RULE),
                5 => k.sgd(a, cut(b, 63), &outcome, p, &RULE),
                6 => k.linear_forward(cut(a, 8), cut(p, 15), cut(q, 32), cut(s, 4)),
                7 => k.linear_backward_input(&[cut(a, 15)], &[cut(p, 8)], cut(q, 32), 4, false),
                8 => k.linear_backward_weight(&[cut(a, 31)], &[cut(b, 4)], cut(p, 16), &[cut(q, 8)]),
                9 => k.conv2d_forward(a, p, cut(q, 35), &conv),
                10 => k.conv2d_backward_input(&[cut(a, 63)], &[p], cut(q, 36), &conv, false),
                11 => k.conv2d_backward_weight(&[cut(a, 37)], p, &[q], &conv),
                12 => k.batch_norm_forward(a, cut(b, 7), None, p, cut(q, 4), cut(s, 4), None, true),
                13 => k.batch_norm_inference(a, p, cut(q, 4), cut(s, 4), cut(t, 8), Some(cut(p, 63)), true),
                14 => {
                    let (dw, db, dy) = (&[cut(b, 4)], &[cut(c, 5)], &[d]);
                    k.batch_norm_backward(&[a], dw, db, dy, p, q, cut(s, 4), cut(s, 4), cut(t, 8), true, false, false)
                }
                15 => k.relu_forward(a, cut(p, 63)),
                16 => k.relu_backward(&[a, b], &[p], q, false),
                17 => k.shortcut_forward(cut(a, 32), cut(p, 63), IMAGE, half),
                18 => k.shortcut_backward(&[a], &[cut(p, 33)], IMAGE, half, false),
                19 => k.global_average_pool_forward(cut(a, 5), p, IMAGE),
                20 => k.relu_backward(&[a, b], &[p, cut(q, 63)], s, false),
                21 => k.conv2d_backward_input(&[a, b], &[p, cut(q, 63)], cut(s, 36), &conv, false),
                22 => k.ascend(a, cut(b, 2), p, 1.0),
                23 => k.decay(a, cut(p, 63), &RULE),
                24 => k.descend(a, cut(b, 63), &outcome, 0.1),
                25 => k.descend(a, b, &Outcome { failure: cut(d, 2), ..outcome }, 0.1),
                _ => k.cross_entropy(&[cut(a, 8)], &[cut(b, 1)], cut(p, 8), cut(q, 2), &[cut(s, 2)], &terms),
            });
        });
    }
}
