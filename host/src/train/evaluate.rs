//! Which class each sample of a test or validation set is taken for.

use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::{Network, Problem, Row, Span, Statistics};

use crate::device::layout::Layout;
use crate::device::machine::Machine;
use crate::error::Error;
use crate::report::confusion::Confusion;
use crate::train::feed::Feed;

/// A test or validation set as the device sees it.
#[derive(Clone, Copy, Debug)]
pub struct TestSet<'a> {
    /// Its images and labels.
    pub feed: Feed<'a>,
    /// Whether logits are averaged over each image and its mirror image.
    pub flip: bool,
}

/// Predicts every sample of the set with the running statistics; `proceed` is asked before each batch.
///
/// # Errors
/// What the device or `proceed` reports.
pub fn evaluate<B: Machine>(
    backend: &mut B,
    layout: &Layout,
    network: &mut Network<'_, MAX_LAYERS>,
    test: &TestSet,
    proceed: impl Fn() -> Result<(), Error>,
) -> Result<Confusion, Error>
where
    Error: From<B::Error>,
{
    let classes = layout.graph.layers().last().map_or(0, |layer| layer.output.len());
    let feed = &test.feed;
    let indices: Vec<u32> = (0..feed.source.len() as u32).collect();
    let batches: Vec<&[u32]> = indices.chunks(layout.plan.max_batch()).collect();
    let mut confusion = Confusion::new(classes);
    // An average of two: halves are exact.
    let share = if test.flip { 0.5 } else { 1.0 };
    let [mut sums, mut logits] = [(); 2].map(|()| vec![0.0; layout.plan.max_batch() * classes]);
    feed.each(backend, &batches, 0, |backend, number| {
        proceed()?;
        let batch = batches[number];
        let (sums, logits) = (&mut sums[..batch.len() * classes], &mut logits[..batch.len() * classes]);
        sums.fill(0.0);
        for flip in [false, true].into_iter().filter(|&flip| test.flip || !flip) {
            let rows = write_rows(backend, layout.session.table, feed, (number, batch), flip)?;
            network.gather(backend, rows, &feed.samples, layout.session.losses(0)?)?;
            network.forward(backend, layout.session.vectors.params, Statistics::Running)?;
            backend.read(logits, network.logits()?)?;
            sums.iter_mut().zip(&*logits).for_each(|(sum, logit)| *sum += share * logit);
        }
        for (&index, logits) in batch.iter().zip(sums.chunks_exact(classes)) {
            confusion.add(feed.source.label(index as usize), logits);
        }
        Ok(())
    })?;
    Ok(confusion)
}

/// Puts the rows of batch `number` where the table begins.
fn write_rows<B: Machine>(
    backend: &mut B,
    table: Span,
    feed: &Feed<'_>,
    (number, batch): (usize, &[u32]),
    flip: bool,
) -> Result<Span, Error>
where
    Error: From<B::Error>,
{
    let row = |(row, &sample): (usize, &u32)| {
        let (index, label) = (feed.index(number, row, sample), feed.source.label(sample as usize));
        Row { index, label, top: 0, left: 0, flip, weights: [0.0; 2] }.encode()
    };
    let words: Vec<f32> = batch.iter().enumerate().flat_map(row).collect();
    let rows = table.part(0, words.len())?;
    backend.write(rows, &words)?;
    Ok(rows)
}
