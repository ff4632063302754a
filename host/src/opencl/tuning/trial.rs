//! Which algorithm of a convolution is fastest where a device has several, found by running them in turn.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward, Fill};
use sse_sam_core::{Arena, Conv2d, Run, Span};

use crate::opencl::algorithm::{Algorithm, Algorithms, Direction, Selection};
use crate::opencl::convolution::block;
use crate::opencl::convolution::pick::{candidates, shipped};
use crate::opencl::runtime::device::{DeviceInfo, DeviceType};
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::machine::OpenCl;
use crate::opencl::runtime::verdict::{Fault, Refusal};

/// Rounds of a timing, one algorithm after the other: fewest, and most where they take no longer than [`BUDGET`].
const ROUNDS: (usize, usize) = (3, 9);
const BUDGET: Duration = Duration::from_millis(40);
/// Seconds below which an operation runs several times in a timing on a GPU, and how many: to enqueue it and to wait for it
/// takes as long there as itself.
const SHORT: f64 = 1e-3;
const REPEATS: usize = 10;
/// What the other algorithm's least time must be below, of the shipped one's, and in how many timings one after the other:
/// noise must not decide, since what is chosen is kept.
const MARGIN: f64 = 0.9;
const SERIES: usize = 3;

/// The same block with fewer and with more parts of the sum.
fn splits(
    device: &DeviceInfo,
    algorithm: Algorithm,
    direction: Direction,
    conv: &Conv2d,
    images: usize,
) -> Vec<Algorithm> {
    let Algorithm::Block(block) = algorithm else { return Vec::new() };
    let rule = block::splits(device, block, direction, conv, images);
    let parts: BTreeSet<usize> = [1, rule / 4, rule / 2, rule * 2 / 3, rule * 3 / 2, rule * 2, rule * 4]
        .into_iter()
        .filter(|n| *n > 0)
        .collect();
    let split = |parts: usize| Some(Algorithm::Split(block, u16::try_from(parts).ok()?));
    parts.into_iter().filter(|parts| *parts != rule).filter_map(split).collect()
}

/// The fastest algorithm of an operation, as a timing found.
#[derive(Clone, Copy, Debug)]
pub struct Fastest {
    /// The algorithm to take: where the shipped one stays, under the name that it is shipped by.
    pub algorithm: Algorithm,
    /// What that algorithm comes to.
    pub resolved: Algorithm,
    /// How many times as fast as the shipped algorithm it was, in the least favourable of some timings; 1 where it is that
    /// one, infinite where that one fails.
    pub gain: f64,
}

/// What a timing found for a convolution.
#[derive(Clone, Debug)]
pub struct Measured {
    /// For each operation.
    pub fastest: [Fastest; 3],
    /// Algorithms that could not be timed, or that compute something else.
    pub skipped: Vec<Refusal>,
}

impl Measured {
    /// The algorithms to take.
    pub fn algorithms(&self) -> Algorithms {
        self.fastest.map(|fastest| fastest.algorithm)
    }
}

/// The algorithms that are fastest on `device`, found by running all of them in turn; where others are hardly faster, the
/// shipped ones. Blocks are checked before.
///
/// # Errors
/// [`Error::Memory`] when the device has no room for three activations, [`Error::Build`] and [`Error::Call`] when the
/// driver fails, with every algorithm of an operation.
pub fn measure(device: &DeviceInfo, conv: &Conv2d, images: usize) -> Result<Measured, Error> {
    let mut trial = Trial::new(device, conv, images)?;
    let (algorithms, rules) = (candidates(device, conv), shipped(device, conv));
    let mut find = |direction: Direction| -> Result<Fastest, Error> {
        let blocks = algorithms.iter().filter_map(|algorithm| algorithm.block().map(|block| (direction, block)));
        let refusals = trial.machine.check(blocks)?;
        trial.skipped.extend(refusals);
        let rule = rules[direction as usize];
        // What the rule finds is among the candidates by its own name.
        let shipped = trial.machine.resolve(direction, rule, conv, images, true);
        let algorithms: Vec<Algorithm> =
            algorithms.iter().copied().filter(|algorithm| !trial.is_skipped(direction, *algorithm)).collect();
        let (block, gain) = fastest(shipped, &algorithms, |algorithms| trial.least(direction, algorithms))?;
        let splits = splits(device, block, direction, conv, images);
        let (resolved, more) = fastest(block, &splits, |algorithms| trial.least(direction, algorithms))?;
        let gain = gain * more;
        Ok(Fastest { algorithm: if resolved == shipped { rule } else { resolved }, resolved, gain })
    };
    let [forward, backward_input, backward_weight] = Direction::ALL;
    let fastest = [find(forward)?, find(backward_input)?, find(backward_weight)?];
    Ok(Measured { fastest, skipped: trial.skipped })
}

