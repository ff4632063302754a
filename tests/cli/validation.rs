//! Which epoch is the best, and how that is chosen: on a validation set, or on the test set, and then it is said.

use super::data::idx;
use super::*;

/// The number under a kind of accuracy in each epoch's line.
fn course(lines: &[Value], set: &str, kind: &str) -> Vec<f64> {
    lines.iter().map(|line| line[set][kind].as_f64().unwrap()).collect()
}

/// The first epoch of the largest number.
fn first_largest(numbers: &[f64]) -> usize {
    let largest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    numbers.iter().position(|&number| number == largest).unwrap()
}

/// The epoch in the second row of what `train` prints.
fn chosen(outcome: &Outcome, how: &str) -> usize {
    let rest = outcome.stdout.split_once(&format!("\nbest on {how} (epoch ")).expect("there is a best epoch").1;
    rest.split_once(')').unwrap().0.parse().unwrap()
}

#[test]
fn the_best_epoch_is_chosen_on_the_samples_that_are_set_aside() {
    let folder = tempdir().unwrap();
    let outcome = train(folder.path(), "out", &["--epochs", "6", "--validation", "0.25", "--lr", "0.2"]);
    assert!(
        outcome.stdout.starts_with(
            "digits: 784 training images in 10 classes of 376 to 7 (5 head, 5 tail at eta 60), \
             264 validation and 1797 test images of"
        ),
        "{}",
        outcome.stdout
    );
    let lines = metrics(folder.path(), "out");
    let best = first_largest(&course(&lines, "validation", "balanced"));
    assert_eq!(chosen(&outcome, "validation"), best);
    assert!(outcome.stdout.contains("best by balanced accuracy on 264 validation images\n"), "{}", outcome.stdout);
    assert!(outcome.stdout.ends_with("evaluation.json, last.safetensors, best.safetensors\n"), "{}", outcome.stdout);
    assert!(!folder.path().join("out/best-on-test.safetensors").exists());
    // Its weights are those of that epoch: the test set says so.
    let text = run(folder.path(), &["eval", "out", "--json"]);
    assert_eq!(text.stderr, "sse-sam: taking out/best.safetensors\n");
    let evaluation: Value = serde_json::from_str(&text.stdout).unwrap();
    for kind in ["overall", "balanced", "many", "medium", "few", "worst", "top5", "ece"] {
        assert_eq!(evaluation["accuracy"][kind], lines[best]["accuracy"][kind], "{kind}");
    }
    // Head and tail go by all of a class's samples.
    let (_, metadata) = tensors(&folder.path().join("out/best.safetensors"));
    assert_eq!(metadata["class_counts"], "376,243,157,102,66,42,27,17,11,7");
}

#[test]
fn without_a_validation_set_the_best_epoch_is_called_one_of_the_test_set() {
    let folder = tempdir().unwrap();
    let outcome = train(folder.path(), "out", &["--epochs", "3"]);
    let lines = metrics(folder.path(), "out");
    assert_eq!(chosen(&outcome, "test"), first_largest(&course(&lines, "accuracy", "balanced")));
    assert!(outcome.stdout.contains("1797 test images; best by balanced accuracy, chosen on these same images\n"));
    assert!(lines[0].get("validation").is_none() && !folder.path().join("out/best.safetensors").exists());
}

#[test]
fn samples_that_are_set_aside_are_drawn_by_the_seed_and_not_trained_on() {
    let folder = tempdir().unwrap();
    let options = ["--epochs", "1", "--validation", "0.25", "--lr", "0"];
    let first = |out: &str, seed: &str| {
        train(folder.path(), out, &[&options[..], &["--seed", seed]].concat());
        metrics(folder.path(), out).remove(0)
    };
    let (one, again, other) = (first("one", "1"), first("again", "1"), first("other", "2"));
    assert_eq!(one, again);
    assert_ne!(one["validation"], other["validation"]);
    // Of 7 samples 2 are set aside, of 11 and 17 three and four: the smallest steps of their accuracies.
    let per_class = |line: &Value, class: usize| line["validation"]["per_class"][class].as_f64().unwrap();
    for (class, held) in [(9, 2.0), (8, 3.0), (7, 4.0)] {
        let count = per_class(&one, class) * held / 100.0;
        assert!((count - count.round()).abs() < 1e-9, "class {class}: {count}");
    }
}

