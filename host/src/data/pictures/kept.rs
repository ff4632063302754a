//! What pictures are like, kept from one time to the next: as long as no file has another length or time, none is opened.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::data::pictures::decode::Decoding;
use crate::data::pictures::index::Summary;
use crate::data::pictures::samples::Samples;
use crate::error::Error;
use crate::files::{cache_folder, write_whole};

/// The length and the time of change of each picture's file, as far as the system says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(Vec<(u64, u64)>);

impl Stamps {
    /// Asks for those of all samples, in so many threads.
    ///
    /// # Errors
    /// [`Error::Io`] when there are no threads.
    pub fn of(samples: &Samples, threads: usize) -> Result<Self, Error> {
        let mut stamps = vec![(0, 0); samples.len()];
        let share = samples.len().div_ceil(threads.max(1)).max(1);
        thread::scope(|scope| {
            for (part, first) in stamps.chunks_mut(share).zip((0..).step_by(share)) {
                let work = move || part.iter_mut().zip(first..).for_each(|(to, index)| *to = stamp(samples, index));
                let thread = thread::Builder::new().name("stamps".into()).spawn_scoped(scope, work);
                thread.map_err(|source| Error::io("the threads that look at pictures", source))?;
            }
            Ok::<_, Error>(())
        })?;
        Ok(Self(stamps))
    }

    /// Bytes of each sample's file.
    pub fn lengths(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|&(length, _)| length)
    }

    fn checksum(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        self.0.iter().flat_map(|&(length, time)| [length, time]).for_each(|word| crc.update(&word.to_le_bytes()));
        crc.finalize()
    }
}

/// Those of one file; of none that is not there.
fn stamp(samples: &Samples, index: usize) -> (u64, u64) {
    let Ok(found) = fs::metadata(samples.file(index)) else { return (u64::MAX, 0) };
    let time = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    (found.len(), time.map_or(0, |time| time.as_nanos() as u64))
}

/// What is kept of a set.
#[derive(Serialize, Deserialize)]
struct Kept {
    stamps: u32,
    decoding: String,
    verified: bool,
    summary: Summary,
}

/// What the pictures of a set are like: as it was kept, or as it is found now.
///
/// # Errors
/// As [`Summary::of`].
pub fn summary(
    samples: &Samples,
    stamps: &Stamps,
    how: &Decoding,
    verify: bool,
    threads: usize,
) -> Result<Summary, Error> {
    let (file, decoding, stamps) = (file(samples), format!("{} {how:?}", env!("CARGO_PKG_VERSION")), stamps.checksum());
    let kept = file.as_ref().and_then(|file| fs::read(file).ok()).and_then(|text| serde_json::from_slice(&text).ok());
    let is_right = |kept: &Kept| {
        kept.stamps == stamps
            && kept.decoding == decoding
            && kept.verified == verify
            && kept.summary.pictures() == samples.len()
    };
    if let Some(Kept { summary, .. }) = kept.filter(is_right) {
        return Ok(summary);
    }
    let summary = Summary::of(samples, how, verify, threads)?;
    // What could not be read today may be read tomorrow, whatever the file's time says.
    if let Some(file) = file.filter(|_| summary.bad.is_empty()) {
        let kept = Kept { stamps, decoding, verified: verify, summary: summary.clone() };
        let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
        // A cache that cannot be written costs time, and nothing else.
        let _ = folder.is_ok().then(|| write_whole(&file, |to| Ok(serde_json::to_writer(to, &kept)?)));
    }
    Ok(summary)
}

/// Fewer pictures are looked at as quickly as a file is read.
const WORTH_IT: usize = 1000;

/// The file for a set of this name.
fn file(samples: &Samples) -> Option<PathBuf> {
    let folder = cache_folder()?.join("pictures");
    let (mut crc, mut bytes) = (crc32fast::Hasher::new(), Vec::new());
    for index in 0..samples.len() {
        bytes.clear();
        samples.identity(index, &mut bytes);
        crc.update(&bytes);
    }
    let place = crc32fast::hash(samples.file(0).as_os_str().as_encoded_bytes());
    (samples.len() >= WORTH_IT).then(|| folder.join(format!("{place:08x}-{:08x}.json", crc.finalize())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::pictures::names::Names;
    use crate::data::pictures::samples::Store;

    fn samples(root: &Path, count: usize) -> Samples {
        let mut names = Names::default();
        (0..count).for_each(|index| names.push_bytes(format!("{index}.jpg").as_bytes()));
        Samples::new(Store::Files { root: root.to_owned(), names }, vec![0; count])
    }

    #[test]
    fn a_new_length_or_time_is_another_stamp() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("0.jpg"), b"abc").unwrap();
        let all = samples(home.path(), 2);
        let first = Stamps::of(&all, 2).unwrap();
        assert_eq!(first.lengths().collect::<Vec<_>>(), [3, u64::MAX]);
        assert_eq!(first, Stamps::of(&all, 1).unwrap());
        let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5);
        let touched = fs::File::options().write(true).open(home.path().join("0.jpg")).unwrap();
        touched.set_modified(later).unwrap();
        assert_ne!(first.checksum(), Stamps::of(&all, 1).unwrap().checksum());
        touched.set_len(2).unwrap();
        assert_eq!(Stamps::of(&all, 1).unwrap().lengths().next(), Some(2));
    }
}
