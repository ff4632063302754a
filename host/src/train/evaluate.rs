//! Accuracy on a test set, and the `eval` command.

use sse_sam_core::longtail::classes::Shots;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::{Network, Problem, Row, Span, Statistics};

use crate::cli::args::EvalArgs;
use crate::cli::described::describe;
use crate::data::Split;
use crate::device::choose::{Device, Job, Machine};
use crate::device::layout::{Layout, Needs};
use crate::device::open;
use crate::error::Error;
use crate::report::metrics::{Confusion, table};
use crate::report::progress::say;
use crate::train::feed::{Feed, Feeds};
use crate::weights;
use crate::weights::torch::{Description, Weights};

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

/// The `eval` command: accuracies, per class and confusion, of a weights file.
///
/// # Errors
/// Whatever is wrong with the weights, the data or the device.
pub fn run(args: &EvalArgs) -> Result<(), Error> {
    let mut device = Device::choose(&args.device)?;
    let path = weights::find(&args.weights)?;
    let (tensors, metadata) = weights::read(&path)?;
    let (mut dataset, metadata) = describe(args, &path, metadata)?;
    let weights = Weights::new(&path, tensors, &metadata)?;
    let description = &weights.description;
    open::check(&args.device, &description.model)?;
    if (dataset.image, dataset.classes) != (description.image, description.counts.len()) {
        let source = args.data.as_ref().unwrap_or(&description.data);
        let message = format!("was trained on other images or classes than those of {source}");
        return Err(Error::weights(&path, message));
    }
    dataset.train = Split::default();
    let needs = Needs {
        first: Needs::INFERENCE,
        rows: dataset.test.len(),
        ..Needs::new(dataset.image, dataset.classes, (args.batch as usize).min(dataset.test.len().max(1)))
    };
    let (layout, staged) = device.or_next(|device| device.plan(&description.model, &needs, &dataset))?;
    let feeds = Feeds::new(&dataset, layout.plan.normalization, staged);
    let test = TestSet { feed: feeds.test, flip: args.flip };
    let frozen = weights.frozen(&layout)?;
    let evaluation = Evaluation { layout: &layout, normalization: &description.normalization, test };
    let confusion = device.run(&layout, &frozen, &feeds.bytes, evaluation)?;
    if confusion.undefined() > 0 {
        let message =
            format!("gives no finite outputs for {} of {} test images", confusion.undefined(), dataset.test.len());
        return Err(Error::weights(&path, message)
            .with_hint("its numbers are far too large: a run that diverged leaves such weights, or a file that is not what it seems"));
    }
    say(&report(&confusion, description))
}

struct Evaluation<'a> {
    layout: &'a Layout,
    normalization: &'a [f32],
    test: TestSet<'a>,
}

impl Job for Evaluation<'_> {
    type Output = Confusion;

    fn run<B: Machine>(self, backend: &mut B) -> Result<Confusion, Error>
    where
        Error: From<B::Error>,
    {
        backend.write(self.layout.plan.normalization, self.normalization)?;
        evaluate(backend, self.layout, &mut self.layout.network(0.0)?, &self.test, || Ok(()))
    }
}

fn report(confusion: &Confusion, description: &Description) -> String {
    let Shots { many, few } = description.shots;
    let accuracy = confusion.accuracy(&description.counts, description.shots);
    let mut lines = vec![
        table(&[("accuracy %".into(), &accuracy)]),
        format!("many: above {many} training samples, few: below {few}; * tail: below {}\n", description.eta),
        "class  training  accuracy %   confusion (row: label, column: prediction)".into(),
    ];
    for (class, row) in confusion.rows().enumerate() {
        let count = description.counts[class];
        let tail = if count < description.eta { '*' } else { ' ' };
        let percent = accuracy.per_class[class].map_or_else(|| "-".into(), |percent| format!("{percent:.2}"));
        let row: String = row.iter().map(|count| format!("{count:5}")).collect();
        lines.push(format!("{class:5} {count:8}{tail}  {percent:>10}   {row}"));
    }
    lines.join("\n")
}
