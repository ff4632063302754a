//! What weights make of a set of pictures, for programs: what `eval --json` prints, and a run's `evaluation.json`.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use sse_sam_core::longtail::classes::{Shot, Shots, is_tail};

use crate::report::classes::Classes;
use crate::report::metrics::Accuracy;

/// An evaluation: accuracies, each class, and what it was taken for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The weights' file.
    pub weights: String,
    /// Samples that were evaluated.
    pub samples: u32,
    /// Whether logits were averaged over each image and its mirror image.
    pub flip: bool,
    /// A class with more training samples is many-shot.
    pub many: u32,
    /// A class with fewer training samples is few-shot.
    pub few: u32,
    /// Classes with fewer training samples are the tail.
    pub eta: u32,
    /// Accuracies in percent; those of single classes stand with these.
    pub accuracy: Accuracy,
    /// Every class.
    pub classes: Vec<Class>,
    /// `[label, prediction, times]` for each pair that occurred.
    pub confusion: Vec<[u32; 3]>,
}

/// A class in an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// Its number.
    pub class: u32,
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its training samples.
    pub training: u32,
    /// Its samples that were evaluated.
    pub samples: u32,
    /// Share of them that were found, in percent, where there are any.
    pub accuracy: Option<f64>,
    /// `many`, `medium` or `few`.
    pub shot: String,
    /// Whether it belongs to the tail.
    pub tail: bool,
}

impl Evaluation {
    /// What a file of weights makes of these classes.
    pub fn new(weights: &str, classes: &Classes<'_>, shots: Shots, flip: bool) -> Self {
        let Classes { confusion, accuracy, counts, eta, names } = *classes;
        let class = |(class, &training): (u32, &u32)| Class {
            class,
            name: names.get(class as usize).cloned(),
            training,
            samples: confusion.total(class),
            accuracy: accuracy.per_class.get(class as usize).copied().flatten(),
            shot: match shots.of(training) {
                Shot::Many => "many".into(),
                Shot::Medium => "medium".into(),
                Shot::Few => "few".into(),
            },
            tail: is_tail(training, eta),
        };
        let classes: Vec<Class> = (0..).zip(counts).map(class).collect();
        Self {
            weights: weights.into(),
            samples: classes.iter().map(|class| class.samples).sum(),
            flip,
            many: shots.many,
            few: shots.few,
            eta,
            classes,
            confusion: confusion.pairs().map(|(label, prediction, times)| [label, prediction, times]).collect(),
            accuracy: Accuracy { per_class: Vec::new(), ..*accuracy },
        }
    }

    /// Writes it as a line of JSON.
    ///
    /// # Errors
    /// What `to` reports.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *to, self)?;
        writeln!(to)
    }
}
