//! What weights say about themselves.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use sse_sam_core::longtail::classes::Shots;
use sse_sam_core::{Model, Shape};

use crate::data::Format;
use crate::data::pictures::options::PictureOptions;
use crate::device::layout::Layout;
use crate::error::Error;

/// What a weights file says about itself, enough to evaluate it.
#[derive(Clone, Debug)]
pub struct Description {
    /// Network.
    pub model: Model,
    /// Where the data came from.
    pub data: String,
    /// Its format.
    pub format: Format,
    /// One image.
    pub image: Shape,
    /// Training samples of each class, those among them that are set aside to validate on: head and tail, many and few shots
    /// and losses go by these with and without a validation set.
    pub counts: Vec<u32>,
    /// Classes with fewer training samples are the tail.
    pub eta: u32,
    /// Bounds of many and few shots.
    pub shots: Shots,
    /// `[2][channels]`: mean of the bytes and one over their deviation.
    pub normalization: Vec<f32>,
    /// Names of the classes; empty where they have none.
    pub class_names: Vec<String>,
    /// How pictures in files become the network's, and where those of the test set are; none of other data.
    pub pictures: Option<PictureOptions>,
    /// Whether accuracy was measured on training samples that were set aside, for there is no test set.
    pub set_aside: bool,
}

impl Description {
    /// The description as it stands in a file's metadata.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let (mean, inverse) = self.normalization.split_at(self.normalization.len() / 2);
        let Shape { height, width, channels } = self.image;
        let mut metadata = BTreeMap::from(
            [
                ("format", "pt".into()),
                ("program", concat!("sse-sam ", env!("CARGO_PKG_VERSION")).into()),
                ("model", self.model.to_string()),
                ("data", self.data.clone()),
                ("dataset", self.format.word().into()),
                ("image", format!("{height}x{width}x{channels}")),
                ("classes", self.counts.len().to_string()),
                ("class_counts", join(&self.counts)),
                ("eta", self.eta.to_string()),
                ("many", self.shots.many.to_string()),
                ("few", self.shots.few.to_string()),
                ("byte_mean", join(mean)),
                ("byte_inverse_std", join(inverse)),
            ]
            .map(|(key, value): (&str, String)| (key.to_owned(), value)),
        );
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        if !self.class_names.is_empty() {
            metadata.insert("class_names".into(), json(serde_json::to_string(&self.class_names)));
        }
        if self.set_aside {
            metadata.insert("test_set".into(), "set aside".into());
        }
        if let Some(pictures) = &self.pictures {
            metadata.insert(
                "pictures".into(),
                json(
                    toml::Table::try_from(pictures)
                        .map_or_else(|_| serde_json::to_string(pictures), |given| serde_json::to_string(&given)),
                ),
            );
        }
        metadata
    }

    /// As small a plan of its network as there is.
    ///
    /// # Errors
    /// [`Error::Core`] when the model does not fit the images or classes.
    pub fn layout(&self) -> Result<Layout, Error> {
        Layout::smallest(&self.model, self.image, self.counts.len())
    }

    pub(crate) fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let get = |key: &str| metadata.get(key).ok_or(format!("its metadata has no {key}"));
        let image: Vec<usize> = list(get("image")?, 'x')?;
        let [height, width, channels] = *image.as_slice() else {
            return Err("its metadata's image is not HEIGHTxWIDTHxCHANNELS".into());
        };
        if !image.iter().all(|side| (1..1 << 16).contains(side)) {
            return Err(format!("its metadata's image of {height}x{width}x{channels} is none"));
        }
        let number = |key: &str| parse::<u32>(get(key)?);
        let mut normalization: Vec<f32> = list(get("byte_mean")?, ',')?;
        normalization.extend(list::<f32>(get("byte_inverse_std")?, ',')?);
        if normalization.len() != 2 * channels {
            return Err("its metadata's normalization does not fit its images".into());
        }
        let (mean, inverse) = normalization.split_at(channels);
        if !mean.iter().chain(inverse).all(|number| number.is_finite()) || !inverse.iter().all(|&number| number > 0.0) {
            return Err("its metadata's normalization holds a number that is none".into());
        }
        let word = get("dataset")?;
        let format = Format::ALL.into_iter().find(|format| format.word() == word);
        Ok(Self {
            model: get("model")?.parse().map_err(|error: sse_sam_core::Error| error.to_string())?,
            data: get("data")?.clone(),
            format: format.ok_or(format!("its metadata names an unknown data set, {word}"))?,
            image: Shape::new(height, width, channels),
            counts: list(get("class_counts")?, ',')?,
            eta: number("eta")?,
            shots: Shots { many: number("many")?, few: number("few")? },
            normalization,
            class_names: json(metadata, "class_names")?.unwrap_or_default(),
            pictures: json(metadata, "pictures")?,
            set_aside: metadata.contains_key("test_set"),
        })
    }
}

/// What is written as JSON under a key, where there is anything.
fn json<T: DeserializeOwned>(metadata: &BTreeMap<String, String>, key: &str) -> Result<Option<T>, String> {
    let read = |text: &String| serde_json::from_str(text).map_err(|error| format!("its metadata's {key}: {error}"));
    metadata.get(key).map(read).transpose()
}

fn join<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn parse<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("its metadata holds {text} where a number belongs"))
}

fn list<T: FromStr>(text: &str, separator: char) -> Result<Vec<T>, String> {
    text.split(separator).map(parse).collect()
}
