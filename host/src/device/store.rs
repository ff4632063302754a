//! What was measured on this user's devices, kept from one process to the next.
//!
//! One file, `devices.toml`, which may be deleted at any time. Whatever is wrong with it or its folder is a warning:
//! then things are as if nothing had been measured.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use fs4::{FileExt, TryLockError};
use serde::{Deserialize, Serialize};

use crate::device::machine::Identity;
use crate::files::{cache_folder_by, write_whole};
use crate::opencl::AlgorithmTable;
use crate::report::{Event, Observer};

const FILE: &str = "devices.toml";
/// Locked by who measures for the file and changes it, where the folder itself cannot be.
const LOCK: &str = "devices.lock";
const HEAD: &str = "\
# What sse-sam has measured on this user's devices: see host/README.md, \"Devices\". It may be deleted at any time.
# Convolutions of images x height x width x channels x filters, and the form of their forward pass, input gradient
# and weight gradient.
";
/// The version of the format; entries that are added to it need no other.
const VERSION: u32 = 1;
/// Devices that are kept, the last ones that something was measured on, and convolutions of each.
const DEVICES: usize = 16;
const CONVOLUTIONS: usize = 256;
/// Bytes of the largest file that is read: far above what is written.
const LARGEST: u64 = 1 << 20;

/// A device as far as it decides what is fast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    name: String,
    driver: String,
    compute_units: u32,
    kernels: String,
}

impl Owner {
    /// The device with this identity and so many units.
    pub fn new(identity: Identity, compute_units: u32) -> Self {
        let Identity { name, driver, kernels, .. } = identity;
        Self { name, driver, compute_units, kernels }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    owner: Owner,
    #[serde(default)]
    convolutions: AlgorithmTable,
}

/// What becomes of what is known about a problem that is measured again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Stays,
    Goes,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    #[serde(default)]
    device: Vec<Entry>,
}

impl Content {
    fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
        let invalid = |message: String| io::Error::new(ErrorKind::InvalidData, message);
        let content: Self = toml::from_str(&text).map_err(|error| invalid(error.message().to_owned()))?;
        if content.version != VERSION {
            return Err(invalid(format!("it is of version {}, not {VERSION}", content.version)));
        }
        Ok(content)
    }

    fn empty() -> Self {
        Self { version: VERSION, device: Vec::new() }
    }

    fn known(&self, owner: &Owner) -> Option<&AlgorithmTable> {
        self.device.iter().find(|entry| entry.owner == *owner).map(|entry| &entry.convolutions)
    }

    /// Adds what is new; what is known already stays, or is replaced. The device moves to the front, and what is too much
    /// goes.
    fn add(&mut self, owner: &Owner, measured: &AlgorithmTable, known: Known) {
        let place = self.device.iter().position(|entry| entry.owner == *owner);
        let mut convolutions = place.map(|place| self.device.remove(place).convolutions).unwrap_or_default();
        if convolutions.len() + measured.len() > CONVOLUTIONS {
            convolutions.clear();
        }
        match known {
            Known::Stays => measured.iter().for_each(|(problem, algorithms)| {
                convolutions.entry(*problem).or_insert(*algorithms);
            }),
            Known::Goes => convolutions.extend(measured),
        }
        self.device.insert(0, Entry { owner: owner.clone(), convolutions });
        self.device.truncate(DEVICES);
    }
}

/// What was measured on this user's devices, in a file of the user's cache folder.
#[derive(Clone, Debug)]
pub struct TuningStore {
    /// None where the system names no place for it.
    folder: Option<PathBuf>,
}

impl TuningStore {
    /// `$SSE_SAM_CACHE`, else the folder `sse-sam` where this system keeps caches.
    pub fn of_user() -> Self {
        Self::of(|name| env::var_os(name))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        Self { folder: cache_folder_by(variable) }
    }

