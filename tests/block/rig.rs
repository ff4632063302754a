//! Devices with blocks, memory between canaries, and convolutions with what they should give.

use sse_sam::opencl::{Algorithm, AlgorithmTable, ConvProblem, DeviceInfo, Error, OpenCl, Selection, Tiling, devices};
use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward};
use sse_sam_core::{Conv2d, Machine, Run, Shape, Span};
use sse_sam_tests::conformance::tolerance;
use sse_sam_tests::needs::has_opencl;
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::layout::{hwio_to_oihw, nchw_to_nhwc, nhwc_to_nchw, oihw_to_hwio};
use sse_sam_tests::reference::{conv2d as reference, relative_error, wide};

/// What lies around every span, and in what an operation has to overwrite: a quiet NaN that no operation produces.
const CANARY: f32 = f32::from_bits(0x7fc5_a5a5);

/// Runs `test` on every device, which has the kernels of a GPU for it.
pub fn each_device(test: impl Fn(&DeviceInfo)) {
    let found = devices().unwrap();
    has_opencl(found.len());
    for mut device in found {
        eprintln!("on {} ({})", device.name, device.platform_name);
        device.tiles = Tiling::Gpu;
        test(&device);
    }
}

/// Where spans start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At quads, and at no larger unit.
    Quads,
    /// At odd offsets.
    Odd,
    /// At quads, but the one of this number at an odd offset.
    OneOdd(usize),
}

/// Memory that is laid out span by span, with three canaries or more between them.
pub struct Layout {
    pub work: Vec<f32>,
    placement: Placement,
    spans: usize,
}

impl Layout {
    pub fn new(placement: Placement) -> Self {
        Self { work: Vec::new(), placement, spans: 0 }
    }

    pub fn put(&mut self, values: &[f32]) -> Span {
        let used = self.work.len() + 3;
        let offset = match self.placement {
            Placement::Odd => used | 1,
            Placement::OneOdd(number) if number == self.spans => used | 1,
            Placement::Quads | Placement::OneOdd(_) => used.next_multiple_of(8) + 4,
        };
        self.spans += 1;
        self.work.resize(offset, CANARY);
        self.work.extend_from_slice(values);
        Span::work(offset, values.len())
    }

    /// A span that an operation has to overwrite.
    pub fn output(&mut self, length: usize) -> Span {
        self.put(&vec![CANARY; length])
    }

    /// Closes the memory with canaries.
    pub fn finish(&mut self) {
        self.work.resize(self.work.len().next_multiple_of(4) + 64, CANARY);
    }

    /// Panics when a number outside `written` has changed.
    #[track_caller]
    pub fn assert_kept(&self, what: &str, after: &[f32], written: &[Span]) {
        assert_eq!(self.work.len(), after.len(), "{what}");
        let may_change = |at: usize| written.iter().any(|span| (span.offset..span.offset + span.length).contains(&at));
        for (at, (was, is)) in self.work.iter().zip(after).enumerate() {
            assert!(was.to_bits() == is.to_bits() || may_change(at), "{what}: work[{at}] was {was} and became {is}");
        }
    }
}

/// Images, height, width, channels, filters, kernel, stride, padding.
pub type Size = [usize; 8];

pub fn convolution([_, height, width, channels, filters, kernel, stride, padding]: Size) -> Conv2d {
    Conv2d::new(Shape::new(height, width, channels), filters, kernel, stride, padding).unwrap()
}

/// A machine with `work` as its memory that computes `conv` in this form.
pub fn machine(device: &DeviceInfo, form: impl Into<Algorithm>, conv: &Conv2d, images: usize, work: &[f32]) -> OpenCl {
    let mut machine = OpenCl::new(device, work.len(), &[], &[]).unwrap();
    let table = AlgorithmTable::from([(ConvProblem::new(conv, images), [form.into(); 3])]);
    machine.set_selection(Selection::new(images, table));
    machine.reserve_convolution(conv, images).unwrap();
    machine.write(Span::work(0, work.len()), work).unwrap();
    machine
}

pub fn read(machine: &mut OpenCl, span: Span) -> Vec<f32> {
    let mut values = vec![0.0; span.length];
    machine.read(&mut values, span).unwrap();
    values
}

/// A convolution, its numbers, and what its operations should give.
pub struct Problem {
    pub size: Size,
    pub conv: Conv2d,
    pub images: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    /// Each stream's gradient with respect to the output.
    dy: Vec<Vec<f32>>,
    /// What gradients are added to.
    dx_start: Vec<f32>,
    dweight_start: Vec<f32>,
    /// The operation's name and the result, in the order of [`Outcome::results`].
    expected: Vec<(&'static str, Vec<f64>)>,
}

/// What the operations gave.
pub struct Outcome {
    /// y, then dx of each stream, dx added to what was there, and the weight gradients.
    pub results: Vec<Vec<f32>>,
    /// Launches of a forward pass, and of one stream's gradient with respect to the input.
    pub launches: [u64; 2],
}

impl Problem {
    pub fn new(size: Size, streams: usize) -> Self {
        let (conv, images) = (convolution(size), size[0]);
        let mut numbers = Numbers::named(&format!("{size:?}, {streams} streams"));
        let (inputs, outputs) = (images * conv.input.len(), images * conv.output.len());
        let [x, dx_start] = [inputs; 2].map(|length| numbers.list(length));
        let [weight, dweight_start] = [conv.weights(); 2].map(|length| numbers.list(length));
        let dy = (0..streams).map(|_| numbers.list(outputs)).collect();
        let mut problem = Self { size, conv, images, x, weight, dy, dx_start, dweight_start, expected: Vec::new() };
        problem.expected = problem.reference();
        problem
    }

