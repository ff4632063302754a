//! The `predict` command: which class trained weights take pictures for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use serde::Serialize;
use sse_sam_core::{Problem, Row, Samples, Shape, Span, Statistics};

use crate::cli::args::{PredictArgs, PredictFormat};
use crate::data::pictures::decode::{Channels, decode};
use crate::data::pictures::folder::{is_picture, pictures_in};
use crate::data::pictures::options::PictureOptions;
use crate::data::pictures::resample::Scratch;
use crate::data::pictures::table;
use crate::data::pictures::transform::Evaluation;
use crate::data::{Format, Picture, View};
use crate::device::choose::Device;
use crate::device::layout::{Layout, Needs};
use crate::device::machine::{Job, Machine};
use crate::error::Error;
use crate::report::console::{Console, say};
use crate::shown;
use crate::weights::{Description, Weights};

/// Batches that are read before their predecessors are through.
const AHEAD: usize = 2;

/// Prints a line for each picture; one that cannot be read gets a line with the reason, and an error at the end.
///
/// # Errors
/// Whatever is wrong with the weights, the paths or the device; [`Error::File`] after all lines where a picture could not be
/// read.
pub fn run(args: &PredictArgs, console: &Console) -> Result<(), Error> {
    let mut device = Device::choose(&args.device, console)?;
    let weights = Weights::read(&args.weights, console)?;
    let description = &weights.description;
    let view = view(description, weights.path())?;
    let paths = pictures(&args.paths, args.data_root.as_deref())?;
    let batch = (args.batch as usize).min(paths.len());
    let image = description.image;
    let needs = Needs { first: Needs::INFERENCE, ..Needs::new(image, description.counts.len(), batch) };
    let bytes = |rows: usize| rows * image.len();
    let plan = |device: &Device| device.plan(&description.model, &needs, None, &bytes);
    let (layout, _) = device.or_next(plan, console)?;
    let frozen = weights.frozen(&layout)?;
    let work = Predictions { layout: &layout, view, paths: &paths, args, description };
    if args.format == PredictFormat::Csv {
        say(&head(args.top_k(description.counts.len())))?;
    }
    let bad = device.run(&layout, &frozen, &vec![0; bytes(batch)], work, console)?;
    match bad {
        0 => Ok(()),
        bad => Err(Error::Usage(format!("{bad} of {} pictures could not be read: their lines say why", paths.len()))),
    }
}

/// How pictures come to the network's size: as those that the weights were trained on.
fn view(description: &Description, path: &Path) -> Result<View, Error> {
    let Shape { height, width, channels } = description.image;
    if description.format == Format::Digits {
        let what =
            "was trained on the built-in digits, whose pixels are in 0..=16, and those of pictures are in 0..=255";
        return Err(Error::weights(path, what));
    }
    let options = description.pictures.clone().unwrap_or_default();
    let mut decoding = options.decoding();
    decoding.channels = match channels {
        1 => Channels::Grey,
        3 => Channels::Rgb,
        _ => return Err(Error::weights(path, format!("takes images of {channels} channels, which no picture has"))),
    };
    let side = u32::try_from(height).ok().filter(|_| height == width);
    let evaluation = side.map(|side| Evaluation {
        resize: options.resize.unwrap_or(side),
        crop: side,
        filter: options.interpolation.unwrap_or_default(),
    });
    Ok(View { image: description.image, decoding, evaluation, label_base: None })
}

/// The pictures that paths mean: files, all pictures below folders, and those that lists name.
fn pictures(paths: &[PathBuf], root: Option<&Path>) -> Result<Vec<PathBuf>, Error> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            let below = pictures_in(path)?;
            if below.is_empty() {
                return Err(Error::file(path, "holds no picture"));
            }
            all.extend(below);
        } else if path.is_file() && !is_picture(path) && table::is_list(path) {
            all.extend(table::names(path, root)?);
        } else {
            all.push(path.clone());
        }
    }
    Ok(all)
}

/// A batch of pictures: those that could be read one behind the other, and for each of all why it could not.
struct Batch {
    bytes: Vec<u8>,
    read: Vec<Result<(), String>>,
}

struct Predictions<'a> {
    layout: &'a Layout,
    view: View,
    paths: &'a [PathBuf],
    args: &'a PredictArgs,
    description: &'a Description,
}

impl Job for Predictions<'_> {
    /// Pictures that could not be read.
    type Output = usize;

    fn run<B: Machine>(self, backend: &mut B) -> Result<usize, Error>
    where
        Error: From<B::Error>,
    {
        let Self { layout, view, paths, description, .. } = self;
        backend.write(layout.plan.normalization, &description.normalization)?;
        let rows = layout.plan.max_batch();
        let images = Span::samples(0, rows * view.image.len());
        let samples = Samples { images, image: view.image, normalization: layout.plan.normalization };
        let mut bad = 0;
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            let work =
                move || paths.chunks(rows).map(|paths| read(paths, &view)).try_for_each(|batch| sender.send(batch));
            let thread = thread::Builder::new().name("pictures".into()).spawn_scoped(scope, work);
            thread.map_err(|source| Error::io("the thread that reads pictures", source))?;
            for (batch, paths) in receiver.iter().zip(paths.chunks(rows)) {
                let logits = self.logits(backend, &samples, batch.bytes)?;
                let mut logits = logits.chunks_exact(description.counts.len());
                for (path, result) in paths.iter().zip(batch.read) {
                    bad += usize::from(result.is_err());
                    let line = match result {
                        Ok(()) => self.line(path, Ok(logits.next().unwrap_or_default())),
                        Err(why) => self.line(path, Err(&why)),
                    };
                    say(&line)?;
                }
            }
            Ok(bad)
        })
    }
}

