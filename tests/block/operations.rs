//! Every block and every operation against the reference.

use sse_sam::opencl::Algorithm;
use sse_sam::opencl::{Block, DeviceInfo};
use sse_sam_core::Run;
use sse_sam_core::ops::Conv2dBackwardWeight;

use super::rig::{Layout, Outcome, Placement, Problem, Size, convolution, each_device, machine, read};

/// Sizes of whole quads of channels and filters, around the edges of blocks, with one stream or two.
const WHOLE: [(Size, usize); 24] = [
    // Few rows: a pixel, kernels that reach beyond every side of the image, one row.
    ([1, 1, 1, 4, 4, 1, 1, 0], 2),
    ([1, 1, 1, 4, 128, 3, 1, 1], 1),
    ([2, 1, 1, 16, 12, 5, 2, 2], 1),
    ([1, 1, 17, 16, 20, 3, 2, 1], 2),
    ([5, 1, 17, 12, 16, 3, 1, 1], 1),
    // 63, 64, 65, 126, 128 and 129 rows, and as many columns and sums.
    ([1, 7, 9, 64, 68, 3, 1, 1], 1),
    ([1, 8, 8, 16, 124, 3, 1, 1], 1),
    ([1, 5, 13, 132, 60, 1, 1, 0], 2),
    ([2, 7, 9, 128, 132, 1, 1, 0], 1),
    ([2, 8, 8, 68, 64, 3, 1, 1], 1),
    ([3, 1, 43, 124, 128, 1, 1, 0], 1),
    // Strides that divide nothing evenly; phases that no tap or few read.
    ([2, 4, 4, 20, 60, 3, 2, 1], 2),
    ([33, 4, 4, 60, 12, 1, 2, 0], 1),
    ([5, 7, 9, 4, 16, 5, 3, 1], 1),
    ([2, 8, 8, 16, 16, 5, 2, 0], 1),
    ([1, 7, 9, 8, 12, 3, 3, 2], 2),
    ([2, 7, 9, 12, 16, 1, 3, 1], 1),
    ([2, 3, 2, 4, 8, 2, 5, 1], 1),
    // Padding as large as the kernel, and larger.
    ([2, 4, 4, 16, 64, 1, 1, 2], 1),
    ([2, 4, 3, 8, 20, 3, 2, 4], 1),
    ([2, 7, 9, 12, 20, 5, 1, 2], 1),
    // Many rows beside short sums, and beside few columns.
    ([33, 8, 8, 4, 132, 3, 1, 1], 1),
    ([33, 8, 8, 68, 4, 3, 1, 1], 1),
    // Small blocks are enough to keep a device busy with long sums in one part.
    ([33, 8, 8, 32, 132, 3, 1, 1], 1),
];

/// Sizes that only `any` takes.
const ODD: [(Size, usize); 12] = [
    ([1, 1, 1, 1, 1, 1, 1, 0], 1),
    ([2, 1, 1, 3, 17, 5, 1, 2], 2),
    ([1, 1, 17, 3, 17, 3, 1, 1], 1),
    ([5, 4, 4, 15, 33, 3, 2, 1], 1),
    ([1, 7, 9, 63, 65, 3, 1, 1], 1),
    ([2, 7, 9, 65, 31, 1, 1, 0], 2),
    ([33, 4, 4, 17, 5, 1, 2, 0], 1),
    ([5, 7, 9, 2, 7, 5, 3, 1], 1),
    ([1, 7, 9, 5, 12, 3, 3, 2], 1),
    ([2, 4, 4, 4, 6, 1, 1, 2], 1),
    ([2, 4, 3, 7, 4, 3, 2, 4], 1),
    ([33, 8, 8, 3, 35, 3, 1, 1], 1),
];

/// How often an operation's sum was taken in one part, and in several.
type Seen = [[usize; 2]; 3];

