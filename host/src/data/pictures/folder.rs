//! Class folders: a folder for each class, with its pictures at any depth.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::data::pictures::names::{Names, below, bytes_of};

/// Endings of files that are taken for pictures, in any case. What a file is decides its content.
const ENDINGS: [&str; 11] = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp", "jfif", "gif"];

/// What a folder with class folders holds.
#[derive(Debug, Default)]
pub struct Tree {
    /// The folder.
    pub root: PathBuf,
    /// Its sub-folders in the order of their bytes, as torchvision's `ImageFolder` numbers classes: 1, 10, 2.
    pub classes: Vec<OsString>,
    /// The pictures, below the folder: by class, then by folder, then by name.
    pub names: Names,
    /// The class of each.
    pub labels: Vec<u32>,
    /// What was left out.
    pub passed: Passed,
}

/// How much was passed over, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Files and folders whose names begin with a dot, or are `__MACOSX`.
    pub hidden: usize,
    /// Files whose endings are no picture's.
    pub foreign: usize,
    /// Pictures outside of all class folders.
    pub loose: usize,
    /// Links that lead back to a folder which they lie in.
    pub loops: usize,
}

/// Whether a file is called as pictures are.
pub fn is_picture(name: &Path) -> bool {
    let ending = name.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// Whether a name is one that systems leave beside the user's own.
fn is_hidden(name: &OsString) -> bool {
    name == "__MACOSX" || bytes_of(name).starts_with(b".")
}

/// An entry of a folder.
struct Entry {
    name: OsString,
    path: PathBuf,
    is_folder: bool,
    is_link: bool,
}

/// What lies in a folder but for hidden names, in the order of names' bytes.
fn entries(folder: &Path, passed: &mut Passed) -> Result<Vec<Entry>, Error> {
    let failed = |source| Error::io(folder, source);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, path) = (entry.file_name(), entry.path());
        if is_hidden(&name) {
            passed.hidden += 1;
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        let is_link = kind.is_symlink();
        // Opening a pipe would wait for somebody to write.
        if fs::metadata(&path).is_ok_and(|found| !found.is_dir() && !found.is_file()) {
            passed.foreign += 1;
            continue;
        }
        entries.push(Entry { is_folder: if is_link { path.is_dir() } else { kind.is_dir() }, is_link, name, path });
    }
    entries.sort_by(|a, b| bytes_of(&a.name).cmp(&bytes_of(&b.name)));
    Ok(entries)
}

/// The sub-folders of a folder that could be classes, in the order of their names.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn sub_folders(folder: &Path) -> Result<Vec<OsString>, Error> {
    let entries = entries(folder, &mut Passed::default())?;
    Ok(entries.into_iter().filter(|entry| entry.is_folder).map(|entry| entry.name).collect())
}

/// Whether a folder, or one below it, holds a picture; at most `depth` levels and some thousand names are looked at.
pub fn holds_pictures(folder: &Path, depth: usize) -> bool {
    const MOST: usize = 2000;
    let Ok(entries) = entries(folder, &mut Passed::default()) else { return false };
    let mut entries = entries.iter().take(MOST);
    entries.clone().any(|entry| !entry.is_folder && is_picture(&entry.path))
        || depth > 0 && entries.any(|entry| entry.is_folder && holds_pictures(&entry.path, depth - 1))
}

/// All pictures below a folder, in the order of folders' paths and names.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read.
pub fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut folders = Vec::new();
    let mut above = vec![fs::canonicalize(folder).map_err(|source| Error::io(folder, source))?];
    Passed::default().walk(folder, &mut folders, &mut above)?;
    folders.sort_by(|(a, _), (b, _)| bytes_of(a.as_os_str()).cmp(&bytes_of(b.as_os_str())));
    Ok(folders.into_iter().flat_map(|(_, files)| files).collect())
}

impl Tree {
    /// Walks through the class folders of `root`. Links are followed; one that leads back is not.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be read, [`Error::File`] where there is no class folder.
    pub fn read(root: &Path) -> Result<Self, Error> {
        let mut tree = Self { root: root.to_owned(), ..Self::default() };
        let entries = entries(root, &mut tree.passed)?;
        let mut above = vec![fs::canonicalize(root).map_err(|source| Error::io(root, source))?];
        for entry in &entries {
            if entry.is_folder {
                let class = tree.classes.len() as u32;
                tree.classes.push(entry.name.clone());
                let mut folders = Vec::new();
                tree.passed.enter(entry, &mut folders, &mut above)?;
                tree.take(folders, class);
            } else if is_picture(&entry.path) {
                tree.passed.loose += 1;
            } else {
                tree.passed.foreign += 1;
            }
        }
        if tree.classes.is_empty() {
            return Err(no_classes(root, tree.passed.loose));
        }
        Ok(tree)
    }

