//! A batch that passes through a network in pieces: activations of a few rows, the gradient of many.

use crate::error::Error;
use crate::machine::backend::Backend;
use crate::memory::Span;
use crate::network::executor::Network;
use crate::network::layer::{All, Layers};
use crate::ops::gather::{Row, Samples};
use crate::ops::{Axpy, Fill};
use crate::training::problem::{Problem, Statistics, Target};
use crate::training::session::Losses;

/// A network without batch normalisation (but in frozen layers), whose batch passes in pieces of up to
/// [`Plan::max_batch`](crate::Plan::max_batch) rows: a single one, if need be.
///
/// A sample's gradient depends on no other sample there, so the gradient of a batch is the sum of those of its pieces,
/// in another order of rounding. A row goes forward and backward for one group at a time, and for the groups that it
/// counts in alone: the rows of a group lie together in the epoch's table. So a step of head and tail costs 2 forward and
/// 2 backward passes of the batch when both are perturbed, where a [`Network`] takes 3 and 4; and every [`Economy`](crate::Economy) needs a single gradient of each activation at a
/// time. Rows are gathered anew for each pass. The weights in the table have the whole batch as their divisor.
///
/// To evaluate, use the network itself. `L` is that of [`Network`].
#[derive(Clone, Debug)]
pub struct Pieces<'a, const N: usize, L = All> {
    network: Network<'a, N, L>,
    samples: Samples,
    scratch: Span,
    rows: [Span; 2],
    losses: Losses,
    statistics: Statistics,
}

impl<'a, const N: usize, L: Layers> Pieces<'a, N, L> {
    /// A network that takes its pieces from `samples`; `scratch`, `[1]`, holds the loss of a piece.
    ///
    /// # Errors
    /// [`Error::Pieces`] when a layer that is trained normalises by the batch, [`Error::Inference`] when none is trained.
    pub fn new(network: Network<'a, N, L>, samples: Samples, scratch: Span) -> Result<Self, Error> {
        let plan = network.plan();
        if plan.parameters() == 0 {
            return Err(Error::Inference);
        }
        if !plan.is_separable() {
            return Err(Error::Pieces);
        }
        let losses = Losses { plain: [scratch; 2], perturbed: [scratch; 2] };
        let rows = [Span { length: 0, ..scratch }; 2];
        Ok(Self { network, samples, scratch, rows, losses, statistics: Statistics::Update })
    }

    /// Makes rows of an epoch's table the batch: those of each group, which may be the same ones
    /// ([`Tally::parts`](crate::Tally::parts)).
    pub fn set_batch(&mut self, rows: [Span; 2], losses: Losses) {
        (self.rows, self.losses) = (rows, losses);
    }

    /// The rows of a column, and where its loss goes.
    fn group(&self, column: usize) -> Result<(Span, Span), Error> {
        let Losses { plain, perturbed } = self.losses;
        let losses = if self.statistics == Statistics::Keep { perturbed } else { plain };
        let both = self.rows.get(column).copied().zip(losses.get(column).copied());
        both.ok_or(Error::Capacity { what: "groups", capacity: 2 })
    }
}

impl<B: Backend, const N: usize, L: Layers> Problem<B> for Pieces<'_, N, L> {
    /// Only notes the arguments: each piece goes forward just before it goes backward.
    fn forward(&mut self, _: &mut B, _: Span, statistics: Statistics) -> Result<(), B::Error> {
        self.statistics = statistics;
        Ok(())
    }

    fn backward(&mut self, backend: &mut B, params: Span, targets: &[Target]) -> Result<(), B::Error> {
        let piece = Losses { plain: [self.scratch; 2], perturbed: [self.scratch; 2] };
        let largest = self.network.plan().max_batch().saturating_mul(Row::WORDS);
        for target in targets {
            let (rows, loss) = self.group(target.column)?;
            backend.run(&Fill { to: loss, value: 0.0 })?;
            let mut at = 0;
            while at < rows.length {
                let length = largest.min(rows.length - at);
                self.network.gather(backend, rows.part(at, length)?, &self.samples, piece)?;
                self.network.forward(backend, params, self.statistics)?;
                self.network.backward(backend, params, &[*target])?;
                backend.run(&Axpy { y: loss, alpha: 1.0, x: self.scratch })?;
                at += length;
            }
        }
        Ok(())
    }
}