/// Whether each operation's sum was taken in several parts.
fn in_parts(device: &DeviceInfo, block: Block, problem: &Problem, outcome: &Outcome) -> [Option<bool>; 3] {
    let [forward, backward_input] = outcome.launches.map(|launches| {
        assert!(launches == 1 || launches == 2, "{:?} in {block}: {launches} launches", problem.size);
        Some(launches == 2)
    });
    [forward, backward_input, weights_in_parts(device, block, problem.size)]
}

/// Whether a weight gradient is summed in several parts, told by its rounding: a sum that starts with 2^24 stays there
/// whatever ones are added one after the other. Nothing where no tap reads the first pixel.
fn weights_in_parts(device: &DeviceInfo, block: Block, size: Size) -> Option<bool> {
    let (conv, images) = (convolution(size), size[0]);
    if conv.padding >= conv.kernel {
        return None;
    }
    let mut layout = Layout::new(Placement::Quads);
    let x = layout.put(&vec![1.0; images * conv.input.len()]);
    let mut gradient = vec![1.0; images * conv.output.len()];
    gradient[..conv.output.channels].fill(16_777_216.0);
    let (dy, dweight) = (layout.put(&gradient), layout.put(&vec![0.0; conv.weights()]));
    layout.finish();
    let mut machine = machine(device, block, &conv, images, &layout.work);
    machine.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[dy], conv: &conv }).unwrap();
    let tap = conv.padding * (conv.kernel + 1) * conv.input.channels * conv.output.channels;
    Some(read(&mut machine, dweight)[tap] > 16_777_216.0)
}

/// Runs all problems in a block and compares them with the reference.
fn agrees(device: &DeviceInfo, block: Block, problems: &[Problem], placement: Placement) {
    let started = std::time::Instant::now();
    let mut seen: Seen = [[0; 2]; 3];
    for problem in problems {
        let Problem { conv, images, size, .. } = problem;
        let forms = machine(device, block, conv, *images, &[]).algorithms(conv, *images);
        assert_eq!(forms, [Algorithm::Block(block); 3], "{size:?}");
        let outcome = problem.run(device, block, placement);
        problem.assert_close(&format!("in {block} at {placement:?}"), &outcome);
        for (seen, several) in seen.iter_mut().zip(in_parts(device, block, problem, &outcome)) {
            if let Some(several) = several {
                seen[usize::from(several)] += 1;
            }
        }
    }
    eprintln!("{block} at {placement:?}: sums in one part and in several {seen:?}, {:.1?}", started.elapsed());
    assert!(seen.iter().flatten().all(|times| *times > 0), "{block}: sums in one part and in several: {seen:?}");
}

fn problems(sizes: &[(Size, usize)]) -> Vec<Problem> {
    sizes.iter().map(|(size, streams)| Problem::new(*size, *streams)).collect()
}

#[test]
fn every_operation_agrees_with_the_definition_in_every_block() {
    let problems = problems(&WHOLE);
    each_device(|device| {
        for block in Block::ALL {
            agrees(device, block, &problems, Placement::Quads);
        }
    });
}

#[test]
fn any_block_takes_any_channels_at_any_address() {
    let problems = problems(&ODD);
    each_device(|device| {
        agrees(device, Block::Any, &problems, Placement::Quads);
        agrees(device, Block::Any, &problems, Placement::Odd);
    });
}

fn bits(outcome: &Outcome) -> Vec<Vec<u32>> {
    outcome.results.iter().map(|list| list.iter().map(|value| value.to_bits()).collect()).collect()
}

#[test]
fn any_takes_what_a_block_cannot_and_gives_the_same_bits_at_any_address() {
    let whole = problems(&[WHOLE[3], WHOLE[5], WHOLE[11]]);
    let odd = problems(&[ODD[1], ODD[3]]);
    each_device(|device| {
        for problem in whole.iter().chain(&odd) {
            let any = problem.run(device, Block::Any, Placement::Quads);
            for block in Block::ALL {
                let found = problem.run(device, block, Placement::Odd);
                problem.assert_close(&format!("at odd addresses, {block} wanted"), &found);
                assert!(bits(&found) == bits(&any), "{:?}, {block} wanted", problem.size);
            }
        }
    });
}

