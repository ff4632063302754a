//! Convolutions in blocks on their smallest shapes, and without blocks where a device has no local memory for them.

use sse_sam::opencl::{
    Algorithm, AlgorithmTable, Block, ConvProblem, Convolution, DeviceInfo, Direction, Error, OpenCl, Selection,
};
use sse_sam_core::ops::{
    BatchNormForward, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dBatchNormForward, Conv2dForward,
};
use sse_sam_core::{Backend, Conv2d, Cpu, Shape, Span};

use super::{Layout, Pair};

/// One of a GPU's convolutions, with the spans of its operations.
struct Small {
    block: Block,
    conv: Conv2d,
    layout: Layout,
    x: Span,
    y: Span,
    weight: Span,
    dx: Span,
    dweight: Span,
    /// Of a batch normalisation of `y`.
    normalized: Span,
    scale: Span,
    shift: Span,
    saved: Span,
}

impl Small {
    fn new(block: Block, conv: Conv2d) -> Self {
        // Whole quads, where the block takes nothing else.
        let mut layout = Layout::new(if block == Block::Any { 1 } else { 4 });
        let [x, dx] = [conv.input.len(); 2].map(|length| layout.random(length));
        let [y, normalized] = [conv.output.len(); 2].map(|length| layout.random(length));
        let [weight, dweight] = [conv.weights(); 2].map(|length| layout.random(length));
        let [scale, shift, saved] = [1, 1, 2].map(|count| layout.random(count * conv.output.channels));
        Self { block, conv, layout, x, y, weight, dx, dweight, normalized, scale, shift, saved }
    }

    fn run<B: Backend>(&self, machine: &mut B, operation: Direction) -> Result<(), B::Error> {
        let Self { conv, x, y, weight, dx, dweight, normalized, scale, shift, saved, .. } = self;
        match operation {
            Direction::Forward => {
                let convolution = Conv2dForward { y: *y, x: *x, weight: *weight, conv };
                let norm = BatchNormForward {
                    y: *normalized,
                    saved: *saved,
                    running: None,
                    x: *y,
                    weight: *scale,
                    bias: *shift,
                    residual: None,
                    relu: false,
                };
                machine.run(&Conv2dBatchNormForward { convolution, norm })
            }
            Direction::BackwardInput => {
                machine.run(&Conv2dBackwardInput { dx: &[*dx], dy: &[*y], weight: *weight, conv, accumulate: true })
            }
            Direction::BackwardWeight => {
                machine.run(&Conv2dBackwardWeight { dweight: &[*dweight], x: *x, dy: &[*y], conv })
            }
        }
    }

    /// Compares one operation with the CPU core; it must launch so many kernels.
    fn check(&self, device: &DeviceInfo, operation: Direction, launches: u64) {
        let what = format!("{operation:?} of {:?} in {}", self.conv, self.block);
        let on_device = |machine: &mut OpenCl| {
            let table = AlgorithmTable::from([(ConvProblem::new(&self.conv, 1), [Algorithm::Block(self.block); 3])]);
            machine.set_convolution(Convolution::Auto);
            machine.set_selection(Selection::new(1, table));
            let start = machine.launches();
            self.run(machine, operation)?;
            assert_eq!(machine.launches() - start, launches, "{what}: launches");
            Ok::<(), Error>(())
        };
        let on_core = |machine: &mut Cpu<'_>| self.run(machine, operation);
        Pair::new(device, 1e-4).check(&what, &self.layout, on_core, on_device);
    }
}

/// Every block and operation, with the sum in one part and in several.
pub fn smallest(device: &DeviceInfo) {
    if device.tiles.is_cpu() {
        return;
    }
    for block in Block::ALL {
        let [few, many] = if block == Block::Any { [3, 117] } else { [4, 116] };
        let conv = |height, width, channels, filters, kernel, stride| {
            Conv2d::new(Shape::new(height, width, channels), filters, kernel, stride, kernel / 2).unwrap()
        };
        let (forward, backward_input, backward_weight) =
            (Direction::Forward, Direction::BackwardInput, Direction::BackwardWeight);
        // In one part a pass leaves statistics: normalisation is two launches then. Weight gradients are always merged.
        let short = Small::new(block, conv(3, 2, few, 2 * few, 3, 2));
        short.check(device, forward, 1 + 2);
        short.check(device, backward_input, 1);
        short.check(device, backward_weight, 2);
        Small::new(block, conv(1, 2, many, few, 1, 1)).check(device, forward, 2 + 3);
        Small::new(block, conv(1, 2, few, many, 1, 1)).check(device, backward_input, 2);
        Small::new(block, conv(2, 58, few, few, 1, 1)).check(device, backward_weight, 2);
    }
    let mut without = device.clone();
    without.local_memory = 0;
    let small = Small::new(Block::Any, Conv2d::new(Shape::new(3, 2, 3), 5, 3, 2, 1).unwrap());
    for (operation, launches) in Direction::ALL.into_iter().zip([1 + 3, 1, 2]) {
        small.check(&without, operation, launches);
    }
}
