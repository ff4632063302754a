//! A network with its weights as an ONNX model, for programs that run such models.
//!
//! The file is a protobuf message by the definition of ONNX (onnx.proto), written here field by field. Tensors are those of
//! the weights file, under PyTorch's names; every layer is a node or a few, none is folded into another.

use std::collections::BTreeMap;

use sse_sam_core::network::layer::{Layer, Op};
use sse_sam_core::{Conv2d, Shape};

use crate::error::Error;
use crate::weights::{Data, Weights};

/// The version of the operators that nodes refer to, and that of the format.
const OPERATORS: u64 = 13;
const FORMAT: u64 = 8;

/// What the input is, in the model's metadata.
const INPUT: &str =
    "float32 [batch][channels][height][width], values in 0..1 (bytes / 255); the model normalises them itself";

/// The most bytes of a protobuf message.
const LARGEST: usize = i32::MAX as usize;

/// The bytes of an ONNX model of these weights: input `image`, `[batch][channels][height][width]`, values in 0..1; output
/// `logits`, `[batch][classes]`. Batches may have any size. Its metadata are those of the weights, with `input` beside them.
///
/// # Errors
/// [`Error::Core`] when the description does not fit itself, [`Error::Weights`] when the model is larger than a protobuf
/// message may be.
pub fn model(weights: &Weights) -> Result<Vec<u8>, Error> {
    let layout = weights.description.layout()?;
    let layers = layout.graph.layers();
    let Shape { height, width, channels } = weights.description.image;
    let classes = layers.last().map_or(0, |layer| layer.output.len());
    let mut graph = Graph { weights, body: Message::default(), nodes: 0 };
    graph.body.text(2, &weights.description.model.to_string());
    graph.body.message(11, |info| value(info, "image", &[None, Some(channels), Some(height), Some(width)]));
    graph.body.message(12, |info| value(info, "logits", &[None, Some(classes)]));
    graph.normalization();
    for (index, layer) in layers.iter().enumerate() {
        let output = if index + 1 == layers.len() { "logits".into() } else { format!("layer{index}") };
        graph.layer(layer, layout.graph.shape(layer.input)?, &output)?;
    }
    let mut model = Message::default();
    model.number(1, FORMAT);
    model.text(2, "sse-sam");
    model.text(3, env!("CARGO_PKG_VERSION"));
    model.message(7, |message| *message = graph.body);
    model.message(8, |message| message.number(2, OPERATORS));
    for (key, text) in metadata(weights) {
        model.message(14, |entry| {
            entry.text(1, &key);
            entry.text(2, &text);
        });
    }
    if model.bytes.len() > LARGEST {
        return Err(Error::weights(weights.path(), "is too large for one ONNX file, which has at most 2 GiB"));
    }
    Ok(model.bytes)
}

/// What the weights say about themselves, and what the model reads.
fn metadata(weights: &Weights) -> BTreeMap<String, String> {
    let mut metadata = weights.metadata().clone();
    // How safetensors name the order of tensors.
    metadata.remove("format");
    metadata.insert("input".into(), INPUT.into());
    metadata
}

/// The description of an input or output of floats; a side that is open is the batch's.
fn value(info: &mut Message, name: &str, sides: &[Option<usize>]) {
    info.text(1, name);
    info.message(2, |kind| {
        kind.message(1, |tensor| {
            tensor.number(1, Kind::Float as u64);
            tensor.message(2, |shape| {
                for side in sides {
                    shape.message(1, |dimension| match side {
                        Some(side) => dimension.number(1, *side as u64),
                        None => dimension.text(2, "batch"),
                    });
                }
            });
        });
    });
}

/// Types of numbers in a tensor.
#[derive(Clone, Copy)]
enum Kind {
    Float = 1,
    Int64 = 7,
}

/// An attribute of a node.
enum Attribute<'a> {
    Float(f32),
    Int(usize),
    Ints(&'a [usize]),
}

/// A graph that is being written.
struct Graph<'a> {
    weights: &'a Weights,
    body: Message,
    nodes: usize,
}

