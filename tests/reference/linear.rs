//! `y = x W^T + b`, with `W` as `[out][in]`.

/// `y[n][o] = b[o] + sum_i x[n][i] * w[o][i]`.
pub fn forward(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let (outputs, inputs) = (b.len(), w.len() / b.len());
    let batch = x.len() / inputs;
    let mut y = vec![0.0; batch * outputs];
    for n in 0..batch {
        for o in 0..outputs {
            y[n * outputs + o] = b[o];
            for i in 0..inputs {
                y[n * outputs + o] += x[n * inputs + i] * w[o * inputs + i];
            }
        }
    }
    y
}

/// `dx[n][i] = sum_o dy[n][o] * w[o][i]`.
pub fn backward_input(dy: &[f64], w: &[f64], outputs: usize) -> Vec<f64> {
    let (batch, inputs) = (dy.len() / outputs, w.len() / outputs);
    let mut dx = vec![0.0; batch * inputs];
    for n in 0..batch {
        for o in 0..outputs {
            for i in 0..inputs {
                dx[n * inputs + i] += dy[n * outputs + o] * w[o * inputs + i];
            }
        }
    }
    dx
}

/// `dw[o][i] = sum_n dy[n][o] * x[n][i]` and `db[o] = sum_n dy[n][o]`.
pub fn backward_weight(x: &[f64], dy: &[f64], outputs: usize) -> (Vec<f64>, Vec<f64>) {
    let batch = dy.len() / outputs;
    let inputs = x.len() / batch;
    let (mut dw, mut db) = (vec![0.0; outputs * inputs], vec![0.0; outputs]);
    for n in 0..batch {
        for o in 0..outputs {
            db[o] += dy[n * outputs + o];
            for i in 0..inputs {
                dw[o * inputs + i] += dy[n * outputs + o] * x[n * inputs + i];
            }
        }
    }
    (dw, db)
}
