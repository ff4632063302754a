//! The two-dimensional convolution (cross-correlation) of NCHW images with OIHW weights.

use sse_sam_core::Conv2d;

/// `y[n][o][i][j] = sum_{c,a,b} x[n][c][i*stride+a-padding][j*stride+b-padding] * w[o][c][a][b]`.
pub fn forward(x: &[f64], w: &[f64], conv: &Conv2d) -> Vec<f64> {
    let mut y = vec![0.0; x.len() / conv.input.len() * conv.output.len()];
    for_each_product(y.len(), conv, |to, from, weight| y[to] += x[from] * w[weight]);
    y
}

/// Gradient with respect to `x`.
pub fn backward_input(dy: &[f64], w: &[f64], conv: &Conv2d) -> Vec<f64> {
    let mut dx = vec![0.0; dy.len() / conv.output.len() * conv.input.len()];
    for_each_product(dy.len(), conv, |to, from, weight| dx[from] += dy[to] * w[weight]);
    dx
}

/// Gradient with respect to `w`.
pub fn backward_weight(x: &[f64], dy: &[f64], conv: &Conv2d) -> Vec<f64> {
    let mut dw = vec![0.0; conv.weights()];
    for_each_product(dy.len(), conv, |to, from, weight| dw[weight] += dy[to] * x[from]);
    dw
}

/// Calls `visit(index in y, index in x, index in w)` for each product of the formula.
fn for_each_product(outputs: usize, conv: &Conv2d, mut visit: impl FnMut(usize, usize, usize)) {
    let (x, y, kernel) = (conv.input, conv.output, conv.kernel);
    for to in 0..outputs {
        let (n, o) = (to / y.len(), to / (y.height * y.width) % y.channels);
        let (i, j) = (to / y.width % y.height, to % y.width);
        for c in 0..x.channels {
            for a in 0..kernel {
                for b in 0..kernel {
                    let (row, column) = (i * conv.stride + a, j * conv.stride + b);
                    let inside = |at: usize, size: usize| at >= conv.padding && at - conv.padding < size;
                    if inside(row, x.height) && inside(column, x.width) {
                        let pixel = (row - conv.padding) * x.width + column - conv.padding;
                        let from = (n * x.channels + c) * x.height * x.width + pixel;
                        visit(to, from, ((o * x.channels + c) * kernel + a) * kernel + b);
                    }
                }
            }
        }
    }
}
