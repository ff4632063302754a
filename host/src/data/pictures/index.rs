//! One pass over all pictures before anything is trained: which can be read, and what they are like.

use std::collections::BTreeMap;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::data::Picture;
use crate::data::pictures::decode::{Decoding, Exif, decode};
use crate::data::pictures::header::{Header, Kind, header};
use crate::data::pictures::samples::Samples;
use crate::error::Error;

/// What the pictures of a set are like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many have each size, width and height, up to a thousand different ones.
    #[serde(with = "pairs")]
    pub sizes: BTreeMap<(u32, u32), usize>,
    /// How many have sizes beyond those.
    pub other_sizes: usize,
    /// How many are turned by their EXIF data.
    pub turned: usize,
    /// How many have grey values of 16 bits.
    pub grey16: usize,
    /// How many have an alpha channel.
    pub alpha: usize,
    /// How many have more frames than one.
    pub animated: usize,
    /// Which cannot be read, and why, in order.
    pub bad: Vec<(usize, String)>,
}

/// Sizes that are told apart.
const SIZES: usize = 1000;

/// Sizes as a list, for JSON has only texts as keys.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Sizes = BTreeMap<(u32, u32), usize>;

    pub(super) fn serialize<S: Serializer>(sizes: &Sizes, to: S) -> Result<S::Ok, S::Error> {
        sizes.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Sizes, D::Error> {
        Vec::<((u32, u32), usize)>::deserialize(from).map(|pairs| pairs.into_iter().collect())
    }
}

impl Summary {
    /// Looks at the headers of all pictures, or decodes them where `verify` says so, in `threads` threads.
    ///
    /// # Errors
    /// [`Error::Io`] when there are no threads.
    pub fn of(samples: &Samples, how: &Decoding, verify: bool, threads: usize) -> Result<Self, Error> {
        let share = samples.len().div_ceil(threads.max(1)).max(1);
        let parts = (0..samples.len()).step_by(share).map(|first| first..(first + share).min(samples.len()));
        thread::scope(|scope| {
            let look = |part: std::ops::Range<usize>| {
                let work = move || Self::part(samples, how, verify, part);
                let thread = thread::Builder::new().name("index".into()).spawn_scoped(scope, work);
                thread.map_err(|source| Error::io("the threads that look at pictures", source))
            };
            let threads: Vec<_> = parts.map(look).collect::<Result<_, _>>()?;
            let mut all = Self::default();
            for thread in threads {
                let part = thread.join().map_err(|_| Error::Usage("a thread that looks at pictures failed".into()))?;
                all.add(part);
            }
            Ok(all)
        })
    }

    fn part(samples: &Samples, how: &Decoding, verify: bool, part: std::ops::Range<usize>) -> Self {
        let (mut summary, mut bytes, mut picture) = (Self::default(), Vec::new(), Picture::new());
        for index in part {
            let result = look(samples, index, how).and_then(|header| {
                if verify {
                    samples.read(index, &mut bytes).map_err(|error| reason(&error))?;
                    decode(&bytes, how, &mut picture).map_err(|refused| refused.to_string())?;
                }
                Ok(header)
            });
            match result {
                Ok(header) => summary.count(&header, how),
                Err(why) => summary.bad.push((index, why)),
            }
        }
        summary
    }

    fn count(&mut self, header: &Header, how: &Decoding) {
        // TIFF's own entry is always followed.
        let is_turned = how.exif == Exif::Apply || header.kind == Kind::Tiff;
        let (width, height) = (header.width, header.height);
        self.size(if is_turned && header.orientation > 4 { (height, width) } else { (width, height) }, 1);
        self.turned += usize::from(header.orientation > 1);
        self.grey16 += usize::from(header.grey16);
        self.alpha += usize::from(header.alpha);
        self.animated += usize::from(header.animated);
    }

    fn size(&mut self, size: (u32, u32), times: usize) {
        if self.sizes.len() < SIZES || self.sizes.contains_key(&size) {
            *self.sizes.entry(size).or_default() += times;
        } else {
            self.other_sizes += times;
        }
    }

    /// Adds what another part of the pictures is like.
    pub fn add(&mut self, other: Self) {
        other.sizes.into_iter().for_each(|(size, times)| self.size(size, times));
        self.other_sizes += other.other_sizes;
        self.turned += other.turned;
        self.grey16 += other.grey16;
        self.alpha += other.alpha;
        self.animated += other.animated;
        self.bad.extend(other.bad);
    }

    /// How many pictures these are.
    pub fn pictures(&self) -> usize {
        self.sizes.values().sum::<usize>() + self.other_sizes + self.bad.len()
    }

    /// The size of all pictures, where they have the same.
    pub fn size_of_all(&self) -> Option<(u32, u32)> {
        match (self.sizes.len(), self.other_sizes) {
            (1, 0) => self.sizes.keys().next().copied(),
            _ => None,
        }
    }
}

/// The header of a picture, or why it has none.
fn look(samples: &Samples, index: usize, how: &Decoding) -> Result<Header, String> {
    let stream = samples.open(index).map_err(|error| reason(&error))?;
    let found = header(stream).map_err(|refused| refused.to_string())?;
    let pixels = u64::from(found.width) * u64::from(found.height);
    if pixels > how.max_pixels {
        return Err(format!(
            "has {} x {} pixels, more than --max-pixels {}",
            found.width, found.height, how.max_pixels
        ));
    }
    Ok(found)
}

/// What the system said, without the name that stands beside it.
fn reason(error: &Error) -> String {
    match error {
        Error::Io { source, .. } => format!("cannot be read: {source}"),
        other => other.to_string(),
    }
}
