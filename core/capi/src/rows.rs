//! The rows of a batch: their labels, and their factors in the groups.

use sse_sam_core::ops::Fill;
use sse_sam_core::training::method::Groups;
use sse_sam_core::{Cpu, Error, Row, Run, Samples, Span, Tally};

use crate::layout::Layout;
use crate::status::Status;

/// The label of a row whose image has been overwritten.
const USED_UP: f32 = -1.0;

/// The labels of the samples, and where their images lie in the bytes that were lent.
pub(crate) fn samples<'a>(layout: &Layout, bytes: &'a [u8]) -> Result<(&'a [u8], Samples), Status> {
    let length = layout.image.len();
    let count = bytes.len().checked_div(length.saturating_add(1)).ok_or(Status::Internal)?;
    let labels = bytes.get(..count).unwrap_or_default();
    let images = Span::samples(count, count.saturating_mul(length));
    Ok((labels, Samples { images, image: layout.image, normalization: layout.normalization }))
}

/// Marks every row as without an image where a pass has overwritten them.
pub(crate) fn use_up(cpu: &mut Cpu<'_>, layout: &Layout) -> Result<(), Error> {
    if layout.keeps_rows() { Ok(()) } else { cpu.run(&Fill { to: layout.labels, value: USED_UP }) }
}

/// Refuses a batch with a row that holds no image.
pub(crate) fn check_rows(cpu: &mut Cpu<'_>, layout: &Layout, rows: usize) -> Result<(), Status> {
    if rows == 0 || rows > layout.labels.length {
        return Err(Status::Batch);
    }
    let [labels] = cpu.slices_mut([layout.labels.part(0, rows)?])?;
    if labels.contains(&USED_UP) { Err(Status::Rows) } else { Ok(()) }
}

/// Gives every sample its factors in the groups.
pub(crate) fn weigh(cpu: &mut Cpu<'_>, layout: &Layout, rows: usize, groups: &Groups) -> Result<Tally, Status> {
    check_rows(cpu, layout, rows)?;
    let [first, second] = layout.weights;
    let spans = [layout.labels.part(0, rows)?, first.part(0, rows)?, second.part(0, rows)?, layout.shares];
    let [labels, firsts, seconds, shares] = cpu.slices_mut(spans)?;
    let mut tally = Tally::default();
    for ((label, first), second) in labels.iter().zip(firsts).zip(seconds) {
        let factors = groups.factors(share(shares, *label as usize), rows);
        [*first, *second] = factors;
        tally.add(factors);
    }
    Ok(tally)
}

/// Puts the rows that were asked for in order, those of each group together, with their factors.
pub(crate) fn sort(
    cpu: &mut Cpu<'_>,
    layout: &Layout,
    (rows, labels): (usize, &[u8]),
    groups: &Groups,
) -> Result<Tally, Status> {
    if labels.is_empty() {
        return Err(Status::Order);
    }
    let [asked, ordered] = layout.tables(rows)?;
    let [asked, ordered, shares] = cpu.slices_mut([asked, ordered, layout.shares])?;
    let (mut tally, mut ordered) = (Tally::default(), ordered.chunks_exact_mut(Row::WORDS));
    for place in 0..Tally::PLACES {
        for words in asked.chunks_exact(Row::WORDS).filter_map(|words| words.first_chunk()) {
            let mut row = Row::decode(words);
            row.label = u32::from(*labels.get(row.index as usize).ok_or(Status::Sample)?);
            if row.label as usize >= shares.len() {
                return Err(Status::Label);
            }
            row.weights = groups.factors(share(shares, row.label as usize), rows);
            if Tally::place(row.weights) == place {
                tally.add(row.weights);
                let to = ordered.next().ok_or(Status::Internal)?;
                to.iter_mut().zip(row.encode()).for_each(|(to, word)| *to = word);
            }
        }
    }
    Ok(tally)
}

/// What of a class's samples counts in the second group.
fn share(shares: &[f32], class: usize) -> f32 {
    shares.get(class).copied().unwrap_or_default()
}