/// The algorithm to take by timings that give the least seconds of each: the fastest of a first one, if it stays faster than
/// the shipped one by a margin in some more; and how many times as fast it was in all of them.
fn fastest<E>(
    shipped: Algorithm,
    candidates: &[Algorithm],
    mut least: impl FnMut(&[Algorithm]) -> Result<Vec<f64>, E>,
) -> Result<(Algorithm, f64), E> {
    let others: Vec<Algorithm> = candidates.iter().copied().filter(|algorithm| *algorithm != shipped).collect();
    if others.is_empty() {
        return Ok((shipped, 1.0));
    }
    let (mut field, mut gain) = ([&[shipped], &others[..]].concat(), f64::INFINITY);
    for _ in 0..SERIES {
        let times = least(&field)?;
        let best = (1..field.len()).min_by(|&a, &b| times[a].total_cmp(&times[b]));
        let Some(best) = best.filter(|&best| times[best] < MARGIN * times[0]) else { return Ok((shipped, 1.0)) };
        gain = gain.min(times[0] / times[best]);
        field = vec![shipped, field[best]];
    }
    Ok((field[1], gain))
}

/// A convolution with memory of its own to try it out.
struct Trial {
    machine: OpenCl,
    conv: Conv2d,
    x: Span,
    y: Span,
    /// What forward and input gradient write: never what they read, or numbers would grow beyond all bounds.
    out: Span,
    weight: Span,
    dweight: Span,
    skipped: Vec<Refusal>,
}

impl Trial {
    fn new(device: &DeviceInfo, conv: &Conv2d, images: usize) -> Result<Self, Error> {
        let mut arena = Arena::segmented(OpenCl::alignment(), OpenCl::segment(device));
        let (inputs, outputs) = (images * conv.input.len(), images * conv.output.len());
        let [x, y, out] = [inputs, outputs, inputs.max(outputs)].map(|length| arena.allocate(length));
        let [weight, dweight] = [conv.weights(); 2].map(|length| arena.allocate(length));
        let (x, y, out, weight, dweight) = (x?, y?, out?, weight?, dweight?);
        let mut machine = OpenCl::new(device, arena.len(), &[], &[])?;
        machine.reserve_convolution(conv, images)?;
        for (span, value) in [(x, 0.5), (y, 0.25), (weight, 0.01)] {
            machine.run(&Fill { to: span, value })?;
        }
        Ok(Self { machine, conv: *conv, x, y, out, weight, dweight, skipped: Vec::new() })
    }

    fn is_skipped(&self, direction: Direction, algorithm: Algorithm) -> bool {
        self.skipped.iter().any(|skipped| (skipped.direction, skipped.algorithm) == (direction, algorithm))
    }

    /// Least seconds of an operation by each of these algorithms, infinite where it fails.
    fn least(&mut self, direction: Direction, algorithms: &[Algorithm]) -> Result<Vec<f64>, Error> {
        // Some drivers compile kernels and allocate memory at the first use only.
        for algorithm in algorithms {
            self.attempt(direction, *algorithm)?;
        }
        let (mut least, started) = (vec![f64::INFINITY; algorithms.len()], Instant::now());
        for round in 0..ROUNDS.1 {
            if round >= ROUNDS.0 && started.elapsed() > BUDGET {
                break;
            }
            for (algorithm, least) in algorithms.iter().zip(&mut least) {
                *least = self.attempt(direction, *algorithm)?.min(*least);
            }
        }
        for (algorithm, least) in algorithms.iter().zip(&mut least) {
            *least = if self.is_skipped(direction, *algorithm) { f64::INFINITY } else { *least };
        }
        let failure = self.skipped.last().filter(|_| least.iter().all(|seconds| seconds.is_infinite()));
        match failure.map(|refusal| &refusal.fault) {
            Some(Fault::Fails(error)) => Err(error.clone()),
            _ => Ok(least),
        }
    }

    /// Seconds of an operation by an algorithm, which is skipped from now on if it fails.
    fn attempt(&mut self, direction: Direction, algorithm: Algorithm) -> Result<f64, Error> {
        if self.is_skipped(direction, algorithm) {
            return Ok(f64::INFINITY);
        }
        match self.seconds(direction, algorithm) {
            Err(error @ Error::Call { .. }) => {
                self.skipped.push(Refusal { direction, algorithm, fault: Fault::Fails(error), first: true });
                Ok(f64::INFINITY)
            }
            seconds => seconds,
        }
    }

