//! Which class was taken for which, and how surely.

use std::collections::BTreeMap;
use std::io::{self, Write};

use sse_sam_core::longtail::classes::{Shot, Shots};

use crate::report::calibration::Calibration;
use crate::report::metrics::Accuracy;

/// The classes among which a label counts as found: those of top-5 accuracy.
const NEAR: usize = 5;

/// How often each class was taken for each other: the pairs that occurred, for thousands of classes have millions.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    classes: usize,
    /// By label, then prediction.
    pairs: BTreeMap<(u32, u32), u32>,
    undefined: usize,
    /// Samples whose label is among the five classes with the largest logits.
    near: u32,
    calibration: Calibration,
}

impl Confusion {
    /// No predictions yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, pairs: BTreeMap::new(), undefined: 0, near: 0, calibration: Calibration::default() }
    }

    /// Counts the prediction of one sample: the class of the largest logit, the first one of equals.
    pub fn add(&mut self, label: u32, logits: &[f32]) {
        let mut largest = 0;
        for (class, &logit) in logits.iter().enumerate() {
            if logit > logits[largest] {
                largest = class;
            }
        }
        *self.pairs.entry((label, largest as u32)).or_default() += 1;
        if !logits.iter().all(|logit| logit.is_finite()) {
            self.undefined += 1;
            return;
        }
        self.near += u32::from(rank(logits, label as usize) < NEAR);
        self.calibration.add(logits, largest, largest == label as usize);
    }

    /// Samples whose logits were not all finite: what is predicted for them means nothing.
    pub fn undefined(&self) -> usize {
        self.undefined
    }

    /// How often a class was taken for `prediction`.
    pub fn count(&self, label: u32, prediction: u32) -> u32 {
        self.pairs.get(&(label, prediction)).copied().unwrap_or(0)
    }

    /// What samples of a class were taken for, itself too, and how often.
    pub fn of(&self, label: u32) -> impl Iterator<Item = (u32, u32)> {
        self.pairs.range((label, 0)..=(label, u32::MAX)).map(|(&(_, prediction), &count)| (prediction, count))
    }

    /// Samples of a class.
    pub fn total(&self, label: u32) -> u32 {
        self.of(label).map(|(_, count)| count).sum()
    }

    /// Every pair that occurred: label, prediction, and how often.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        self.pairs.iter().map(|(&(label, prediction), &count)| (label, prediction, count))
    }

    /// Every mistake: label, prediction, and how often.
    pub fn mistakes(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        self.pairs().filter(|(label, prediction, _)| label != prediction)
    }

    /// Accuracies, in percent; shots by the training counts.
    pub fn accuracy(&self, counts: &[u32], shots: Shots) -> Accuracy {
        let percent = |label| {
            let total = self.total(label);
            (total > 0).then(|| 100.0 * f64::from(self.count(label, label)) / f64::from(total))
        };
        let per_class: Vec<Option<f64>> = (0..self.classes as u32).map(percent).collect();
        let of = |shot: Shot| {
            let chosen = per_class.iter().zip(counts).filter(|(_, count)| shots.of(**count) == shot);
            mean(chosen.filter_map(|(accuracy, _)| *accuracy))
        };
        let right: u32 = (0..self.classes as u32).map(|class| self.count(class, class)).sum();
        let total: u32 = self.pairs.values().sum();
        Accuracy {
            overall: 100.0 * f64::from(right) / f64::from(total.max(1)),
            balanced: mean(per_class.iter().flatten().copied()).unwrap_or(0.0),
            many: of(Shot::Many),
            medium: of(Shot::Medium),
            few: of(Shot::Few),
            worst: per_class.iter().flatten().copied().reduce(f64::min),
            top5: (self.classes > NEAR && total > 0).then(|| 100.0 * f64::from(self.near) / f64::from(total)),
            ece: self.calibration.error(),
            per_class,
        }
    }

    /// Writes all of it as CSV: a line for each pair that occurred.
    ///
    /// # Errors
    /// What `to` reports.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "label,prediction,count")?;
        self.pairs().try_for_each(|(label, prediction, count)| writeln!(to, "{label},{prediction},{count}"))
    }
}

/// How many classes come before this one by their logits, the first one of equals first.
fn rank(logits: &[f32], class: usize) -> usize {
    let before = |(other, &logit): (usize, &f32)| logit > logits[class] || (logit == logits[class] && other < class);
    logits.iter().enumerate().filter(|&other| before(other)).count()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracies_are_means_over_classes_of_a_kind() {
        let mut confusion = Confusion::new(3);
        confusion.add(0, &[2.0, 1.0, 0.0]);
        confusion.add(0, &[0.0, 1.0, 0.0]);
        confusion.add(1, &[0.0, 1.0, 1.0]);
        let accuracy = confusion.accuracy(&[200, 50, 5], Shots { many: 100, few: 20 });
        assert_eq!(accuracy.per_class, [Some(50.0), Some(100.0), None]);
        assert_eq!((accuracy.many, accuracy.medium, accuracy.few), (Some(50.0), Some(100.0), None));
        assert_eq!((accuracy.balanced, accuracy.worst, accuracy.top5), (75.0, Some(50.0), None));
        assert!((accuracy.overall - 200.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_label_among_the_five_largest_logits_is_near() {
        let mut confusion = Confusion::new(7);
        // Ranks 4, 5 and, of equals, 4 and 5.
        for (label, logits) in [
            (4, [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]),
            (5, [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]),
            (4, [1.0; 7]),
            (5, [1.0; 7]),
        ] {
            confusion.add(label, &logits);
        }
        let shots = Shots { many: 100, few: 20 };
        assert_eq!(confusion.accuracy(&[1; 7], shots).top5, Some(50.0));
        // What is not finite is near to nothing, and has no confidence.
        confusion.add(0, &[f32::NAN; 7]);
        let accuracy = confusion.accuracy(&[1; 7], shots);
        assert_eq!((accuracy.top5, confusion.undefined()), (Some(40.0), 1));
    }

    #[test]
    fn the_first_of_equal_logits_wins() {
        let mut confusion = Confusion::new(2);
        confusion.add(1, &[0.5, 0.5]);
        assert_eq!((confusion.count(1, 0), confusion.count(1, 1)), (1, 0));
    }

    #[test]
    fn the_file_has_a_line_for_each_pair_that_occurred() {
        let mut confusion = Confusion::new(32_767);
        let mut logits = vec![0.0; 32_767];
        logits[32_766] = 1.0;
        for label in [32_766, 7, 7] {
            confusion.add(label, &logits);
        }
        let mut file = Vec::new();
        confusion.write(&mut file).unwrap();
        assert_eq!(String::from_utf8(file).unwrap(), "label,prediction,count\n7,32766,2\n32766,32766,1\n");
    }
}
