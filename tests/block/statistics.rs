//! What a convolution leaves about its output for the batch normalisation that follows.

use sse_sam::opencl::{Block, DeviceInfo, Error, OpenCl};
use sse_sam_core::{Backend, Span};
use sse_sam_tests::conformance::tolerance;
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::{batch_norm as reference, relative_error, wide};

use super::rig::{Layout, Placement, Size, convolution, each_device, machine, read};

/// Launches of a batch normalisation that finds statistics of its input, and of one that takes them.
const FOUND: u64 = 2;
const TAKEN: u64 = 3;

/// A convolution of numbers around 30 onto `y`, and what batch normalisation of `y` as `[rows][channels]` made of it.
struct Normalized {
    channels: usize,
    y: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    z: Vec<f32>,
    saved: Vec<f32>,
    running: Vec<f32>,
    launches: u64,
}

/// What happens between the two: gets `y` and memory of the same length with other numbers.
type Between<'a> = &'a dyn Fn(&mut OpenCl, Span, Span) -> Result<(), Error>;

const NOTHING: Between<'_> = &|_, _, _| Ok(());

impl Normalized {
    fn new(
        device: &DeviceInfo,
        (block, size, placement): (Block, Size, Placement),
        channels: usize,
        between: Between<'_>,
    ) -> Self {
        let (conv, images) = (convolution(size), size[0]);
        let mut numbers = Numbers::named(&format!("{size:?}"));
        let around: Vec<f32> = numbers.list(images * conv.input.len()).iter().map(|value| 30.0 + value).collect();
        // Positive, so that means are some 30 times the deviations and differ from filter to filter.
        let weights = numbers.list_between(conv.weights(), 0.2, 1.8);
        let weights: Vec<f32> = weights.iter().map(|weight| weight / conv.input.channels as f32).collect();
        let [scale, shift] = [channels; 2].map(|length| numbers.list(length));
        let outputs = images * conv.output.len();
        let mut layout = Layout::new(placement);
        let (x, weight, other) = (layout.put(&around), layout.put(&weights), layout.put(&numbers.list(outputs)));
        let [scale_at, shift_at] = [&scale, &shift].map(|values| layout.put(values));
        let running = layout.put(&vec![0.5; 2 * channels]);
        let [y, z, saved] = [outputs, outputs, 2 * channels].map(|length| layout.output(length));
        layout.finish();
        let mut machine = machine(device, block, &conv, images, &layout.work);
        machine.conv2d_forward(y, x, weight, &conv).unwrap();
        between(&mut machine, y, other).unwrap();
        let start = machine.launches();
        machine.batch_norm_forward(z, saved, Some(running), y, scale_at, shift_at, None, true).unwrap();
        let launches = machine.launches() - start;
        let after = read(&mut machine, Span::work(0, layout.work.len()));
        layout.assert_kept(&format!("{size:?} in {block}"), &after, &[y, z, saved, running, other]);
        let [y, z, saved, running] = [y, z, saved, running].map(|span| after[span.offset..][..span.length].to_vec());
        Self { channels, y, scale, shift, z, saved, running, launches }
    }

    /// Panics when the normalisation is not the one of the numbers that lie in `y`.
    #[track_caller]
    fn assert_close(&self, what: &str) {
        let Self { channels, .. } = *self;
        let start = vec![0.5; channels];
        let expected =
            reference::forward(&wide(&self.y), &wide(&self.scale), &wide(&self.shift), (&start, &start), None, true, 1);
        let saved = "batch_norm_saved";
        let running = "batch_norm_running";
        for (part, operation, found, expected) in [
            ("mean", saved, &self.saved[..channels], &expected.mean),
            ("1 / std", saved, &self.saved[channels..], &expected.inv_std),
            ("running mean", running, &self.running[..channels], &expected.running_mean),
            ("running variance", running, &self.running[channels..], &expected.running_var),
            ("y", "batch_norm_far", &self.z[..], &expected.y),
        ] {
            let (error, bound) = (relative_error(&wide(found), expected), tolerance(operation));
            assert!(error <= bound, "{what}: {part}: {error:.2e}, allowed {bound:.0e}");
        }
    }
}

