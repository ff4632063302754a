//! Checkpoints that are damaged.

use std::fs;
use std::path::{Path, PathBuf};

use sse_sam::Error;
use sse_sam::run::checkpoint::Checkpoint;
use sse_sam_tests::random::Numbers;
use tempfile::tempdir;

use super::memory::peak;
use super::{SLACK, layout, program, setting, stderr};

/// Trains for an epoch and returns its checkpoint.
pub fn trained(folder: &Path, model: &str) -> PathBuf {
    let args = ["train", "--device", "cpu", "--out", "run", "--epochs", "1", "--quiet", "--model", model];
    let output = program(folder, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    let entries = fs::read_dir(folder.join("run/checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    entries.max().expect("there is a checkpoint")
}

#[test]
fn every_damage_to_a_checkpoint_is_noticed() {
    let folder = tempdir().unwrap();
    let bytes = fs::read(trained(folder.path(), "mlp:64-3-10")).unwrap();
    let layout = layout("mlp:64-3-10");
    let damaged = folder.path().join("damaged.safetensors");
    let read = |bytes: &[u8]| {
        fs::write(&damaged, bytes).unwrap();
        let (result, held) = peak(|| Checkpoint::read(&damaged, &layout));
        assert!(held < 2 * bytes.len() + SLACK, "{held} bytes of memory for a file of {}", bytes.len());
        result
    };
    let position = read(&bytes).unwrap().0.position;
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (mut random, length) = (Numbers::new(2), bytes.len());
    // Every bit of the length, a bit or all of them of each other byte of the header, and bits of the numbers.
    let flips = (0..header).flat_map(|at| {
        if at < 8 { (0..8).map(|bit| (at, 1 << bit)).collect() } else { vec![(at, 1 << (at % 8)), (at, 0xff)] }
    });
    let body: Vec<(usize, u8)> = (0..setting("SSE_SAM_BODY_FLIPS", 300))
        .map(|_| (header + random.below(length - header), 1 << random.below(8)))
        .collect();
    for (at, bits) in flips.chain(body) {
        let mut changed = bytes.clone();
        changed[at] ^= bits;
        match read(&changed) {
            Err(Error::Weights { .. }) => {}
            Err(error) => panic!("byte {at}: {error}"),
            // A space that became another space is no damage.
            Ok((found, _)) => assert!(at < header && found.position == position, "byte {at} is not noticed"),
        }
    }
    for _ in 0..setting("SSE_SAM_TRUNCATIONS", 50) {
        let end = random.below(length);
        assert!(matches!(read(&bytes[..end]), Err(Error::Weights { .. })), "{end}");
    }
}

#[test]
fn reading_a_checkpoint_takes_less_than_twice_its_size() {
    let folder = tempdir().unwrap();
    let path = trained(folder.path(), "resnet8:16");
    let layout = layout("resnet8:16");
    let bytes = fs::read(&path).unwrap();
    let limit = 2 * bytes.len();
    let (whole, held) = peak(|| Checkpoint::read(&path, &layout));
    whole.unwrap();
    println!("{held} bytes of memory for a checkpoint of {}", bytes.len());
    assert!(held < limit, "{held} bytes of memory for a file of {}", bytes.len());
    for at in [0, 3, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        fs::write(&path, changed).unwrap();
        let (result, held) = peak(|| Checkpoint::read(&path, &layout));
        assert!(matches!(result, Err(Error::Weights { .. })), "byte {at}");
        assert!(held < limit, "byte {at}: {held} bytes of memory for a file of {}", bytes.len());
    }
}
