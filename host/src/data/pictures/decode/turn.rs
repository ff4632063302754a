//! Pictures turned as their EXIF says.

use sse_sam_core::Shape;

use crate::data::Picture;

/// Turns a picture by EXIF's orientation, as Pillow's `ImageOps.exif_transpose`: 2 to 4 mirror or turn by half, 5 to 8
/// exchange rows and columns. 1 and what does not exist leave it.
pub(super) fn turn(picture: &mut Picture, orientation: u8) {
    let Shape { height, width, channels } = picture.shape;
    if !(2..=8).contains(&orientation) {
        return;
    }
    let turned =
        if orientation < 5 { Shape::new(height, width, channels) } else { Shape::new(width, height, channels) };
    let mut bytes = Vec::with_capacity(picture.bytes.len());
    for row in 0..turned.height {
        for column in 0..turned.width {
            let (y, x) = match orientation {
                2 => (row, width - 1 - column),
                3 => (height - 1 - row, width - 1 - column),
                4 => (height - 1 - row, column),
                5 => (column, row),
                6 => (height - 1 - column, row),
                7 => (height - 1 - column, width - 1 - row),
                _ => (column, width - 1 - row),
            };
            let at = (y * width + x) * channels;
            bytes.extend_from_slice(&picture.bytes[at..at + channels]);
        }
    }
    *picture = Picture { shape: turned, bytes };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_orientation_turns_as_pillow_does() {
        let picture = Picture { shape: Shape::new(2, 3, 1), bytes: vec![1, 2, 3, 4, 5, 6] };
        // `ImageOps.exif_transpose` of the same picture with each orientation.
        let right: [&[u8]; 9] = [
            &[1, 2, 3, 4, 5, 6],
            &[1, 2, 3, 4, 5, 6],
            &[3, 2, 1, 6, 5, 4],
            &[6, 5, 4, 3, 2, 1],
            &[4, 5, 6, 1, 2, 3],
            &[1, 4, 2, 5, 3, 6],
            &[4, 1, 5, 2, 6, 3],
            &[6, 3, 5, 2, 4, 1],
            &[3, 6, 2, 5, 1, 4],
        ];
        for (orientation, right) in (0..).zip(right) {
            let mut turned = picture.clone();
            turn(&mut turned, orientation);
            let shape = if orientation < 5 { Shape::new(2, 3, 1) } else { Shape::new(3, 2, 1) };
            assert_eq!((turned.shape, &turned.bytes[..]), (shape, right), "{orientation}");
        }
    }
}