#[test]
fn a_run_stops_when_no_epoch_becomes_better() {
    let folder = tempdir().unwrap();
    // At a rate of 0 the first epoch is the best.
    let outcome =
        train(folder.path(), "out", &["--epochs", "9", "--validation", "0.2", "--patience", "3", "--lr", "0"]);
    assert_eq!(metrics(folder.path(), "out").len(), 4);
    let sentence = "stopped after 4 epochs: none since epoch 0 was better on the validation set";
    assert!(outcome.stderr.contains(sentence), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("\nlast (epoch 3)") && outcome.stdout.contains("\nbest on validation (epoch 0)"));
    for file in ["last.safetensors", "best.safetensors", "evaluation.json"] {
        assert!(folder.path().join("out").join(file).exists(), "{file}");
    }
    let listed = run(folder.path(), &["runs", "out"]).stdout;
    assert!(listed.contains("4/9") && listed.contains("finished"), "{listed}");
    let resumed = run(folder.path(), &["resume", "out"]);
    assert_eq!(resumed.code, 1);
    assert!(
        resumed.stderr.contains("this run is finished after 4 epochs\n  hint: it has stopped early"),
        "{}",
        resumed.stderr
    );
}

#[test]
fn the_last_evaluation_of_a_run_is_what_eval_says_of_its_last_weights() {
    let folder = tempdir().unwrap();
    for flip in [false, true] {
        let (out, option) = if flip { ("flip", &["--flip"][..]) } else { ("plain", &[][..]) };
        train(folder.path(), out, &[&["--epochs", "2"], option].concat());
        let weights = format!("{out}/last.safetensors");
        let eval = run(folder.path(), &[&["eval", &weights, "--json"], option].concat());
        let mut said: Value = serde_json::from_str(&eval.stdout).unwrap();
        assert_eq!(said["weights"], weights.as_str());
        said["weights"] = "last.safetensors".into();
        let file = fs::read_to_string(folder.path().join(out).join("evaluation.json")).unwrap();
        assert_eq!(said, serde_json::from_str::<Value>(&file).unwrap());
        assert_eq!((&said["flip"], &said["samples"]), (&flip.into(), &1797.into()));
        let of =
            |key: &str| said["classes"].as_array().unwrap().iter().map(|class| class[key].clone()).collect::<Vec<_>>();
        assert_eq!(of("training"), [376, 243, 157, 102, 66, 42, 27, 17, 11, 7]);
        assert_eq!(of("tail"), [[false; 5], [true; 5]].concat());
        assert_eq!(of("shot"), [["many"; 4].as_slice(), &["medium"; 2], &["few"; 4]].concat());
        let pairs: Vec<[u64; 3]> = serde_json::from_value(said["confusion"].clone()).unwrap();
        assert_eq!(pairs.iter().map(|pair| pair[2]).sum::<u64>(), 1797);
        let right: u64 = pairs.iter().filter(|pair| pair[0] == pair[1]).map(|pair| pair[2]).sum();
        let overall = said["accuracy"]["overall"].as_f64().unwrap();
        assert!((overall - 100.0 * right as f64 / 1797.0).abs() < 1e-9);
        let line = metrics(folder.path(), out).pop().unwrap();
        assert_eq!(line["accuracy"]["ece"], said["accuracy"]["ece"]);
        assert!(said["accuracy"]["ece"].as_f64().is_some_and(|ece| ece > 0.0 && ece < 60.0), "{said}");
    }
}

/// A folder of IDX files with a validation set of its own: pictures of three sets with these labels.
fn with_own(folder: &Path, validation: &[u8]) {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let train = [vec![0; 30], vec![1; 6]].concat();
    let test = [vec![0; 10], vec![1; 10]].concat();
    for (name, labels) in [("train", &train[..]), ("t10k", &test), ("val", validation)] {
        let image = |&label: &u8| [40 + 100 * label; 16];
        let images: Vec<u8> = labels.iter().flat_map(image).collect();
        let count = labels.len() as u32;
        fs::write(data.join(format!("{name}-images-idx3-ubyte")), idx(&[count, 4, 4], &images)).unwrap();
        fs::write(data.join(format!("{name}-labels-idx1-ubyte")), idx(&[count], labels)).unwrap();
    }
}

