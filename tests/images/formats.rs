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
    // A map says another order, and never another class.
    fs::write(home.path().join("map.txt"), "dog\ncat\n").unwrap();
    for (out, data) in [("mapped", "shards"), ("mapped-folder", "pets")] {
        train(home.path(), out, 2, &["--data", data, "--class-map", "map.txt"]);
        assert_eq!(classes(home.path(), out), ["dog", "cat"]);
        assert_eq!(weights_of(home.path(), out).1["class_counts"], "2,3");
    }
    assert_eq!(weights_of(home.path(), "mapped").0, weights_of(home.path(), "mapped-folder").0);
}

#[test]
fn arrays_without_a_test_set_are_measured_on_what_is_set_aside() {
    let Some(home) = shared::unpacked("difficult.tar.gz") else { return };
    let npz = home.path().join("difficult/npz/no_test.npz").display().to_string();
    let args = ["train", "--data", &npz, "--model", "mlp:48-4-3", "--epochs", "1", "--device", "cpu", "--out", "out"];
    let outcome = run(home.path(), &args);
    let says = "no_test.npz has no test set: --validation 0.2 sets a fifth of each class aside to measure on";
    assert!(outcome.code == 2 && outcome.stderr.contains(says), "{}", outcome.stderr);
    let outcome = run(home.path(), &[&args[..], &["--validation", "0.3"]].concat());
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
}

#[test]
fn parquet_files_hold_the_pictures_of_their_folders() {
    let Some(home) = shared::unpacked("trash-set.tar") else { return };
    let set = home.path().join("trash-set");
    let outcome = run(
        &set,
        &[
            "train",
            "--data",
            "parquet",
            "--image-size",
            "8",
            "--model",
            "mlp:192-4-6",
            "--epochs",
            "1",
            "--method",
            "sgd",
            "--device",
            "cpu",
            "--out",
            "out",
        ],
    );
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(classes(&set, "out"), ["cardboard", "glass", "metal", "paper", "plastic", "trash"]);
    // Files by themselves, for what the options say.
    let [train, test] =
        ["train-00000-of-00002", "test-00000-of-00001"].map(|name| format!("parquet/data/{name}.parquet"));
    let args =
        ["train", "--train", &train, "--test", &test, "--image-size", "8", "--model", "mlp:192-4-6", "--epochs", "1"];
    let outcome = run(&set, &[&args[..], &["--device", "cpu", "--out", "named"]].concat());
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("test       40 pictures of 6 classes"), "{}", outcome.stdout);
    // The same validation pictures as files.
    let folders = run(&set, &["eval", "out/last.safetensors", "--data", "trash/val", "--device", "cpu", "--json"]);
    let parquet = run(&set, &["eval", "out/last.safetensors", "--data", "parquet/data", "--device", "cpu", "--json"]);
    assert_eq!((folders.code, parquet.code), (0, 0), "{}{}", folders.stderr, parquet.stderr);
    let samples = |outcome: &Outcome| serde_json::from_str::<Value>(&outcome.stdout).unwrap()["samples"].clone();
    assert_eq!((samples(&folders), samples(&parquet)), (Value::from(72), Value::from(40)));
}
