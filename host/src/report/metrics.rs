//! Accuracies of long-tailed classification.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sse_sam_core::longtail::classes::{Shot, Shots};

/// How often each class was taken for each other, `[label][prediction]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u32>,
    undefined: usize,
}

impl Confusion {
    /// No predictions yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes], undefined: 0 }
    }

    /// Counts the prediction of one sample: the class of the largest logit, the first one of equals.
    pub fn add(&mut self, label: u8, logits: &[f32]) {
        let mut best = 0;
        for (class, &logit) in logits.iter().enumerate() {
            if logit > logits[best] {
                best = class;
            }
        }
        self.counts[usize::from(label) * self.classes + best] += 1;
        self.undefined += usize::from(!logits.iter().all(|logit| logit.is_finite()));
    }

    /// Samples whose logits were not all finite: what is predicted for them means nothing.
    pub fn undefined(&self) -> usize {
        self.undefined
    }

    /// One row for each label.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.counts.chunks_exact(self.classes)
    }

    /// Accuracies, in percent; shots by the training counts.
    pub fn accuracy(&self, counts: &[u32], shots: Shots) -> Accuracy {
        let per_class: Vec<Option<f64>> = self.rows().enumerate().map(|(class, row)| percent(row, class)).collect();
        let of = |shot: Shot| {
            let chosen = per_class.iter().zip(counts).filter(|(_, count)| shots.of(**count) == shot);
            mean(chosen.filter_map(|(accuracy, _)| *accuracy))
        };
        let right: u32 = self.rows().enumerate().map(|(class, row)| row[class]).sum();
        let total: u32 = self.counts.iter().sum();
        Accuracy {
            overall: 100.0 * f64::from(right) / f64::from(total.max(1)),
            balanced: mean(per_class.iter().flatten().copied()).unwrap_or(0.0),
            many: of(Shot::Many),
            medium: of(Shot::Medium),
            few: of(Shot::Few),
            per_class,
        }
    }
}

fn percent(row: &[u32], class: usize) -> Option<f64> {
    let total: u32 = row.iter().sum();
    (total > 0).then(|| 100.0 * f64::from(row[class]) / f64::from(total))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Accuracies in percent; `None` where no class of the kind has test samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of all test samples.
    pub overall: f64,
    /// Mean over classes.
    pub balanced: f64,
    /// Mean over many-shot classes.
    pub many: Option<f64>,
    /// Mean over medium-shot classes.
    pub medium: Option<f64>,
    /// Mean over few-shot classes.
    pub few: Option<f64>,
    /// Each class.
    pub per_class: Vec<Option<f64>>,
}

/// A table with one line for each of `rows`, a name and accuracies.
pub fn table(rows: &[(String, &Accuracy)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = format!("{:width$}  overall  balanced    many  medium     few\n", "");
    for (name, accuracy) in rows {
        let cell = |value: Option<f64>| value.map_or_else(|| "     -".into(), |value| format!("{value:6.2}"));
        let _ = writeln!(
            text,
            "{name:width$}   {:6.2}    {:6.2}  {}  {}  {}",
            accuracy.overall,
            accuracy.balanced,
            cell(accuracy.many),
            cell(accuracy.medium),
            cell(accuracy.few)
        );
    }
    text
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
        assert_eq!(accuracy.balanced, 75.0);
        assert!((accuracy.overall - 200.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn the_first_of_equal_logits_wins() {
        let mut confusion = Confusion::new(2);
        confusion.add(1, &[0.5, 0.5]);
        assert_eq!(confusion.rows().nth(1), Some(&[1, 0][..]));
    }
}
