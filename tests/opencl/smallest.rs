//! Layers of few numbers, of which every kernel computes some.

use sse_sam_core::ops::{MaxPoolBackward, MaxPoolForward, MaxPoolTangent, Pool2d};

use super::*;

/// Winograd's form of few channels and of many; `tests/winograd.rs` compares its numbers.
pub fn small_winograd(device: &DeviceInfo) -> Result<(), Error> {
    for channels in [16, 80] {
        let conv = Conv2d::new(Shape::new(4, 4, channels), channels, 3, 1, 1)?;
        let mut layout = Layout::new(1);
        let [x, y, dx, dy] = [conv.input.len(); 4].map(|length| layout.random(length));
        let [weight, dweight] = [conv.weights(); 2].map(|length| layout.random(length));
        let mut machine = OpenCl::new(device, layout.work.len(), &[], &[])?;
        machine.set_convolution(Convolution::Winograd);
        machine.reserve_convolution(&conv, 1)?;
        machine.write(Span::work(0, layout.work.len()), &layout.work)?;
        machine.run(&Conv2dForward { y, x, weight, conv: &conv })?;
        machine.run(&Conv2dBackwardInput { dx: &[dx], dy: &[dy], weight, conv: &conv, accumulate: false })?;
        machine.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[dy], conv: &conv })?;
        machine.finish()?;
    }
    Ok(())
}

/// Batch normalisation of few numbers in several parts, where work-groups of a GPU have several strands and idle items.
pub fn small_batch_norm(device: &DeviceInfo) {
    let (rows, channels) = (33, 259);
    let mut layout = Layout::new(2);
    let [y, x, residual, dx, dy] = [rows * channels; 5].map(|length| layout.random(length));
    let [weight, bias, dweight, dbias] = [channels; 4].map(|length| layout.random(length));
    let saved = layout.put(&vec![0.5; 2 * channels]);
    both!(Pair::new(device, 1e-4), "batch norm", &layout, |machine| {
        machine.run(&BatchNormForward {
            y,
            saved,
            running: None,
            x,
            weight,
            bias,
            residual: Some(residual),
            relu: true,
        })?;
        machine.run(&BatchNormBackward {
            dx: &[dx],
            dweight: &[dweight],
            dbias: &[dbias],
            dy: &[dy],
            y,
            x,
            weight,
            bias,
            saved,
            relu: true,
            residual: true,
            accumulate: false,
        })?;
        machine.run(&BatchNormInferenceBackward {
            dx: &[dx],
            dweight: &[dweight],
            dbias: &[dbias],
            dy: &[dy],
            y,
            x,
            weight,
            running: saved,
            relu: true,
            accumulate: true,
        })
    });
}

/// Batch normalisation, linear layers, shortcut, pooling, loss and gather on few numbers.
pub fn small_layers(device: &DeviceInfo) {
    let (rows, channels) = (8, 17);
    let mut layout = Layout::new(2);
    let [y, x, residual, dx, dy] = [rows * channels; 5].map(|length| layout.random(length));
    let [weight, bias, dweight, dbias] = [channels; 4].map(|length| layout.random(length));
    let [saved, running] = [2 * channels; 2].map(|length| layout.put(&vec![0.5; length]));
    let matrix = layout.random(channels * channels);
    let dmatrix = layout.random(channels * channels);
    let (input, half) = (Shape::new(2, 2, channels), Shape::new(1, 1, channels + 2));
    let [short, pooled] = [layout.random(2 * half.len()), layout.random(2 * channels)];
    let pool = Pool2d::new(input, 3, 2, 1).unwrap();
    let labels = layout.put(&[1.0; 8]);
    let weights = layout.random(rows);
    let loss = layout.random(1);
    let terms = Terms { scale: layout.put(&[1.5; 17]), shift: bias, margin: weight, focal: 1.0 };
    let normalization = layout.put(&[100.0, 0.01]);
    let row = Row { index: 1, label: 16, top: -1, left: 1, flip: true, weights: [1.0, 0.5] };
    let table = layout.put(&row.encode());
    let batch =
        Batch { images: layout.random(6), labels: layout.random(1), weights: [layout.random(1), layout.random(1)] };
    let samples = Samples { images: Span::samples(0, 12), image: Shape::new(2, 3, 1), normalization };
    let mut pair = Pair::new(device, 1e-4);
    pair.samples = (0..12).map(|index| index * 17).collect();
    both!(pair, "layers", &layout, |machine| {
        machine.run(&Gather { batch: &batch, rows: table, samples: &samples })?;
        machine.run(&BatchNormForward {
            y,
            saved,
            running: Some(running),
            x,
            weight,
            bias,
            residual: Some(residual),
            relu: true,
        })?;
        machine.run(&BatchNormBackward {
            dx: &[dx],
            dweight: &[dweight],
            dbias: &[dbias],
            dy: &[dy],
            y,
            x,
            weight,
            bias,
            saved,
            relu: true,
            residual: true,
            accumulate: true,
        })?;
        machine.run(&BatchNormInference { y: dx, x, weight, bias, running, residual: None, relu: false })?;
        machine.run(&BatchNormInferenceBackward {
            dx: &[residual],
            dweight: &[dweight],
            dbias: &[dbias],
            dy: &[dy],
            y,
            x,
            weight,
            running,
            relu: true,
            accumulate: false,
        })?;
        machine.run(&LinearForward { y, x, weight: matrix, bias })?;
        machine.run(&LinearBackwardInput {
            dx: &[dx],
            dy: &[y],
            weight: matrix,
            outputs: channels,
            accumulate: true,
        })?;
        machine.run(&LinearBackwardWeight { dweight: &[dmatrix], dbias: &[dbias], x, dy: &[y] })?;
        machine.run(&ShortcutForward { y: short, x, input, output: half })?;
        machine.run(&ShortcutBackward { dx: &[dx], dy: &[short], input, output: half, accumulate: true })?;
        machine.run(&GlobalAveragePoolForward { y: pooled, x, input })?;
        machine.run(&GlobalAveragePoolBackward { dx: &[dx], dy: &[pooled], input, accumulate: false })?;
        machine.run(&MaxPoolForward { y: pooled, x, pool: &pool })?;
        machine.run(&MaxPoolBackward { dx: &[dx], dy: &[pooled], x, pool: &pool, accumulate: true })?;
        machine.run(&MaxPoolTangent { y: pooled, tangent: dx, x, pool: &pool })?;
        machine.run(&CrossEntropy {
            dlogits: &[dy],
            losses: &[loss],
            logits: y,
            labels,
            weights: &[weights],
            terms,
        })?;
        machine.run(&CrossEntropyTangent { dlogits: dx, logits: y, tangent: x, labels, weights, terms })
    });
}
