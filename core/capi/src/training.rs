//! A network and its training, in safe code: everything but pointers.

use core::mem::MaybeUninit;

use sse_sam_core::longtail::classes;
use sse_sam_core::ops::{self, Fill};
use sse_sam_core::{Cpu, Economy, Loss, Machine, Method, Record, Row, Run, Span};

use crate::chacha::Stream;
use crate::layout::{Layout, running};
use crate::memory::put;
use crate::model::{Model, Task};
use crate::rows::{check_rows, samples, use_up};
use crate::status::Status;
use crate::values::{Report, Update};

/// A planned network and its memory, for one call.
pub(crate) struct Training<'a> {
    pub(crate) model: &'a mut dyn Model,
    pub(crate) layout: &'a mut Layout,
    pub(crate) arena: &'a mut [f32],
    /// Numbers of frozen layers.
    pub(crate) frozen: &'a [f32],
    /// Labels, then images: a byte a value.
    pub(crate) samples: &'a [u8],
}

impl<'a> Training<'a> {
    /// The machine, the network for it, and its layout.
    fn begin(self) -> (Cpu<'a>, &'a dyn Model, &'a Layout) {
        (Cpu::new(self.arena, self.frozen, self.samples), self.model, self.layout)
    }

    /// Plain cross-entropy, no tail, bytes from 0 to 1, and zeros.
    pub(crate) fn clear(self) -> Result<(), Status> {
        let (mut cpu, _, layout) = self.begin();
        cpu.run(&Fill { to: Span::work(0, layout.floats), value: 0.0 })?;
        let [scale, ..] = layout.terms;
        cpu.run(&Fill { to: scale, value: 1.0 })?;
        let channels = layout.normalization.length / 2;
        cpu.run(&Fill { to: layout.normalization.part(channels, channels)?, value: 1.0 / 255.0 })?;
        Ok(use_up(&mut cpu, layout)?)
    }

    /// Sets mean and factor of each channel's bytes.
    pub(crate) fn normalize(self, table: &[f32]) -> Result<(), Status> {
        let (mut cpu, _, layout) = self.begin();
        Ok(cpu.write(layout.normalization, table)?)
    }

    /// Sets which classes are tail.
    pub(crate) fn set_tail(self, counts: &[u32], eta: u32) -> Result<(), Status> {
        let (mut cpu, _, layout) = self.begin();
        let [shares] = cpu.slices_mut([layout.shares])?;
        if counts.len() != shares.len() {
            return Err(Status::Length);
        }
        for (share, count) in shares.iter_mut().zip(counts) {
            *share = f32::from(u8::from(classes::is_tail(*count, eta)));
        }
        Ok(())
    }

    /// Sets what of each class's samples Focal-SAM perturbs.
    pub(crate) fn set_focal_sam(self, counts: &[u32], lambda: f64, gamma: f64) -> Result<(), Status> {
        // Its numbers are refused as they are of a method.
        Method::FocalSam { rho: 0.0, lambda, gamma }.largest()?;
        let (mut cpu, _, layout) = self.begin();
        let [shares] = cpu.slices_mut([layout.shares])?;
        if counts.len() != shares.len() {
            return Err(Status::Length);
        }
        let samples = counts.iter().map(|&count| u64::from(count)).sum();
        for (share, &count) in shares.iter_mut().zip(counts) {
            *share = classes::focal_share(count, samples, lambda, gamma) as f32;
        }
        Ok(())
    }

    /// Sets the loss's tables.
    pub(crate) fn set_loss(self, counts: &[u32], loss: Loss) -> Result<(), Status> {
        let mut cpu = Cpu::new(self.arena, &[], &[]);
        let [scales, shifts, margins] = cpu.slices_mut(self.layout.terms)?;
        if counts.len() != scales.len() {
            return Err(Status::Length);
        }
        if !self.layout.has_focal && loss.focal() != 0.0 {
            return Err(Status::Focal);
        }
        // Refused as a whole, before anything is written.
        loss.terms(counts, 0)?;
        for (class, ((scale, shift), margin)) in scales.iter_mut().zip(shifts).zip(margins).enumerate() {
            let terms = loss.terms(counts, class)?;
            (*scale, *shift, *margin) = (terms.scale, terms.shift, terms.margin);
        }
        self.layout.focal = loss.focal();
        Ok(())
    }

