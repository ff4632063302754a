//! Accuracies of long-tailed classification.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Accuracies in percent; `None` where no class of the kind has samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of all samples.
    pub overall: f64,
    /// Mean over classes.
    pub balanced: f64,
    /// Mean over many-shot classes.
    pub many: Option<f64>,
    /// Mean over medium-shot classes.
    pub medium: Option<f64>,
    /// Mean over few-shot classes.
    pub few: Option<f64>,
    /// The class with the lowest.
    pub worst: Option<f64>,
    /// Share of samples whose label is among the five classes with the largest logits, where there are more than five.
    pub top5: Option<f64>,
    /// Expected calibration error, see [`Calibration`](crate::report::calibration::Calibration).
    pub ece: Option<f64>,
    /// Each class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<Option<f64>>,
}

impl Accuracy {
    /// The most classes that are told one by one where a line is told; `metrics.jsonl` holds those of any number.
    const TOLD: usize = 1000;

    /// Without the classes where there are too many for a line.
    pub fn brief(&self) -> Self {
        let is_short = self.per_class.len() <= Self::TOLD;
        Self { per_class: if is_short { self.per_class.clone() } else { Vec::new() }, ..*self }
    }
}

/// A table with one line for each of `rows`, a name and accuracies.
pub fn table(rows: &[(String, &Accuracy)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = format!("{:width$}  overall  balanced    many  medium     few   worst     ECE\n", "");
    for (name, accuracy) in rows {
        let cell = |value: Option<f64>| value.map_or_else(|| "     -".into(), |value| format!("{value:6.2}"));
        let _ = writeln!(
            text,
            "{name:width$}   {:6.2}    {:6.2}  {}  {}  {}  {}  {}",
            accuracy.overall,
            accuracy.balanced,
            cell(accuracy.many),
            cell(accuracy.medium),
            cell(accuracy.few),
            cell(accuracy.worst),
            cell(accuracy.ece)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_of_no_more_than_a_thousand_classes() {
        let of = |classes| Accuracy {
            overall: 1.0,
            balanced: 2.0,
            many: None,
            medium: Some(3.0),
            few: None,
            worst: Some(0.5),
            top5: None,
            ece: Some(4.0),
            per_class: vec![Some(0.5); classes],
        };
        assert_eq!(of(1000).brief(), of(1000));
        assert_eq!(of(10_000).brief(), of(0));
        let text = serde_json::to_string(&of(10_000).brief()).unwrap();
        assert!(!text.contains("per_class") && serde_json::from_str::<Accuracy>(&text).unwrap() == of(0), "{text}");
    }
}
