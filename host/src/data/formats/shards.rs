//! Encoded pictures that lie many in a file: what tar shards and Parquet files are read into.

mod labels;

use std::path::{Path, PathBuf};

use crate::Error;
use crate::data::formats::parquet::Paged;
use crate::data::{listing, name_of};

pub(super) use labels::{Label, Labels, resolve};

/// A data set of encoded pictures.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Names of the classes, in their order.
    pub(crate) classes: Vec<String>,
    pub(crate) train: Shards,
    pub(crate) validation: Option<Shards>,
    pub(crate) test: Option<Shards>,
    /// What is to be said about how the data were read.
    pub(crate) notices: Vec<String>,
}

/// Encoded pictures of one split, in the order of the files and of the samples in them.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    /// Where the pictures come from.
    pub(crate) files: Vec<PathBuf>,
    /// The pictures one after the other, where they do not lie in the files as they are.
    pub(crate) packed: Option<Vec<u8>>,
    /// The pages of Parquet files that the pictures lie in, where they are too many to be kept in memory.
    pub(crate) paged: Option<Paged>,
    /// Where each picture is.
    pub(crate) spans: Vec<Span>,
    /// The class of each picture.
    pub(crate) labels: Vec<u32>,
    /// The pictures' own names, where they have some.
    pub(super) members: Members,
}

/// Where the bytes of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Index of the file.
    pub(crate) file: u32,
    /// Bytes before it: in [`Shards::packed`] where there is that, in the file where there is neither that nor
    /// [`Shards::paged`].
    pub(crate) offset: u64,
    /// Its bytes.
    pub(crate) length: u32,
}

impl Shards {
    /// The name of a sample for messages: `shard.tar: x.jpg`, or `train.parquet row 17`, counted from 0.
    pub(crate) fn name(&self, index: usize) -> String {
        let Some(span) = self.spans.get(index) else { return String::new() };
        let file = self.files.get(span.file as usize).map_or_else(String::new, |file| file.display().to_string());
        match self.members.get(index) {
            Some(member) => format!("{file}: {member}"),
            None => format!("{file} row {}", index - self.spans.partition_point(|other| other.file < span.file)),
        }
    }

    /// The index of a new file.
    pub(super) fn add_file(&mut self, path: &Path) -> u32 {
        self.files.push(path.to_owned());
        self.files.len() as u32 - 1
    }
}

/// Names one after the other.
#[derive(Debug, Default)]
pub(super) struct Members {
    text: String,
    ends: Vec<usize>,
}

impl Members {
    pub(super) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    fn get(&self, index: usize) -> Option<&str> {
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.text.get(start..*self.ends.get(index)?)
    }
}

/// What files are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Validation,
    Test,
}

impl Part {
    /// Words that say it.
    const WORDS: [(Self, &'static [&'static str]); 3] = [
        (Self::Train, &["train", "training"]),
        (Self::Validation, &["val", "valid", "validation", "eval", "evaluation"]),
        (Self::Test, &["test", "testing"]),
    ];

    /// By the last word of a file's or a folder's name that says it.
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let words = name.rsplit(|letter: char| !letter.is_ascii_alphanumeric());
        let part = |word| Self::WORDS.iter().find(|(_, words)| words.contains(&word)).map(|&(part, _)| part);
        words.into_iter().find_map(part)
    }
}

/// The files of each split, each in order of their paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) train: Vec<PathBuf>,
    pub(crate) validation: Vec<PathBuf>,
    pub(crate) test: Vec<PathBuf>,
    /// A notice about what they are read for.
    pub(crate) notice: Option<String>,
}

impl Files {
    /// The files of a folder and of its sub-folders of these names whose names end so (in small letters). The split is
    /// said by a file's own name, or else by its folder's; files that say none are trained on.
    ///
    /// # Errors
    /// [`Error::Io`] when a folder cannot be read, [`Error::File`] when it holds no such file.
    pub(crate) fn find(folder: &Path, ending: &str, within: &[&str]) -> Result<Self, Error> {
        let mut files = Self::default();
        files.add(folder, None, ending)?;
        for entry in listing(folder)?.iter().filter(|entry| entry.is_folder) {
            let part = Part::of(&entry.name);
            if part.is_some() || within.contains(&entry.name.as_str()) {
                files.add(&folder.join(&entry.name), part, ending)?;
            }
        }
        if files == Self::default() {
            return Err(Error::file(folder, format!("holds no {ending} file")));
        }
        Ok(files.with_train())
    }

    /// The files of three places, for what each of them is named: of one with several splits those of that split.
    pub(crate) fn named([train, validation, test]: [Option<Self>; 3]) -> Self {
        let pick = |part: Part, files: Option<Self>| {
            let files = files.unwrap_or_default();
            match files.parts().find(|(found, _)| *found == part) {
                Some((_, own)) if files.parts().count() > 1 => own.to_vec(),
                _ => [&files.train[..], &files.validation, &files.test].concat(),
            }
        };
        Self {
            train: pick(Part::Train, train),
            validation: pick(Part::Validation, validation),
            test: pick(Part::Test, test),
            notice: None,
        }
    }

    /// These files, the split of each said by its name.
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let mut files = Self::default();
        paths.iter().for_each(|path| files.push(path.clone(), None));
        files.with_train()
    }

    fn add(&mut self, folder: &Path, part: Option<Part>, ending: &str) -> Result<(), Error> {
        for entry in listing(folder)? {
            let is_one = entry.name.to_ascii_lowercase().ends_with(ending) && !entry.name.starts_with('.');
            if is_one && !entry.is_folder {
                self.push(folder.join(entry.name), part);
            }
        }
        Ok(())
    }

    fn push(&mut self, path: PathBuf, part: Option<Part>) {
        match Part::of(&name_of(&path)).or(part).unwrap_or(Part::Train) {
            Part::Train => self.train.push(path),
            Part::Validation => self.validation.push(path),
            Part::Test => self.test.push(path),
        }
    }

    /// Where there is one split only, it is the training set, whatever it is called.
    fn with_train(mut self) -> Self {
        if self.train.is_empty() && (self.validation.is_empty() || self.test.is_empty()) {
            self.train = [std::mem::take(&mut self.validation), std::mem::take(&mut self.test)].concat();
            let first = self.train.first().map(|path| name_of(path)).unwrap_or_default();
            self.notice = Some(format!("{first} is trained on, since it is of the only set that is there"));
        }
        self
    }

    /// Every split that has files, and what it is read for.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Part, &[PathBuf])> {
        let all = [(Part::Train, &self.train), (Part::Validation, &self.validation), (Part::Test, &self.test)];
        all.into_iter().filter(|(_, files)| !files.is_empty()).map(|(part, files)| (part, files.as_slice()))
    }
}
