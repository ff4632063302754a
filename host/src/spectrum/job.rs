//! Spectra of some groups, on a device of their own.

use std::path::Path;

use sse_sam_core::Loss;

use crate::data::Dataset;
use crate::data::pictures::options::PictureOptions;
use crate::device::choose::Device;
use crate::device::machine::{Job, Machine};
use crate::error::Error;
use crate::report::{Event, Observer};
use crate::spectrum::course::{Stepped, Training};
use crate::spectrum::escape::{self, escape};
use crate::spectrum::fit::Tables;
use crate::spectrum::groups::{Classes, Group};
use crate::spectrum::hessian::{Hessian, Stored};
use crate::spectrum::lanczos::Basis;
use crate::spectrum::layout::{Demand, Layout};
use crate::spectrum::measure::{Question, Subject, measure};
use crate::spectrum::report::Measured;
use crate::spectrum::source::{self, Trained};
use crate::train::feed::{Feed, Feeds};
use crate::train::start::write_terms;
use crate::weights::{Description, Tensor, torch};

/// What is measured, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// What the weights are.
    pub description: &'a Description,
    /// Their tensors, and where they come from.
    pub tensors: (&'a Path, &'a [Tensor]),
    /// Which layers were trained.
    pub trained: &'a Trained,
    /// The training set.
    pub dataset: &'a Dataset,
    /// The loss.
    pub loss: &'a Loss,
    /// The groups.
    pub groups: &'a [Group],
    /// How.
    pub settings: &'a Settings,
}

/// How spectra are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Steps, start vectors, seed.
    pub question: Question,
    /// Samples that a group is cut to where it has more, but for tails.
    pub samples: usize,
    /// Samples that pass through the network at once.
    pub batch: usize,
    /// Which of Lanczos's vectors are kept.
    pub basis: Basis,
    /// How escapes are measured, where they are.
    pub escape: Option<escape::Settings>,
}

impl Default for Settings {
    fn default() -> Self {
        let question = Question { steps: 80, vectors: 1, seed: 0 };
        Self { question, samples: 2000, batch: 128, basis: Basis::Full, escape: None }
    }
}

/// What a job asks and tells.
#[derive(Clone, Copy)]
pub struct Talk<'a> {
    /// Is asked before every pass; an error ends the work.
    pub proceed: &'a dyn Fn() -> Result<(), Error>,
    /// Is told of progress and warnings.
    pub observer: &'a dyn Observer,
}

impl Work<'_> {
    /// Measures the groups one after the other; `each` is given what was found as soon as it was.
    ///
    /// # Errors
    /// [`Error::Usage`] when there are more steps than parameters or numbers are not finite, [`Error::Device`] when memory
    /// does not suffice, else what the device or `each` reports.
    pub fn run(
        &self,
        device: &mut Device,
        talk: Talk<'_>,
        each: &mut dyn FnMut(Measured) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Settings { question, samples, batch, basis, escape } = *self.settings;
        let parameters = self.trained.parameters(self.description)?;
        if question.steps > parameters {
            let steps = question.steps;
            return Err(Error::Usage(format!(
                "--steps {steps}: the network has {parameters} trained parameters, and Lanczos's method no more steps than that"
            )));
        }
        let counts = self.dataset.counts();
        let classes = Classes { counts: &counts, sizes: &self.description.counts, eta: self.description.eta };
        let mut dataset = self.dataset.clone();
        // Steps are taken on all samples, whichever group is looked at.
        let also = escape.map(|_| Group::All);
        let kept: Vec<Group> = self.groups.iter().copied().chain(also).collect();
        let taken = source::keep(&mut dataset, &classes, &kept, samples);
        let rows =
            taken.iter().map(|taken| taken.iter().map(|&count| count as usize).sum::<usize>()).max().unwrap_or(0);
        let stepped = escape.map_or(0, |escape| escape.batch.min(rows));
        let demand = Demand {
            model: &self.description.model,
            image: dataset.image,
            classes: dataset.classes,
            first: self.trained.first,
            batch: batch.min(rows.max(1)).max(stepped),
            rows: rows + stepped,
            steps: question.steps,
            basis,
        };
        let staged = |rows| Feeds::staged_bytes(&dataset, rows);
        let plan = |device: &Device| Layout::on(device, &demand, Feeds::resident_bytes(&dataset), &staged);
        let (layout, staged) = device.or_next(plan, talk.observer)?;
        let frozen = torch::frozen(&layout.network, self.tensors.0, self.tensors.1)?;
        let feeds =
            Feeds::new(&dataset, layout.network.plan.normalization, staged, PictureOptions::default().threads())?;
        let (dataset, layout) = (&dataset, &layout);
        let job = Spectra { work: self, taken, dataset, layout, feed: feeds.train, classes, talk, each };
        device.run(&layout.network, &frozen, &feeds.bytes, job, talk.observer)
    }
}

struct Spectra<'a> {
    work: &'a Work<'a>,
    taken: Vec<Vec<u32>>,
    dataset: &'a Dataset,
    layout: &'a Layout,
    feed: Feed<'a>,
    classes: Classes<'a>,
    talk: Talk<'a>,
    each: &'a mut dyn FnMut(Measured) -> Result<(), Error>,
}

impl Job for Spectra<'_> {
    type Output = ();

    fn run<B: Machine>(self, backend: &mut B) -> Result<(), Error>
    where
        Error: From<B::Error>,
    {
        let Self { work, taken, dataset, layout, feed, classes, talk, each } = self;
        let (network, (path, tensors)) = (&layout.network, work.tensors);
        torch::load(backend, network, path, tensors)?;
        backend.write(network.plan.normalization, &work.description.normalization)?;
        write_terms(backend, &network.plan, work.loss, classes.sizes)?;
        let (tables, focal) = (Tables::new(work.loss, classes.sizes)?, work.loss.focal());
        let stepped = work.settings.escape.zip(taken.last()).map(|(settings, taken)| {
            let all = (source::first(dataset, taken), &taken[..]);
            (settings, Stepped::new(classes, all, settings.batch, work.settings.question.seed))
        });
        for (&group, taken) in work.groups.iter().zip(taken) {
            let stored = Stored::new(layout, feed, source::first(dataset, &taken));
            let mut hessian = Hessian::new(layout, (&tables, focal), stored, talk.proceed)?;
            let name = group.to_string();
            let advance = |done: usize, all: usize| {
                talk.observer.observe(&Event::Measuring { group: &name, done: done as u64, all: all as u64 });
            };
            let subject = Subject { group, classes, taken };
            let mut measured = measure(backend, &mut hessian, &subject, &work.settings.question, &advance)?;
            if let Some((settings, stepped)) = &stepped {
                let name = format!("{name} escape");
                let advance = |done: usize, all: usize| {
                    talk.observer.observe(&Event::Measuring { group: &name, done: done as u64, all: all as u64 });
                };
                let mut training = Training::new(&mut hessian, feed, focal, stepped)?;
                let u = (layout.lowest(), measured.drop.fall);
                measured.escape = Some(escape(backend, &mut training, &layout.room, u, settings, &advance)?);
            }
            each(measured)?;
        }
        Ok(())
    }
}
