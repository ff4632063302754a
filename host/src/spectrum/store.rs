//! A file of lines, one a group: what is there already need not be measured again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sse_sam_core::Loss;

use crate::device::machine::Identity;
use crate::error::Error;
use crate::report::Observer;
use crate::shown;
use crate::spectrum::escape;
use crate::spectrum::job::Settings;
use crate::spectrum::measure::Question;
use crate::spectrum::report::Measured;
use crate::spectrum::source::Trained;
use crate::weights::{Data, Tensor};

/// A fingerprint of weights: CRC-32 of the names and numbers of what is no counter and belongs to no velocity.
pub fn fingerprint(tensors: &[Tensor]) -> String {
    let mut named: Vec<(&str, &[f32])> = tensors
        .iter()
        .filter(|tensor| !tensor.name.contains('/'))
        .filter_map(|tensor| if let Data::F32(values) = &tensor.data { Some((&*tensor.name, &**values)) } else { None })
        .collect();
    named.sort_by_key(|(name, _)| *name);
    let mut hash = crc32fast::Hasher::new();
    for (name, values) in named {
        hash.update(name.as_bytes());
        values.iter().for_each(|value| hash.update(&value.to_le_bytes()));
    }
    format!("{:08x}", hash.finalize())
}

/// What decides a group's numbers, to the bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// [`fingerprint`] of the weights.
    pub weights_crc: String,
    /// The epoch at whose end they were, from 0, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// `--trainable-layers` of the training, where it was given: the Hessian is that of these layers' parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trainable_layers: Option<String>,
    /// The loss and its numbers.
    pub loss_function: String,
    /// Products of a run, at most.
    pub steps: usize,
    /// Runs.
    pub vectors: usize,
    /// Samples that a group is cut to.
    pub samples_limit: usize,
    /// Samples a pass.
    pub batch: usize,
    /// `full` or `none`.
    pub basis: String,
    /// Of the start vectors.
    pub seed: u64,
    /// How escapes are measured, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escapes: Option<escape::Settings>,
    /// Device, driver and kernels.
    pub device: String,
}

impl Key {
    /// That of weights with this fingerprint.
    pub fn new(
        (weights_crc, epoch): (String, Option<u32>),
        trained: &Trained,
        loss: &Loss,
        settings: &Settings,
        identity: &Identity,
    ) -> Self {
        let Settings { question: Question { steps, vectors, seed }, samples, batch, basis, escape } = *settings;
        let basis = basis.to_possible_value().map_or_else(String::new, |word| word.get_name().into());
        let device = format!("{}, driver {}, kernels {}", identity.name, identity.driver, identity.kernels);
        Self {
            weights_crc,
            epoch,
            trainable_layers: trained.layers.clone(),
            loss_function: format!("{loss:?}"),
            steps,
            vectors,
            samples_limit: samples,
            batch,
            basis,
            seed,
            escapes: escape,
            device,
        }
    }
}

/// A line: the measurement, and what it was made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What it was made with.
    #[serde(flatten)]
    pub key: Key,
    /// What was found.
    #[serde(flatten)]
    pub measured: Measured,
}

impl Line {
    /// As it is written.
    ///
    /// # Errors
    /// [`Error::Io`] when a number cannot be written, which does not happen.
    pub fn text(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::io("a spectrum", error.into()))
    }
}

/// What a line begins with.
const BEGINNING: &[u8] = b"{\"weights_crc\":\"";

/// The lines of a file's content, and how many bytes they take: what is behind them is the part of a line that a killed
/// process has left. Empty lines are passed over. Those of a training all have their epoch.
///
/// # Errors
/// [`Error::File`] when a line is no such line, by its number, or when there are only other bytes.
pub fn parse(path: &Path, content: &[u8], of_training: bool) -> Result<(Vec<Line>, usize), Error> {
    let wanted = if of_training { "line of a spectrum of an epoch" } else { "line of a spectrum" };
    let whole = content.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let numbered = content[..whole].split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let read = |(number, line)| {
        let found = serde_json::from_slice(line).ok().filter(|line: &Line| !of_training || line.key.epoch.is_some());
        found.ok_or_else(|| Error::file(path, format!("line {} is no {wanted}", number + 1)))
    };
    let lines = numbered.map(read).collect::<Result<Vec<Line>, _>>()?;
    // A part of a line behind whole ones is one of theirs; by itself it has to look like one.
    if lines.is_empty() && !content.is_empty() && !content[whole..].starts_with(BEGINNING) {
        return Err(Error::file(path, format!("holds no {wanted}")));
    }
    Ok((lines, whole))
}

/// The warning about a part of a line.
pub fn cut(path: &Path) -> String {
    let path = shown::path(path);
    format!("warning: {path} ends within a line, as a process leaves it that is killed: the part of a line is cut off")
}

/// The lines of a file. Lines of other settings stay where they are.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    lines: Vec<Line>,
}

