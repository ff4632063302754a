//! Every random choice, as a function of the seed, its purpose, the epoch and the index: never of what was drawn before.
//!
//! ChaCha8 with the key `seed, purpose, 0, 0` (64 bits each, little-endian), the epoch or index as the stream, and an
//! explicit position: the same numbers on every machine, in any order of asking, after any restart.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What random numbers are for. Purposes never share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The order of the samples in an epoch.
    Order = 1,
    /// The crop and flip of a sample in an epoch.
    Augmentation = 2,
    /// Which samples of a class a shuffled subset takes.
    Subset = 3,
    /// The initial values of a parameter.
    Parameters = 4,
    /// The data of a measurement.
    Bench = 5,
    /// The start vectors of a spectrum.
    Spectrum = 6,
    /// Which training samples are set aside to validate on.
    Validation = 7,
    /// The crop, flip and colours of a picture in an epoch.
    Crop = 8,
}

/// Pixels of black around a picture before it is cropped to its own size.
pub const PADDING: i8 = 4;

/// What a random crop is drawn from: numbers of 64 bits, of which it says which stands for what.
pub type CropWords = [u64; 32];

/// Words an augmentation may take of its epoch's stream: three are used.
const AUGMENTATION_WORDS: u128 = 4;

fn generator(seed: u64, purpose: Purpose, stream: u64, word: u128) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(stream);
    generator.set_word_pos(word);
    generator
}

/// The stream of 32-bit words for a purpose and an index, from its beginning.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> impl FnMut() -> u32 {
    let mut generator = generator(seed, purpose, index, 0);
    move || generator.next_u32()
}

/// The order of `n` samples in an epoch: a permutation of `0..n`.
pub fn permutation(seed: u64, epoch: u32, n: u32) -> Vec<u32> {
    ranking(seed, Purpose::Order, epoch.into(), n)
}

/// `0..n` in the order of (64-bit draw, index); the draws are the stream's words in pairs, the low one first.
pub(crate) fn ranking(seed: u64, purpose: Purpose, index: u64, n: u32) -> Vec<u32> {
    let mut word = stream(seed, purpose, index);
    let mut draws: Vec<(u64, u32)> = (0..n).map(|index| (u64::from(word()) | u64::from(word()) << 32, index)).collect();
    draws.sort_unstable();
    draws.into_iter().map(|(_, index)| index).collect()
}

/// How sample `index` is moved in an epoch: rows and columns by which the crop starts below and right of the
/// picture's first, each in `-PADDING..=PADDING`, and whether the picture is mirrored first.
pub fn augmentation(seed: u64, epoch: u32, index: u32) -> (i8, i8, bool) {
    let position = u128::from(index) * AUGMENTATION_WORDS;
    let mut generator = generator(seed, Purpose::Augmentation, epoch.into(), position);
    let top = offset(generator.next_u32());
    let left = offset(generator.next_u32());
    (top, left, generator.next_u32() >> 31 == 1)
}

/// What the crop of sample `index` is drawn from in an epoch: 64 words of the epoch's stream from word `64 * index` on, in
/// pairs, the low one first.
pub fn crop(seed: u64, epoch: u32, index: u32) -> CropWords {
    let words = 2 * CropWords::default().len() as u128;
    let mut generator = generator(seed, Purpose::Crop, epoch.into(), u128::from(index) * words);
    std::array::from_fn(|_| u64::from(generator.next_u32()) | u64::from(generator.next_u32()) << 32)
}

