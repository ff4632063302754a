//! GIF: the crate `gif`.

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::super::header::{Header, Kind, Refused, damaged, refused};

/// The first picture in its place on the screen; around it lies the transparent colour, or the
/// palette's first. Returns the channels.
pub(super) fn decode(bytes: &[u8], header: &Header, pixels: &mut Vec<u8>) -> Result<usize, Refused> {
    let refuse = |error: DecodingError| damaged(Kind::Gif, error);
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(
        std::num::NonZeroU64::new(header.pixels()).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes),
    );
    let mut decoder = options.read_info(bytes).map_err(refuse)?;
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let Some(frame) = decoder.read_next_frame().map_err(refuse)? else { return refused("is GIF without a picture") };
    let palette = frame.palette.as_deref().or(global.as_deref()).unwrap_or_default();
    let color = |index: u8| palette.as_chunks().0.get(usize::from(index)).copied().unwrap_or([0; 3]);
    let around = color(frame.transparent.unwrap_or(0));
    pixels.clear();
    pixels.extend(std::iter::repeat_n(around, header.width as usize * header.height as usize).flatten());
    let (left, width) = (3 * usize::from(frame.left), usize::from(frame.width));
    let rows = pixels.chunks_exact_mut(3 * header.width as usize).skip(frame.top.into());
    for (row, indices) in rows.zip(frame.buffer.chunks_exact(width.max(1))) {
        for (pixel, &index) in row[left..].as_chunks_mut().0.iter_mut().zip(indices) {
            *pixel = color(index);
        }
    }
    Ok(3)
}