impl Graph<'_> {
    /// `layer0 = (image - mean) * inverse deviation`, both of values in 0..1.
    fn normalization(&mut self) {
        let numbers = &self.weights.description.normalization;
        let (mean, inverse) = numbers.split_at(numbers.len() / 2);
        let shape = [1, mean.len(), 1, 1];
        self.floats("normalization.mean", &shape, mean.iter().map(|mean| mean / 255.0));
        self.floats("normalization.inverse_std", &shape, inverse.iter().map(|inverse| inverse * 255.0));
        self.node("Sub", &["image", "normalization.mean"], "centred", &[]);
        self.node("Mul", &["centred", "normalization.inverse_std"], "layer0", &[]);
    }

    /// A layer that reads images of `input` and is called `output`.
    fn layer(&mut self, layer: &Layer, input: Shape, output: &str) -> Result<(), Error> {
        let (x, name) = (format!("layer{}", layer.input.index()), layer.name.to_string());
        for tensor in layer.tensors() {
            self.tensor(&format!("{name}.{}", tensor.name()))?;
        }
        let own = |tensor: &str| format!("{name}.{tensor}");
        match layer.op {
            Op::Input => {}
            Op::Linear => {
                let flat = format!("{output}.flat");
                self.node("Flatten", &[&x], &flat, &[("axis", Attribute::Int(1))]);
                let inputs = [&*flat, &own("weight"), &own("bias")];
                self.node("Gemm", &inputs, output, &[("transB", Attribute::Int(1))]);
            }
            Op::Conv2d(Conv2d { kernel, stride, padding, .. }) => {
                self.windows("Conv", &[&x, &own("weight")], output, (kernel, stride, padding));
            }
            Op::BatchNorm { residual, relu } => {
                let last = |is_last: bool, part| if is_last { output.into() } else { format!("{output}.{part}") };
                let norm = last(residual.is_none() && !relu, "norm");
                let (weight, bias) = (own("weight"), own("bias"));
                let inputs = [&*x, &weight, &bias, &own("running_mean"), &own("running_var")];
                self.node("BatchNormalization", &inputs, &norm, &[("epsilon", Attribute::Float(1e-5))]);
                let mut sum = norm;
                if let Some(residual) = residual {
                    let added = last(!relu, "sum");
                    self.node("Add", &[&sum, &format!("layer{}", residual.index())], &added, &[]);
                    sum = added;
                }
                if relu {
                    self.node("Relu", &[&sum], output, &[]);
                }
            }
            Op::Relu => self.node("Relu", &[&x], output, &[]),
            Op::Shortcut => self.shortcut(&x, input.channels, layer.output.channels, output),
            Op::GlobalAveragePool => self.node("GlobalAveragePool", &[&x], output, &[]),
            Op::MaxPool(pool) => self.windows("MaxPool", &[&x], output, (pool.kernel, pool.stride, pool.padding)),
        }
        Ok(())
    }

    /// Every second row and column, then channels of zeros on both sides.
    fn shortcut(&mut self, x: &str, inputs: usize, outputs: usize, output: &str) {
        let added = outputs.saturating_sub(inputs);
        let (before, after) = (added / 2, added - added / 2);
        let (halved, own) = (format!("{output}.halved"), |part: &str| format!("{output}.{part}"));
        for (part, numbers) in [("starts", [0, 0]), ("ends", [i64::MAX, i64::MAX]), ("axes", [2, 3]), ("steps", [2, 2])]
        {
            self.integers(&own(part), &numbers);
        }
        let inputs = [x, &own("starts"), &own("ends"), &own("axes"), &own("steps")];
        self.node("Slice", &inputs, &halved, &[]);
        self.integers(&own("pads"), &[0, before as i64, 0, 0, 0, after as i64, 0, 0]);
        self.node("Pad", &[&halved, &own("pads")], output, &[]);
    }

    /// A node that moves a window over its input.
    fn windows(&mut self, kind: &str, inputs: &[&str], output: &str, (kernel, stride, padding): (usize, usize, usize)) {
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[kernel; 2])),
            ("strides", Attribute::Ints(&[stride; 2])),
            ("pads", Attribute::Ints(&[padding; 4])),
        ];
        self.node(kind, inputs, output, &attributes);
    }

    fn node(&mut self, kind: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute<'_>)]) {
        let name = format!("{kind}{}", self.nodes);
        self.nodes += 1;
        self.body.message(1, |node| {
            inputs.iter().for_each(|input| node.text(1, input));
            node.text(2, output);
            node.text(3, &name);
            node.text(4, kind);
            for (name, attribute) in attributes {
                node.message(5, |message| attribute.write(name, message));
            }
        });
    }

    /// A tensor of the weights file.
    fn tensor(&mut self, name: &str) -> Result<(), Error> {
        let weights = self.weights;
        let missing = || Error::weights(weights.path(), format!("tensor {name} is missing"));
        let tensor = weights.tensor(name).ok_or_else(missing)?;
        let Data::F32(values) = &tensor.data else { return Err(missing()) };
        self.floats(name, &tensor.shape, values.iter().copied());
        Ok(())
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: impl Iterator<Item = f32>) {
        self.initializer(name, shape, Kind::Float, values.flat_map(f32::to_le_bytes).collect());
    }

    fn integers(&mut self, name: &str, values: &[i64]) {
        self.initializer(name, &[values.len()], Kind::Int64, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    fn initializer(&mut self, name: &str, shape: &[usize], kind: Kind, values: Vec<u8>) {
        self.body.message(5, |tensor| {
            shape.iter().for_each(|&side| tensor.number(1, side as u64));
            tensor.number(2, kind as u64);
            tensor.text(8, name);
            tensor.bytes(9, &values);
        });
    }
}

impl Attribute<'_> {
    fn write(&self, name: &str, message: &mut Message) {
        message.text(1, name);
        match self {
            Self::Float(value) => {
                message.float(2, *value);
                message.number(20, 1);
            }
            Self::Int(value) => {
                message.number(3, *value as u64);
                message.number(20, 2);
            }
            Self::Ints(values) => {
                values.iter().for_each(|&value| message.number(8, value as u64));
                message.number(20, 7);
            }
        }
    }
}

/// A protobuf message: fields one after another, each a number of the field and of its kind, then its value.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Seven bits a byte, the lowest first; all but the last have the eighth bit.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.bytes.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_protobuf_has_them() {
        let mut message = Message::default();
        message.number(1, 150);
        message.text(2, "testing");
        message.message(3, |inner| inner.number(1, 150));
        message.float(4, 1.0);
        message.number(20, 0);
        // The first three are the examples of protobuf's own description.
        let expected: [&[u8]; 5] = [
            &[0x08, 0x96, 0x01],
            &[0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67],
            &[0x1a, 0x03, 0x08, 0x96, 0x01],
            &[0x25, 0x00, 0x00, 0x80, 0x3f],
            &[0xa0, 0x01, 0x00],
        ];
        assert_eq!(message.bytes, expected.concat());
    }
}