    /// Adds the pictures of a class, in the order of their folders' paths as one text each.
    fn take(&mut self, mut folders: Vec<Pictures>, class: u32) {
        folders.sort_by(|(a, _), (b, _)| bytes_of(a.as_os_str()).cmp(&bytes_of(b.as_os_str())));
        for file in folders.iter().flat_map(|(_, files)| files) {
            self.names.push_bytes(&below(&self.root, file));
            self.labels.push(class);
        }
    }
}

/// A folder and its own pictures.
type Pictures = (PathBuf, Vec<PathBuf>);

impl Passed {
    /// Walks through a folder, unless it is one of those above it.
    fn enter(&mut self, folder: &Entry, found: &mut Vec<Pictures>, above: &mut Vec<PathBuf>) -> Result<(), Error> {
        let real = match above.last() {
            Some(parent) if !folder.is_link => parent.join(&folder.name),
            _ => fs::canonicalize(&folder.path).map_err(|source| Error::io(&folder.path, source))?,
        };
        if above.contains(&real) {
            self.loops += 1;
            return Ok(());
        }
        above.push(real);
        let result = self.walk(&folder.path, found, above);
        above.pop();
        result
    }

    fn walk(&mut self, folder: &Path, found: &mut Vec<Pictures>, above: &mut Vec<PathBuf>) -> Result<(), Error> {
        let entries = entries(folder, self)?;
        let (folders, files): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| entry.is_folder);
        let (pictures, foreign): (Vec<PathBuf>, Vec<PathBuf>) =
            files.into_iter().map(|file| file.path).partition(|path| is_picture(path));
        self.foreign += foreign.len();
        found.push((folder.to_owned(), pictures));
        folders.iter().try_for_each(|inner| self.enter(inner, found, above))
    }
}

/// Why a folder has no classes.
fn no_classes(root: &Path, pictures: usize) -> Error {
    let error = Error::file(
        root,
        match pictures {
            0 => "holds no class folder".to_owned(),
            1 => "holds no class folder, but a picture".to_owned(),
            many => format!("holds no class folder, but {many} pictures"),
        },
    );
    match root.parent().filter(|parent| pictures > 0 && !parent.as_os_str().is_empty()) {
        Some(parent) => {
            error.with_hint(format!("is it a class itself? Then give the folder above it, {}", parent.display()))
        }
        None => error.with_hint("each class is a folder with its pictures in it"),
    }
}

/// The folders of a data set's splits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Splits {
    /// What is trained on.
    pub train: Option<PathBuf>,
    /// What an epoch is chosen by.
    pub validation: Option<PathBuf>,
    /// What accuracy is measured on.
    pub test: Option<PathBuf>,
}

/// What the folders of splits are called, in any case.
const TRAIN: [&str; 2] = ["train", "training"];
const VALIDATION: [&str; 5] = ["val", "valid", "validation", "eval", "evaluation"];
const TEST: [&str; 2] = ["test", "testing"];

/// Which split this name means: 0 train, 1 validation, 2 test.
pub fn split_of(name: &str) -> Option<usize> {
    let is = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    [is(&TRAIN), is(&VALIDATION), is(&TEST)].iter().position(|&is| is)
}

impl Splits {
    /// The folders of splits that lie in `root`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::File`] when two folders are the same split.
    pub fn of(root: &Path) -> Result<Self, Error> {
        let mut found: [Option<PathBuf>; 3] = Default::default();
        for name in sub_folders(root)? {
            let Some(split) = name.to_str().and_then(split_of) else { continue };
            if let Some(before) = found[split].replace(root.join(&name)) {
                let (one, other) = (before.display(), name.to_string_lossy());
                return Err(Error::file(root, format!("holds {one} and {other}, which mean the same split"))
                    .with_hint("--train, --val and --test name the folders"));
            }
        }
        let [train, validation, test] = found;
        Ok(Self { train, validation, test })
    }