    /// This folder.
    pub fn at(folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()) }
    }

    /// The file, for people.
    pub fn place(&self) -> String {
        self.file().map_or_else(|| "nowhere: there is no cache folder".into(), |file| file.display().to_string())
    }

    fn file(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(FILE))
    }

    /// What was measured on a device so far.
    pub fn known(&self, owner: &Owner, observer: &dyn Observer) -> AlgorithmTable {
        let Some(file) = self.file() else { return AlgorithmTable::new() };
        match Content::read(&file) {
            Ok(content) => content.known(owner).cloned().unwrap_or_default(),
            Err(error) => {
                if ![ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) {
                    let file = file.display();
                    observer.warn(&format!("warning: {file} is ignored, as if nothing had been measured: {error}"));
                }
                AlgorithmTable::new()
            }
        }
    }

    /// Waits until nobody else, in this process or another, holds the store: so that devices are timed by one at a time, who
    /// finds what the others kept meanwhile. Nobody waits where there is no folder, or none that can be locked.
    pub fn hold(&self, observer: &dyn Observer) -> Held<'_> {
        let message = "waiting for another run, which times convolutions";
        let waits = || observer.observe(&Event::Notice { message });
        Held { store: self, lock: self.folder.as_deref().map(|folder| lock(folder, &waits)) }
    }

    /// Keeps what was measured in place of what was known of the same problems.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn replace(&self, owner: &Owner, measured: &AlgorithmTable, observer: &dyn Observer) -> Result<(), String> {
        self.hold(observer).keep(owner, measured, Known::Goes).1
    }
}

/// The store, held until this is dropped.
#[derive(Debug)]
pub struct Held<'s> {
    store: &'s TuningStore,
    /// None where there is no folder, and why a folder could not be locked.
    lock: Option<Result<File, String>>,
}

impl Held<'_> {
    /// What was measured on a device so far; nothing where the file is damaged.
    pub fn known(&self, owner: &Owner) -> AlgorithmTable {
        let content = self.store.file().and_then(|file| Content::read(&file).ok());
        content.and_then(|content| content.known(owner).cloned()).unwrap_or_default()
    }

    /// Keeps what was measured, and returns what is in force: where another process was earlier, what that one kept.
    pub fn remember(self, owner: &Owner, measured: AlgorithmTable, observer: &dyn Observer) -> AlgorithmTable {
        if self.lock.is_none() {
            return measured;
        }
        let (content, written) = self.keep(owner, &measured, Known::Stays);
        if let Err(reason) = written {
            observer.warn(&format!("warning: what was measured is kept for this run only: {reason}"));
        }
        let kept = content.known(owner).cloned().unwrap_or_default();
        measured
            .into_iter()
            .map(|(problem, algorithms)| (problem, kept.get(&problem).copied().unwrap_or(algorithms)))
            .collect()
    }

    /// Adds to what the file holds, if it is whole; what it holds then, and why that could not be written.
    fn keep(self, owner: &Owner, measured: &AlgorithmTable, known: Known) -> (Content, Result<(), String>) {
        let place = match (&self.lock, self.store.file()) {
            (Some(Ok(_)), Some(file)) => Ok(file),
            (Some(Err(reason)), _) => Err(reason.clone()),
            _ => Err("there is no cache folder".into()),
        };
        let content = place.as_ref().ok().and_then(|file| Content::read(file).ok());
        let mut content = content.unwrap_or_else(Content::empty);
        content.add(owner, measured, known);
        let written = place.and_then(|file| write(&file, &content));
        (content, written)
    }
}

/// Makes the folder and waits until nobody else holds its lock; `waits` is called where somebody does.
fn lock(folder: &Path, waits: &dyn Fn()) -> Result<File, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // The folder itself is locked where possible, so that no lock file remains. Windows cannot open
    // folders, NFS cannot lock them.
    if let Ok(opened) = File::open(folder)
        && wait(&opened, waits).is_ok()
    {
        return Ok(opened);
    }
    let path = folder.join(LOCK);
    // Not for appending only, which Windows cannot lock, and not truncated, since another process may hold it.
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
    match wait(&file, waits) {
        // A file system without locks.
        Err(error) if error.kind() != ErrorKind::Unsupported => Err(format!("{}: {error}", path.display())),
        _ => Ok(file),
    }
}

/// Waits for a file's lock.
fn wait(file: &File, waits: &dyn Fn()) -> io::Result<()> {
    match FileExt::try_lock(file) {
        Ok(()) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => {
            waits();
            FileExt::lock(file)
        }
    }
}

