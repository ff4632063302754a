//! Pointers from C, checked before they are used.

use core::mem::MaybeUninit;
use core::ops::Range;

use crate::status::Status;

/// The addresses of `length` elements at `pointer`.
///
/// # Errors
/// [`Status::Null`], [`Status::Misaligned`], or [`Status::Length`] when the end cannot be addressed.
pub(crate) fn addresses<T>(pointer: *const T, length: usize) -> Result<Range<usize>, Status> {
    if pointer.is_null() {
        return Err(Status::Null);
    }
    if !pointer.is_aligned() {
        return Err(Status::Misaligned);
    }
    let bytes = length.checked_mul(size_of::<T>()).filter(|bytes| isize::try_from(*bytes).is_ok());
    let end = bytes.and_then(|bytes| pointer.addr().checked_add(bytes)).ok_or(Status::Length)?;
    Ok(pointer.addr()..end)
}

/// Refuses memory that reaches into one of `others`.
pub(crate) fn apart(own: &Range<usize>, others: &[Range<usize>]) -> Result<(), Status> {
    let overlaps = |other: &Range<usize>| own.start < other.end && other.start < own.end;
    if others.iter().any(overlaps) { Err(Status::Overlap) } else { Ok(()) }
}

/// What the caller reads from: an array of `length` elements, apart from `others`.
///
/// # Errors
/// As [`addresses`] and [`apart`].
///
/// # Safety
/// The elements are there, initialised, and nobody writes to them while `'a` lasts.
pub(crate) unsafe fn input<'a, T>(
    pointer: *const T,
    length: usize,
    others: &[Range<usize>],
) -> Result<&'a [T], Status> {
    apart(&addresses(pointer, length)?, others)?;
    // SAFETY: neither null nor misaligned nor too long; the caller vouches for the rest.
    Ok(unsafe { core::slice::from_raw_parts(pointer, length) })
}

/// What the caller writes to: as [`input`], but its elements need not be initialised.
///
/// # Errors
/// As [`input`].
///
/// # Safety
/// The elements are there, and nobody else uses them while `'a` lasts.
pub(crate) unsafe fn output<'a, T>(
    pointer: *mut T,
    length: usize,
    others: &[Range<usize>],
) -> Result<&'a mut [MaybeUninit<T>], Status> {
    apart(&addresses(pointer, length)?, others)?;
    // SAFETY: neither null nor misaligned nor too long; the caller vouches for the rest.
    Ok(unsafe { core::slice::from_raw_parts_mut(pointer.cast(), length) })
}

/// Writes `values` to as many elements.
///
/// # Errors
/// [`Status::Length`] when there are not as many.
pub(crate) fn put<T: Copy>(to: &mut [MaybeUninit<T>], values: &[T]) -> Result<(), Status> {
    if to.len() != values.len() {
        return Err(Status::Length);
    }
    to.iter_mut().zip(values).for_each(|(to, value)| {
        to.write(*value);
    });
    Ok(())
}