    /// Draws initial weights; no velocity.
    pub(crate) fn initialize(self, mut draw: impl FnMut(usize) -> u32) -> Result<(), Status> {
        let (mut cpu, model, layout) = self.begin();
        cpu.run(&Fill { to: layout.session.vectors.velocity, value: 0.0 })?;
        Ok(model.initialize(&mut cpu, layout, &mut draw)?)
    }

    /// Takes parameters and running statistics; no velocity.
    pub(crate) fn load(self, values: &[f32]) -> Result<(), Status> {
        let (mut cpu, model, layout) = self.begin();
        if values.len() != layout.sizes(model.slots()).weights {
            return Err(Status::Length);
        }
        finite(values)?;
        let mut rest = values;
        for span in weights(model, layout) {
            let (values, after) = rest.split_at_checked(span.length).ok_or(Status::Internal)?;
            cpu.write(span, values)?;
            rest = after;
        }
        Ok(cpu.run(&Fill { to: layout.session.vectors.velocity, value: 0.0 })?)
    }

    /// Gives parameters and running statistics.
    pub(crate) fn save(self, values: &mut [MaybeUninit<f32>]) -> Result<(), Status> {
        let (mut cpu, model, layout) = self.begin();
        if values.len() != layout.sizes(model.slots()).weights {
            return Err(Status::Length);
        }
        let mut rest = values;
        for span in weights(model, layout) {
            let (values, after) = rest.split_at_mut_checked(span.length).ok_or(Status::Internal)?;
            let [numbers] = cpu.slices_mut([span])?;
            put(values, numbers)?;
            rest = after;
        }
        Ok(())
    }

    /// Makes `pixels` row `row` of the batch.
    pub(crate) fn put(self, row: usize, pixels: Pixels<'_>, label: u32) -> Result<(), Status> {
        let (mut cpu, _, layout) = self.begin();
        if label as usize >= layout.shares.length {
            return Err(Status::Label);
        }
        let length = layout.image.len();
        let place = layout.images.part(row.saturating_mul(length), length).map_err(|_| Status::Batch)?;
        let [image, class, normalization] =
            cpu.slices_mut([place, layout.labels.part(row, 1)?, layout.normalization])?;
        match pixels {
            Pixels::Bytes(bytes, moved) => ops::gather(image, bytes, layout.image, &moved, normalization)?,
            Pixels::Floats(floats) if floats.len() == length => {
                image.iter_mut().zip(floats).for_each(|(to, value)| *to = *value);
            }
            Pixels::Floats(_) => return Err(Status::Length),
        }
        class.fill(label as f32);
        Ok(())
    }

    /// Makes a sample row `row` of the batch: at once, or when its piece comes.
    pub(crate) fn put_sample(self, row: usize, moved: Row) -> Result<(), Status> {
        let (labels, samples) = samples(self.layout, self.samples)?;
        let index = moved.index as usize;
        let label = u32::from(*labels.get(index).ok_or(Status::Sample)?);
        if self.layout.session.piece().is_some() {
            if label as usize >= self.layout.shares.length {
                return Err(Status::Label);
            }
            let [asked, _] = self.layout.tables(self.layout.order.batch)?;
            let place = asked.part(row.saturating_mul(Row::WORDS), Row::WORDS).map_err(|_| Status::Batch)?;
            return Ok(Cpu::new(self.arena, &[], &[]).write(place, &moved.encode())?);
        }
        let length = self.layout.image.len();
        let bytes = self.samples.get(samples.images.offset..).unwrap_or_default();
        let start = index.saturating_mul(length);
        let bytes = bytes.get(start..start.saturating_add(length)).ok_or(Status::Sample)?;
        self.put(row, Pixels::Bytes(bytes, moved), label)
    }

