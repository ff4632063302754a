//! Initial parameters.

use crate::error::Error;
use crate::machine::backend::Backend;
use crate::memory::Span;
use crate::network::executor::Network;
use crate::network::layer::{Initializer, Layer, Layers, Op};
use crate::ops::Fill;
use crate::ops::math::elementary::sqrt;

impl<const N: usize, L: Layers> Network<'_, N, L> {
    /// Sets the parameters and running statistics that are trained to their initial values.
    ///
    /// `draw(layer)` returns the next number of that layer's own random stream. Weights and biases are drawn in the
    /// order in which they lie.
    ///
    /// # Errors
    /// What the backend reports.
    // `inline(never)`: its stack is free again in training.
    #[inline(never)]
    pub fn initialize<B: Backend>(
        &self,
        backend: &mut B,
        params: Span,
        mut draw: impl FnMut(usize) -> u32,
    ) -> Result<(), B::Error> {
        backend.run(&Fill { to: params, value: 0.0 })?;
        let layers = self.graph.layers().iter().zip(self.plan.slots()).enumerate();
        for (index, (layer, slot)) in layers.skip(self.plan.first_trained()) {
            let mut stream = || draw(index);
            let (weight, bias) = (slot.weight.of(params)?, slot.bias.of(params)?);
            match (layer.op, slot.running) {
                (Op::BatchNorm { .. }, Some(running)) if L::RESIDUAL => {
                    let channels = layer.output.channels;
                    backend.run(&Fill { to: weight, value: 1.0 })?;
                    backend.run(&Fill { to: running.part(0, channels)?, value: 0.0 })?;
                    backend.run(&Fill { to: running.part(channels, channels)?, value: 1.0 })?;
                }
                (Op::Linear | Op::Conv2d(_), _) => {
                    let fan_in = (weight.length / layer.output.channels.max(1)) as f32;
                    let bound = 1.0 / sqrt(fan_in);
                    let fan_out = weight.length as f32 / self.input_channels(layer)? as f32;
                    let deviation = match layer.initializer {
                        _ if !L::RESIDUAL => None,
                        Initializer::Uniform => None,
                        Initializer::KaimingFanIn => Some(sqrt(2.0 / fan_in)),
                        Initializer::KaimingFanOut => Some(sqrt(2.0 / fan_out)),
                    };
                    if let Some(deviation) = deviation {
                        draw_into(backend, weight, || normal(&mut stream, deviation))?;
                    }
                    let mut uniform = || uniform(&mut stream, bound);
                    if deviation.is_none() {
                        draw_into(backend, weight, &mut uniform)?;
                    }
                    draw_into(backend, bias, &mut uniform)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn input_channels(&self, layer: &Layer) -> Result<usize, Error> {
        let input = self.graph.shape(layer.input)?;
        Ok(if matches!(layer.op, Op::Linear) { input.len() } else { input.channels })
    }
}

#[inline(never)]
fn draw_into<B: Backend>(backend: &mut B, to: Span, mut next: impl FnMut() -> f32) -> Result<(), B::Error> {
    let mut offset = 0;
    while offset < to.length {
        let mut values = [0.0; 32];
        let length = values.len().min(to.length - offset);
        values.iter_mut().take(length).for_each(|value| *value = next());
        backend.write(to.part(offset, length)?, values.get(..length).unwrap_or(&[]))?;
        offset += length;
    }
    Ok(())
}

/// Uniform in `-bound..bound` from the upper 24 bits of one draw.
fn uniform(stream: &mut impl FnMut() -> u32, bound: f32) -> f32 {
    let unit = (stream() >> 8) as f32 * (1.0 / 16_777_216.0);
    (2.0 * unit - 1.0) * bound
}

/// Normal with mean 0, by Box and Muller from two draws.
fn normal(stream: &mut impl FnMut() -> u32, deviation: f32) -> f32 {
    let radius = ((stream() >> 8) + 1) as f32 * (1.0 / 16_777_216.0);
    let angle = (stream() >> 8) as f32 * (core::f32::consts::TAU / 16_777_216.0);
    sqrt(-2.0 * libm::logf(radius)) * libm::cosf(angle) * deviation
}