/// Sums that are taken in one part, with one row, a last block of one row, many blocks; filters that fill no block.
const WHOLE: [Size; 7] = [
    [1, 1, 1, 4, 20, 1, 1, 0],
    [1, 1, 3, 4, 4, 1, 1, 0],
    [1, 7, 9, 8, 60, 1, 1, 0],
    [1, 5, 13, 4, 20, 3, 1, 1],
    [3, 1, 43, 12, 132, 1, 1, 0],
    [1, 1, 257, 4, 36, 3, 1, 1],
    [33, 8, 8, 4, 68, 1, 1, 0],
];

#[test]
fn statistics_left_by_a_block_are_those_of_its_output() {
    each_device(|device| {
        for (block, size) in Block::ALL.into_iter().flat_map(|block| WHOLE.map(|size| (block, size))) {
            let found = Normalized::new(device, (block, size, Placement::Quads), size[4], NOTHING);
            found.assert_close(&format!("{size:?} in {block}"));
            assert_eq!(found.launches, FOUND, "{size:?} in {block}: statistics are found");
        }
    });
}

#[test]
fn statistics_of_any_filters_at_any_address_are_those_of_the_output() {
    each_device(|device| {
        for size in [[1, 1, 1, 1, 1, 1, 1, 0], [1, 5, 13, 3, 17, 3, 1, 1], [3, 1, 43, 5, 35, 1, 1, 0]] {
            let found = Normalized::new(device, (Block::Any, size, Placement::Odd), size[4], NOTHING);
            found.assert_close(&format!("{size:?}"));
            assert_eq!(found.launches, FOUND, "{size:?}: statistics are found");
        }
    });
}

#[test]
fn a_sum_in_several_parts_leaves_no_statistics() {
    each_device(|device| {
        for block in Block::ALL {
            let size = [1, 7, 9, 64, 20, 3, 1, 1];
            let found = Normalized::new(device, (block, size, Placement::Quads), size[4], NOTHING);
            found.assert_close(&format!("in {block}"));
            assert_eq!(found.launches, TAKEN, "{block}: statistics are taken");
        }
    });
}

#[test]
fn statistics_left_by_a_block_are_not_those_of_other_numbers() {
    each_device(|device| {
        let size = [3, 1, 43, 4, 20, 1, 1, 0];
        let conv = convolution(size);
        let numbers = Numbers::new(5).list(size[0] * conv.output.len());
        let (x, weight) = (Span::work(4, size[0] * conv.input.len()), Span::work(0, 80));
        let changes: [(&str, Between<'_>); 8] = [
            ("write", &|machine, y, _| machine.write(y, &numbers)),
            ("copy", &|machine, y, other| machine.copy(y, other)),
            ("axpy", &|machine, y, other| machine.axpy(y, 2.0, other)),
            ("fill", &|machine, y, _| machine.fill(Span::work(y.offset, 32), 7.0)),
            ("an operation elsewhere", &|machine, _, other| machine.fill(other, 7.0)),
            ("a convolution elsewhere", &|machine, _, other| machine.conv2d_forward(other, x, weight, &conv)),
            ("a gradient elsewhere", &|machine, y, other| {
                let part = Span::work(other.offset, weight.length);
                machine.conv2d_backward_weight(&[part], x, &[y], &conv)
            }),
            ("more scratch memory", &|machine, _, _| machine.reserve(4096, 1)),
        ];
        for (what, change) in changes {
            for block in [Block::B64x16, Block::B128x32, Block::Any] {
                let found = Normalized::new(device, (block, size, Placement::Quads), size[4], change);
                found.assert_close(&format!("{what}, {block}"));
            }
        }
    });
}

#[test]
fn statistics_of_so_many_filters_are_not_those_of_fewer_channels() {
    each_device(|device| {
        let size = [3, 1, 43, 4, 20, 1, 1, 0];
        let found = Normalized::new(device, (Block::B64x16, size, Placement::Quads), 10, NOTHING);
        found.assert_close("20 filters as 10 channels");
    });
}
