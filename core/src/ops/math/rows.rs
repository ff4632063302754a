//! Slices as rows, with no division or index that could panic.

use crate::error::Error;

/// Refuses an argument of another length than `expected`.
pub(crate) fn expect(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

/// The number of rows of `row` elements in `length`, which must be whole.
pub(crate) fn whole_rows(what: &'static str, length: usize, row: usize) -> Result<usize, Error> {
    match (length.checked_div(row), length.checked_rem(row)) {
        (Some(rows), Some(0)) => Ok(rows),
        (Some(rows), Some(_)) => Err(Error::Length { what, expected: rows.saturating_mul(row), found: length }),
        _ => Err(Error::Length { what, expected: 1, found: 0 }),
    }
}

/// `to = value`, or `to += value`.
#[inline(always)]
pub(crate) fn put(to: &mut f32, value: f32, accumulate: bool) {
    *to = if accumulate { *to + value } else { value };
}

/// `length` elements from `at`, or none of them.
#[inline(always)]
pub(crate) fn part(values: &[f32], at: usize, length: usize) -> &[f32] {
    values.get(at..at.wrapping_add(length)).unwrap_or_default()
}

/// The whole rows of `length` elements; none when that is 0. Unlike `chunks_exact`, it cannot panic.
#[inline(always)]
pub(crate) fn rows(values: &[f32], length: usize) -> impl Iterator<Item = &[f32]> {
    let mut rest = values;
    core::iter::from_fn(move || {
        let (row, after) = rest.split_at_checked(length).filter(|_| length > 0)?;
        rest = after;
        Some(row)
    })
}

/// [`rows`] to be written.
#[inline(always)]
pub(crate) fn rows_mut(values: &mut [f32], length: usize) -> impl Iterator<Item = &mut [f32]> {
    let mut rest = values;
    core::iter::from_fn(move || {
        let (row, after) = core::mem::take(&mut rest).split_at_mut_checked(length).filter(|_| length > 0)?;
        rest = after;
        Some(row)
    })
}

/// [`rows`] and what is left after them.
#[inline(always)]
pub(crate) fn pieces(values: &[f32], length: usize) -> impl Iterator<Item = &[f32]> {
    let mut rest = values;
    core::iter::from_fn(move || {
        let (piece, after) = rest.split_at_checked(length.min(rest.len())).filter(|(piece, _)| !piece.is_empty())?;
        rest = after;
        Some(piece)
    })
}

/// [`pieces`] to be written.
#[inline(always)]
pub(crate) fn pieces_mut(values: &mut [f32], length: usize) -> impl Iterator<Item = &mut [f32]> {
    let mut rest = values;
    core::iter::from_fn(move || {
        let at = length.min(rest.len());
        let (piece, after) =
            core::mem::take(&mut rest).split_at_mut_checked(at).filter(|(piece, _)| !piece.is_empty())?;
        rest = after;
        Some(piece)
    })
}