#[test]
fn one_span_at_an_odd_address_is_enough_for_any_to_take_over() {
    let problem = Problem::new([5, 7, 9, 20, 60, 5, 2, 1], 2);
    each_device(|device| {
        let any = bits(&problem.run(device, Block::Any, Placement::Quads));
        let block = bits(&problem.run(device, Block::B128x128, Placement::Quads));
        assert!(any.iter().zip(&block).all(|(any, block)| any != block), "the blocks round differently");
        // Results of the operations that have the span: x, weight, dy and dy, y, dx and dx, dx added twice, dweight twice.
        let (forward, overwritten, added, weights) = (&[0][..], &[1, 2][..], &[3, 4][..], &[5, 6][..]);
        let of_dy = [overwritten, added, weights].concat();
        let takers = [
            [forward, weights].concat(),
            [forward, overwritten, added].concat(),
            of_dy.clone(),
            of_dy,
            forward.to_vec(),
            overwritten.to_vec(),
            overwritten.to_vec(),
            added.to_vec(),
            added.to_vec(),
            weights.to_vec(),
            weights.to_vec(),
        ];
        for (span, takers) in takers.iter().enumerate() {
            let outcome = problem.run(device, Block::B128x128, Placement::OneOdd(span));
            problem.assert_close(&format!("with span {span} at an odd address"), &outcome);
            for (index, found) in bits(&outcome).into_iter().enumerate() {
                let expected = if takers.contains(&index) { &any } else { &block };
                assert!(found == expected[index], "span {span}: result {index}");
            }
        }
    });
}

#[test]
fn sums_in_several_parts_give_the_same_bits_every_time() {
    // All three operations in several parts; in the second, gradients with respect to the input by phases.
    let problems = problems(&[([5, 7, 9, 64, 68, 3, 1, 1], 2), ([9, 8, 8, 64, 68, 5, 2, 2], 1)]);
    each_device(|device| {
        for (problem, block) in problems.iter().flat_map(|problem| Block::ALL.map(|block| (problem, block))) {
            let first = problem.run(device, block, Placement::Quads);
            problem.assert_close(&format!("in {block}"), &first);
            let parts = in_parts(device, block, problem, &first);
            assert_eq!(parts, [Some(true); 3], "{:?} in {block}: in several parts", problem.size);
            for _ in 0..3 {
                let again = problem.run(device, block, Placement::Quads);
                assert!(bits(&again) == bits(&first), "{:?} in {block}", problem.size);
            }
        }
    });
}

#[test]
fn sums_in_any_number_of_parts_agree_with_the_definition() {
    let problems = problems(&[([5, 7, 9, 64, 68, 3, 1, 1], 2), ([9, 8, 8, 20, 36, 5, 2, 2], 1)]);
    each_device(|device| {
        for (problem, block) in problems
            .iter()
            .flat_map(|problem| [Block::B128x128, Block::B64x16, Block::Any].map(|block| (problem, block)))
        {
            // More parts than a sum has slabs are as many as it has.
            for parts in [1, 2, 3, 5, 60_000] {
                let outcome = problem.run(device, Algorithm::Split(block, parts), Placement::Quads);
                problem.assert_close(&format!("in {parts} parts of {block}"), &outcome);
                let launches = if parts == 1 { 1 } else { 2 };
                assert_eq!(outcome.launches, [launches; 2], "{parts} parts of {block}");
            }
        }
    });
}

#[test]
fn no_images_give_nothing_and_change_nothing() {
    each_device(|device| {
        for (block, size) in Block::ALL
            .into_iter()
            .flat_map(|block| [[0, 4, 4, 64, 68, 3, 1, 1], [0, 5, 5, 16, 20, 1, 2, 0]].map(|size: Size| (block, size)))
        {
            let problem = Problem::new(size, 2);
            let outcome = problem.run(device, block, Placement::Quads);
            problem.assert_close(&format!("in {block}"), &outcome);
        }
    });
}