#[test]
fn a_validation_set_that_data_bring_is_used() {
    let folder = tempdir().unwrap();
    with_own(folder.path(), &[0, 0, 1]);
    let options = ["train", "--data", "data", "--model", "mlp:16-4-2", "--epochs", "2", "--out"];
    let outcome = run(folder.path(), &[&options[..], &["own"]].concat());
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("36 training images") && outcome.stdout.contains(" 3 validation and 20 test images")
    );
    assert!(outcome.stdout.contains("best on validation (epoch "), "{}", outcome.stdout);
    refused(
        folder.path(),
        &[&options[..], &["out", "--validation", "0.1"]].concat(),
        2,
        &["--validation does nothing here: data has a validation set of its own"],
    );
    // Other pictures to validate on are other data.
    with_own(folder.path(), &[0, 1, 1]);
    let outcome = run(folder.path(), &["train", "--config", "own", "--out", "again"]);
    assert!(
        outcome.stderr.contains("the data are not those that the configuration was made with"),
        "{}",
        outcome.stderr
    );
    // Half a validation set is none.
    fs::remove_file(folder.path().join("data/val-labels-idx1-ubyte")).unwrap();
    refused(folder.path(), &[&options[..], &["out"]].concat(), 1, &["data: val-labels-idx1-ubyte is missing"]);
    with_own(folder.path(), &[0, 2]);
    refused(
        folder.path(),
        &[&options[..], &["out"]].concat(),
        1,
        &["val-labels-idx1-ubyte: label 2 at byte 9 is not below 2"],
    );
}

#[test]
fn a_picture_that_is_its_own_mirror_image_is_as_sure_with_it() {
    let folder = tempdir().unwrap();
    with_own(folder.path(), &[0, 1]);
    let options = ["train", "--data", "data", "--model", "mlp:16-4-2", "--epochs", "2", "--out", "run"];
    assert_eq!(run(folder.path(), &options).code, 0);
    let eval = |more: &[&str]| -> Value {
        let args = [&["eval", "run/last.safetensors", "--json"], more].concat();
        let mut said: Value = serde_json::from_str(&run(folder.path(), &args).stdout).unwrap();
        said["flip"] = Value::Null;
        said
    };
    assert_eq!(eval(&[]), eval(&["--flip"]));
    assert!(eval(&[])["accuracy"]["ece"].as_f64().unwrap() > 0.1);
}

#[test]
fn a_validation_set_is_the_same_wherever_its_pictures_lie() {
    let folder = tempdir().unwrap();
    let options = ["--model", "resnet8:2", "--epochs", "2", "--validation", "0.3", "--flip"];
    let lines = |out: &str, device: &[&str]| {
        train(folder.path(), out, &[&options[..], device].concat());
        metrics(folder.path(), out)
    };
    let cpu = lines("cpu", &["--device", "cpu"]);
    if !has_opencl() {
        return;
    }
    let whole = lines("whole", &["--device", "opencl"]);
    // From too little for the network to enough for all: somewhere between, the data are staged.
    let mut sizes = (0..40).map(|step| format!("{:.2}", 4.0 + 0.1 * f64::from(step)));
    let staged = sizes.find(|size| {
        let device = ["train", "--out", size, "--device", "opencl", "--device-memory", size];
        run(folder.path(), &[&device[..], &SMALL[..], &options[..]].concat()).stdout.contains("data staged")
    });
    assert_eq!(metrics(folder.path(), &staged.expect("some size has room for the network alone")), whole);
    let near = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 3.0;
    for (a, b) in cpu.iter().zip(&whole) {
        assert!(near(&a["validation"]["balanced"], &b["validation"]["balanced"]), "{a} and {b}");
    }
}

#[test]
fn shares_and_patience_that_mean_nothing_are_refused() {
    let folder = tempdir().unwrap();
    for share in ["0", "1", "-0.5", "NaN", "2"] {
        let share = format!("--validation={share}");
        refused(
            folder.path(),
            &["train", "--out", "out", &share],
            2,
            &["--validation must be above 0 and below 1, got "],
        );
    }
    let sentence = "--patience needs a validation set to look at: --validation 0.1 sets a tenth of each class aside";
    refused(folder.path(), &["train", "--out", "out", "--patience", "3"], 2, &[sentence]);
    refused(folder.path(), &["train", "--out", "out", "--patience", "0", "--validation", "0.1"], 2, &["--patience"]);
}
