//! Labels as files have them, and the classes that they are of.

use std::collections::BTreeMap;
use std::path::Path;

use sse_sam_core::Row;

use super::{Encoded, Part, Shards};
use crate::Error;

/// The label of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// A class counted from 0.
    Index(i64),
    /// The name of a class.
    Name(String),
}

/// The labels of a split: all are indices, or all are names.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// Indices, or those of `names`.
    values: Vec<u32>,
    /// Each name and its index, by appearance.
    names: BTreeMap<String, u32>,
}

impl Labels {
    /// Adds the label of the next sample, or says why that cannot be one.
    pub(crate) fn push(&mut self, label: Label) -> Result<(), String> {
        let are_names = !self.names.is_empty();
        let value = match label {
            Label::Index(-1) => return Err("has label -1, which means that it has none".into()),
            Label::Index(index) if are_names => return Err(format!("has label {index}, but others have names")),
            Label::Index(index) => u32::try_from(index)
                .ok()
                .filter(|&index| (index as usize) < Row::CLASSES)
                .ok_or_else(|| format!("has label {index}, which is not in 0..={}", Row::CLASSES - 1))?,
            Label::Name(name) if !are_names && !self.values.is_empty() => {
                return Err(format!("has label {name:?}, but others have numbers"));
            }
            Label::Name(name) => {
                let next = self.names.len() as u32;
                *self.names.entry(name).or_insert(next)
            }
        };
        self.values.push(value);
        Ok(())
    }

    /// The name of each class by its index in `values`.
    fn by_index(&self) -> Vec<&str> {
        let mut names = vec![""; self.names.len()];
        self.names.iter().for_each(|(name, &index)| names[index as usize] = name);
        names
    }
}

/// Makes a data set of splits: the classes are those that are `given`, or else those of the training set: its names in order
/// of their letters' code points, or the numbers up to its largest label.
///
/// # Errors
/// [`Error::File`] when a split has a class that is not among them: which sample.
pub(crate) fn resolve(
    source: &Path,
    splits: Vec<(Part, Shards, Labels)>,
    given: Option<Vec<String>>,
    notices: Vec<String>,
) -> Result<Encoded, Error> {
    let Some((_, _, labels)) = splits.iter().find(|(part, ..)| *part == Part::Train) else {
        return Err(Error::file(source, "holds no training set"));
    };
    let classes = given.unwrap_or_else(|| classes(labels));
    if classes.len() > Row::CLASSES {
        return Err(Error::file(source, format!("has {} classes, more than {}", classes.len(), Row::CLASSES)));
    }
    let (mut train, mut validation, mut test) = (None, None, None);
    for (part, mut shards, labels) in splits {
        shards.labels = indices(&shards, labels, &classes)?;
        let place = match part {
            Part::Train => &mut train,
            Part::Validation => &mut validation,
            Part::Test => &mut test,
        };
        *place = Some(shards);
    }
    Ok(Encoded { classes, train: train.unwrap_or_default(), validation, test, notices })
}

fn classes(labels: &Labels) -> Vec<String> {
    if labels.names.is_empty() {
        let largest = labels.values.iter().max().copied();
        return largest.map_or_else(Vec::new, |largest| (0..=largest).map(|class| class.to_string()).collect());
    }
    labels.names.keys().cloned().collect()
}

/// The index of every sample's class among these.
fn indices(shards: &Shards, labels: Labels, classes: &[String]) -> Result<Vec<u32>, Error> {
    let unknown = |index: usize, what: String| {
        let last = classes.len().saturating_sub(1);
        Error::file(shards.name(index), what).with_hint(format!("there are {} classes, 0 to {last}", classes.len()))
    };
    if labels.names.is_empty() {
        return match labels.values.iter().position(|&label| label as usize >= classes.len()) {
            Some(index) => Err(unknown(index, format!("has label {}, which no class has", labels.values[index]))),
            None => Ok(labels.values),
        };
    }
    let known: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let table: Vec<Result<u32, &str>> =
        labels.by_index().into_iter().map(|name| known.get(name).copied().ok_or(name)).collect();
    let class = |(index, &value): (usize, &u32)| {
        table[value as usize]
            .map_err(|name| unknown(index, format!("is of class {name:?}, which the training set does not have")))
    };
    labels.values.iter().enumerate().map(class).collect()
}
