//! Predictions for a test set.

use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::{Network, Problem, Row, Span, Statistics};

use crate::device::layout::Layout;
use crate::device::machine::Machine;
use crate::error::Error;
use crate::report::metrics::Confusion;
use crate::train::feed::Feed;

/// A test set as the device sees it.
#[derive(Clone, Copy, Debug)]
pub struct TestSet<'a> {
    /// Its images and labels.
    pub feed: Feed<'a>,
    /// Whether logits are averaged over each image and its mirror image.
    pub flip: bool,
}

/// Predicts every sample of the test set with the running statistics; `proceed` is asked before each batch.
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
    let indices: Vec<u32> = (0..feed.split.len() as u32).collect();
    let batches: Vec<&[u32]> = indices.chunks(layout.plan.max_batch()).collect();
    let mut sums = vec![0.0; indices.len() * classes];
    for flip in [false, true] {
        if flip && !test.flip {
            continue;
        }
        write_table(backend, layout.session.table, feed, &batches, flip)?;
        let mut logits = vec![0.0; layout.plan.max_batch() * classes];
        feed.each(backend, &batches, 0, |backend, number| {
            proceed()?;
            let (first, rows) = (batches[number][0] as usize, batches[number].len());
            let table = layout.session.table.part(first * Row::WORDS, rows * Row::WORDS)?;
            network.gather(backend, table, &feed.samples, layout.session.losses(0)?)?;
            network.forward(backend, layout.session.vectors.params, Statistics::Running)?;
            let logits = &mut logits[..rows * classes];
            backend.read(logits, network.logits()?)?;
            sums[first * classes..].iter_mut().zip(&*logits).for_each(|(sum, logit)| *sum += logit);
            Ok(())
        })?;
    }
    let mut confusion = Confusion::new(classes);
    for (&label, logits) in feed.split.labels.iter().zip(sums.chunks_exact(classes)) {
        confusion.add(label, logits);
    }
    Ok(confusion)
}

fn write_table<B: Machine>(
    backend: &mut B,
    table: Span,
    feed: &Feed<'_>,
    batches: &[&[u32]],
    flip: bool,
) -> Result<(), Error>
where
    Error: From<B::Error>,
{
    let mut words = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        for (row, &index) in batch.iter().enumerate() {
            let (index, label) = (feed.index(number, row, index), feed.split.labels[index as usize].into());
            words.extend(Row { index, label, top: 0, left: 0, flip, weights: [0.0; 2] }.encode());
        }
    }
    Ok(backend.write(table.part(0, words.len())?, &words)?)
}
