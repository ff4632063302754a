//! The loss of a group of samples at any weights: its value, its gradient, and products with its Hessian.

use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::{Axpy, Copy, Fill};
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Curvature, Network, Problem, Row, Span, Statistics};

use crate::device::machine::Machine;
use crate::error::Error;
use crate::spectrum::fit::{Fit, Tables};
use crate::spectrum::lanczos::Operator;
use crate::spectrum::layout::Layout;
use crate::train::feed::Feed;
use crate::weights;

/// A network that samples are put into.
pub type Engine<'a> = Network<'a, MAX_LAYERS>;

/// A batch that lies in a network's input: labels, and what each sample counts.
#[derive(Clone, Copy, Debug)]
pub struct Loaded<'a> {
    /// Which batch.
    pub number: usize,
    /// The samples' labels.
    pub labels: &'a [u32],
    /// Factors of their losses.
    pub factors: &'a [f32],
}

/// What is done with a batch that lies in the network's input.
pub type Visit<'v, 'e, B> = dyn FnMut(&mut B, &mut Engine<'e>, Loaded<'_>) -> Result<(), Error> + 'v;

/// The samples of a group.
pub trait Samples<B: Machine> {
    /// Divides them into batches of so many and gives each the factor of its class, in the first column of weights.
    ///
    /// # Errors
    /// What the machine reports.
    fn arrange(&mut self, backend: &mut B, rows: usize, factors: &[f64]) -> Result<(), Error>;

    /// Puts one batch after the other into the network's input.
    ///
    /// # Errors
    /// What the machine or `visit` reports.
    fn each<'e>(&self, backend: &mut B, engine: &mut Engine<'e>, visit: &mut Visit<'_, 'e, B>) -> Result<(), Error>;
}

/// Samples of a data set that a device reads its pictures from.
#[derive(Debug)]
pub struct Stored<'a> {
    layout: &'a Layout,
    feed: Feed<'a>,
    indices: Vec<u32>,
    labels: Vec<u32>,
    factors: Vec<f32>,
    rows: usize,
}

impl<'a> Stored<'a> {
    /// These samples of a data set.
    pub fn new(layout: &'a Layout, feed: Feed<'a>, indices: Vec<u32>) -> Self {
        let labels = indices.iter().map(|&index| feed.source.label(index as usize)).collect();
        Self { layout, feed, indices, labels, factors: Vec::new(), rows: 1 }
    }
}

impl<B: Machine> Samples<B> for Stored<'_>
where
    Error: From<B::Error>,
{
    fn arrange(&mut self, backend: &mut B, rows: usize, factors: &[f64]) -> Result<(), Error> {
        self.rows = rows.clamp(1, self.layout.network.batch);
        self.factors = self.labels.iter().map(|&label| factors[label as usize] as f32).collect();
        let row = |(at, &index): (usize, &u32)| {
            let index = self.feed.index(at / self.rows, at % self.rows, index);
            let weights = [self.factors[at], 0.0];
            Row { index, label: self.labels[at], top: 0, left: 0, flip: false, weights }.encode()
        };
        let words: Vec<f32> = self.indices.iter().enumerate().flat_map(row).collect();
        Ok(backend.write(self.layout.network.session.table.part(0, words.len())?, &words)?)
    }

    fn each<'e>(&self, backend: &mut B, engine: &mut Engine<'e>, visit: &mut Visit<'_, 'e, B>) -> Result<(), Error> {
        let batches: Vec<&[u32]> = self.indices.chunks(self.rows).collect();
        let session = &self.layout.network.session;
        self.feed.each(backend, &batches, 0, |backend, number| {
            let (first, length) = (number * self.rows, batches[number].len());
            let rows = session.table.part(first * Row::WORDS, length * Row::WORDS)?;
            engine.gather(backend, rows, &self.feed.samples, session.losses(0)?)?;
            let (labels, factors) = (&self.labels[first..][..length], &self.factors[first..][..length]);
            visit(backend, engine, Loaded { number, labels, factors })
        })
    }
}

/// Samples whose pictures are numbers already, `[n][C][H][W]`: those of a reference.
#[derive(Debug)]
pub struct Given<'a> {
    layout: &'a Layout,
    /// `[n][H][W][C]`.
    images: Vec<f32>,
    labels: Vec<u32>,
    factors: Vec<f32>,
    rows: usize,
}

impl<'a> Given<'a> {
    /// The samples with these labels of a picture each, those of other classes left out.
    pub fn new(layout: &'a Layout, images: &[f32], labels: &[u32], is_member: impl Fn(usize) -> bool) -> Self {
        let image = layout.image();
        let sizes = [labels.len(), image.channels, image.height, image.width];
        let all = weights::nchw_to_nhwc(images, sizes);
        let members = all.chunks_exact(image.len().max(1)).zip(labels).filter(|(_, label)| is_member(**label as usize));
        let (images, labels): (Vec<&[f32]>, Vec<u32>) = members.map(|(image, &label)| (image, label)).unzip();
        Self { layout, images: images.concat(), labels, factors: Vec::new(), rows: 1 }
    }
}

