//! Long-tailed subsets of balanced data.

use sse_sam_core::Error as CoreError;
use sse_sam_core::longtail::classes::{Profile, long_tail_counts};

use crate::Error;
use crate::data::Dataset;
use crate::data::random::{Purpose, ranking};

/// Which samples of a class a subset takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The first ones in file order.
    #[default]
    First,
    /// Ones drawn by the seed.
    Shuffled,
}

/// The training samples of a long-tailed subset, in file order.
///
/// | argument    | meaning                                                                              |
/// |-------------|--------------------------------------------------------------------------------------|
/// | `imbalance` | samples of the first class over those of the last; 100 and 0.01 mean the same        |
/// | `profile`   | how the counts fall from the smallest class's, so that all classes have enough       |
/// | `rule`      | which samples of a class are taken; `seed` counts for [`Rule::Shuffled`] only        |
///
/// # Errors
/// As [`counts_after`].
pub fn subset(data: &Dataset, imbalance: f64, profile: Profile, rule: Rule, seed: u64) -> Result<Vec<u32>, Error> {
    let counts = counts_after(data, Some(imbalance), profile)?;
    let mut members = vec![Vec::new(); data.classes];
    for (index, label) in (0_u32..).zip(data.train.labels()) {
        members[label as usize].push(index);
    }
    let mut chosen: Vec<u32> = Vec::with_capacity(counts.iter().sum::<u32>() as usize);
    for (class, (members, &count)) in (0_u64..).zip(members.iter().zip(&counts)) {
        match rule {
            Rule::First => chosen.extend(members.iter().take(count as usize)),
            Rule::Shuffled => {
                let ranks = ranking(seed, Purpose::Subset, class, members.len() as u32);
                chosen.extend(ranks.iter().take(count as usize).map(|&rank| members[rank as usize]));
            }
        }
    }
    chosen.sort_unstable();
    Ok(chosen)
}

