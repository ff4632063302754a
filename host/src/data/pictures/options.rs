//! Options about pictures: where they are, how they are read, and how they come to the network's size.

use clap::Args;
use serde::{Deserialize, Serialize};

use sse_sam_core::Shape;

use crate::data::Dataset;
use crate::data::pictures::binding::ExtraClasses;
use crate::data::pictures::decode::{Channels, Decoding, Exif, Grey16};
use crate::data::pictures::jitter::Jitter;
use crate::data::pictures::resample::Filter;
use crate::data::pictures::transform::RandomCrop;
use crate::error::Error;
use crate::paths::places;

/// What happens to pictures that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadImages {
    /// Nothing is trained
    #[default]
    Stop,
    /// They are left out before classes are counted
    Skip,
}

/// How pictures are found, read, and brought to the network's size.
#[derive(Clone, Debug, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct PictureOptions {
    /// Class folders, a list (`path label`, CSV, TSV) or annotations (COCO's JSON) to train on, where --data does not have them
    #[arg(long, value_name = "FOLDER|FILE", value_parser = places(), help_heading = "Pictures")]
    pub train: Option<String>,
    /// The same to choose the best epoch by
    #[arg(long, value_name = "FOLDER|FILE", value_parser = places(), help_heading = "Pictures")]
    pub val: Option<String>,
    /// The same to measure accuracy on
    #[arg(long, value_name = "FOLDER|FILE", value_parser = places(), help_heading = "Pictures")]
    pub test: Option<String>,
    /// The folder that paths in lists begin at [the list's]
    #[arg(long, value_name = "FOLDER", value_parser = places(), help_heading = "Pictures")]
    pub data_root: Option<String>,
    /// Let paths in lists lead out of that folder
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Pictures")]
    pub allow_outside: Option<bool>,
    /// A file with a class's name in each line: their order, or the names of a list's numbers
    #[arg(long, value_name = "FILE", value_parser = places(), help_heading = "Pictures")]
    pub class_map: Option<String>,
    /// The smallest label of lists [0, or 1 where all of them look like that]
    #[arg(long, value_name = "N", help_heading = "Pictures")]
    pub label_base: Option<u32>,
    /// What happens to validation and test pictures of a class that is not trained
    #[arg(long, value_enum, help_heading = "Pictures")]
    pub extra_classes: Option<ExtraClasses>,
    /// Sides of the network's pictures; those of other sizes are resized and cropped [the size of all, else 224]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "Pictures")]
    pub image_size: Option<u32>,
    /// The shorter side of a test picture before its centre is cut out [that of --image-size, or 8/7 of it where training
    /// pictures are cut out at random]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=8192), help_heading = "Pictures")]
    pub resize: Option<u32>,
    /// How pixels are resampled, as Pillow does
    #[arg(long, value_enum, help_heading = "Pictures")]
    pub interpolation: Option<Filter>,
    /// imagenet: the least and the largest share of a picture that is cut out [0.08,1]
    #[arg(long, value_name = "MIN,MAX", value_delimiter = ',', num_args = 1, help_heading = "Pictures")]
    pub crop_scale: Option<Vec<f64>>,
    /// imagenet: the least and the largest ratio of its width to its height [0.75,1.3333]
    #[arg(long, value_name = "MIN,MAX", value_delimiter = ',', num_args = 1, help_heading = "Pictures")]
    pub crop_ratio: Option<Vec<f64>>,
    /// imagenet: how far brightness, contrast, saturation and hue vary; a single number is that of the first three
    #[arg(long, value_name = "B,C,S,H", value_delimiter = ',', num_args = 1, help_heading = "Pictures")]
    pub jitter: Option<Vec<f64>>,
    /// Colours of the network's pictures
    #[arg(long, value_enum, help_heading = "Pictures")]
    pub channels: Option<Channels>,
    /// Whether pictures are turned as their EXIF data say
    #[arg(long, value_enum, help_heading = "Pictures")]
    pub exif: Option<Exif>,
    /// How grey values of 16 bits become 8
    #[arg(long, value_enum, help_heading = "Pictures")]
    pub grey16: Option<Grey16>,
    /// Refuse pictures with more pixels
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Pictures")]
    pub max_pixels: Option<u64>,
    /// What happens to pictures that cannot be read
    #[arg(long, value_enum, help_heading = "Pictures")]
    pub bad_images: Option<BadImages>,
    /// Decode all of them before training, not only their headers
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Pictures")]
    pub verify: Option<bool>,
    /// Threads that decode pictures; no result depends on it [--threads, else all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Pictures")]
    pub workers: Option<u32>,
}