fn write(file: &Path, content: &Content) -> Result<(), String> {
    let text = toml::to_string(content).map_err(|error| error.to_string())?;
    write_whole(file, |to| write!(to, "{HEAD}{text}")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use sse_sam_core::{Conv2d, Shape};
    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::opencl::{Algorithm, ConvProblem};
    use crate::report::Silent;

    fn owner(driver: &str, kernels: &str) -> Owner {
        Owner { name: "device".into(), driver: driver.into(), compute_units: 2, kernels: kernels.into() }
    }

    fn table(channels: impl Iterator<Item = usize>, algorithm: Algorithm) -> AlgorithmTable {
        let case = |channels| ConvProblem::new(&Conv2d::new(Shape::new(8, 8, channels), 16, 3, 1, 1).unwrap(), 128);
        channels.map(|channels| (case(channels), [Algorithm::Direct, algorithm, Algorithm::Winograd])).collect()
    }

    fn remember(store: &TuningStore, owner: &Owner, measured: AlgorithmTable) -> AlgorithmTable {
        store.hold(&Silent).remember(owner, measured, &Silent)
    }

    fn store() -> (TempDir, TuningStore) {
        let folder = tempdir().unwrap();
        let store = TuningStore { folder: Some(folder.path().join("some/where")) };
        (folder, store)
    }

    #[test]
    #[cfg(all(unix, not(target_os = "macos")))]
    fn the_folder_is_the_one_that_is_named_else_that_of_the_system() {
        let place = |variables: &[(&str, &str)]| {
            TuningStore::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
                .file()
        };
        let [own, system, home] = [("SSE_SAM_CACHE", "here"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(place(&[home, system, own]), Some("here/devices.toml".into()));
        assert_eq!(place(&[home, system, ("SSE_SAM_CACHE", "")]), Some("/x/sse-sam/devices.toml".into()));
        assert_eq!(place(&[home, ("XDG_CACHE_HOME", "relative")]), Some("/h/.cache/sse-sam/devices.toml".into()));
        assert_eq!(place(&[]), None);
    }

    #[test]
    fn what_is_remembered_is_known_to_the_same_device_driver_and_kernels_only() {
        let (_folder, store) = store();
        let (here, measured) = (owner("1", "a"), table(1..4, Algorithm::Winograd));
        assert_eq!(store.known(&here, &Silent), AlgorithmTable::new());
        assert_eq!(remember(&store, &here, measured.clone()), measured);
        assert_eq!(store.known(&here, &Silent), measured);
        let units = Owner { compute_units: 3, ..here.clone() };
        for other in [owner("2", "a"), owner("1", "b"), units] {
            assert_eq!(store.known(&other, &Silent), AlgorithmTable::new(), "{other:?}");
            remember(&store, &other, table(1..2, Algorithm::Direct));
        }
        assert_eq!(store.known(&here, &Silent), measured, "others do not disturb it");
        let text = fs::read_to_string(store.place()).unwrap();
        assert!(text.contains("128x8x8x3x16 = [\"direct\", \"winograd\", \"winograd\"]"), "{text}");
    }

    #[test]
    fn the_process_that_was_earlier_is_followed() {
        let (_folder, store) = store();
        let here = owner("1", "a");
        remember(&store, &here, table(1..3, Algorithm::Winograd));
        let found = remember(&store, &here, table(2..4, Algorithm::Direct));
        let expected =
            [table(2..3, Algorithm::Winograd), table(3..4, Algorithm::Direct)].into_iter().flatten().collect();
        assert_eq!(found, expected);
        assert_eq!(store.known(&here, &Silent).len(), 3);
    }

    #[test]
    fn what_is_measured_on_purpose_replaces_what_was_known_of_the_same_cases_alone() {
        let (_folder, store) = store();
        let [here, other] = [owner("1", "a"), owner("2", "a")];
        remember(&store, &here, table(1..3, Algorithm::Winograd));
        remember(&store, &other, table(1..3, Algorithm::Winograd));
        store.replace(&here, &table(2..4, Algorithm::Direct), &Silent).unwrap();
        let expected =
            [table(1..2, Algorithm::Winograd), table(2..4, Algorithm::Direct)].into_iter().flatten().collect();
        assert_eq!(store.known(&here, &Silent), expected);
        assert_eq!(store.known(&other, &Silent), table(1..3, Algorithm::Winograd));
    }

    #[test]
    fn whatever_the_file_holds_it_is_replaced() {
        let (_folder, store) = store();
        let (here, measured) = (owner("1", "a"), table(1..4, Algorithm::Winograd));
        remember(&store, &here, measured.clone());
        let file = PathBuf::from(store.place());
        let whole = fs::read(&file).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let cases = [
            vec![],
            b"\xff\xfe".to_vec(),
            b"version = ".to_vec(),
            whole[..whole.len() - 9].to_vec(),
            text.replace("version = 1", "version = 2").into_bytes(),
            text.replace("winograd", "magic").into_bytes(),
            text.replace("128x8x8", "128x8").into_bytes(),
            [whole.clone(), vec![b'\n'; LARGEST as usize], b"!".to_vec()].concat(),
        ];
        for (number, bytes) in cases.into_iter().enumerate() {
            fs::write(&file, bytes).unwrap();
            let found = store.known(&here, &Silent);
            // Only the last one is whole as far as it is read.
            assert_eq!(found, if number == 7 { measured.clone() } else { AlgorithmTable::new() }, "case {number}");
            assert_eq!(remember(&store, &here, measured.clone()), measured, "case {number}");
            assert_eq!(fs::read(&file).unwrap(), whole, "case {number}");
        }
    }

    #[test]
    fn what_many_add_at_once_is_all_kept() {
        let (_folder, store) = store();
        let owner = |number: usize| owner(&(number % 3).to_string(), "a");
        let alone = |number: usize| table(number + 1..number + 2, Algorithm::Winograd);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = store.clone();
                scope.spawn(move || {
                    for number in (thread * 6)..(thread * 6 + 6) {
                        remember(&store, &owner(number), alone(number));
                    }
                });
            }
        });
        for number in 0..48 {
            let known = store.known(&owner(number), &Silent);
            assert!(alone(number).keys().all(|case| known.contains_key(case)), "{number} is lost: {known:?}");
        }
    }

    #[test]
    fn who_comes_second_says_so_and_waits_and_finds_what_the_first_one_kept() {
        let (_folder, store) = store();
        let (here, measured) = (owner("1", "a"), table(1..4, Algorithm::Winograd));
        let first = store.hold(&Silent);
        let (sender, receiver) = channel();
        let said = |event: &Event<'_>| {
            if let Event::Notice { message } = event {
                sender.send(Err((*message).to_owned())).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(Ok(store.hold(&said).known(&here))).unwrap());
            assert_eq!(receiver.recv().unwrap(), Err("waiting for another run, which times convolutions".into()));
            assert!(receiver.recv_timeout(Duration::from_millis(200)).is_err());
            first.remember(&here, measured.clone(), &Silent);
            assert_eq!(receiver.recv().unwrap(), Ok(measured));
        });
        #[cfg(unix)]
        assert_eq!(fs::read_dir(store.folder.as_ref().unwrap()).unwrap().count(), 1, "nothing but the file is left");
    }

    #[test]
    fn entries_of_a_later_program_are_no_damage() {
        let (_folder, store) = store();
        let (here, measured) = (owner("1", "a"), table(1..4, Algorithm::Winograd));
        remember(&store, &here, measured.clone());
        let text = fs::read_to_string(store.place()).unwrap();
        let more = text.replace("compute_units", "tiles = \"64x64\"\ncompute_units");
        assert_ne!(text, more);
        fs::write(store.place(), more).unwrap();
        assert_eq!(store.known(&here, &Silent), measured);
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let (_folder, store) = store();
        for number in 0..2 * DEVICES {
            remember(&store, &owner(&number.to_string(), "a"), table(1..2, Algorithm::Direct));
        }
        assert_eq!(store.known(&owner("0", "a"), &Silent).len(), 0, "the oldest is gone");
        let here = owner(&DEVICES.to_string(), "a");
        for first in (0..4 * CONVOLUTIONS).step_by(CONVOLUTIONS / 4) {
            let new = table((1 + first)..(1 + first + CONVOLUTIONS / 4), Algorithm::Winograd);
            remember(&store, &here, new.clone());
            let known = store.known(&here, &Silent);
            assert!(known.len() <= CONVOLUTIONS && new.keys().all(|case| known.contains_key(case)));
        }
        assert_eq!(Content::read(Path::new(&store.place())).unwrap().device.len(), DEVICES);
    }

    #[test]
    fn a_folder_that_cannot_be_made_and_no_folder_at_all_lose_nothing_but_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for folder in [Some(file.path().join("below/a/file")), None] {
            let store = TuningStore { folder };
            let (here, measured) = (owner("1", "a"), table(1..4, Algorithm::Winograd));
            assert_eq!(remember(&store, &here, measured.clone()), measured);
            assert!(store.replace(&here, &measured, &Silent).is_err());
            assert_eq!(store.known(&here, &Silent), AlgorithmTable::new());
        }
    }
}
