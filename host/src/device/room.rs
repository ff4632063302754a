//! Checks that memory suffices, before anything is allocated.

use crate::device::layout::Layout;
use crate::device::open::scratch;
use crate::opencl::DeviceInfo;

/// Bytes that a plan, what its operations need beside it, and the samples take on a device.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    all: u64,
    /// In one buffer: work memory alone has several.
    largest: u64,
}

impl Room {
    pub fn of(info: &DeviceInfo, layout: &Layout, samples: usize) -> Self {
        let [work, frozen, scratch] = [layout.words, layout.plan.frozen().length, scratch(info, layout)];
        Self::new([work, frozen, scratch].map(|words| 4 * words as u64), samples as u64)
    }

    fn new([work, frozen, scratch]: [u64; 3], samples: u64) -> Self {
        Self { all: work + frozen + scratch + samples, largest: frozen.max(scratch).max(samples) }
    }

    /// Whether a device has it that allows so much in one buffer and in all.
    pub fn fits(self, allocation: u64, memory: u64) -> bool {
        self.largest <= allocation && self.all <= memory
    }

    /// How many of them a device with so much memory has room for.
    pub fn times(self, memory: u64) -> usize {
        (memory / self.all.max(1)).try_into().unwrap_or(usize::MAX)
    }

    /// The sentence that says what is missing.
    pub fn shortage(self, batch: usize, allocation: u64, memory: u64) -> String {
        let (needed, there, how) =
            if self.all > memory { (self.all, memory, "") } else { (self.largest, allocation, " in one piece") };
        let (needed, there) = (needed.div_ceil(1 << 20), there >> 20);
        format!("{needed} MiB{how} are needed at batch {batch}, {there} MiB are there")
    }
}

/// The largest batch below `batch` that fits, 0 when none does.
pub fn largest(batch: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, batch);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

/// What lies in the host's own memory beside that of the CPU core.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Whether there is what training keeps to go back to and to write down, beside the samples.
    keeps: bool,
    /// Numbers of all that is small, at most: there is little of it beside a small network.
    small: usize,
}

impl Host {
    /// Samples.
    pub const DATA: Self = Self { keeps: false, small: 1 << 22 };
    /// Samples, and what training keeps.
    pub const CHECKPOINTS: Self = Self { keeps: true, ..Self::DATA };

    /// With 128 MiB more: what an allocator reserves for a thread comes and goes, and a batch that is named is to fit.
    pub fn with_some_to_spare(self) -> Self {
        Self { small: self.small + (1 << 25), ..self }
    }

    /// Numbers of each piece.
    pub fn pieces(self, layout: &Layout, samples: usize) -> Vec<usize> {
        let mut pieces = vec![self.small.min(4 * layout.words), samples.div_ceil(4)];
        if self.keeps {
            // The present state, the best one, the one to go back to, the one that is written; its file's tensors.
            pieces.extend([layout.state_words(); 4]);
            pieces.extend([layout.session.vectors.params.length; 3]);
        }
        pieces
    }
}

/// Whether the system lends pieces of so many numbers, all at once. They are given back: this is to find out before
/// anything is made, as what a library allocates later ends the program where it is refused.
pub fn lends(pieces: &[usize]) -> bool {
    let mut held: Vec<Vec<f32>> = Vec::new();
    let is_lent = pieces.iter().all(|&words| {
        let mut piece = Vec::new();
        let is_lent = piece.try_reserve_exact(words).is_ok();
        held.push(piece);
        is_lent
    });
    // So that the compiler does not remove them as unused.
    std::hint::black_box(&held);
    is_lent
}

/// That the system does not lend these.
pub fn refused(pieces: &[usize]) -> String {
    let needed = mebibytes(pieces.iter().fold(0, |sum, &words| sum.saturating_add(words)));
    format!("{needed} MiB of this computer's memory are needed, the system refuses them")
}

/// MiB of so many numbers.
pub fn mebibytes(words: usize) -> usize {
    words.div_ceil(1 << 18)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_batch_that_fits_is_found() {
        assert_eq!(largest(128, |batch| batch <= 37), 37);
        assert_eq!(largest(128, |_| false), 0);
        assert_eq!(largest(2, |batch| batch <= 1), 1);
    }

    #[test]
    fn what_the_system_does_not_lend_is_no_plan_and_no_hint() {
        assert!(lends(&[1, 1 << 10]) && lends(&[]));
        assert!(!lends(&[1, usize::MAX / 8]) && !lends(&[usize::MAX]));
        assert_eq!(refused(&[1 << 18, 1]), "2 MiB of this computer's memory are needed, the system refuses them");
    }

    #[test]
    fn scratch_memory_must_fit_in_one_piece_and_beside_all_else() {
        let mib = |n: u64| n << 20;
        // Work memory may lie in several buffers, what lies beside it may not.
        let room = Room::new([mib(20), mib(1), mib(8)], mib(2));
        assert!(room.fits(mib(8), mib(31)));
        assert!(!room.fits(mib(8) - 1, mib(31)) && !room.fits(mib(8), mib(31) - 1));
        assert_eq!([30, 31, 61, 62].map(|memory| room.times(mib(memory))), [0, 1, 1, 2]);
        assert_eq!(room.shortage(7, mib(8), mib(30)), "31 MiB are needed at batch 7, 30 MiB are there");
        assert_eq!(room.shortage(7, mib(4), mib(40)), "8 MiB in one piece are needed at batch 7, 4 MiB are there");
    }
}
