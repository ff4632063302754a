//! What was reported of other loaders, each in the situation that it was reported in.

use sse_sam_tests::needs;

use super::*;

#[test]
fn a_picture_that_is_cut_off_is_found_before_training() {
    let home = pets();
    let whole = picture("444.jpg");
    write(home.path(), &[("pets/train/dog/cut.jpg", whole[..whole.len() / 2].to_vec())]);
    let names = ["cut.jpg", "is JPEG that is cut off", "--bad-images skip"];
    refused(home.path(), &["--data", "pets", "--verify"], &names);
    let skipped = train(home.path(), "out", 2, &["--data", "pets", "--verify", "--bad-images", "skip"]);
    assert!(skipped.stderr.contains("a picture is left out: pets/train/dog/cut.jpg"), "{}", skipped.stderr);
    // It is no training sample when classes are counted.
    assert_eq!(weights_of(home.path(), "out").1["class_counts"], "3,2");
}

#[test]
fn a_picture_that_goes_bad_later_stops_the_run_with_its_name() {
    let home = pets();
    let whole = picture("444.jpg");
    write(home.path(), &[("pets/train/dog/cut.jpg", whole[..whole.len() - 300].to_vec())]);
    let outcome = run(home.path(), &training("out", 2, &["--data", "pets"]));
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("pets/train/dog/cut.jpg: is JPEG that is cut off"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--verify finds such pictures before training"), "{}", outcome.stderr);
}

#[test]
fn damaged_metadata_harm_nobody() {
    let home = pets();
    // An APP1 segment that calls itself EXIF and holds nothing that is.
    let jpeg = picture("420.jpg");
    let exif = [&[0xff, 0xe1, 0, 18][..], b"Exif\0\0MM\0\x2a\xff\xff\xff\xff\x12\x34"].concat();
    write(home.path(), &[("pets/train/dog/exif.jpg", [&jpeg[..2], &exif, &jpeg[2..]].concat())]);
    let outcome = train(home.path(), "out", 2, &["--data", "pets", "--verify", "--exif", "apply"]);
    assert_eq!(outcome.stderr.lines().filter(|line| line.contains("warning")).count(), 0, "{}", outcome.stderr);
}

#[test]
fn an_exif_orientation_is_said_once_and_followed_only_on_request() {
    let home = pets();
    write(home.path(), &[("pets/train/dog/turned.jpg", picture("turned.jpg"))]);
    let outcome = train(home.path(), "plain", 2, &["--data", "pets"]);
    let says = "1 picture has an EXIF orientation, which is ignored (--exif apply turns it)";
    assert_eq!(outcome.stderr.matches(says).count(), 1, "{}", outcome.stderr);
    let outcome = train(home.path(), "turned", 2, &["--data", "pets", "--exif", "apply"]);
    assert!(!outcome.stderr.contains("EXIF"), "{}", outcome.stderr);
    assert_ne!(weights_of(home.path(), "plain").0, weights_of(home.path(), "turned").0);
    // Weights remember it: predict follows the run and takes no such option.
    for run_ in ["plain", "turned"] {
        let weights = format!("{run_}/last.safetensors");
        let line = run(
            home.path(),
            &["predict", &weights, "pets/train/dog/turned.jpg", "--format", "json", "--device", "cpu"],
        );
        assert_eq!(line.code, 0, "{}", line.stderr);
    }
    assert_eq!(run(home.path(), &["predict", "plain", "pets", "--exif", "apply"]).code, 2);
}

#[test]
fn cmyk_pictures_are_trained_on_without_a_word() {
    let home = pets();
    write(home.path(), &[("pets/train/dog/cmyk.jpg", picture("cmyk.jpg"))]);
    let outcome = train(home.path(), "out", 2, &["--data", "pets", "--verify"]);
    assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
    assert_eq!(weights_of(home.path(), "out").1["class_counts"], "3,3");
}

#[test]
fn an_extension_that_lies_changes_nothing() {
    let (honest, lying) = (pets(), pets());
    write(
        honest.path(),
        &[("pets/train/dog/x.png", picture("palette.png")), ("pets/train/dog/y.gif", picture("palette.gif"))],
    );
    write(
        lying.path(),
        &[("pets/train/dog/x.JPEG", picture("palette.png")), ("pets/train/dog/y.jpg", picture("palette.gif"))],
    );
    for home in [&honest, &lying] {
        train(home.path(), "out", 2, &["--data", "pets"]);
    }
    assert_eq!(weights_of(honest.path(), "out").0, weights_of(lying.path(), "out").0);
}

#[test]
fn grey_values_of_16_bits_do_not_become_white() {
    let home = pets();
    write(home.path(), &[("pets/train/dog/16.png", picture("16.png"))]);
    let outcome = train(home.path(), "shift", 2, &["--data", "pets"]);
    let says = "1 picture has grey values of 16 bits: their upper 8 are taken";
    assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
    train(home.path(), "clip", 2, &["--data", "pets", "--grey16", "clip"]);
    assert_ne!(weights_of(home.path(), "shift").0, weights_of(home.path(), "clip").0);
}

#[test]
fn palettes_are_resolved_and_alpha_is_dropped_and_said_once() {
    let home = pets();
    write(
        home.path(),
        &[("pets/train/dog/a.webp", picture("alpha.webp")), ("pets/train/dog/b.png", picture("grey-alpha.png"))],
    );
    let outcome = train(home.path(), "out", 2, &["--data", "pets"]);
    let says = "2 pictures have an alpha channel, which is dropped";
    assert_eq!(outcome.stderr.matches(says).count(), 1, "{}", outcome.stderr);
}

#[test]
fn what_systems_leave_beside_pictures_is_no_sample_and_no_class() {
    let (clean, home) = (pets(), pets());
    let junk = [
        "pets/train/cat/._1.jpg",
        "pets/train/.DS_Store",
        "pets/train/.ipynb_checkpoints/1.jpg",
        "pets/train/cat/Thumbs.db",
    ];
    write(home.path(), &junk.map(|name| (name, b"junk".to_vec())));
    write(home.path(), &[("pets/__MACOSX/cat/._1.jpg", vec![]), ("pets/train/__MACOSX/x.jpg", vec![])]);
    train(clean.path(), "out", 2, &["--data", "pets"]);
    let outcome = train(home.path(), "out", 2, &["--data", "pets"]);
    assert_eq!(weights_of(clean.path(), "out").0, weights_of(home.path(), "out").0);
    assert!(outcome.stdout.contains("left out: 4 with hidden names, 1 that are no pictures"), "{}", outcome.stdout);
}

#[test]
fn an_empty_class_folder_stays_a_class() {
    let home = pets();
    fs::create_dir(home.path().join("pets/train/bird")).unwrap();
    let outcome = train(home.path(), "out", 3, &["--data", "pets"]);
    assert!(outcome.stderr.contains("class bird has no training sample"), "{}", outcome.stderr);
    assert_eq!(classes(home.path(), "out"), ["bird", "cat", "dog"]);
}

#[test]
fn a_class_of_the_test_set_that_is_not_trained_is_an_error() {
    let home = pets();
    write(home.path(), &[("pets/test/zebra/1.jpg", picture("420.jpg"))]);
    let names = ["pets/test", "has the class zebra, which the training set does not have", "--extra-classes ignore"];
    refused(home.path(), &["--data", "pets"], &names);
    let outcome = train(home.path(), "out", 2, &["--data", "pets", "--extra-classes", "ignore"]);
    assert!(outcome.stdout.contains("test       2 pictures of 2 classes"), "{}", outcome.stdout);
}

#[test]
fn weights_are_tested_by_the_names_of_classes_and_not_by_their_order() {
    let home = pets();
    train(home.path(), "out", 2, &["--data", "pets"]);
    // Only dogs: by order of folders they would be class 0.
    write(home.path(), &[("dogs/dog/9.png", picture("grey.png")), ("zebras/zebra/9.png", picture("grey.png"))]);
    let all = run(home.path(), &["eval", "out", "--device", "cpu", "--json"]);
    let dogs = run(home.path(), &["eval", "out", "--data", "dogs", "--device", "cpu", "--json"]);
    assert_eq!((all.code, dogs.code), (0, 0), "{}{}", all.stderr, dogs.stderr);
    let class = |text: &str| serde_json::from_str::<Value>(text).unwrap()["classes"][1].clone();
    assert_eq!(class(&all.stdout), class(&dogs.stdout));
    assert_eq!(class(&dogs.stdout)["name"], "dog");
    let zebras = run(home.path(), &["eval", "out", "--data", "zebras", "--device", "cpu"]);
    assert!(zebras.code == 1 && zebras.stderr.contains("has the class zebra"), "{}", zebras.stderr);
}

#[test]
fn classes_come_in_torchvisions_order_unless_a_map_says_another() {
    let home = tempdir().unwrap();
    for (class, file) in [("1", "420.jpg"), ("10", "422.jpg"), ("2", "grey.png")] {
        write(
            home.path(),
            &[(&format!("n/train/{class}/x"), vec![]), (&format!("n/train/{class}/x.jpg"), picture(file))],
        );
        write(home.path(), &[(&format!("n/test/{class}/x.jpg"), picture(file))]);
    }
    train(home.path(), "out", 3, &["--data", "n"]);
    assert_eq!(classes(home.path(), "out"), ["1", "10", "2"]);
    fs::write(home.path().join("map.txt"), "1\n2\n10\n").unwrap();
    train(home.path(), "mapped", 3, &["--data", "n", "--class-map", "map.txt"]);
    assert_eq!(classes(home.path(), "mapped"), ["1", "2", "10"]);
}

#[test]
fn samples_are_in_the_order_of_their_paths_whatever_the_disk_says() {
    let (one, other) = (tempdir().unwrap(), tempdir().unwrap());
    let files = ["420.jpg", "grey.png", "24.bmp", "lossless.webp", "palette.png", "422.jpg"];
    let names: Vec<String> = (0..6).map(|i| format!("d/{}/{}.png", ["a", "b"][i % 2], 9 - i)).collect();
    let write_all = |home: &Path, order: &mut dyn Iterator<Item = usize>| {
        order.for_each(|i| write(home, &[(&names[i], picture(files[i]))]));
    };
    write_all(one.path(), &mut (0..6));
    write_all(other.path(), &mut (0..6).rev());
    for home in [&one, &other] {
        train(home.path(), "out", 2, &["--data", "d", "--validation", "0.3"]);
    }
    assert_eq!(weights_of(one.path(), "out").0, weights_of(other.path(), "out").0);
}

#[test]
fn endings_in_capitals_are_endings() {
    let (small, large) = (pets(), pets());
    write(small.path(), &[("pets/train/dog/x.jpeg", picture("422.jpg"))]);
    write(large.path(), &[("pets/train/dog/x.JPEG", picture("422.jpg"))]);
    for home in [&small, &large] {
        train(home.path(), "out", 2, &["--data", "pets"]);
    }
    assert_eq!(weights_of(small.path(), "out").0, weights_of(large.path(), "out").0);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_name_their_classes() {
    use std::os::unix::fs::symlink;
    let home = pets();
    let train_ = home.path().join("pets/train");
    fs::rename(train_.join("dog"), home.path().join("kept elsewhere")).unwrap();
    symlink(home.path().join("kept elsewhere"), train_.join("dog")).unwrap();
    symlink("..", train_.join("cat/up")).unwrap();
    let outcome = train(home.path(), "out", 2, &["--data", "pets"]);
    assert!(outcome.stdout.contains("training   5 pictures of 2 classes"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("1 that lead back"), "{}", outcome.stdout);
    assert_eq!(classes(home.path(), "out"), ["cat", "dog"]);
    // A link to nothing is a picture that cannot be read.
    symlink("nowhere.jpg", train_.join("cat/lost.jpg")).unwrap();
    refused(home.path(), &["--data", "pets"], &["pets/train/cat/lost.jpg", "cannot be read"]);
}

#[test]
fn a_header_that_promises_too_much_is_refused_by_its_numbers() {
    let home = pets();
    let mut bmp = picture("24.bmp");
    bmp[18..26].copy_from_slice(&[0x30, 0x75, 0, 0, 0x30, 0x75, 0, 0]);
    write(home.path(), &[("pets/train/dog/huge.bmp", bmp)]);
    refused(home.path(), &["--data", "pets"], &["huge.bmp", "30000 x 30000 pixels", "--max-pixels"]);
    let limit = ["--data", "pets", "--max-pixels", "1000", "--bad-images", "skip"];
    let names = ["none of which can be used, first", "has 41 x 30 pixels"];
    let outcome = run(home.path(), &training("out", 2, &limit));
    names.iter().for_each(|part| assert!(outcome.stderr.contains(part), "{}", outcome.stderr));
}

#[test]
fn names_in_any_letters_are_read_and_shown() {
    let home = pets();
    let name = "pets/train/dog/日本 é \"quoted\", emoji 🐕.png";
    write(home.path(), &[(name, picture("grey.png"))]);
    train(home.path(), "out", 2, &["--data", "pets"]);
    let line = run(home.path(), &["predict", "out/last.safetensors", name, "--format", "csv", "--device", "cpu"]);
    assert_eq!(line.code, 0, "{}", line.stderr);
    assert!(line.stdout.contains("\"pets/train/dog/日本 é \"\"quoted\"\", emoji 🐕.png\",,"), "{}", line.stdout);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_read_too() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let home = pets();
    let path = home.path().join("pets/train/dog").join(OsStr::from_bytes(b"latin1_\xe9.png"));
    fs::write(path, picture("grey.png")).unwrap();
    let outcome = train(home.path(), "out", 2, &["--data", "pets"]);
    assert!(outcome.stdout.contains("training   6 pictures"), "{}", outcome.stdout);
}

#[test]
fn a_folder_that_is_a_class_itself_gets_a_hint() {
    let home = pets();
    let names = ["pets/train/dog: holds no class folder, but 2 pictures", "give the folder above it, pets/train"];
    refused(home.path(), &["--data", "pets/train/dog"], &names);
}

#[test]
fn folders_of_splits_are_no_classes() {
    let home = pets();
    train(home.path(), "out", 2, &["--data", "pets"]);
    assert_eq!(classes(home.path(), "out"), ["cat", "dog"]);
    // One set without splits: some of it is set aside, or nothing is trained.
    refused(home.path(), &["--data", "pets/train"], &["train has no test set", "--validation 0.2"]);
    train(home.path(), "one", 2, &["--data", "pets/train", "--validation", "0.4"]);
    assert_eq!(classes(home.path(), "one"), ["cat", "dog"]);
}

#[test]
fn predict_sees_pictures_as_the_evaluation_does() {
    let home = pets();
    let how = ["--data", "pets", "--resize", "11", "--interpolation", "bicubic", "--exif", "apply"];
    train(home.path(), "out", 2, &how);
    let evaluated = run(home.path(), &["eval", "out/last.safetensors", "--device", "cpu", "--json"]);
    let evaluated: Value = serde_json::from_str(&evaluated.stdout).unwrap();
    let lines =
        run(home.path(), &["predict", "out/last.safetensors", "pets/test", "--format", "json", "--device", "cpu"]);
    assert_eq!(lines.code, 0, "{}", lines.stderr);
    let predicted: Vec<Value> = lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = |(label, line): (u64, &Value)| serde_json::json!([label, line["top"][0]["class"], 1]);
    // The test set's pictures are of class 0 and of class 1, in this order.
    let pairs: Vec<Value> = (0..).zip(&predicted).map(found).collect();
    assert_eq!(evaluated["confusion"], Value::Array(pairs));
    for option in ["--image-size", "--resize", "--exif"] {
        assert_eq!(run(home.path(), &["predict", "out", "pets/test", option, "8"]).code, 2, "{option}");
    }
}

#[test]
fn a_run_that_was_stopped_in_mid_epoch_goes_on_with_the_same_pictures() {
    let home = pets();
    let how =
        ["--data", "pets", "--augment", "imagenet", "--jitter", "0.4,0.4,0.4,0.1", "--epochs", "3", "--batch", "1"];
    train(home.path(), "whole", 2, &how);
    train(home.path(), "more", 2, &[&how[..], &["--workers", "3"]].concat());
    assert_eq!(weights_of(home.path(), "whole").0, weights_of(home.path(), "more").0);
    // Cut at the end of an epoch, and continued for more: as if it had never ended.
    let short = [&how[..6], &["--epochs", "2", "--schedule", "constant", "--batch", "1"]].concat();
    let long = [&how[..6], &["--epochs", "3", "--schedule", "constant", "--batch", "1"]].concat();
    train(home.path(), "short", 2, &short);
    train(home.path(), "long", 2, &long);
    let resumed = run(home.path(), &["resume", "short", "--epochs", "3"]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    assert_eq!(weights_of(home.path(), "short").0, weights_of(home.path(), "long").0);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_picture_and_nobody_waits_for_it() {
    let home = pets();
    let pipe = home.path().join("pets/train/dog/pipe.png");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let outcome = train(home.path(), "out", 2, &["--data", "pets"]);
    assert!(outcome.stdout.contains("left out: 1 that are no pictures"), "{}", outcome.stdout);
    fs::write(home.path().join("train.txt"), "train/dog/pipe.png 0\ntrain/cat/1.jpg 1\n").unwrap();
    let args = ["--train", "train.txt", "--data-root", "pets", "--validation", "0.5"];
    refused(home.path(), &args, &["pets/train/dog/pipe.png", "is no file"]);
}

#[test]
fn a_place_with_several_splits_stands_for_the_one_it_is_named_for() {
    let home = pets();
    train(home.path(), "plain", 2, &["--data", "pets"]);
    train(home.path(), "named", 2, &["--train", "pets", "--test", "pets"]);
    assert_eq!(weights_of(home.path(), "plain").0, weights_of(home.path(), "named").0);
}

#[test]
fn a_set_of_which_nothing_is_left_is_an_error() {
    let home = pets();
    for name in ["pets/test/cat/9.jpg", "pets/test/dog/9.png"] {
        fs::write(home.path().join(name), "no picture").unwrap();
    }
    let says = ["has 2 test pictures, none of which can be used", "pets/test/cat/9.jpg"];
    refused(home.path(), &["--data", "pets", "--bad-images", "skip"], &says);
}

#[test]
fn an_opencl_device_sees_the_same_pictures_whoever_decodes_them() {
    if !needs::has_opencl(sse_sam::opencl::devices().map_or(0, |devices| devices.len())) {
        return;
    }
    let home = pets();
    // Staged and cut out anew in each epoch; batches of one, so that there are more of them than slots.
    let how = ["--data", "pets", "--augment", "imagenet", "--epochs", "3", "--batch", "1", "--device", "opencl"];
    train(home.path(), "one", 2, &[&how[..], &["--workers", "1"]].concat());
    train(home.path(), "more", 2, &[&how[..], &["--workers", "3"]].concat());
    assert_eq!(weights_of(home.path(), "one").0, weights_of(home.path(), "more").0);
    // What lies on the device as a whole is as on the CPU core, up to rounding.
    for device in ["opencl", "cpu"] {
        train(home.path(), device, 2, &["--data", "pets", "--augment", "none", "--device", device]);
    }
    let numbers = |out: &str| -> Vec<f32> {
        weights_of(home.path(), out)
            .0
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    };
    let (found, right) = (numbers("opencl"), numbers("cpu"));
    assert_eq!(found.len(), right.len());
    let largest = found.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-4, "{largest:e}");
}
