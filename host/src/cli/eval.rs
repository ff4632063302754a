//! The `eval` command.

use sse_sam_core::longtail::classes::Shots;

use crate::cli::args::EvalArgs;
use crate::cli::described::describe;
use crate::data::Split;
use crate::device::choose::Device;
use crate::device::layout::{Layout, Needs};
use crate::device::machine::{Job, Machine};
use crate::error::Error;
use crate::report::console::{Console, say};
use crate::report::metrics::{Confusion, table};
use crate::train::evaluate::{TestSet, evaluate};
use crate::train::feed::Feeds;
use crate::weights::{self, Description, Weights};

/// The `eval` command: accuracies, per class and confusion, of a weights file.
///
/// # Errors
/// Whatever is wrong with the weights, the data or the device.
pub fn run(args: &EvalArgs, console: &Console) -> Result<(), Error> {
    let mut device = Device::choose(&args.device, console)?;
    let path = weights::find(&args.weights, console)?;
    let (tensors, metadata) = weights::read(&path)?;
    let (mut dataset, metadata) = describe(args, &path, metadata, console)?;
    let weights = Weights::new(&path, tensors, &metadata)?;
    let description = &weights.description;
    args.device.check(&description.model)?;
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
    let staged_bytes = |rows| Feeds::staged_bytes(&dataset, rows);
    let plan =
        |device: &Device| device.plan(&description.model, &needs, Feeds::resident_bytes(&dataset), &staged_bytes);
    let (layout, staged) = device.or_next(plan, console)?;
    let feeds = Feeds::new(&dataset, layout.plan.normalization, staged);
    let test = TestSet { feed: feeds.test, flip: args.flip };
    let frozen = weights.frozen(&layout)?;
    let evaluation = Evaluation { layout: &layout, normalization: &description.normalization, test };
    let confusion = device.run(&layout, &frozen, &feeds.bytes, evaluation, console)?;
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
