//! What a convolution learns of its output for the batch normalisation that follows.

use sse_sam::opencl::{Block, DeviceInfo};
use sse_sam_core::ops::{BatchNormForward, Conv2dBatchNormForward, Conv2dForward};
use sse_sam_core::{Run, Span};
use sse_sam_tests::conformance::tolerance;
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::{batch_norm as reference, relative_error, wide};

use super::rig::{Layout, Placement, Size, convolution, each_device, machine, read};

/// Launches of both where the convolution gives the statistics, one launch and two; and where its sum is merged, and the
/// normalisation takes them, two and three.
const FOUND: u64 = 1 + 2;
const TAKEN: u64 = 2 + 3;

/// A convolution of numbers around 30 onto `y`, and what batch normalisation made of it.
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

impl Normalized {
    fn new(device: &DeviceInfo, (block, size, placement): (Block, Size, Placement)) -> Self {
        let (conv, images) = (convolution(size), size[0]);
        let channels = conv.output.channels;
        let mut numbers = Numbers::named(&format!("{size:?}"));
        let around: Vec<f32> = numbers.list(images * conv.input.len()).iter().map(|value| 30.0 + value).collect();
        // Positive, so that means are some 30 times the deviations and differ from filter to filter.
        let weights = numbers.list_between(conv.weights(), 0.2, 1.8);
        let weights: Vec<f32> = weights.iter().map(|weight| weight / conv.input.channels as f32).collect();
        let [scale, shift] = [channels; 2].map(|length| numbers.list(length));
        let outputs = images * conv.output.len();
        let mut layout = Layout::new(placement);
        let (x, weight) = (layout.put(&around), layout.put(&weights));
        let [scale_at, shift_at] = [&scale, &shift].map(|values| layout.put(values));
        let running = layout.put(&vec![0.5; 2 * channels]);
        let [y, z, saved] = [outputs, outputs, 2 * channels].map(|length| layout.output(length));
        layout.finish();
        let mut machine = machine(device, block, &conv, images, &layout.work);
        let convolution = Conv2dForward { y, x, weight, conv: &conv };
        let (weight, bias, residual, relu) = (scale_at, shift_at, None, true);
        let norm = BatchNormForward { y: z, saved, running: Some(running), x: y, weight, bias, residual, relu };
        machine.run(&Conv2dBatchNormForward { convolution, norm }).unwrap();
        let launches = machine.launches();
        let after = read(&mut machine, Span::work(0, layout.work.len()));
        layout.assert_kept(&format!("{size:?} in {block}"), &after, &[y, z, saved, running]);
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
            let found = Normalized::new(device, (block, size, Placement::Quads));
            found.assert_close(&format!("{size:?} in {block}"));
            assert_eq!(found.launches, FOUND, "{size:?} in {block}: statistics are found");
        }
    });
}

#[test]
fn statistics_of_any_filters_at_any_address_are_those_of_the_output() {
    each_device(|device| {
        for size in [[1, 1, 1, 1, 1, 1, 1, 0], [1, 5, 13, 3, 17, 3, 1, 1], [3, 1, 43, 5, 35, 1, 1, 0]] {
            let found = Normalized::new(device, (Block::Any, size, Placement::Odd));
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
            let found = Normalized::new(device, (block, size, Placement::Quads));
            found.assert_close(&format!("in {block}"));
            assert_eq!(found.launches, TAKEN, "{block}: statistics are taken");
        }
    });
}
