//! Checks that every operation makes before a kernel sees its arguments.

use sse_sam_core::{Conv2d, Error, Shape, Span};

/// `Ok` when `found` elements are what `what` needs.
pub(crate) fn expect(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

/// How many rows of `width` elements `length` is; refuses a remainder, and rows without elements.
pub(crate) fn whole_rows(what: &'static str, length: usize, width: usize) -> Result<usize, Error> {
    match (length.checked_div(width), length.checked_rem(width)) {
        (Some(rows), Some(0)) => Ok(rows),
        _ => Err(Error::Length { what, expected: width, found: length }),
    }
}

/// `Ok` when no written span shares an element with another span.
pub(crate) fn disjoint(written: &[&[Span]], read: &[&[Span]]) -> Result<(), Error> {
    let overlap = |a: &Span, b: &Span| {
        let end = |span: &Span| span.offset.saturating_add(span.length);
        a.space == b.space && a.offset < end(b) && b.offset < end(a)
    };
    for (index, span) in written.iter().copied().flatten().enumerate() {
        let earlier = written.iter().copied().flatten().take(index);
        if earlier.chain(read.iter().copied().flatten()).any(|other| overlap(span, other)) {
            return Err(Error::Overlap);
        }
    }
    Ok(())
}

/// `Ok` when all lists have one entry for each output gradient; returns how many.
pub(crate) fn streams(lists: &[&[Span]]) -> Result<usize, Error> {
    let count = lists.first().map_or(0, |list| list.len());
    lists.iter().try_for_each(|list| expect("each list of streams", count, list.len()))?;
    Ok(count)
}

/// The number of images of a convolution whose parts fit together.
pub(crate) fn convolution(y: usize, x: usize, weight: usize, conv: &Conv2d) -> Result<usize, Error> {
    let Conv2d { input, output, kernel, stride, padding } = *conv;
    if Conv2d::new(input, output.channels, kernel, stride, padding)? != *conv {
        return Err(Error::Image { what: "a convolution", found: (output.height, output.width, output.channels) });
    }
    let images = whole_rows("x", x, input.len())?;
    expect("y", images.saturating_mul(output.len()), y)?;
    expect("weight", conv.weights(), weight)?;
    Ok(images)
}

/// The number of images of a shortcut whose parts fit together.
pub(crate) fn shortcut(y: usize, x: usize, input: Shape, output: Shape) -> Result<usize, Error> {
    let halved = input.height.div_ceil(2) == output.height && input.width.div_ceil(2) == output.width;
    if !halved || output.channels < input.channels {
        return Err(Error::Image { what: "a shortcut", found: (output.height, output.width, output.channels) });
    }
    let images = whole_rows("x", x, input.len())?;
    expect("y", images.saturating_mul(output.len()), y)?;
    Ok(images)
}

/// Values a channel of a batch normalisation whose parts fit together.
pub(crate) fn batch_norm(y: usize, x: usize, weight: usize, bias: usize, statistics: usize) -> Result<usize, Error> {
    let rows = whole_rows("x", x, weight)?;
    expect("y", x, y)?;
    expect("bias", weight, bias)?;
    expect("statistics", weight.saturating_mul(2), statistics)?;
    Ok(rows)
}