impl PictureOptions {
    /// What weights say of these options: how pictures come to the network's size, and where those of the test set are.
    #[must_use]
    pub fn for_weights(&self, dataset: &Dataset) -> Self {
        let evaluation = dataset.view.and_then(|view| view.evaluation);
        // Resizing squares to the size that they have changes nothing: later ones may have another.
        let Shape { height, width, .. } = dataset.image;
        let side = (height == width).then_some(height as u32);
        Self {
            test: self.test.clone().or_else(|| self.val.clone()),
            data_root: self.data_root.clone(),
            allow_outside: self.allow_outside,
            label_base: dataset.view.and_then(|view| view.label_base),
            bad_images: self.bad_images,
            extra_classes: self.extra_classes,
            image_size: side,
            resize: evaluation.map(|evaluation| evaluation.resize).or(side),
            interpolation: self.interpolation,
            channels: self.channels,
            exif: self.exif,
            grey16: self.grey16,
            max_pixels: self.max_pixels,
            ..Self::default()
        }
    }

    /// How pictures are decoded.
    pub fn decoding(&self) -> Decoding {
        Decoding {
            channels: self.channels.unwrap_or_default(),
            exif: self.exif.unwrap_or_default(),
            grey16: self.grey16.unwrap_or_default(),
            max_pixels: self.max_pixels.unwrap_or(Decoding::MAX_PIXELS),
        }
    }

    /// Threads that decode.
    pub fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.workers.map_or_else(all, |workers| workers as usize)
    }

    /// How training pictures are cut out with `--augment imagenet`, at this size.
    ///
    /// # Errors
    /// [`Error::Usage`] for ranges that are none.
    pub fn random_crop(&self, size: u32) -> Result<RandomCrop, Error> {
        let scale = range("--crop-scale", self.crop_scale.as_deref(), (0.08, 1.0))?;
        if scale.1 > 1.0 {
            return Err(Error::Usage("--crop-scale: no part is larger than the whole, 1".into()));
        }
        Ok(RandomCrop {
            size,
            scale,
            ratio: range("--crop-ratio", self.crop_ratio.as_deref(), (3.0 / 4.0, 4.0 / 3.0))?,
            flip: true,
            filter: self.interpolation.unwrap_or_default(),
            jitter: self.jitter.as_deref().map(jitter).transpose()?,
        })
    }
}

/// Two numbers above 0 in ascending order.
fn range(option: &str, given: Option<&[f64]>, usual: (f64, f64)) -> Result<(f64, f64), Error> {
    match given {
        None => Ok(usual),
        Some(&[least, most]) if least > 0.0 && least <= most && most.is_finite() => Ok((least, most)),
        Some(_) => Err(Error::Usage(format!("{option} takes two numbers above 0, the smaller one first"))),
    }
}

/// Four numbers, or one for the first three.
fn jitter(given: &[f64]) -> Result<Jitter, Error> {
    let [brightness, contrast, saturation, hue] = match *given {
        [all] => [all, all, all, 0.0],
        [brightness, contrast, saturation, hue] => [brightness, contrast, saturation, hue],
        _ => return Err(Error::Usage("--jitter takes one number or four, as in 0.4,0.4,0.4,0".into())),
    };
    if [brightness, contrast, saturation].iter().any(|&factor| !(0.0..=100.0).contains(&factor)) {
        return Err(Error::Usage("--jitter: brightness, contrast and saturation are in 0..=100".into()));
    }
    if !(0.0..=0.5).contains(&hue) {
        return Err(Error::Usage("--jitter: the hue is in 0..=0.5".into()));
    }
    Ok(Jitter { brightness, contrast, saturation, hue })
}