/// Number of training samples of each class after a cut, where there is one.
///
/// # Errors
/// [`Error::Core`] when `imbalance` is not a positive number or leaves a class without samples, [`Error::File`] when
/// a class has none to begin with or no cut can help.
pub fn counts_after(data: &Dataset, imbalance: Option<f64>, profile: Profile) -> Result<Vec<u32>, Error> {
    let mut counts = data.counts();
    let Some(imbalance) = imbalance else { return Ok(counts) };
    if let Some(class) = data.empty_classes().first() {
        return Err(Error::file(&data.name, format!("class {class} has no training sample to make a long tail of"))
            .with_hint("without --imbalance the data is used as it is"));
    }
    let (least, most) = (counts.iter().copied().min().unwrap_or(0), counts.iter().copied().max().unwrap_or(0));
    match long_tail_counts(&mut counts, least, imbalance, profile) {
        // Every class is cut to the smallest one's count first: in a long tail nothing is left to cut.
        Err(CoreError::EmptyClass { .. }) if most >= least.saturating_mul(2) || least == 1 => {
            let message = format!(
                "has {most} to {least} training samples a class: --imbalance {imbalance} of the smallest leaves a class \
                 without any"
            );
            Err(Error::file(&data.name, message).with_hint("without --imbalance the data is used as it is"))
        }
        result => Ok(result.map(|()| counts)?),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Format, Split};
    use super::*;
    use sse_sam_core::Shape;

    /// `per_class` samples of each class, classes interleaved, the image being the index within its class.
    fn interleaved(classes: u32, per_class: u32) -> Dataset {
        let labels: Vec<u32> = (0..per_class).flat_map(|_| 0..classes).collect();
        let (image, images) = (Shape::new(1, 1, 1), labels.iter().map(|&label| label as u8).collect());
        Dataset {
            name: "made".into(),
            format: Format::Idx,
            image,
            classes: classes as usize,
            class_names: Vec::new(),
            train: Arc::new(Split { image, images, labels }),
            validation: None,
            test: Arc::new(Split::empty(image)),
            notices: Vec::new(),
            summary: Vec::new(),
            view: None,
        }
    }

    fn counts(data: &Dataset, imbalance: f64, profile: Profile, rule: Rule) -> Vec<u32> {
        data.counts_of(&subset(data, imbalance, profile, rule, 1).unwrap())
    }

    #[test]
    fn cifar_and_digits_have_the_published_counts() {
        let ten = counts(&interleaved(10, 5000), 100.0, Profile::Exponential, Rule::First);
        assert_eq!(ten, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]);
        assert_eq!(ten.iter().sum::<u32>(), 12_406);
        let hundred = subset(&interleaved(100, 500), 100.0, Profile::Exponential, Rule::First, 0).unwrap();
        assert_eq!(hundred.len(), 10_847);
        let digits = super::super::load("digits", None).unwrap();
        let expected = [376, 243, 157, 102, 66, 42, 27, 17, 11, 7];
        assert_eq!(counts(&digits, 50.0, Profile::Exponential, Rule::First), expected);
        assert_eq!(counts(&digits, 50.0, Profile::Exponential, Rule::Shuffled), expected);
    }

    #[test]
    fn an_imbalance_and_its_inverse_mean_the_same() {
        let data = interleaved(10, 5000);
        let twice = [100.0, 0.01].map(|imbalance| counts(&data, imbalance, Profile::Exponential, Rule::First));
        assert_eq!(twice[0], twice[1]);
    }

    #[test]
    fn the_step_profile_cuts_the_second_half() {
        let data = interleaved(5, 95);
        assert_eq!(counts(&data, 10.0, Profile::Step, Rule::First), [95, 95, 9, 9, 9]);
    }

    #[test]
    fn the_last_class_of_either_profile_has_the_whole_quotient() {
        for (largest, imbalance, expected) in
            [(98, 49.0, 2), (98, 98.0, 1), (98, 1.0 / 98.0, 1), (5000, 0.03, 150), (500, 0.03, 15)]
        {
            for profile in [Profile::Exponential, Profile::Step] {
                let found = counts(&interleaved(2, largest), imbalance, profile, Rule::First);
                assert_eq!(found, [largest, expected], "{largest} at {imbalance}");
            }
        }
    }

    #[test]
    fn the_first_rule_takes_the_first_of_each_class_in_file_order() {
        let chosen = subset(&interleaved(3, 9), 9.0, Profile::Exponential, Rule::First, 0).unwrap();
        assert_eq!(chosen, [0, 1, 2, 3, 4, 6, 7, 9, 12, 15, 18, 21, 24]);
    }

    #[test]
    fn the_shuffled_rule_draws_by_seed_and_keeps_file_order() {
        let data = interleaved(3, 100);
        let draw = |seed| subset(&data, 10.0, Profile::Exponential, Rule::Shuffled, seed).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn an_imbalance_that_is_no_positive_number_is_refused() {
        for imbalance in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = subset(&interleaved(3, 9), imbalance, Profile::Exponential, Rule::First, 0);
            assert!(matches!(refused, Err(Error::Core(sse_sam_core::Error::Range { .. }))), "{imbalance}");
        }
    }

    #[test]
    fn an_emptied_class_is_named() {
        let refused = subset(&interleaved(3, 9), 100.0, Profile::Exponential, Rule::First, 0).unwrap_err();
        assert_eq!(refused.to_string(), "class 1 is left without a sample");
        assert!(refused.hint().unwrap().contains("--imbalance"));
    }

    #[test]
    fn a_class_without_samples_is_named_before_a_subset_is_made() {
        let mut data = interleaved(3, 9);
        let others: Vec<u32> = (0..27).filter(|&index| data.train.label(index as usize) != 1).collect();
        data.keep(&others);
        let refused = subset(&data, 2.0, Profile::Exponential, Rule::First, 0).unwrap_err();
        assert_eq!(refused.to_string(), "made: class 1 has no training sample to make a long tail of");
    }
}
