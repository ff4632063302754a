//! How bytes become numbers.

use std::fmt;

use sse_sam_core::Shape;

use crate::data::{self, Dataset};
use crate::error::Error;

/// How bytes become numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Normalize {
    /// By mean and deviation of each channel of the training images.
    #[default]
    Data,
    /// Divided by 255.
    None,
    /// By these means and deviations of values in 0..1, one for all channels or one for each.
    Given(Vec<f64>, Vec<f64>),
}

impl Normalize {
    /// What `--normalize` says of images with so many channels.
    ///
    /// # Errors
    /// [`Error::Usage`] for what is no list of numbers, or makes bytes no finite ones.
    pub fn new(text: &str, channels: usize) -> Result<Self, Error> {
        let (mean, deviation) = match text {
            "data" => return Ok(Self::Data),
            "none" => return Ok(Self::None),
            _ => text.split_once('/').ok_or_else(|| {
                Error::Usage(format!("--normalize takes data, none or MEAN/STD such as 0.5/0.25, got {text}"))
            })?,
        };
        let (mean, deviation) = (list(mean, channels)?, list(deviation, channels)?);
        if deviation.iter().any(|&deviation| deviation <= 0.0) {
            return Err(Error::Usage("--normalize: deviations must be above 0".into()));
        }
        if !mean.iter().all(|&mean| deviation.iter().all(|&deviation| stays_finite(mean, deviation))) {
            return Err(Error::Usage(format!("--normalize {text} makes numbers of bytes that no 32-bit float holds")));
        }
        Ok(Self::Given(mean, deviation))
    }

    /// By mean and deviation of ImageNet's pictures, as torchvision's weights expect them.
    pub fn imagenet(image: Shape) -> Self {
        match image.channels {
            3 => Self::Given(vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
            _ => Self::Given(vec![0.449], vec![0.226]),
        }
    }

    /// Mean of each channel's bytes and one over their deviation; of the `chosen` training images where data decide.
    ///
    /// # Errors
    /// What keeps a picture from being read.
    pub fn numbers(&self, dataset: &Dataset, chosen: &[u32]) -> Result<Vec<f32>, Error> {
        let channels = dataset.image.channels;
        let (mean, inverse) = match self {
            Self::Data => data::normalization(&*dataset.train, chosen, channels)?,
            Self::None => (vec![0.0; channels], vec![1.0 / 255.0; channels]),
            Self::Given(mean, deviation) => {
                let pick = |list: &[f64], channel: usize| list[channel.min(list.len() - 1)];
                let each = |f: &dyn Fn(usize) -> f64| (0..channels).map(|channel| f(channel) as f32).collect();
                (each(&|c| pick(mean, c) * 255.0), each(&|c| 1.0 / (pick(deviation, c) * 255.0)))
            }
        };
        Ok([mean, inverse].concat())
    }
}

/// As `--normalize` takes it.
impl fmt::Display for Normalize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[f64]| numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
        match self {
            Self::Data => f.write_str("data"),
            Self::None => f.write_str("none"),
            Self::Given(mean, deviation) => write!(f, "{}/{}", list(mean), list(deviation)),
        }
    }
}

fn list(part: &str, channels: usize) -> Result<Vec<f64>, Error> {
    let numbers: Result<Vec<f64>, _> = part.split(',').map(|number| number.trim().parse()).collect();
    let numbers = numbers.map_err(|_| Error::Usage(format!("--normalize: {part} is not a list of numbers")))?;
    let fits = numbers.len() == 1 || numbers.len() == channels;
    if fits && numbers.iter().all(|number: &f64| number.is_finite()) {
        return Ok(numbers);
    }
    Err(Error::Usage(format!("--normalize needs one finite number or {channels}, one a channel, got {part}")))
}

/// Whether bytes become finite numbers, and not all the same, by this mean and deviation of values in 0..1.
fn stays_finite(mean: f64, deviation: f64) -> bool {
    let (mean, inverse) = ((mean * 255.0) as f32, (1.0 / (deviation * 255.0)) as f32);
    inverse.is_normal() && [0.0, 255.0].iter().all(|byte: &f32| ((byte - mean) * inverse).is_finite())
}
