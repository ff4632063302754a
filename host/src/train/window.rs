//! How many steps run between two reads from the device: about half a second of them.

use std::time::{Duration, Instant};

use sse_sam_core::{Backend, Record};

use crate::device::layout::{Layout, WINDOW};
use crate::error::Error;
use crate::run::position::Position;
use crate::train::epoch::Step;

/// Steps between two reads from the device.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Number of the first one in its epoch.
    pub first: usize,
    /// How many.
    pub steps: usize,
    started: Instant,
}

impl Window {
    /// A single step: how long one takes is not known yet.
    pub fn new(first: usize) -> Self {
        Self { first, steps: 1, started: Instant::now() }
    }

    /// The window after this one, twice as long where this one was quick, half as long where it was not.
    #[must_use]
    pub fn next(&self, first: usize) -> Self {
        let quick = self.started.elapsed() < Duration::from_millis(250);
        let steps = if quick { (self.steps * 2).min(WINDOW) } else { (self.steps / 2).max(1) };
        Self { first, steps, started: Instant::now() }
    }
}

/// Reads what the steps of a window left behind, and adds it to the epoch's sums.
///
/// # Errors
/// [`Error::NotFinite`] when a number is not, else what the device reports.
pub fn collect<B: Backend>(
    backend: &mut B,
    layout: &Layout,
    steps: &[Step],
    position: &mut Position,
) -> Result<(), Error>
where
    Error: From<B::Error>,
{
    let mut records = vec![[0.0; Record::WORDS]; steps.len()];
    layout.session.read(backend, &mut records)?;
    let Position { epoch, step: done, totals, updates, .. } = position;
    for (step, record) in steps.iter().zip(records.iter().map(Record::decode)) {
        if !record.is_finite() {
            return Err(Error::NotFinite { epoch: *epoch, step: *done, saved: None });
        }
        let rows = step.rows as f64;
        let add = |to: &mut [f64; 2], from: [f32; 2]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += f64::from(from) * rows);
        };
        add(&mut totals.losses, record.losses);
        add(&mut totals.perturbed, record.perturbed_losses);
        let norms = totals.group_norms.iter_mut().zip(record.group_squared_norms);
        norms.for_each(|(sum, norm)| *sum += f64::from(norm).sqrt());
        totals.norm += f64::from(record.squared_norm).sqrt();
        totals.rows += rows;
        totals.steps += 1.0;
        *done += 1;
        *updates += 1;
    }
    Ok(())
}
