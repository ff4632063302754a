//! A comparison as text, one file a format.

mod csv;
mod json;
mod latex;
mod markdown;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::compare::comparison::Comparison;
use crate::compare::read::inside;
use crate::error::Error;
use crate::files::write_whole;
use crate::shown;

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

/// Where a format lies in a folder.
fn file(folder: &Path, format: Format) -> PathBuf {
    folder.join(format!("comparison.{}", format.ending()))
}

/// Refuses a folder with a file that [`write()`] would write over and that is no comparison's: without runs beside it, or a
/// `comparison.json` of this program.
///
/// # Errors
/// [`Error::Usage`] for such a file, [`Error::Io`] when the folder cannot be read.
pub fn nothing_is_lost(folder: &Path) -> Result<(), Error> {
    let found = Format::value_variants().iter().map(|format| file(folder, *format));
    let Some(found) = found.into_iter().find(|path| path.symlink_metadata().is_ok()) else { return Ok(()) };
    if !inside(folder)?.is_empty() || is_ours(&file(folder, Format::Json)) {
        return Ok(());
    }
    let name = found.file_name().unwrap_or_default().to_string_lossy();
    let message = format!("{} holds {name}, which is none of ours: --out names another folder", shown::path(folder));
    Err(Error::Usage(message))
}

/// Whether this program wrote a comparison there.
fn is_ours(path: &Path) -> bool {
    let value = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    value.is_some_and(|value| value["program"].as_str().is_some_and(|program| program.starts_with("sse-sam ")))
}

/// Writes `comparison.txt`, `.md`, `.csv`, `.tex` and `.json` into a folder, each whole or not at all.
///
/// # Errors
/// [`Error::Io`] when the file system refuses.
pub fn write(folder: &Path, comparison: &Comparison) -> Result<(), Error> {
    Format::value_variants().iter().try_for_each(|format| {
        write_whole(&file(folder, *format), |file| file.write_all(format.print(comparison).as_bytes()))
    })
}
