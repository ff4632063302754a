//! ReLU and the parameter-free shortcut.

use sse_sam_core::Shape;

/// `y = max(x, 0)`.
pub fn relu_forward(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| if x > 0.0 { x } else { 0.0 }).collect()
}

/// `dx = dy` where `y > 0`, else 0.
pub fn relu_backward(dy: &[f64], y: &[f64]) -> Vec<f64> {
    dy.iter().zip(y).map(|(&dy, &y)| if y > 0.0 { dy } else { 0.0 }).collect()
}

/// Every second row and column of NCHW images; channels padded with zeros, `(out - in) / 2` of them before.
pub fn shortcut_forward<T: Copy + Default>(x: &[T], input: Shape, output: Shape) -> Vec<T> {
    let mut y = vec![T::default(); x.len() / input.len() * output.len()];
    for_each_kept(x.len() / input.len(), input, output, |to, from| y[to] = x[from]);
    y
}

/// Gradient of [`shortcut_forward`].
pub fn shortcut_backward<T: Copy + Default>(dy: &[T], input: Shape, output: Shape) -> Vec<T> {
    let batch = dy.len() / output.len();
    let mut dx = vec![T::default(); batch * input.len()];
    for_each_kept(batch, input, output, |to, from| dx[from] = dy[to]);
    dx
}

/// Calls `visit(index in y, index in x)` for each value that the shortcut keeps.
fn for_each_kept(batch: usize, input: Shape, output: Shape, mut visit: impl FnMut(usize, usize)) {
    let before = (output.channels - input.channels) / 2;
    for n in 0..batch {
        for c in 0..input.channels {
            for i in 0..output.height {
                for j in 0..output.width {
                    let to = ((n * output.channels + c + before) * output.height + i) * output.width + j;
                    let from = ((n * input.channels + c) * input.height + 2 * i) * input.width + 2 * j;
                    visit(to, from);
                }
            }
        }
    }
}
