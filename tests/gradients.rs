//! Every backward of the reference is the derivative of its forward, by central differences in f64.

use sse_sam_core::{Conv2d, Row, Sgd, Shape};
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::{
    batch_norm, conv2d, cross_entropy, gather, linear, pointwise, pooling, relative_error, vectors, wide,
};

const STEP: f64 = 1e-5;
/// Central differences err by `STEP^2` times a third derivative, and by 1e-16 / `STEP` of rounding.
const BOUND: f64 = 1e-8;

fn numbers(seed: u64, length: usize) -> Vec<f64> {
    wide(&Numbers::new(seed).list(length))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Asserts that `gradient` is the derivative of `function` at `point`, coordinate by coordinate.
#[track_caller]
fn assert_derivative(gradient: &[f64], point: &[f64], function: impl Fn(&[f64]) -> f64) {
    let shifted = |at: usize, by: f64| {
        let mut moved = point.to_vec();
        moved[at] += by;
        function(&moved)
    };
    let slope = |at: usize| (shifted(at, STEP) - shifted(at, -STEP)) / (2.0 * STEP);
    let differences: Vec<f64> = (0..point.len()).map(slope).collect();
    let error = relative_error(gradient, &differences);
    assert!(error < BOUND, "relative error {error:e}\n gradient {gradient:?}\n differences {differences:?}");
}

#[test]
fn linear_backward_is_the_derivative_of_linear_forward() {
    let (inputs, outputs, batch) = (5, 3, 4);
    let (x, w, b) = (numbers(1, batch * inputs), numbers(2, outputs * inputs), numbers(3, outputs));
    let dy = numbers(4, batch * outputs);
    assert_derivative(&linear::backward_input(&dy, &w, outputs), &x, |x| dot(&dy, &linear::forward(x, &w, &b)));
    let (dw, db) = linear::backward_weight(&x, &dy, outputs);
    assert_derivative(&dw, &w, |w| dot(&dy, &linear::forward(&x, w, &b)));
    assert_derivative(&db, &b, |b| dot(&dy, &linear::forward(&x, &w, b)));
}

#[test]
fn conv2d_backward_is_the_derivative_of_conv2d_forward() {
    for (kernel, stride, padding) in [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0), (5, 1, 2), (5, 2, 1)] {
        let conv = Conv2d::new(Shape::new(6, 5, 3), 2, kernel, stride, padding).unwrap();
        let (x, w) = (numbers(1, 2 * conv.input.len()), numbers(2, conv.weights()));
        let dy = numbers(3, 2 * conv.output.len());
        assert_derivative(&conv2d::backward_input(&dy, &w, &conv), &x, |x| dot(&dy, &conv2d::forward(x, &w, &conv)));
        assert_derivative(&conv2d::backward_weight(&x, &dy, &conv), &w, |w| dot(&dy, &conv2d::forward(&x, w, &conv)));
    }
}

#[test]
fn conv2d_of_a_known_picture_is_computed_by_hand() {
    // A 3 x 3 picture and a 2 x 2 kernel that takes upper left minus lower right.
    let conv = Conv2d::new(Shape::new(3, 3, 1), 1, 2, 1, 0).unwrap();
    let picture = [1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 22.0, 29.0, 37.0];
    assert_eq!(conv2d::forward(&picture, &[1.0, 0.0, 0.0, -1.0], &conv), [-10.0, -14.0, -22.0, -26.0]);
    // With a zero around it and steps of 2, the kernel sees the corners.
    let conv = Conv2d { padding: 1, stride: 2, ..conv };
    let conv = Conv2d::new(conv.input, 1, 2, conv.stride, conv.padding).unwrap();
    assert_eq!(conv2d::forward(&picture, &[1.0, 0.0, 0.0, -1.0], &conv), [-1.0, -4.0, -22.0, 11.0 - 37.0]);
}