    fn reference(&self) -> Vec<(&'static str, Vec<f64>)> {
        let Self { conv, .. } = self;
        let (kernel, channels, filters) = (conv.kernel, conv.input.channels, conv.output.channels);
        let x = nhwc_to_nchw(&wide(&self.x), conv.input);
        let weight = hwio_to_oihw(&wide(&self.weight), kernel, channels, filters);
        let added = |start: &[f32], more: &[f64]| start.iter().zip(more).map(|(a, b)| f64::from(*a) + b).collect();
        let dy = self.dy.iter().map(|dy| nhwc_to_nchw(&wide(dy), conv.output));
        let dy: Vec<Vec<f64>> = dy.collect();
        let dx: Vec<Vec<f64>> =
            dy.iter().map(|dy| nchw_to_nhwc(&reference::backward_input(dy, &weight, conv), conv.input)).collect();
        let mut expected = vec![("conv2d_forward", nchw_to_nhwc(&reference::forward(&x, &weight, conv), conv.output))];
        expected.extend(dx.iter().map(|dx| ("conv2d_backward_input", dx.clone())));
        expected.extend(dx.iter().map(|dx| ("conv2d_backward_input", added(&self.dx_start, dx))));
        expected.extend(dy.iter().map(|dy| {
            let dweight = oihw_to_hwio(&reference::backward_weight(&x, dy, conv), kernel, channels, filters);
            ("conv2d_backward_weight", added(&self.dweight_start, &dweight))
        }));
        expected
    }

    /// Runs all operations, asked for in this form, and asserts that nothing else has changed.
    #[track_caller]
    pub fn run(&self, device: &DeviceInfo, form: impl Into<Algorithm>, placement: Placement) -> Outcome {
        let form: Algorithm = form.into();
        let what = format!("{:?} in {} at {placement:?}", self.size, form.name());
        let mut layout = Layout::new(placement);
        let (x, weight) = (layout.put(&self.x), layout.put(&self.weight));
        let dy: Vec<Span> = self.dy.iter().map(|dy| layout.put(dy)).collect();
        let y = layout.output(self.dy[0].len());
        let dx: Vec<Span> = dy.iter().map(|_| layout.output(self.x.len())).collect();
        let dx_added: Vec<Span> = dy.iter().map(|_| layout.put(&self.dx_start)).collect();
        let dweight: Vec<Span> = dy.iter().map(|_| layout.put(&self.dweight_start)).collect();
        layout.finish();
        let Self { conv, images, .. } = self;
        let mut machine = machine(device, form, conv, *images, &layout.work);
        let mut run = || {
            let start = machine.launches();
            machine.run(&Conv2dForward { y, x, weight, conv })?;
            let forward = machine.launches() - start;
            machine.run(&Conv2dBackwardInput { dx: &dx, dy: &dy, weight, conv, accumulate: false })?;
            let backward_input = machine.launches() - start - forward;
            machine.run(&Conv2dBackwardInput { dx: &dx_added, dy: &dy, weight, conv, accumulate: true })?;
            machine.run(&Conv2dBackwardWeight { dweight: &dweight, x, dy: &dy, conv })?;
            Ok::<_, Error>([forward, backward_input / dy.len() as u64])
        };
        let launches = run().unwrap_or_else(|error| panic!("{what}: {error}"));
        let written = [&[y][..], &dx, &dx_added, &dweight].concat();
        let after = read(&mut machine, Span::work(0, layout.work.len()));
        layout.assert_kept(&what, &after, &written);
        let results = written.iter().map(|span| after[span.offset..][..span.length].to_vec()).collect();
        Outcome { results, launches }
    }

    /// Panics when a result is further from the reference than its operation's tolerance allows.
    #[track_caller]
    pub fn assert_close(&self, what: &str, outcome: &Outcome) {
        assert_eq!(outcome.results.len(), self.expected.len());
        for (index, (result, (operation, expected))) in outcome.results.iter().zip(&self.expected).enumerate() {
            // Of no images there is nothing to compare.
            if self.size[0] == 0 && expected.is_empty() {
                assert!(result.is_empty(), "{what}: result {index}");
                continue;
            }
            let error = relative_error(&wide(result), expected);
            let bound = tolerance(operation);
            let size = self.size;
            assert!(error <= bound, "{size:?} {what}: result {index}, {operation}: {error:.2e}, allowed {bound:.0e}");
        }
    }
}
