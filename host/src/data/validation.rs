//! Training samples that are set aside to validate on.

use crate::data::Dataset;
use crate::data::random::{Purpose, ranking};

/// Sets a share of the training samples aside as the validation set, class by class: of a class of `n`, `share * n` rounded to
/// the nearest, but at least one and not all; none of a class with a single sample. Which ones the seed says. Both sets keep
/// their order.
pub fn set_aside(dataset: &mut Dataset, share: f64, seed: u64) {
    let mut members = vec![Vec::new(); dataset.classes];
    for (index, label) in (0_u32..).zip(dataset.train.labels()) {
        members[label as usize].push(index);
    }
    let mut is_aside = vec![false; dataset.train.len()];
    for (class, members) in (0_u64..).zip(&members) {
        let count = of_class(members.len(), share);
        let ranks = ranking(seed, Purpose::Validation, class, members.len() as u32);
        ranks.iter().take(count).for_each(|&rank| is_aside[members[rank as usize] as usize] = true);
    }
    let (aside, rest): (Vec<u32>, Vec<u32>) =
        (0..dataset.train.len() as u32).partition(|&index| is_aside[index as usize]);
    dataset.divide(&rest, &aside);
}

/// How many of a class's samples are set aside.
fn of_class(samples: usize, share: f64) -> usize {
    let count = (share * samples as f64).round() as usize;
    if samples < 2 { 0 } else { count.clamp(1, samples - 1) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sse_sam_core::Shape;

    use super::*;
    use crate::data::{Format, Split};

    /// Classes of 20, 5, 2, 1 and 0 samples, interleaved; the picture is the sample's number.
    fn dataset() -> Dataset {
        let labels: Vec<u32> =
            (0..20).flat_map(|round| (0..4).filter(move |&class| round < [20, 5, 2, 1][class as usize])).collect();
        let image = Shape::new(1, 1, 1);
        let images = (0..labels.len() as u8).collect();
        Dataset {
            name: "made".into(),
            format: Format::Idx,
            image,
            classes: 5,
            class_names: Vec::new(),
            train: Arc::new(Split { image, images, labels }),
            validation: None,
            test: Arc::new(Split::empty(image)),
            notices: Vec::new(),
            summary: Vec::new(),
            view: None,
        }
    }

    fn parts(share: f64, seed: u64) -> [(Vec<u32>, Vec<u8>); 2] {
        let mut dataset = dataset();
        set_aside(&mut dataset, share, seed);
        [dataset.train, dataset.validation.unwrap()]
            .map(|part| (part.counts(5), part.resident().unwrap().images.clone()))
    }

    #[test]
    fn a_share_of_each_class_is_set_aside_at_least_one_and_not_all() {
        for (share, expected) in [(0.1, [2, 1, 1, 0, 0]), (0.3, [6, 2, 1, 0, 0]), (0.99, [19, 4, 1, 0, 0])] {
            let [(train, _), (validation, _)] = parts(share, 0);
            assert_eq!(validation, expected, "{share}");
            let rest: Vec<u32> = [20, 5, 2, 1, 0].iter().zip(expected).map(|(all, aside)| all - aside).collect();
            assert_eq!(train, rest, "{share}");
        }
    }

    #[test]
    fn every_sample_is_in_one_of_both_sets_in_order() {
        let [(_, train), (_, validation)] = parts(0.3, 5);
        assert!(train.is_sorted() && validation.is_sorted());
        let mut all = [train, validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..28).collect::<Vec<u8>>());
    }

    #[test]
    fn the_seed_says_which() {
        assert_eq!(parts(0.3, 1), parts(0.3, 1));
        assert_ne!(parts(0.3, 1), parts(0.3, 2));
    }
}