    /// The same, where a place that holds several splits itself stands for the one that it is named for.
    ///
    /// # Errors
    /// As [`Splits::of`].
    pub fn within(self) -> Result<Self, Error> {
        let inner = |place: Option<PathBuf>, pick: fn(Self) -> Option<PathBuf>| {
            let Some(place) = place else { return Ok(None) };
            let found = Self::of(&place)?;
            let several = found.train.is_some() && (found.validation.is_some() || found.test.is_some());
            Ok::<_, Error>(if several { pick(found) } else { None }.or(Some(place)))
        };
        Ok(Self {
            train: inner(self.train, |found| found.train)?,
            validation: inner(self.validation, |found| found.validation)?,
            test: inner(self.test, |found| found.test)?,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
    }

    fn shown(tree: &Tree) -> Vec<(u32, String)> {
        let name = |index| tree.names.path(index).to_string_lossy().into_owned();
        (0..tree.names.len()).map(|index| (tree.labels[index], name(index))).collect()
    }

    #[test]
    fn classes_are_in_the_order_of_their_names_bytes_and_pictures_below_them() {
        let home = tempfile::tempdir().unwrap();
        write(
            home.path(),
            &["2/b.JPG", "2/a.png", "10/z/deep/x.jpeg", "10/z 2/y.gif", "10/b.webp", "1/n.txt", "loose.png", "read.me"],
        );
        fs::create_dir(home.path().join("empty")).unwrap();
        let tree = Tree::read(home.path()).unwrap();
        assert_eq!(tree.classes, ["1", "10", "2", "empty"]);
        // As `sorted(os.walk(..))` has it: a blank comes before a slash.
        let names = ["10/b.webp", "10/z 2/y.gif", "10/z/deep/x.jpeg", "2/a.png", "2/b.JPG"];
        let expected = [1, 1, 1, 2, 2].into_iter().zip(names);
        assert_eq!(shown(&tree), expected.map(|(class, name)| (class, name.to_owned())).collect::<Vec<_>>());
        assert_eq!(tree.passed, Passed { hidden: 0, foreign: 2, loose: 1, loops: 0 });
    }

    #[test]
    fn what_systems_leave_is_no_class_and_no_picture() {
        let home = tempfile::tempdir().unwrap();
        write(
            home.path(),
            &["a/._x.jpg", "a/x.jpg", "a/.ipynb_checkpoints/x.jpg", "__MACOSX/a/x.jpg", ".git/x.jpg", "a/Thumbs.db"],
        );
        let tree = Tree::read(home.path()).unwrap();
        assert_eq!(tree.classes, ["a"]);
        assert_eq!(shown(&tree), [(0, "a/x.jpg".to_owned())]);
        assert_eq!(tree.passed, Passed { hidden: 4, foreign: 1, loose: 0, loops: 0 });
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_back() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        write(home.path(), &["a/x.jpg"]);
        symlink(".", home.path().join("a/loop")).unwrap();
        symlink("..", home.path().join("a/up")).unwrap();
        symlink("a", home.path().join("b")).unwrap();
        symlink("x.jpg", home.path().join("a/y.jpg")).unwrap();
        let tree = Tree::read(home.path()).unwrap();
        assert_eq!(tree.classes, ["a", "b"]);
        let expected = [(0, "a/x.jpg"), (0, "a/y.jpg"), (1, "b/x.jpg"), (1, "b/y.jpg")];
        assert_eq!(shown(&tree), expected.map(|(class, name)| (class, name.to_owned())));
        assert_eq!(tree.passed.loops, 4);
    }

    #[test]
    fn pictures_without_class_folders_are_a_hint() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), &["cats/1.jpg", "cats/2.jpg"]);
        let error = Tree::read(&home.path().join("cats")).unwrap_err();
        assert!(error.to_string().ends_with("cats: holds no class folder, but 2 pictures"), "{error}");
        assert!(error.hint().unwrap().contains("is it a class itself?"));
    }

    #[test]
    fn splits_have_several_names() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), &["Training/a/1.jpg", "valid/a/1.jpg", "test/a/1.jpg", "tests/a.jpg"]);
        let splits = Splits::of(home.path()).unwrap();
        assert_eq!(splits.train.unwrap(), home.path().join("Training"));
        assert_eq!(splits.validation.unwrap(), home.path().join("valid"));
        assert_eq!(splits.test.unwrap(), home.path().join("test"));
        fs::create_dir(home.path().join("train")).unwrap();
        let error = Splits::of(home.path()).unwrap_err();
        assert!(error.to_string().ends_with("which mean the same split"), "{error}");
    }
}
