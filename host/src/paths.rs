//! Paths as people type them.

use std::env;
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

const NOT_UTF_8: &str = "a path that is not UTF-8 cannot stand in config.toml; name it through a symbolic link";

/// A path: not empty, `~/` at its beginning is the user's home where no shell has said so.
pub fn paths() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new()
        .try_map(|path| if path.as_os_str().is_empty() { Err("is empty") } else { Ok(at_home(path)) })
}

/// A path that stands in `config.toml`.
pub fn stored_paths() -> impl TypedValueParser<Value = PathBuf> {
    let text = |path: PathBuf| path.into_os_string().into_string().map(PathBuf::from).map_err(|_| NOT_UTF_8);
    paths().try_map(text)
}

/// Where data are: a path that stands in `config.toml`.
pub fn places() -> impl TypedValueParser<Value = String> {
    paths().try_map(|path| path.into_os_string().into_string().map_err(|_| NOT_UTF_8))
}

/// The path with `~` or `~/` at its beginning replaced by the user's home, where there is one.
pub fn at_home(path: PathBuf) -> PathBuf {
    let home =
        |rest: &Path| env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(rest));
    path.strip_prefix("~").ok().and_then(home).unwrap_or(path)
}