/// A word scaled to `-PADDING..=PADDING`; the nine values' shares differ by less than 1e-9.
fn offset(word: u32) -> i8 {
    let values = 2 * PADDING as u64 + 1;
    ((u64::from(word) * values) >> 32) as i8 - PADDING
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_never_change() {
        assert_eq!(permutation(0, 0, 10), GOLDEN_ORDER);
        assert_eq!(permutation(u64::MAX, 3, 10), GOLDEN_ORDER_OTHER);
        assert_eq!([0, 1, 59_999].map(|index| augmentation(7, 2, index)), GOLDEN_MOVES);
        let mut word = stream(1, Purpose::Parameters, 5);
        assert_eq!([word(), word(), word(), word()], GOLDEN_WORDS);
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        for n in [0, 1, 2, 7, 1000] {
            let mut order = permutation(5, 1, n);
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn seeds_epochs_and_purposes_give_different_orders() {
        let first = permutation(1, 0, 100);
        assert_ne!(first, permutation(2, 0, 100));
        assert_ne!(first, permutation(1, 1, 100));
        assert_ne!(first, ranking(1, Purpose::Subset, 0, 100));
    }

    #[test]
    fn purposes_never_share_a_stream() {
        let purposes = [
            Purpose::Order,
            Purpose::Augmentation,
            Purpose::Subset,
            Purpose::Parameters,
            Purpose::Spectrum,
            Purpose::Crop,
        ];
        let mut seen: Vec<u32> = purposes.iter().map(|&purpose| stream(9, purpose, 0)()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), purposes.len());
    }

    #[test]
    fn an_augmentation_does_not_depend_on_the_ones_before() {
        let forward: Vec<_> = (0..100).map(|index| augmentation(3, 1, index)).collect();
        let mut backward: Vec<_> = (0..100).rev().map(|index| augmentation(3, 1, index)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        let mut word = stream(3, Purpose::Augmentation, 1);
        let words: Vec<u32> = (0..8).map(|_| word()).collect();
        assert_eq!(forward[1], (offset(words[4]), offset(words[5]), words[6] >> 31 == 1));
    }

    #[test]
    fn a_crop_has_64_words_of_its_own() {
        let mut word = stream(3, Purpose::Crop, 1);
        let words: Vec<u64> = (0..64).map(|_| u64::from(word()) | u64::from(word()) << 32).collect();
        assert_eq!([crop(3, 1, 0), crop(3, 1, 1)].as_flattened(), words);
        assert_eq!(crop(3, 1, u32::MAX)[..3], GOLDEN_CROP);
    }

    #[test]
    fn crops_and_flips_are_uniform() {
        let (mut tops, mut lefts, mut flips) = ([0_u32; 9], [0_u32; 9], 0_u32);
        for index in 0..90_000 {
            let (top, left, flip) = augmentation(11, 0, index);
            tops[(top + PADDING) as usize] += 1;
            lefts[(left + PADDING) as usize] += 1;
            flips += u32::from(flip);
        }
        // Five standard deviations of a binomial count around its mean.
        assert!(tops.iter().chain(&lefts).all(|&count| count.abs_diff(10_000) < 472), "{tops:?} {lefts:?}");
        assert!(flips.abs_diff(45_000) < 750, "{flips}");
    }

    #[test]
    fn offsets_cover_their_range() {
        assert_eq!((offset(0), offset(u32::MAX), offset(1 << 31)), (-4, 4, 0));
    }

    #[test]
    fn positions_of_a_permutation_are_uniform() {
        let mut sums = [0_u32; 10];
        for epoch in 0..10_000 {
            for (position, index) in permutation(1, epoch, 10).into_iter().enumerate() {
                sums[position] += index;
            }
        }
        // The mean is 4.5, the standard deviation of a sum 100 * sqrt(8.25) = 287.
        assert!(sums.iter().all(|sum| sum.abs_diff(45_000) < 1_436), "{sums:?}");
    }

    // From an implementation of ChaCha8 that shares no code with this one.
    const GOLDEN_ORDER: [u32; 10] = [9, 0, 6, 4, 5, 1, 2, 3, 7, 8];
    const GOLDEN_ORDER_OTHER: [u32; 10] = [3, 8, 7, 0, 6, 9, 5, 2, 1, 4];
    const GOLDEN_MOVES: [(i8, i8, bool); 3] = [(-2, -3, false), (1, -4, true), (4, 0, true)];
    const GOLDEN_CROP: [u64; 3] = [0x4576_98a4_eee0_2371, 0x20fc_367e_09c9_0d46, 0x73b9_8314_d1db_24fe];
    const GOLDEN_WORDS: [u32; 4] = [0x9ffe_5b0d, 0x1e82_2e98, 0xa379_8449, 0x991d_8133];
}