impl Predictions<'_> {
    /// The logits of some pictures, averaged over mirror images where that is asked for.
    fn logits<B: Machine>(&self, backend: &mut B, samples: &Samples, bytes: Vec<u8>) -> Result<Vec<f32>, Error>
    where
        Error: From<B::Error>,
    {
        let (layout, count) = (self.layout, bytes.len() / self.view.image.len().max(1));
        let mut network = layout.network(0.0)?;
        let mut sums = vec![0.0; count * self.description.counts.len()];
        if count == 0 {
            return Ok(sums);
        }
        let mut logits = sums.clone();
        backend.write_samples(0, bytes)?;
        let share = if self.args.flip { 0.5 } else { 1.0 };
        for flip in [false, true].into_iter().filter(|&flip| self.args.flip || !flip) {
            let row = |index| Row { index, label: 0, top: 0, left: 0, flip, weights: [0.0; 2] }.encode();
            let words: Vec<f32> = (0..count as u32).flat_map(row).collect();
            let rows = layout.session.table.part(0, words.len())?;
            backend.write(rows, &words)?;
            network.gather(backend, rows, samples, layout.session.losses(0)?)?;
            network.forward(backend, layout.session.vectors.params, Statistics::Running)?;
            backend.read(&mut logits, network.logits()?)?;
            sums.iter_mut().zip(&logits).for_each(|(sum, logit)| *sum += share * logit);
        }
        Ok(sums)
    }

    /// What is said of a picture.
    fn line(&self, path: &Path, found: Result<&[f32], &str>) -> String {
        let classes = self.description.counts.len();
        let top = found.map(|logits| best(logits, self.args.top_k(classes)));
        let path = path.to_string_lossy();
        let name = |class: usize| self.description.class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
        match self.args.format {
            PredictFormat::Table => match top {
                Ok(top) => {
                    let all: Vec<String> = top
                        .iter()
                        .map(|&(class, p)| format!("{:6.2} % {}", 100.0 * p, shown::shown(&name(class))))
                        .collect();
                    format!("{}  {}", shown::shown(&path), all.join("  "))
                }
                Err(why) => format!("{}  not read: {}", shown::shown(&path), shown::shown(why)),
            },
            PredictFormat::Csv => {
                let mut fields = vec![quoted(&path), quoted(top.as_ref().err().copied().unwrap_or_default())];
                for place in 0..self.args.top_k(classes) {
                    match top.as_ref().ok().and_then(|top| top.get(place)) {
                        Some(&(class, p)) => fields.extend([quoted(&name(class)), format!("{p:.6}")]),
                        None => fields.extend([String::new(), String::new()]),
                    }
                }
                fields.join(",")
            }
            PredictFormat::Json => {
                let line = match &top {
                    Ok(top) => Line {
                        path: &path,
                        error: None,
                        top: top
                            .iter()
                            .map(|&(class, probability)| Top { class, name: name(class), probability })
                            .collect(),
                    },
                    Err(why) => Line { path: &path, error: Some(why), top: Vec::new() },
                };
                serde_json::to_string(&line).unwrap_or_default()
            }
        }
    }
}

/// A line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    top: Vec<Top>,
}

#[derive(Serialize)]
struct Top {
    class: usize,
    name: String,
    probability: f64,
}

/// The first line of a table with commas.
fn head(top: usize) -> String {
    let places = (1..=top).map(|place| format!(",class{place},probability{place}"));
    format!("path,error{}", places.collect::<String>())
}

/// A field of a table with commas.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// The classes with the largest logits and their shares of the softmax, the first one of equals first.
fn best(logits: &[f32], count: usize) -> Vec<(usize, f64)> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|&logit| libm::exp(f64::from(logit) - f64::from(most))).collect();
    let sum: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.into_iter().take(count).map(|class| (class, weights[class] / sum)).collect()
}

/// Reads pictures side by side.
fn read(paths: &[PathBuf], view: &View) -> Batch {
    let threads = PictureOptions::default().threads().min(paths.len()).max(1);
    let mut read: Vec<Result<Vec<u8>, String>> = paths.iter().map(|_| Ok(Vec::new())).collect();
    let share = paths.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        for (paths, read) in paths.chunks(share).zip(read.chunks_mut(share)) {
            scope.spawn(move || {
                let mut scratch = Scratch::default();
                paths.iter().zip(read).for_each(|(path, to)| *to = one(path, view, &mut scratch));
            });
        }
    });
    let bytes = read.iter().flatten().flatten().copied().collect();
    Batch { bytes, read: read.into_iter().map(|result| result.map(drop)).collect() }
}

/// The bytes of a picture at the network's size.
fn one(path: &Path, view: &View, scratch: &mut Scratch) -> Result<Vec<u8>, String> {
    let encoded = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let (mut original, mut sized) = (Picture::new(), Picture::new());
    decode(&encoded, &view.decoding, &mut original).map_err(|refused| refused.to_string())?;
    view.sized(&original, scratch, &mut sized)?;
    sized.sized(view.image).map(<[u8]>::to_vec).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_logits_come_first_with_their_softmax() {
        let top = best(&[0.0, 2.0_f32.ln(), 2.0_f32.ln(), 1e-9], 3);
        assert_eq!(top.iter().map(|&(class, _)| class).collect::<Vec<_>>(), [1, 2, 3]);
        assert!((top[0].1 - 1.0 / 3.0).abs() < 1e-7 && (top[2].1 - 1.0 / 6.0).abs() < 1e-7);
        assert_eq!(best(&[1.0], 5), [(0, 1.0)]);
    }

    #[test]
    fn fields_with_commas_are_quoted() {
        assert_eq!(quoted("a.jpg"), "a.jpg");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(head(2), "path,error,class1,probability1,class2,probability2");
    }
}
