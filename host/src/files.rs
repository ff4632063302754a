//! Writes files so that they appear whole or not at all.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Where this program keeps what it has found out: `$SSE_SAM_CACHE`, else the folder `sse-sam` where this system keeps caches;
/// none where there is no such place.
pub fn cache_folder() -> Option<PathBuf> {
    cache_folder_by(|name| env::var_os(name))
}

/// The same by these variables.
pub(crate) fn cache_folder_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let place = || match () {
        () if cfg!(windows) => folder("LOCALAPPDATA"),
        () if cfg!(target_os = "macos") => folder("HOME").map(|home| home.join("Library/Caches")),
        // A relative XDG_CACHE_HOME is invalid and to be ignored.
        () => folder("XDG_CACHE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| folder("HOME").map(|home| home.join(".cache"))),
    };
    folder("SSE_SAM_CACHE").or_else(|| place().map(|place| place.join("sse-sam")))
}

/// Puts a file in place whole or not at all: written under another name in the same folder, synchronised, renamed.
///
/// # Errors
/// [`Error::Io`] when the file system refuses; what lay at `path` before is still there then.
pub fn write_whole(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let result = write_synchronised(&partial, content)
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| synchronise_folder(path.parent()));
    result.map_err(|source| {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
        Error::io(path, source)
    })
}

fn write_synchronised(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    content(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Makes a new name in a folder last through a loss of power, where the system can.
fn synchronise_folder(folder: Option<&Path>) -> io::Result<()> {
    let folder = folder.filter(|folder| cfg!(unix) && !folder.as_os_str().is_empty());
    match folder.map_or(Ok(()), |folder| File::open(folder)?.sync_all()) {
        Err(error) if [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported].contains(&error.kind()) => Ok(()),
        other => other,
    }
}