/// Inputs of batch norm whose ReLU inputs are all further than `0.01` from zero.
fn clear_of_the_kink(pixels: usize, channels: usize, batch: usize, residual: bool) -> [Vec<f64>; 4] {
    let len = batch * channels * pixels;
    let still = (vec![0.0; channels], vec![1.0; channels]);
    (0..1000)
        .map(|seed| {
            [numbers(seed, len), numbers(!seed, channels), numbers(seed + 7000, channels), numbers(seed ^ 99, len)]
        })
        .find(|[x, w, b, r]| {
            let residual = residual.then_some(r.as_slice());
            let forward = batch_norm::forward(x, w, b, (&still.0, &still.1), residual, false, pixels);
            forward.y.iter().all(|y| y.abs() > 0.01)
        })
        .expect("one of a thousand seeds keeps clear of zero")
}

#[test]
fn batch_norm_backward_is_the_derivative_of_batch_norm_forward() {
    let (pixels, channels, batch) = (3, 2, 4);
    for (relu, residual) in [(false, false), (true, false), (false, true), (true, true)] {
        let [x, w, b, r] = clear_of_the_kink(pixels, channels, batch, residual);
        let dy = numbers(5, x.len());
        let still = (vec![0.0; channels], vec![1.0; channels]);
        let forward = |x: &[f64], w: &[f64], b: &[f64], r: &[f64]| {
            batch_norm::forward(x, w, b, (&still.0, &still.1), residual.then_some(r), relu, pixels).y
        };
        let y = forward(&x, &w, &b, &r);
        let gradients = batch_norm::backward(&dy, &y, &x, &w, relu, pixels);
        assert_derivative(&gradients.dx, &x, |x| dot(&dy, &forward(x, &w, &b, &r)));
        assert_derivative(&gradients.dw, &w, |w| dot(&dy, &forward(&x, w, &b, &r)));
        assert_derivative(&gradients.db, &b, |b| dot(&dy, &forward(&x, &w, b, &r)));
        if residual {
            assert_derivative(&gradients.dresidual, &r, |r| dot(&dy, &forward(&x, &w, &b, r)));
        }
    }
}

#[test]
fn batch_norm_of_four_known_values_is_computed_by_hand() {
    // Mean 2.5, biased variance 1.25, unbiased 5/3.
    let normalized = batch_norm::forward(&[1.0, 2.0, 3.0, 4.0], &[2.0], &[1.0], (&[1.0], &[1.0]), None, false, 2);
    let inv_std = 1.0 / 1.25001_f64.sqrt();
    let expected = [-1.5, -0.5, 0.5, 1.5].map(|deviation| 2.0 * deviation * inv_std + 1.0);
    assert!(relative_error(&normalized.y, &expected) < 1e-15);
    assert!(relative_error(&normalized.inv_std, &[inv_std]) < 1e-15);
    assert!(relative_error(&normalized.running_mean, &[0.9 + 0.25]) < 1e-15);
    assert!(relative_error(&normalized.running_var, &[0.9 + 0.1 * 5.0 / 3.0]) < 1e-15);
}

#[test]
fn batch_norm_running_statistics_of_a_single_value_stand_still() {
    let normalized =
        batch_norm::forward(&[3.0, 4.0], &[1.0, 1.0], &[0.0, 0.5], (&[7.0, 8.0], &[2.0, 3.0]), None, false, 1);
    assert_eq!((normalized.running_mean, normalized.running_var), (vec![7.0, 8.0], vec![2.0, 3.0]));
    assert_eq!(normalized.y, [0.0, 0.5]);
}

#[test]
fn relu_backward_is_the_derivative_of_relu_forward() {
    let (x, dy) = (numbers(1, 40), numbers(2, 40));
    let y = pointwise::relu_forward(&x);
    assert_derivative(&pointwise::relu_backward(&dy, &y), &x, |x| dot(&dy, &pointwise::relu_forward(x)));
}

#[test]
fn shortcut_backward_is_the_derivative_of_shortcut_forward() {
    for (input, output) in [(Shape::new(5, 4, 3), Shape::new(3, 2, 6)), (Shape::new(2, 2, 2), Shape::new(1, 1, 2))] {
        let (x, dy) = (numbers(1, 2 * input.len()), numbers(2, 2 * output.len()));
        let dx = pointwise::shortcut_backward(&dy, input, output);
        assert_derivative(&dx, &x, |x| dot(&dy, &pointwise::shortcut_forward(x, input, output)));
    }
}

