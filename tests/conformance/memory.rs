//! `write`, `read`, `fill`, `copy` and `gather`.

use sse_sam_core::ops::{Copy, Fill, Gather};
use sse_sam_core::{Batch, Row, Samples, Shape};

use super::{Bench, Case, Machine};
use crate::reference::{gather as reference, wide};

/// Lengths of vectors: around tiles, warps, work-groups and their multiples.
pub const LENGTHS: [usize; 14] = [1, 7, 15, 16, 17, 31, 32, 33, 97, 255, 256, 257, 4097, 70_001];

pub fn write<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        bench.case(&format!("{length} numbers"), |case| {
            let values = case.numbers.list(length);
            let to = case.output(length);
            case.run(|backend| backend.write(to, &values));
            case.same("to", to, &values);
        });
    }
}

pub fn read<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        bench.case(&format!("{length} numbers that were just written"), |case| {
            let (values, to) = (case.numbers.list(length), case.output(length));
            let found = std::cell::RefCell::new(vec![0.0; length]);
            case.run(|backend| {
                backend.run(&Fill { to, value: 1.0 })?;
                backend.write(to, &values)?;
                backend.read(&mut found.borrow_mut(), to)
            });
            case.expect(*found.borrow() == values, || "read other numbers than were written".to_owned());
        });
    }
}

pub fn fill<M: Machine>(bench: &mut Bench<'_, M>) {
    for (length, value) in LENGTHS.into_iter().zip([0.0, 1.5, -0.0, f32::INFINITY, -1e-40, 3e38].into_iter().cycle()) {
        bench.case(&format!("{length} of {value:?}"), |case| {
            let to = case.output(length);
            case.run(|backend| backend.run(&Fill { to, value }));
            case.same("to", to, &vec![value; length]);
        });
    }
}

pub fn copy<M: Machine>(bench: &mut Bench<'_, M>) {
    for length in LENGTHS {
        for constant in [false, true] {
            bench.case(&format!("{length} numbers, from constant memory: {constant}"), |case| {
                let values = case.numbers.list(length);
                let from = if constant { case.constant(&values) } else { case.input(&values) };
                let to = case.output(length);
                case.run(|backend| backend.run(&Copy { to, from }));
                case.same("to", to, &values);
            });
        }
    }
}

pub fn gather<M: Machine>(bench: &mut Bench<'_, M>) {
    let images = [(1, 1, 1), (7, 5, 3), (8, 8, 1), (32, 32, 3), (3, 16, 17), (17, 1, 4)];
    for (height, width, channels) in images {
        for rows in [1, 2, 5, 16, 17] {
            let image = Shape::new(height, width, channels);
            bench.case(&format!("{rows} of {height} x {width} x {channels}"), |case| gather_case(case, image, rows));
        }
    }
}

fn draw_row(case: &mut Case<'_, impl Machine>, samples: usize, far: bool) -> Row {
    let numbers = &mut case.numbers;
    let mut shift = || if far { [-128, -5, 127, 5][numbers.below(4)] } else { numbers.below(9) as i8 - 4 };
    let (top, left) = (shift(), shift());
    let (index, flip) = (numbers.below(samples) as u32, numbers.below(2) == 1);
    let label = [numbers.below(256), numbers.below(Row::CLASSES), Row::CLASSES - 1][numbers.below(3)] as u32;
    Row { index, label, top, left, flip, weights: [numbers.number(), numbers.number()] }
}

fn gather_case(case: &mut Case<'_, impl Machine>, image: Shape, count: usize) {
    let samples = 11;
    let images: Vec<u8> = (0..samples * image.len()).map(|_| case.numbers.bits() as u8).collect();
    // A batch starts in the middle of the epoch's table: here after three other rows.
    let rows: Vec<Row> = (0..count + 4).map(|at| draw_row(case, samples, at % 7 == 6)).collect();
    let table: Vec<f32> = rows.iter().flat_map(Row::encode).collect();
    let rows = &rows[3..3 + count];
    let mut normalization = case.numbers.list_between(image.channels, 50.0, 150.0);
    normalization.extend(case.numbers.list_between(image.channels, 0.01, 0.02));

    let samples = Samples { images: case.bytes(&images), image, normalization: case.input(&normalization) };
    let table = case.input(&table).part(3 * Row::WORDS, count * Row::WORDS).expect("the rows lie in the table");
    let batch = Batch {
        images: case.output(count * image.len()),
        labels: case.output(count),
        weights: [case.output(count), case.output(count)],
    };
    case.run(|backend| backend.run(&Gather { batch: &batch, rows: table, samples: &samples }));

    let f64_images: Vec<f64> =
        rows.iter().flat_map(|row| reference::image(&images, image, row, &wide(&normalization))).collect();
    case.close("gather", "images", batch.images, &f64_images);
    let column = |value: &dyn Fn(&Row) -> f32| rows.iter().map(value).collect::<Vec<f32>>();
    case.same("labels", batch.labels, &column(&|row| row.label as f32));
    case.same("weights[0]", batch.weights[0], &column(&|row| row.weights[0]));
    case.same("weights[1]", batch.weights[1], &column(&|row| row.weights[1]));
}
