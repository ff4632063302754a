//! Start vectors: every parameter +1 or -1 over the root of their number, by seed and vector number alone.

use sse_sam_core::memory::Place;

use crate::data::random::{self, Purpose};
use crate::device::layout::Layout;

/// Signs of a word of the stream.
const SIGNS: usize = 32;

/// The places of the trained parameters in a vector, in the order of the layers; what lies between is padding.
pub fn places(layout: &Layout) -> Vec<Place> {
    let slots = layout.plan.slots().iter().skip(layout.plan.first_trained());
    slots.flat_map(|slot| [slot.weight, slot.bias]).filter(|place| place.length > 0).collect()
}

/// Start vector `number`, of length 1: sign `i` is bit `i % 32` of word `i / 32` of ChaCha8 with this seed and stream
/// `number`, `i` counting parameters without padding. The same bits on every device.
pub fn vector(length: usize, places: &[Place], seed: u64, number: u64) -> Vec<f32> {
    let mut vector = vec![0.0; length];
    let parameters: usize = places.iter().map(|place| place.length).sum();
    let size = (1.0 / (parameters.max(1) as f64).sqrt()) as f32;
    let (mut draw, mut word, mut index) = (random::stream(seed, Purpose::Spectrum, number), 0, 0);
    for place in places {
        for value in vector.iter_mut().skip(place.offset).take(place.length) {
            if index % SIGNS == 0 {
                word = draw();
            }
            *value = if word >> (index % SIGNS) & 1 == 1 { size } else { -size };
            index += 1;
        }
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_zero_and_changes_no_sign() {
        let [whole, padded] = [
            (70, vec![Place { offset: 0, length: 70 }]),
            (160, vec![Place { offset: 0, length: 33 }, Place { offset: 64, length: 37 }]),
        ]
        .map(|(length, places)| vector(length, &places, 3, 1));
        let together: Vec<f32> = padded[..33].iter().chain(&padded[64..101]).copied().collect();
        assert_eq!(whole, together);
        assert!(padded[33..64].iter().chain(&padded[101..]).all(|&value| value == 0.0));
        let size = (1.0_f64 / 70.0).sqrt() as f32;
        assert!(whole.iter().all(|&value| value.abs() == size));
    }

    #[test]
    fn signs_are_even_and_differ_by_seed_and_number() {
        let place = [Place { offset: 0, length: 10_000 }];
        let of = |seed, number| vector(10_000, &place, seed, number);
        for (seed, number) in [(0, 0), (0, 1), (1, 0)] {
            let positive = of(seed, number).iter().filter(|&&value| value > 0.0).count();
            // Five standard deviations of a binomial count.
            assert!(positive.abs_diff(5_000) < 250, "{seed} {number}: {positive}");
        }
        let differ = |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| a != b).count().abs_diff(5_000) < 250;
        assert!(differ(&of(0, 0), &of(0, 1)) && differ(&of(0, 0), &of(1, 0)));
        assert_eq!(of(7, 2), of(7, 2));
    }
}
