//! Fuzzing of the readers: random changes of good files, and random files that nearly follow the format.
//!
//! `PROPTEST_CASES` sets how many cases a round has (256), `SSE_SAM_FUZZ_SECONDS` for how long each target goes on with
//! rounds of other cases (0: one round). A failure prints the smallest input that fails.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config as Rounds, RngSeed, TestCaseError, TestError, TestRunner};
use safetensors::SafeTensors;
use sse_sam::recipe::{Options, Recipe, file};
use sse_sam::run::checkpoint::Checkpoint;
use sse_sam::run::origin::Origin;
use sse_sam::weights::{self, Data};
use sse_sam::{Error, data};
use tempfile::tempdir;

use super::checkpoints::trained;
use super::data::{NAMES, archive, four, gzip};
use super::memory::peak;
use super::weights::with_header;
use super::{SLACK, is_content, layout, setting};

/// A change of a file.
#[derive(Clone, Debug)]
pub enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    /// A number at this place, as wide as that many bytes.
    Number(Index, usize, u64),
}

pub fn change() -> impl Strategy<Value = Change> {
    let extreme = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(1 << 31),
        Just(u64::from(u32::MAX)),
        Just(1 << 63),
        any::<u64>()
    ];
    prop_oneof![
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Change::Set(at, value)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), 1..64_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), vec(any::<u8>(), 1..32)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), 1..2048_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
        (any::<Index>(), 1..9_usize, extreme).prop_map(|(at, width, value)| Change::Number(at, width, value)),
    ]
}

pub fn apply(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match change {
            Change::Flip(at, bits) => bytes[at.index(length)] ^= bits,
            Change::Set(at, value) => bytes[at.index(length)] = *value,
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Remove(at, count) => drop(bytes.drain(at.index(length)..(at.index(length) + count).min(length))),
            Change::Insert(at, more) => drop(bytes.splice(at.index(length)..at.index(length), more.iter().copied())),
            Change::Repeat(at, count) => {
                let start = at.index(length);
                bytes.extend_from_within(start..(start + count).min(length));
            }
            Change::Number(at, width, value) => {
                let start = at.index(length);
                let end = (start + width).min(length);
                bytes[start..end].copy_from_slice(&value.to_be_bytes()[..end - start]);
            }
        }
    }
    bytes
}

/// Runs rounds of cases, each with its own fixed seed, for as long as the environment says.
pub fn fuzz<S: Strategy>(name: &str, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let (started, seconds) = (Instant::now(), setting("SSE_SAM_FUZZ_SECONDS", 0));
    let mut cases = 0;
    for seed in 0.. {
        let config = Rounds { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Rounds::default() };
        cases += u64::from(config.cases);
        match TestRunner::new(config).run(&strategy, &test) {
            Ok(()) => {}
            Err(TestError::Fail(reason, input)) => panic!("{name}, seed {seed}: {reason}\n{input:?}"),
            Err(TestError::Abort(reason)) => panic!("{name}, seed {seed}: {reason}"),
        }
        if started.elapsed() >= Duration::from_secs(seconds.into()) {
            break;
        }
    }
    println!("{name}: {cases} cases in {:.0} s", started.elapsed().as_secs_f64());
}

/// Any reader on any file: bounded memory and time, and a typed error if it fails.
fn judge<T>(size: usize, read: impl FnOnce() -> Result<T, Error>) -> Result<Option<T>, TestCaseError> {
    let started = Instant::now();
    let (result, held) = peak(read);
    prop_assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    prop_assert!(held < 4 * size + SLACK, "{held} bytes of memory for {size}");
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_content(&error) => Ok(None),
        Err(error) => Err(TestCaseError::fail(format!("{error:?}"))),
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), TestCaseError> {
    fs::write(path, bytes).map_err(|error| TestCaseError::fail(error.to_string()))
}

#[test]
fn checkpoints() {
    let folder = tempdir().unwrap();
    let path = trained(folder.path(), "mlp:64-3-10");
    let (bytes, layout) = (fs::read(&path).unwrap(), layout("mlp:64-3-10"));
    fuzz("checkpoints", vec(change(), 1..6), |changes| {
        let changed = apply(bytes.clone(), &changes);
        put(&path, &changed)?;
        let found = judge(changed.len(), || Checkpoint::read(&path, &layout))?;
        // What a checksum covers is all but spaces.
        let same = |a: &[u8], b: &[u8]| a.iter().filter(|byte| **byte > b' ').eq(b.iter().filter(|byte| **byte > b' '));
        prop_assert!(found.is_none() || same(&changed, &bytes), "the damage is not noticed");
        Ok(())
    });
}

/// Headers that look right: a few tensors with sizes that mostly fit.
fn header() -> impl Strategy<Value = (String, usize)> {
    let number = prop_oneof![8 => (0..5_u64).prop_map(|n| n.to_string()), 1 => any::<i64>().prop_map(|n| n.to_string()), 1 => any::<f64>().prop_map(|n| n.to_string())];
    let dtype = prop_oneof![8 => Just("F32"), 1 => Just("F64"), 1 => Just("I64"), 1 => Just("BF16"), 1 => Just("F4")];
    let offset = prop_oneof![9 => Just(0_i64), 1 => -8..9_i64, 1 => any::<i64>()];
    let tensor = ("[a-d]|fc1\\\\.weight|__metadata__", dtype, vec(number, 0..4), offset.clone(), offset);
    (vec(tensor, 0..5), 0..3_usize).prop_map(|(tensors, more)| {
        let mut end = 0_i64;
        let entries: Vec<String> = tensors
            .iter()
            .map(|(name, dtype, shape, a, b)| {
                let count: i64 = shape.iter().map(|side| side.parse().unwrap_or(1)).fold(1, i64::wrapping_mul);
                let width = if *dtype == "F32" { 4 } else { 8 };
                let (start, stop) =
                    (end.wrapping_add(*a), end.wrapping_add(count.wrapping_mul(width)).wrapping_add(*b));
                end = stop;
                format!(
                    r#""{name}":{{"dtype":"{dtype}","shape":[{}],"data_offsets":[{start},{stop}]}}"#,
                    shape.join(",")
                )
            })
            .collect();
        (format!("{{{}}}", entries.join(",")), (end.clamp(0, 1 << 16) as usize) + more.saturating_sub(1))
    })
}