    /// One step on the first `rows` rows.
    pub(crate) fn step(self, rows: usize, update: &Update) -> Result<Report, Status> {
        let (groups, sgd) = (update.grouped()?, update.sgd()?);
        let (labels, samples) = samples(self.layout, self.samples)?;
        let (mut cpu, model, layout) = self.begin();
        let planned = &layout.order.demand;
        if groups.count() > planned.groups.count() || groups.points() > planned.groups.points() {
            return Err(Status::Points);
        }
        if planned.economy != Economy::Full && sgd.nesterov {
            return Err(Status::Nesterov);
        }
        if rows == 0 || rows > layout.order.batch {
            return Err(Status::Batch);
        }
        layout.session.clear(&mut cpu)?;
        let done = model.step(&mut cpu, layout, &Task { rows, groups, sgd, samples, labels });
        use_up(&mut cpu, layout)?;
        done?;
        report(&layout.session.record(&mut cpu)?)
    }

    /// Classifies the first rows, as many as `classes`, with the running statistics.
    pub(crate) fn predict(
        self,
        classes: &mut [MaybeUninit<u32>],
        logits: Option<&mut [MaybeUninit<f32>]>,
    ) -> Result<(), Status> {
        let (mut cpu, model, layout) = self.begin();
        let rows = classes.len();
        if logits.as_ref().is_some_and(|logits| logits.len() != rows.saturating_mul(layout.shares.length)) {
            return Err(Status::Length);
        }
        check_rows(&mut cpu, layout, rows)?;
        let span = model.logits(&mut cpu, layout, rows)?;
        use_up(&mut cpu, layout)?;
        let [scores] = cpu.slices_mut([span])?;
        for (row, class) in classes.iter_mut().enumerate() {
            let first = row.saturating_mul(layout.shares.length);
            let own = scores.get(first..first.saturating_add(layout.shares.length));
            class.write(largest(own.ok_or(Status::Internal)?));
        }
        logits.map_or(Ok(()), |logits| put(logits, scores))
    }
}

/// Parameters, then running statistics, layer by layer.
fn weights<'m>(model: &'m dyn Model, layout: &Layout) -> impl Iterator<Item = Span> + use<'m> {
    core::iter::once(layout.session.vectors.params).chain(running(model.slots()))
}

/// Refuses numbers of which one is not finite.
pub(crate) fn finite(values: &[f32]) -> Result<(), Status> {
    if values.iter().any(|value| !value.is_finite()) { Err(Status::Range) } else { Ok(()) }
}

/// What a step left behind.
fn report(record: &Record) -> Result<Report, Status> {
    let Record { losses: [head, tail], perturbed_losses: [perturbed_head, perturbed_tail], .. } = *record;
    if record.failure != 0.0 {
        return Err(Status::NotFinite);
    }
    Ok(Report { head, tail, perturbed_head, perturbed_tail, squared_norm: record.squared_norm })
}

/// The place of the largest number, the first one of equals.
fn largest(scores: &[f32]) -> u32 {
    let mut best = (0, scores.first().copied().unwrap_or_default());
    for (class, &score) in (0..).zip(scores) {
        if score > best.1 {
            best = (class, score);
        }
    }
    best.0
}

/// One image or row of features.
pub(crate) enum Pixels<'a> {
    /// As stored; moved, mirrored and normalised on the way.
    Bytes(&'a [u8], Row),
    /// As the network takes them.
    Floats(&'a [f32]),
}

/// Draws from each layer's own stream.
pub(crate) fn streams(seed: u64) -> impl FnMut(usize) -> u32 {
    let mut stream = Stream::new(seed, 0);
    let mut began = false;
    move |layer| {
        let layer = layer as u32;
        if !began || stream.layer() != layer {
            stream = Stream::new(seed, layer);
            began = true;
        }
        stream.word()
    }
}
