//! A comparison as text, one file a format.

mod csv;
mod json;
mod latex;
mod markdown;
mod text;

use std::path::Path;

use clap::ValueEnum;

use crate::compare::comparison::Comparison;
use crate::error::Error;
use crate::files::write_whole;

/// How a comparison is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned tables, for people
    #[default]
    Text,
    /// Tables for a page
    Markdown,
    /// A line a run and epoch, in full precision
    Csv,
    /// A `tabular` with the rules of booktabs
    Latex,
    /// Everything: runs, arms, values by seed, intervals
    Json,
}

impl Format {
    /// The ending of its file's name.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Markdown => "md",
            Self::Csv => "csv",
            Self::Latex => "tex",
            Self::Json => "json",
        }
    }

    /// The comparison in this format, with the end of its last line.
    pub fn print(self, comparison: &Comparison) -> String {
        match self {
            Self::Text => text::print(comparison),
            Self::Markdown => markdown::print(comparison),
            Self::Csv => csv::print(comparison),
            Self::Latex => latex::print(comparison),
            Self::Json => json::print(comparison),
        }
    }
}

/// Writes `comparison.txt`, `.md`, `.csv`, `.tex` and `.json` into a folder, each whole or not at all.
///
/// # Errors
/// [`Error::Io`] when the file system refuses.
pub fn write(folder: &Path, comparison: &Comparison) -> Result<(), Error> {
    Format::value_variants().iter().try_for_each(|format| {
        let path = folder.join(format!("comparison.{}", format.ending()));
        write_whole(&path, |file| file.write_all(format.print(comparison).as_bytes()))
    })
}