impl<B: Machine> Samples<B> for Given<'_>
where
    Error: From<B::Error>,
{
    fn arrange(&mut self, _: &mut B, rows: usize, factors: &[f64]) -> Result<(), Error> {
        self.rows = rows.clamp(1, self.layout.network.batch);
        self.factors = self.labels.iter().map(|&label| factors[label as usize] as f32).collect();
        Ok(())
    }

    fn each<'e>(&self, backend: &mut B, engine: &mut Engine<'e>, visit: &mut Visit<'_, 'e, B>) -> Result<(), Error> {
        let length = self.layout.image().len();
        let parts = self.labels.chunks(self.rows).zip(self.factors.chunks(self.rows));
        for (number, (labels, factors)) in parts.enumerate() {
            engine.set_batch(labels.len(), self.layout.network.session.losses(0)?)?;
            let batch = engine.batch()?;
            backend.write(batch.images, &self.images[number * self.rows * length..][..labels.len() * length])?;
            backend.write(batch.labels, &labels.iter().map(|&label| label as f32).collect::<Vec<_>>())?;
            backend.write(batch.weights[0], factors)?;
            backend.write(batch.weights[1], &vec![0.0; labels.len()])?;
            visit(backend, engine, Loaded { number, labels, factors })?;
        }
        Ok(())
    }
}

/// The mean loss of a group's samples as a function of the weights.
pub struct Hessian<'a, S> {
    layout: &'a Layout,
    engine: Engine<'a>,
    samples: S,
    tables: &'a Tables,
    /// Is asked before every pass.
    proceed: &'a dyn Fn() -> Result<(), Error>,
}

impl<'a, S> Hessian<'a, S> {
    /// The loss of these samples, with a focal exponent, by these tables; `proceed` may end what is done.
    ///
    /// # Errors
    /// [`Error::Core`] when the plan does not fit.
    pub fn new(
        layout: &'a Layout,
        (tables, focal): (&'a Tables, f32),
        samples: S,
        proceed: &'a dyn Fn() -> Result<(), Error>,
    ) -> Result<Self, Error> {
        Ok(Self { layout, engine: layout.network.network(focal)?, samples, tables, proceed })
    }

    /// Where the weights lie.
    pub fn params(&self) -> Span {
        self.layout.network.session.vectors.params
    }

    /// Divides the samples as before into batches as large as planned, each counting what its class does.
    ///
    /// # Errors
    /// What the machine reports.
    pub fn arrange<B: Machine>(&mut self, backend: &mut B, factors: &[f64]) -> Result<(), Error>
    where
        S: Samples<B>,
    {
        self.samples.arrange(backend, self.layout.network.batch, factors)
    }

    /// Loss and miss at `at`, from the outputs.
    ///
    /// # Errors
    /// What the machine reports.
    pub fn fit<B: Machine>(&mut self, backend: &mut B, at: Span) -> Result<Fit, Error>
    where
        S: Samples<B>,
        Error: From<B::Error>,
    {
        (self.proceed)()?;
        let (mut sum, classes, tables) = (Fit::default(), self.layout.classes(), self.tables);
        self.samples.each(backend, &mut self.engine, &mut |backend, engine, loaded| {
            engine.forward(backend, at, Statistics::Running)?;
            let mut logits = vec![0.0; loaded.labels.len() * classes];
            backend.read(&mut logits, engine.logits()?)?;
            for ((logits, &label), &factor) in logits.chunks_exact(classes).zip(loaded.labels).zip(loaded.factors) {
                let Fit { loss, miss } = tables.fit(logits, label);
                sum.loss += f64::from(factor) * loss;
                sum.miss += f64::from(factor) * miss;
            }
            Ok(())
        })?;
        Ok(sum)
    }

    /// Loss at the weights and so far along a direction.
    ///
    /// # Errors
    /// What the machine reports.
    pub fn along<B: Machine>(&mut self, backend: &mut B, direction: Span, length: f64) -> Result<f64, Error>
    where
        S: Samples<B>,
        Error: From<B::Error>,
    {
        let point = self.layout.point();
        backend.run(&Copy { to: point, from: self.params() })?;
        backend.run(&Axpy { y: point, alpha: length as f32, x: direction })?;
        Ok(self.fit(backend, point)?.loss)
    }

    /// `to <-` the gradient at the weights.
    ///
    /// # Errors
    /// What the machine reports.
    pub fn gradient<B: Machine>(&mut self, backend: &mut B, to: Span) -> Result<(), Error>
    where
        S: Samples<B>,
        Error: From<B::Error>,
    {
        (self.proceed)()?;
        backend.run(&Fill { to, value: 0.0 })?;
        let params = self.params();
        self.samples.each(backend, &mut self.engine, &mut |backend, engine, _| {
            engine.forward(backend, params, Statistics::Running)?;
            Ok(engine.backward(backend, params, &[Target { column: 0, gradient: to }])?)
        })
    }

    /// The samples, the layout that they lie in, and the tables of the loss.
    pub fn parts(&mut self) -> (&mut S, &'a Layout, &'a Tables) {
        (&mut self.samples, self.layout, self.tables)
    }
}

impl<B: Machine, S: Samples<B>> Operator<B> for Hessian<'_, S>
where
    Error: From<B::Error>,
{
    fn product(&mut self, backend: &mut B, to: Span, v: Span) -> Result<(), Error> {
        (self.proceed)()?;
        backend.run(&Fill { to, value: 0.0 })?;
        let (params, target) = (self.params(), Target { column: 0, gradient: to });
        let tangents = &self.layout.tangents;
        self.samples.each(backend, &mut self.engine, &mut |backend, engine, _| {
            Ok(Curvature::at(backend, engine, tangents, params)?.product(backend, v, target)?)
        })
    }
}
