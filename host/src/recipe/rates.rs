//! Learning rates.

use sse_sam_core::Schedule;

use crate::error::Error;
use crate::recipe::options::Options;
use crate::recipe::ranges::positive;
use crate::recipe::words::ScheduleName;

/// A learning-rate schedule with its own list of milestones.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// How the rate falls.
    pub name: ScheduleName,
    /// Epochs from which it is a tenth, where it falls in steps; the usual ones when empty.
    milestones: Vec<u32>,
    /// Base learning rate.
    pub base: f64,
    /// Base learning rate of the last layer, where it is another one.
    pub head: Option<f64>,
    /// Epochs of linear warm-up.
    pub warmup: u32,
    epochs: u32,
}

impl Rates {
    /// What the options say, for a run of so many epochs.
    ///
    /// # Errors
    /// [`Error::Usage`] when the rate is none.
    pub fn new(options: &Options, usual: f64, epochs: u32) -> Result<Self, Error> {
        let base = positive("--lr", options.lr.unwrap_or(usual))?;
        let head = options.lr_head.map(|rate| positive("--lr-head", rate)).transpose()?;
        if head.is_some_and(|rate| !((rate / base) as f32).is_finite()) {
            let message = "--lr-head needs a --lr above 0: --trainable-layers 1 trains the last layer alone";
            return Err(Error::Usage(message.into()));
        }
        Ok(Self {
            name: options.schedule.unwrap_or_default(),
            milestones: options.milestones.clone().unwrap_or_default(),
            base,
            head,
            warmup: options.warmup.unwrap_or_default(),
            epochs,
        })
    }

    /// The last layer's rate over that of the others, where it has its own.
    pub fn head_factor(&self) -> Option<f32> {
        self.head.map(|rate| (rate / self.base) as f32)
    }

    /// The milestones that were given, where they are used.
    pub fn given_milestones(&self) -> Option<&[u32]> {
        (self.name == ScheduleName::MultiStep && !self.milestones.is_empty()).then_some(&self.milestones)
    }

    /// The same for a run of so many epochs.
    #[must_use]
    pub fn over(&self, epochs: u32) -> Self {
        Self { epochs, ..self.clone() }
    }

    /// The learning rate of an epoch.
    pub fn at(&self, epoch: u32) -> Result<f64, Error> {
        // Not epoch 0: the base rate must be the rate of some epoch.
        let share = |fifths: u32| ((u64::from(self.epochs) * u64::from(fifths) / 5) as u32).max(1);
        let milestones = if self.milestones.is_empty() { &[share(3), share(4)][..] } else { &self.milestones };
        let schedule = match self.name {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Cosine => Schedule::Cosine,
            ScheduleName::MultiStep => Schedule::MultiStep { milestones, factor: 0.1 },
        };
        Ok(schedule.learning_rate(self.base, epoch, self.epochs, self.warmup)?)
    }
}