impl Store {
    /// Opens a file, or begins one; what a killed process has left of a line is cut off, with a warning.
    ///
    /// # Errors
    /// [`Error::File`] when it holds something else, [`Error::Io`] when it cannot be read or written.
    pub fn open(path: &Path, observer: &dyn Observer) -> Result<Self, Error> {
        let of_io = |source| Error::io(path, source);
        let content = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(of_io)?,
        };
        let (lines, whole) =
            parse(path, &content, false).map_err(|error| error.with_hint("--out takes another file"))?;
        let file = File::options().create(true).append(true).open(path).map_err(of_io)?;
        if whole < content.len() {
            observer.warn(&cut(path));
            file.set_len(whole as u64).map_err(of_io)?;
        }
        Ok(Self { path: path.to_owned(), lines })
    }

    /// What was measured of a group in this way.
    pub fn find(&self, key: &Key, group: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.key == *key && line.measured.group == group)
    }

    /// Adds a line, so that it lasts.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn add(&mut self, line: Line) -> Result<(), Error> {
        let text = format!("{}\n", line.text()?);
        let append = || {
            let mut file = File::options().create(true).append(true).open(&self.path)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        append().map_err(|source| Error::io(&self.path, source))?;
        self.lines.push(line);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectrum::directions::Drop;
    use crate::spectrum::escape::{Escape, Escaped};
    use crate::spectrum::quadrature::{Extreme, Mean, NegativeMass};
    use crate::spectrum::report::Checks;

    fn line(epoch: Option<u32>, standard_error: Option<f64>) -> Line {
        let mean = Mean { mean: 1.0 / 3.0, standard_error };
        let extreme = Extreme { value: -1e-300, bound: 0.1 };
        let drop = Drop { fall: 0.25, length: -2.0 };
        let settings = escape::Settings { length: 1e-3, learning_rate: 0.1, batch: 64, limit: 500 };
        let methods =
            vec![Escaped { method: "sgd".into(), steps: [Some(7), None], amplification: None, growth: Some(1.5) }];
        let key = Key {
            weights_crc: "00c0ffee".into(),
            epoch,
            trainable_layers: epoch.map(|_| "layer3".into()),
            loss_function: "CrossEntropy".into(),
            steps: 80,
            vectors: 1,
            samples_limit: 2000,
            batch: 128,
            basis: "full".into(),
            seed: u64::MAX,
            escapes: standard_error.map(|_| settings),
            device: "CPU core".into(),
        };
        let measured = Measured {
            group: "tail".into(),
            samples: 7,
            of: 8,
            parameters: 1210,
            loss: 0.1,
            miss: 0.2,
            gradient_norm: 0.3,
            lambda_max: extreme,
            lambda_min: extreme,
            negative_mass: vec![NegativeMass { below: 0.01, share: mean }],
            trace: mean,
            exact_trace: standard_error,
            gradient_along_lambda_min: 0.5,
            drop,
            drop_gradient: drop,
            products: 80,
            escape: standard_error.map(|_| Escape { settings, fall: 0.25, methods }),
            checks: Checks { symmetry: 1e-8, linearity: None },
            nodes: vec![vec![1.0, 2.0]],
            weights: vec![vec![0.5, 0.5]],
        };
        Line { key, measured }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for line in [line(None, None), line(Some(3), Some(0.1))] {
            let text = line.text().unwrap();
            match serde_json::from_str::<Line>(&text) {
                Ok(found) => assert_eq!(found, line),
                Err(error) => panic!("{error}: {text}"),
            }
        }
    }

    #[test]
    fn the_part_of_a_line_is_left_out_and_another_line_is_named() {
        let path = Path::new("a.jsonl");
        let text = line(None, None).text().unwrap();
        let found = |content: &str| parse(path, content.as_bytes(), false).map(|(lines, whole)| (lines.len(), whole));
        assert_eq!(found("").unwrap(), (0, 0));
        assert_eq!(found(&format!("{text}\n\n{text}\n")).unwrap(), (2, 2 * text.len() + 3));
        // A kill may come at any byte of a second line; of a first one, from where it is known as one.
        for length in 0..text.len() {
            let part = &text[..length];
            assert_eq!(found(&format!("{text}\n{part}")).unwrap(), (1, text.len() + 1), "{part}");
            assert_eq!(found(part).is_ok(), length == 0 || length >= BEGINNING.len(), "{part}");
        }
        let refused = |content: String| found(&content).unwrap_err().to_string();
        assert_eq!(refused(format!("\n{text}\n{{}}\n{text}\n")), "a.jsonl: line 3 is no line of a spectrum");
        assert_eq!(refused(format!("{}\n{text}", &text[..40])), "a.jsonl: line 1 is no line of a spectrum");
        assert_eq!(refused("\n".into()), "a.jsonl: holds no line of a spectrum");
        assert_eq!(refused("mine".into()), "a.jsonl: holds no line of a spectrum");
    }
}