#[test]
fn shortcut_pads_half_of_the_channels_before_rounded_down() {
    let y = pointwise::shortcut_forward(&[5.0, 6.0], Shape::new(1, 1, 2), Shape::new(1, 1, 5));
    assert_eq!(y, [0.0, 5.0, 6.0, 0.0, 0.0]);
}

#[test]
fn global_average_pool_backward_is_the_derivative_of_its_forward() {
    let (x, dy) = (numbers(1, 2 * 3 * 5), numbers(2, 2 * 3));
    assert_derivative(&pooling::backward(&dy, 5), &x, |x| dot(&dy, &pooling::forward(x, 5)));
    assert_eq!(pooling::forward(&[1.0, 2.0, 3.0, 4.0], 2), [1.5, 3.5]);
}

#[test]
fn cross_entropy_backward_is_the_derivative_of_cross_entropy_forward() {
    for focal in [0.0, 0.5, 1.0, 2.0] {
        let mut draw = Numbers::new(11);
        let terms = cross_entropy::Terms {
            scale: wide(&draw.list_between(6, 0.5, 2.0)),
            shift: wide(&draw.list(6)),
            margin: wide(&draw.list(6)),
            focal,
        };
        let logits = wide(&draw.list(6));
        for label in 0..6 {
            let gradient = cross_entropy::backward(&logits, label, 0.7, &terms);
            assert_derivative(&gradient, &logits, |logits| cross_entropy::forward(logits, label, 0.7, &terms));
        }
    }
}

#[test]
fn cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes() {
    let terms = cross_entropy::Terms { scale: vec![1.0; 4], shift: vec![0.0; 4], margin: vec![0.0; 4], focal: 0.0 };
    assert!((cross_entropy::forward(&[3.0; 4], 2, 0.5, &terms) - 0.5 * 4.0_f64.ln()).abs() < 1e-15);
    let focal = cross_entropy::Terms { focal: 2.0, ..terms };
    assert!((cross_entropy::forward(&[3.0; 4], 2, 1.0, &focal) - 0.5625 * 4.0_f64.ln()).abs() < 1e-15);
}

#[test]
fn ascend_moves_by_the_radius_along_the_gradient() {
    assert_eq!(vectors::ascend(&[3.0, -4.0], &[1.0, 1.0], 0.5), [1.3, 0.6]);
    assert_eq!(vectors::ascend(&[0.0, 0.0], &[1.0, 2.0], 0.5), [1.0, 2.0]);
}

#[test]
fn sgd_without_momentum_is_a_step_down_the_decayed_gradient() {
    let plain = Sgd { learning_rate: 0.5, momentum: 0.0, weight_decay: 0.25, nesterov: false };
    assert_eq!(vectors::sgd(&[2.0], &[9.0], &[1.0], &plain), (vec![1.25], vec![1.5]));
    let heavy = Sgd { momentum: 0.5, ..plain };
    assert_eq!(vectors::sgd(&[2.0], &[1.0], &[1.0], &heavy), (vec![1.0], vec![2.0]));
    let nesterov = Sgd { nesterov: true, ..heavy };
    assert_eq!(vectors::sgd(&[2.0], &[1.0], &[1.0], &nesterov), (vec![0.75], vec![2.0]));
}

#[test]
fn gather_mirrors_before_it_crops_and_is_black_outside() {
    // One row of three pixels 10 20 30; mean 0 and deviation 1.
    let cut = |left: i8, flip: bool| {
        let row = Row { index: 0, label: 0, top: 0, left, flip, weights: [1.0, 0.0] };
        gather::image(&[10, 20, 30], Shape::new(1, 3, 1), &row, &[0.0, 1.0])
    };
    assert_eq!(cut(0, false), [10.0, 20.0, 30.0]);
    assert_eq!(cut(1, false), [20.0, 30.0, 0.0]);
    assert_eq!(cut(-1, false), [0.0, 10.0, 20.0]);
    assert_eq!(cut(0, true), [30.0, 20.0, 10.0]);
    assert_eq!(cut(1, true), [20.0, 10.0, 0.0]);
}

