//! Many file names in little memory.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// File names one behind the other: 437,513 of iNaturalist's take 31 MB. Names of any bytes on Unix; elsewhere what is
/// no Unicode becomes U+FFFD, and such a file is not found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    /// Number of names.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds a name.
    pub fn push(&mut self, name: &OsStr) {
        self.push_bytes(&bytes_of(name));
    }

    /// Adds a name by its bytes.
    pub fn push_bytes(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    /// The bytes of name `index`; none past the end.
    pub fn bytes(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(index).and_then(|&end| self.bytes.get(start..end)).unwrap_or_default()
    }

    /// Name `index` as the path of a file.
    pub fn path(&self, index: usize) -> PathBuf {
        PathBuf::from(path_of(self.bytes(index)))
    }

    /// These names in this order.
    #[must_use]
    pub fn part(&self, indices: impl Iterator<Item = usize>) -> Self {
        let mut part = Self::default();
        indices.for_each(|index| part.push_bytes(self.bytes(index)));
        part
    }
}

/// The bytes of a name.
#[cfg(unix)]
pub fn bytes_of(name: &OsStr) -> Cow<'_, [u8]> {
    use std::os::unix::ffi::OsStrExt;
    Cow::Borrowed(name.as_bytes())
}

/// The bytes of a name, in UTF-8.
#[cfg(not(unix))]
pub fn bytes_of(name: &OsStr) -> Cow<'_, [u8]> {
    match name.to_string_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The name of these bytes.
#[cfg(unix)]
pub fn path_of(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(bytes.to_vec())
}

/// The name of these bytes, which are UTF-8.
#[cfg(not(unix))]
pub fn path_of(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// The part of `path` below `root`, or all of it, with `/` between folders.
pub fn below(root: &Path, path: &Path) -> Vec<u8> {
    let bytes = bytes_of(path.strip_prefix(root).unwrap_or(path).as_os_str()).into_owned();
    if cfg!(windows) {
        return bytes.into_iter().map(|byte| if byte == b'\\' { b'/' } else { byte }).collect();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were_put_in() {
        let mut names = Names::default();
        ["a/b.png", "", "é 1.jpg"].iter().for_each(|name| names.push(OsStr::new(name)));
        assert_eq!([0, 1, 2, 3].map(|index| names.path(index)), ["a/b.png", "", "é 1.jpg", ""].map(PathBuf::from));
        assert_eq!(names.part([2, 0].into_iter()).path(1), PathBuf::from("a/b.png"));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_text_are_kept() {
        let mut names = Names::default();
        names.push_bytes(b"latin1_\xe9.png");
        assert_eq!(*bytes_of(names.path(0).as_os_str()), *b"latin1_\xe9.png");
    }
}
