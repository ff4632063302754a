//! The same pictures through every way to store them: the same training, bit for bit.

use super::*;

#[test]
fn tar_shards_give_the_same_training_as_folders() {
    let home = pets();
    train(home.path(), "folder", 2, &["--data", "pets"]);
    let shard = |name: &str, samples: &[(&str, &str, u32)]| {
        let mut archive = tar::Builder::new(fs::File::create(home.path().join(name)).unwrap());
        for (number, (file, ending, label)) in samples.iter().enumerate() {
            for (ending, bytes) in [(*ending, picture(file)), ("cls", label.to_string().into_bytes())] {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                archive.append_data(&mut header, format!("{number:04}.{ending}"), &bytes[..]).unwrap();
            }
        }
        archive.finish().unwrap();
    };
    fs::create_dir(home.path().join("shards")).unwrap();
    let first = [("420.jpg", "jpg", 0), ("palette.png", "png", 0), ("lossless.webp", "webp", 0)];
    shard("shards/train-000000.tar", &first);
    // Its content decides what a picture is.
    shard("shards/train-000001.tar", &[("grey.jpg", "jpg", 1), ("24.bmp", "png", 1)]);
    shard("shards/test-000000.tar", &[("422.jpg", "jpg", 0), ("grey.png", "png", 1)]);
    fs::write(home.path().join("shards/classnames.txt"), "cat\ndog\n").unwrap();
    train(home.path(), "shards-run", 2, &["--data", "shards"]);
    assert_eq!(weights_of(home.path(), "folder").0, weights_of(home.path(), "shards-run").0);
    assert_eq!(classes(home.path(), "shards-run"), ["cat", "dog"]);
}