/// What the format's own reader makes of a file is what ours makes of it, where ours takes it.
fn agrees(bytes: &[u8], tensors: &[weights::Tensor]) -> Result<(), TestCaseError> {
    let theirs = SafeTensors::deserialize(bytes).map_err(|error| TestCaseError::fail(format!("theirs: {error}")))?;
    prop_assert_eq!(theirs.len(), tensors.len());
    for tensor in tensors {
        let view = theirs.tensor(&tensor.name).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(view.shape(), &tensor.shape[..]);
        if let (Data::F32(values), safetensors::Dtype::F32) = (&tensor.data, view.dtype()) {
            let ours: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            prop_assert_eq!(view.data(), &ours[..]);
        }
    }
    Ok(())
}

#[test]
fn safetensors() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("fuzzed.safetensors");
    let read = |bytes: &[u8]| {
        put(&path, bytes)?;
        let found = judge(bytes.len(), || weights::read(&path))?;
        found.map_or(Ok(()), |(tensors, _)| agrees(bytes, &tensors))
    };
    fuzz("safetensors by grammar", (header(), vec(change(), 0..2)), |((header, size), changes)| {
        read(&apply(with_header(&header, &vec![7; size]), &changes))
    });
    let good = fs::read(trained(folder.path(), "mlp:64-3-10")).unwrap();
    fuzz("safetensors by changes", vec(change(), 1..6), |changes| read(&apply(good.clone(), &changes)));
}

#[test]
fn data_sets() {
    let folder = tempdir().unwrap();
    let load = |path: &Path, size: usize| judge(size, || data::load(path.to_str().unwrap_or_default(), None)).map(drop);
    let files = four();
    fuzz("IDX", (0..4_usize, any::<bool>(), vec(change(), 1..5)), |(at, packed, changes)| {
        for (file, (name, good)) in NAMES.iter().zip(&files).enumerate() {
            let chosen = if file == at && packed { gzip(good) } else { good.clone() };
            put(&folder.path().join(name), &if file == at { apply(chosen, &changes) } else { chosen })?;
        }
        load(folder.path(), 1 << 10)
    });
    let whole = archive(&[]);
    let (path, packed) = (folder.path().join("archive"), gzip(&whole));
    fuzz("CIFAR as tar", vec(change(), 1..5), |changes| {
        let bytes = apply(whole.clone(), &changes);
        put(&path, &bytes)?;
        // A sparse or huge file that is announced reserves up to 16 MiB.
        load(&path, bytes.len() + (16 << 20))
    });
    fuzz("CIFAR as tar.gz", (any::<bool>(), vec(change(), 1..5)), |(inside, changes)| {
        put(&path, &if inside { gzip(&apply(whole.clone(), &changes)) } else { apply(packed.clone(), &changes) })?;
        load(&path, whole.len() + (16 << 20))
    });
}

#[test]
fn configurations() {
    let folder = tempdir().unwrap();
    drop(trained(folder.path(), "mlp:64-3-10"));
    let good = fs::read(folder.path().join("run/config.toml")).unwrap();
    let (path, digits) = (folder.path().join("config.toml"), data::load("digits", None).unwrap());
    let read = |bytes: &[u8]| {
        put(&path, bytes)?;
        let chosen = |options: &Options| {
            let config = Recipe::resolve(options, &digits)?;
            config.method.largest()?;
            let imbalance = config.imbalance.unwrap_or(1.0);
            data::subset(&digits, imbalance, config.profile, config.rule, config.seed)
        };
        match file::read::<Origin>(&path).and_then(|(options, _)| chosen(&options).map(drop)) {
            // A word that an option does not take, text that is none, a setting that data or core refuse.
            Ok(()) | Err(Error::Usage(_) | Error::File { .. } | Error::Io { .. } | Error::Core(_)) => Ok(()),
            Err(error) => Err(TestCaseError::fail(format!("{error:?}"))),
        }
    };
    fuzz("configurations by changes", vec(change(), 1..6), |changes| read(&apply(good.clone(), &changes)));
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        any::<bool>().prop_map(|flag| flag.to_string()),
        ".{0,12}".prop_map(|text| format!("{text:?}")),
        vec(any::<i32>(), 0..4).prop_map(|list| format!("{list:?}")),
        Just("1979-05-27T07:32:00Z".into()),
        Just("{ a = 1 }".into()),
    ];
    let key = "lr|epochs|batch|gamma|model|milestones|nesterov|seed|data|loss|method|init|device|config|quiet|help|--lr|[a-z-]{1,9}|\"[^\"\\\\\\\\]{0,6}\"|run";
    fuzz("configurations by grammar", vec((key, value), 0..6), |entries| {
        let lines: Vec<String> = entries.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        read(lines.join("\n").as_bytes())
    });
}