#[test]
fn batch_norm_inference_backward_is_the_derivative_of_batch_norm_inference() {
    let (pixels, channels, batch) = (3, 2, 4);
    for (relu, residual) in [(false, false), (true, false), (false, true), (true, true)] {
        let [x, w, b, r] = clear_of_the_kink(pixels, channels, batch, residual);
        let (dy, mean, variance) = (numbers(5, x.len()), numbers(6, channels), vec![0.7, 1.9]);
        let forward = |x: &[f64], w: &[f64], b: &[f64], r: &[f64]| {
            batch_norm::inference(x, w, b, (&mean, &variance), residual.then_some(r), relu, pixels)
        };
        let y = forward(&x, &w, &b, &r);
        let gradients = batch_norm::inference_backward(&dy, &y, &x, &w, (&mean, &variance), relu, pixels);
        assert_derivative(&gradients.dx, &x, |x| dot(&dy, &forward(x, &w, &b, &r)));
        assert_derivative(&gradients.dw, &w, |w| dot(&dy, &forward(&x, w, &b, &r)));
        assert_derivative(&gradients.db, &b, |b| dot(&dy, &forward(&x, &w, b, &r)));
        if residual {
            assert_derivative(&gradients.dresidual, &r, |r| dot(&dy, &forward(&x, &w, &b, r)));
        }
    }
}

#[test]
fn the_tangent_of_cross_entropy_is_the_derivative_of_its_gradient() {
    let classes = 5;
    for focal in [0.0, 0.5, 1.0, 2.0] {
        let scale = numbers(1, classes).iter().map(|scale| scale.abs() + 0.5).collect();
        let (shift, margin) = (numbers(2, classes), numbers(3, classes));
        let terms = cross_entropy::Terms { scale, shift, margin, focal };
        let (logits, u) = (numbers(4, classes), numbers(5, classes));
        for label in 0..classes {
            let gradient = |logits: &[f64]| cross_entropy::backward(logits, label, 0.7, &terms);
            let moved = |by: f64| gradient(&vectors::axpy(&logits, by, &u));
            let differences: Vec<f64> =
                moved(STEP).iter().zip(moved(-STEP)).map(|(a, b)| (a - b) / (2.0 * STEP)).collect();
            let tangent = cross_entropy::tangent(&logits, &u, label, 0.7, &terms);
            let error = relative_error(&tangent, &differences);
            assert!(error < BOUND, "focal {focal}, label {label}: {error:e}");
        }
    }
}

#[test]
fn the_tangent_of_max_pooling_is_the_derivative_along_a_direction() {
    let pool = sse_sam_core::ops::Pool2d::new(Shape::new(5, 4, 2), 3, 2, 1).unwrap();
    let (x, u) = (numbers(1, 3 * pool.input.len()), numbers(2, 3 * pool.input.len()));
    let moved = |by: f64| pooling::max_forward(&vectors::axpy(&x, by, &u), &pool);
    let differences: Vec<f64> = moved(STEP).iter().zip(moved(-STEP)).map(|(a, b)| (a - b) / (2.0 * STEP)).collect();
    assert!(relative_error(&pooling::max_tangent(&u, &x, &pool), &differences) < BOUND);
}

#[test]
fn combinations_of_a_basis_are_undone_by_its_products() {
    // Of orthonormal rows: what is left of a vector has no product with any of them.
    let half = 0.5_f64.sqrt();
    let basis = [half, half, 0.0, half, -half, 0.0];
    let y = numbers(1, 3);
    let rest = vectors::combine(&y, &vectors::dots(&basis, &y), &basis);
    assert!(vectors::dots(&basis, &rest).iter().all(|product| product.abs() < 1e-15));
    assert!((rest[2] - y[2]).abs() < 1e-15 && rest[2] != 0.0);
}