    fn seconds(&mut self, direction: Direction, algorithm: Algorithm) -> Result<f64, Error> {
        let Self { ref mut machine, ref conv, x, .. } = *self;
        let images = x.length / conv.input.len();
        machine.set_selection(Selection::of(conv, images, algorithm));
        let (kind, once) = (machine.device().kind, self.seconds_each(direction, 1)?);
        if kind == DeviceType::Gpu && once < SHORT { self.seconds_each(direction, REPEATS) } else { Ok(once) }
    }

    /// Seconds that each of so many runs of an operation takes.
    fn seconds_each(&mut self, direction: Direction, repeats: usize) -> Result<f64, Error> {
        let Self { ref mut machine, ref conv, x, y, out, weight, dweight, .. } = *self;
        machine.finish()?;
        let started = Instant::now();
        for _ in 0..repeats {
            match direction {
                Direction::Forward => machine.run(&Conv2dForward { y: out.part(0, y.length)?, x, weight, conv })?,
                Direction::BackwardInput => {
                    machine.run(&Conv2dBackwardInput {
                        dx: &[out.part(0, x.length)?],
                        dy: &[y],
                        weight,
                        conv,
                        accumulate: false,
                    })?;
                }
                Direction::BackwardWeight => {
                    machine.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[y], conv })?
                }
            }
        }
        machine.finish()?;
        Ok(started.elapsed().as_secs_f64() / repeats as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opencl::algorithm::Block;

    const BLOCK: Algorithm = Algorithm::Block(Block::B64x64);

    /// The algorithm taken of three, and how many timings that took; the times are those of direct, Winograd and block.
    fn decide(shipped: Algorithm, series: &[[f64; 3]]) -> (Algorithm, usize) {
        let (mut times, candidates) = (series.iter(), [Algorithm::Direct, Algorithm::Winograd, BLOCK]);
        let mut least = |algorithms: &[Algorithm]| {
            let times = times.next().ok_or(())?;
            let place = |algorithm| candidates.iter().position(|other| other == algorithm).ok_or(());
            algorithms.iter().map(|algorithm| place(algorithm).map(|place| times[place])).collect()
        };
        let (algorithm, _) = fastest(shipped, &candidates, &mut least).unwrap();
        (algorithm, series.len() - times.len())
    }

    #[test]
    fn only_a_clear_difference_overrules_what_is_shipped() {
        assert_eq!(decide(Algorithm::Direct, &[[1.0, 0.91, 2.0]; 3]), (Algorithm::Direct, 1));
        assert_eq!(decide(Algorithm::Direct, &[[1.0, 0.89, 2.0]; 3]), (Algorithm::Winograd, 3));
        assert_eq!(decide(Algorithm::Winograd, &[[0.91, 1.0, 2.0]; 3]), (Algorithm::Winograd, 1));
        assert_eq!(decide(Algorithm::Winograd, &[[0.89, 1.0, 2.0]; 3]), (Algorithm::Direct, 3));
        assert_eq!(decide(Algorithm::Winograd, &[[0.8, 1.0, 0.7]; 3]), (BLOCK, 3));
    }

    #[test]
    fn a_difference_must_be_there_every_time() {
        assert_eq!(
            decide(Algorithm::Winograd, &[[0.5, 1.0, 9.0], [1.0, 0.5, 9.0], [0.5, 1.0, 9.0]]),
            (Algorithm::Winograd, 2)
        );
        assert_eq!(
            decide(Algorithm::Direct, &[[1.0, 0.5, 9.0], [1.0, 0.5, 9.0], [1.0, 0.95, 9.0]]),
            (Algorithm::Direct, 3)
        );
        // Only the fastest of the first timing is timed again.
        assert_eq!(decide(Algorithm::Direct, &[[1.0, 0.6, 0.5], [1.0, 0.5, 0.95]]), (Algorithm::Direct, 2));
    }

    #[test]
    fn a_gain_is_the_least_of_all_timings_and_a_form_that_fails_is_beaten() {
        let gain = |series: [[f64; 2]; 3]| {
            let mut times = series.into_iter();
            fastest(Algorithm::Direct, &[Algorithm::Direct, BLOCK], |_| {
                times.next().map(|times| times.to_vec()).ok_or(())
            })
            .unwrap()
        };
        assert_eq!(gain([[4.0, 1.0], [3.0, 2.0], [4.0, 2.0]]), (BLOCK, 1.5));
        assert_eq!(gain([[4.0, 1.0], [3.0, 2.0], [2.0, 2.0]]), (Algorithm::Direct, 1.0));
        assert_eq!(gain([[f64::INFINITY, 1.0]; 3]), (BLOCK, f64::INFINITY));
        assert_eq!(gain([[1.0, f64::INFINITY]; 3]), (Algorithm::Direct, 1.0));
    }
}
