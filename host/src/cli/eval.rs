//! The `eval` command: what trained weights make of a test set.

use std::sync::Arc;

use sse_sam_core::longtail::classes::Shots;

use crate::cli::args::EvalArgs;
use crate::cli::described::describe;
use crate::data::Split;
use crate::data::pictures::options::PictureOptions;
use crate::device::choose::Device;
use crate::device::layout::{Layout, Needs};
use crate::device::machine::{Job, Machine};
use crate::error::Error;
use crate::report::classes::{Classes, LISTED};
use crate::report::confusion::Confusion;
use crate::report::console::{Console, say};
use crate::report::evaluation::Evaluation;
use crate::report::metrics::table;
use crate::train::evaluate::{TestSet, evaluate};
use crate::train::feed::Feeds;
use crate::weights::{self, Description, Out, Weights};

/// Accuracies, per class and confusion, of a weights file.
///
/// # Errors
/// Whatever is wrong with the weights, the data or the device.
pub fn run(args: &EvalArgs, console: &Console) -> Result<(), Error> {
    let mut device = Device::choose(&args.device, console)?;
    let file = args.confusion.as_ref().map(|path| Out::new("--confusion", path, &[&args.weights])).transpose()?;
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
    (dataset.train, dataset.validation) = (Arc::new(Split::empty(dataset.image)), None);
    let batch = (args.batch as usize).min(dataset.test.len().max(1));
    let needs = Needs { first: Needs::INFERENCE, ..Needs::new(dataset.image, dataset.classes, batch) };
    let staged_bytes = |rows| Feeds::staged_bytes(&dataset, rows);
    let plan =
        |device: &Device| device.plan(&description.model, &needs, Some(Feeds::resident_bytes(&dataset)), &staged_bytes);
    let (layout, staged) = device.or_next(plan, console)?;
    let feeds = Feeds::new(&dataset, layout.plan.normalization, staged, PictureOptions::default().threads())?;
    let test = TestSet { feed: feeds.test, flip: args.flip };
    let frozen = weights.frozen(&layout)?;
    let evaluation = Predictions { layout: &layout, normalization: &description.normalization, test };
    let confusion = device.run(&layout, &frozen, &feeds.bytes, evaluation, console)?;
    if confusion.undefined() > 0 {
        let message =
            format!("gives no finite outputs for {} of {} test images", confusion.undefined(), dataset.test.len());
        return Err(Error::weights(&path, message)
            .with_hint("its numbers are far too large: a run that diverged leaves such weights, or a file that is not what it seems"));
    }
    if let Some(file) = &file {
        file.write(|file| confusion.write(file))?;
    }
    let accuracy = confusion.accuracy(&description.counts, description.shots);
    let Description { counts, shots, eta, class_names: names, .. } = description;
    let classes = Classes { confusion: &confusion, accuracy: &accuracy, counts, eta: *eta, names };
    if args.json {
        let mut line = Vec::new();
        let evaluation = Evaluation::new(&path.display().to_string(), &classes, *shots, args.flip);
        evaluation.write(&mut line).map_err(|source| Error::io("standard output", source))?;
        return say(String::from_utf8_lossy(&line).trim_end());
    }
    say(&report(&classes, *shots, file.is_some()))
}

struct Predictions<'a> {
    layout: &'a Layout,
    normalization: &'a [f32],
    test: TestSet<'a>,
}

impl Job for Predictions<'_> {
    type Output = Confusion;

    fn run<B: Machine>(self, backend: &mut B) -> Result<Confusion, Error>
    where
        Error: From<B::Error>,
    {
        backend.write(self.layout.plan.normalization, self.normalization)?;
        evaluate(backend, self.layout, &mut self.layout.network(0.0)?, &self.test, || Ok(()))
    }
}

/// Accuracies of the whole, then of every class, or of a few where there are many.
fn report(classes: &Classes<'_>, Shots { many, few }: Shots, is_written: bool) -> String {
    let top5 = classes.accuracy.top5.map(|top5| format!("; top-5 accuracy {top5:.2} %")).unwrap_or_default();
    let mut lines = vec![
        table(&[("accuracy %".into(), classes.accuracy)]),
        format!("many: above {many} training samples, few: below {few}; * tail: below {}{top5}\n", classes.eta),
    ];
    if classes.counts.len() <= LISTED {
        lines.push(classes.matrix());
    } else {
        lines.push(classes.extremes());
        if !is_written {
            lines.push("\n--confusion FILE writes what every class was taken for".into());
        }
    }
    lines.join("\n")
}
