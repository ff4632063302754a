//! Data from elsewhere, and what their classes make of a run.

use super::*;

/// A folder `data` with two classes of 4 x 4 images, dark and bright: 30 and 6 to train, 10 each to test.
fn two_classes() -> TempDir {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let images = |labels: &[u8]| -> Vec<u8> {
        let pixel = |index: usize, label: u8, at: usize| 40 + 150 * label + ((index * 7 + at * 5) % 31) as u8;
        let image = |(index, &label): (usize, &u8)| (0..16).map(move |at| pixel(index, label, at)).collect::<Vec<_>>();
        labels.iter().enumerate().flat_map(image).collect()
    };
    let labels = |counts: [usize; 2]| [vec![0; counts[0]], vec![1; counts[1]]].concat();
    let (train, test) = (labels([30, 6]), labels([10, 10]));
    let files = [
        idx(&[train.len() as u32, 4, 4], &images(&train)),
        idx(&[train.len() as u32], &train),
        idx(&[test.len() as u32, 4, 4], &images(&test)),
        idx(&[test.len() as u32], &test),
    ];
    NAMES.iter().zip(files).for_each(|(name, bytes)| fs::write(data.join(name), bytes).unwrap());
    folder
}

pub const NAMES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

pub fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let sides = dimensions.iter().flat_map(|side| side.to_be_bytes());
    [0, 0, 8, dimensions.len() as u8].into_iter().chain(sides).chain(values.iter().copied()).collect()
}

/// The data that is too large to come with the program, where there is any.
fn large_data(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("SSE_SAM_DATA").map(|folder| PathBuf::from(folder).join(name));
    let found = path.filter(|path| path.is_dir());
    if found.is_none() {
        needs::skip(&format!("SSE_SAM_DATA names no folder with {name}"));
    }
    found
}

/// The value of a key in a run's configuration.
fn setting(folder: &Path, out: &str, key: &str) -> String {
    let text = fs::read_to_string(folder.join(out).join("config.toml")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
    line.unwrap_or_else(|| panic!("no {key} in\n{text}")).to_owned()
}

#[test]
fn a_folder_of_idx_files_is_trained_on_and_evaluated() {
    let folder = two_classes();
    let options = ["train", "--data", "data", "--model", "resnet8:2", "--eta", "10", "--epochs", "8", "--batch", "12"];
    let outcome = run(folder.path(), &[&options[..], &["--lr", "0.05", "--many", "20", "--few", "10"]].concat());
    assert_eq!((outcome.code, warnings(&outcome.stderr).as_str()), (0, ""));
    assert!(outcome.stdout.starts_with("data: 36 training images in 2 classes of 30 to 6 (1 head, 1 tail at eta 10)"));
    assert!(outcome.stdout.contains("files in runs/data-resnet8-2-sse-sam:"), "{}", outcome.stdout);
    let eval = run(folder.path(), &["eval", "runs/data-resnet8-2-sse-sam/best-on-test.safetensors"]);
    assert_eq!(row(&eval.stdout, "accuracy %"), row(&outcome.stdout, "best on test"));
    assert_eq!(row(&eval.stdout, "accuracy %")[1], "-", "no class is medium");
    // A second run gets a folder of its own.
    let again = run(folder.path(), &options);
    assert!(again.stdout.contains("files in runs/data-resnet8-2-sse-sam-2:"), "{}", again.stdout);
}

#[test]
fn a_missing_file_is_named() {
    let folder = two_classes();
    refused(
        folder.path(),
        &["train", "--data", "nowhere", "--out", "out"],
        1,
        &["nowhere: no such file or folder", "hint: "],
    );
    fs::remove_file(folder.path().join("data").join(NAMES[3])).unwrap();
    refused(folder.path(), &["train", "--data", "data", "--out", "out"], 1, &[NAMES[3], "missing", "hint: "]);
    refused(folder.path(), &["eval", "gone.safetensors"], 1, &["gone.safetensors: no such file or folder"]);
    let init = ["train", "--init", "gone.safetensors", "--out", "out"];
    refused(folder.path(), &init, 1, &["gone.safetensors: no such file or folder"]);
    let verify = run(folder.path(), &["verify", "gone.json"]);
    assert_eq!((verify.code, verify.stderr.as_str()), (1, "sse-sam: gone.json: no such file or folder\n"));
}

#[test]
fn a_truncated_file_is_named_with_the_byte() {
    let folder = two_classes();
    let path = folder.path().join("data").join(NAMES[0]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..100]).unwrap();
    refused(folder.path(), &["train", "--data", "data", "--out", "out"], 1, &[NAMES[0], "ends at byte 100", "hint: "]);
}

#[test]
fn a_label_out_of_range_is_named_with_the_byte() {
    let folder = two_classes();
    let path = folder.path().join("data").join(NAMES[3]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8 + 5] = 9;
    fs::write(&path, bytes).unwrap();
    let expected = [NAMES[3], "label 9 at byte 13 is not below 2"];
    refused(folder.path(), &["train", "--data", "data", "--out", "out"], 1, &expected);
}

#[test]
fn an_imbalance_that_empties_a_class_is_refused() {
    let folder = tempdir().unwrap();
    let with = |imbalance| ["train", "--imbalance", imbalance, "--out", "out"];
    refused(folder.path(), &with("1000"), 1, &["class 8 is left without a sample", "hint: a smaller --imbalance"]);
    for imbalance in ["0", "-3", "nan", "inf"] {
        refused(folder.path(), &with(imbalance), 2, &["--imbalance must be a finite number above 0, got "]);
    }
}

#[test]
fn an_eta_that_leaves_a_group_empty_is_warned_of_with_one_that_does_not() {
    let folder = tempdir().unwrap();
    let first = "sse-sam is sam with --head-rho in its first stage, sgd after it";
    for (eta, counts, then) in
        [("7", "10 head and 0 tail", first), ("1000", "0 head and 10 tail", "sse-sam is sam with --tail-rho")]
    {
        let outcome = train(folder.path(), eta, &["--epochs", "1", "--eta", eta]);
        let expected = format!(
            "sse-sam: warning: eta {eta} leaves {counts} classes; one group is empty: {then}; --eta 52 leaves 5 and 5\n"
        );
        assert_eq!(warnings(&outcome.stderr), expected);
    }
    // The smallest class has 7 samples; SAM has no groups.
    for (out, options) in [("eight", &["--eta", "8"][..]), ("sam", &["--eta", "7", "--method", "sam"])] {
        let outcome = train(folder.path(), out, &[&["--epochs", "1"], options].concat());
        assert_eq!(warnings(&outcome.stderr), "");
    }
}

#[test]
fn equal_classes_have_no_tail_and_that_is_said() {
    let folder = tempdir().unwrap();
    for (method, then) in
        [("sse-sam", "sse-sam is sam with --head-rho in its first stage, sgd after it"), ("imbsam", "imbsam is sgd")]
    {
        let options = ["--epochs", "1", "--imbalance", "1", "--method", method];
        let expected = format!(
            "sse-sam: warning: every class has 376 training samples, so that there is no tail at eta 60: {then}\n"
        );
        assert_eq!(warnings(&train(folder.path(), method, &options).stderr), expected);
    }
}

#[test]
fn idx_files_without_usual_values_are_divided_by_their_counts() {
    let folder = two_classes();
    let options =
        ["train", "--data", "data", "--model", "mlp:16-4-2", "--epochs", "2", "--batch", "12", "--out", "out"];
    let outcome = run(folder.path(), &options);
    assert_eq!((outcome.code, warnings(&outcome.stderr).as_str()), (0, ""));
    let headline = "data: 36 training images in 2 classes of 30 to 6 (1 head, 1 tail at eta 14), 20 test images of 4 x 4 x 1; \
                    many above 17, few below 11\n";
    assert!(outcome.stdout.starts_with(headline), "{}", outcome.stdout);
    assert_eq!(["eta", "many", "few"].map(|key| setting(folder.path(), "out", key)), ["14", "17", "11"]);
    // Both groups are perturbed: the method is what was asked for.
    let line = &metrics(folder.path(), "out")[0];
    assert!(line["perturbed_loss_head"].is_f64() && line["perturbed_loss_tail"].is_f64(), "{line}");
    train(folder.path(), "digits", &["--epochs", "1"]);
    assert_eq!(["eta", "many", "few"].map(|key| setting(folder.path(), "digits", key)), ["60", "100", "30"]);
}

#[test]
fn sizes_and_classes_that_are_odd_are_warned_of() {
    let folder = two_classes();
    let data = folder.path().join("data");
    // Classes 0 and 5 of 0 to 5 in training, 0 and 1 in the test.
    let labels: Vec<u8> = [vec![0; 30], vec![5; 6]].concat();
    fs::write(data.join(NAMES[1]), idx(&[36], &labels)).unwrap();
    let options =
        ["train", "--data", "data", "--model", "mlp:16-4-6", "--epochs", "1", "--batch", "37", "--out", "out"];
    let outcome = run(folder.path(), &options);
    let expected = [
        "sse-sam: warning: classes 1, 2, 3, 4 have no training sample: what is never seen is never predicted",
        "sse-sam: warning: classes 2, 3, 4, 5 have no test sample: balanced accuracy is that of the others",
        "sse-sam: warning: --batch 37 is more than the 36 training images: every step takes all of them",
        "",
    ];
    assert_eq!((outcome.code, warnings(&outcome.stderr)), (0, expected.join("\n")));
    let halved = train(folder.path(), "half", &["--epochs", "1", "--imbalance", "0.5"]);
    assert!(
        halved.stderr.contains("warning: --imbalance 0.5 means the same as 2: largest class over smallest"),
        "{}",
        halved.stderr
    );
    let folder = two_classes();
    let cut =
        run(folder.path(), &["train", "--data", "data", "--model", "mlp:16-4-2", "--epochs", "1", "--imbalance", "2"]);
    let expected =
        "warning: the training set has a long tail already, 30 to 6 samples a class: --imbalance cuts that to 6 to 3";
    assert!(cut.code == 0 && cut.stderr.contains(expected), "{}", cut.stderr);
    let args = ["train", "--data", "data", "--imbalance", "10", "--out", "out"];
    let expected =
        ["data: has 30 to 6 training samples a class: --imbalance 10 of the smallest", "hint: without --imbalance"];
    let outcome = run(folder.path(), &args);
    assert!(outcome.code == 1 && expected.iter().all(|part| outcome.stderr.contains(part)), "{}", outcome.stderr);
}

#[test]
fn a_data_sets_name_breaks_no_line() {
    let folder = two_classes();
    let name = "da\nta\x1b[31m";
    fs::rename(folder.path().join("data"), folder.path().join(name)).unwrap();
    let options = ["train", "--data", name, "--model", "mlp:16-4-2", "--epochs", "1", "--out", "out"];
    let outcome = run(folder.path(), &options);
    assert!(outcome.stdout.starts_with("da\\nta\\u{1b}[31m: 36 training images"), "{}", outcome.stdout);
    // Where one stands names no run.
    let inside = folder.path().join(name);
    let here = run(&inside, &["train", "--data", ".", "--model", "mlp:16-4-2", "--epochs", "1", "--out", "../here"]);
    assert!(here.stdout.starts_with("da\\nta"), "{}", here.stdout);
    let plain = |text: &str| text.chars().all(|letter| letter == '\n' || !letter.is_control());
    assert!(plain(&outcome.stdout) && plain(&outcome.stderr), "{}{}", outcome.stdout, outcome.stderr);
}

#[test]
fn a_bound_of_shots_that_was_not_given_gives_way() {
    let folder = tempdir().unwrap();
    train(folder.path(), "many", &["--epochs", "1", "--many", "5"]);
    train(folder.path(), "few", &["--epochs", "1", "--few", "300"]);
    let bounds = |out| ["many", "few"].map(|key| setting(folder.path(), out, key));
    assert_eq!((bounds("many"), bounds("few")), (["5", "6"].map(String::from), ["299", "300"].map(String::from)));
    let both = ["train", "--many", "5", "--few", "7", "--out", "out"];
    refused(folder.path(), &both, 2, &["--few 7 must not be above --many 5 plus 1"]);
}

#[test]
fn a_normalization_that_makes_no_numbers_is_refused() {
    let folder = tempdir().unwrap();
    for text in ["1e300/1e300", "0.5/1e-300", "1e38/1", "0.5/1e300", "1e30/1e-30", "0.5/1e-40"] {
        let args = ["train", "--normalize", text, "--out", "out"];
        refused(folder.path(), &args, 2, &[&format!("--normalize {text} makes numbers of bytes that no 32-bit float")]);
    }
}

#[test]
fn sizes_out_of_range_are_not_called_an_unknown_model() {
    let folder = tempdir().unwrap();
    for model in ["mlp:64-4000000000-10", "mlp:64-0-10", "resnet8:0", "mlp:64-16777216-10", "mlp:64-99999999999-10"] {
        let says = [&*format!("--model {model}: sizes of layers are in 1..2^24")];
        refused(folder.path(), &["train", "--model", model, "--out", "out"], 2, &says);
        refused(folder.path(), &["footprint", "--model", model], 2, &says);
    }
    for model in ["mlp:64-x-10", "mlp:64", "mlp:64--10", "vgg"] {
        refused(folder.path(), &["train", "--model", model, "--out", "out"], 2, &["unknown model"]);
    }
}

#[test]
fn options_of_eval_and_footprint_that_do_nothing_are_refused() {
    let folder = two_classes();
    let path = folder.path();
    let footprint = ["footprint", "--model", "mlp:64-16-10", "--batch", "16", "--micro-batch", "99"];
    refused(path, &footprint, 2, &["--micro-batch does nothing here: it must be at most the batch, 16"]);
    train(path, "digits", &["--epochs", "1"]);
    weights::write(
        &path.join("bare.safetensors"),
        &tensors(&path.join("digits/best-on-test.safetensors")).0,
        &BTreeMap::new(),
    )
    .unwrap();
    let eval = ["eval", "bare.safetensors", "--data", "data", "--model", "mlp:16-4-2", "--long-tail", "step"];
    refused(path, &eval, 2, &["--long-tail does nothing here: it needs --imbalance"]);
}

#[test]
fn classes_without_samples_are_not_among_those_with_as_many() {
    let folder = two_classes();
    let labels: Vec<u8> = [vec![0; 18], vec![2; 18]].concat();
    fs::write(folder.path().join("data").join(NAMES[1]), idx(&[36], &labels)).unwrap();
    let options = ["train", "--data", "data", "--model", "mlp:16-4-3", "--epochs", "1", "--eta", "10", "--out", "out"];
    let outcome = run(folder.path(), &options);
    let expected = "every class that has any has 18 training samples, so that there is no tail at eta 10";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_data() {
    let folder = tempdir().unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    let says = ["pipe: is a device or a pipe, not data", "hint: data is digits, pictures"];
    refused(folder.path(), &["train", "--data", "pipe", "--out", "out"], 1, &says);
    refused(folder.path(), &["train", "--data", "pipe", "--dataset", "cifar10", "--out", "out"], 1, &says);
}

#[test]
fn fashion_mnist_at_imbalance_100_is_learned() {
    let Some(data) = large_data("fashion-mnist") else { return };
    let folder = tempdir().unwrap();
    let options = ["--imbalance", "100", "--model", "resnet8:2", "--method", "sgd", "--epochs", "1", "--out", "out"];
    let outcome = run(folder.path(), &[&["train", "--data", data.to_str().unwrap()], &options[..]].concat());
    assert_eq!((outcome.code, warnings(&outcome.stderr).as_str()), (0, ""));
    assert!(outcome.stdout.starts_with("fashion-mnist: 14886 training images in 10 classes of 6000 to 60"));
    // Knowing the classes' shares alone costs 1.64 nats. Not the accuracy: after one epoch at this learning rate it is 10 to
    // 44 % over seeds and roundings, where the loss is 0.88 to 1.23.
    let loss = metrics(folder.path(), "out")[0]["loss"].as_f64().unwrap();
    assert!(loss < 1.4, "{loss}");
}

#[test]
fn cifar_100_with_its_own_long_tail_is_read() {
    let Some(data) = large_data("cifar-100-lt100") else { return };
    let folder = tempdir().unwrap();
    let options = ["--model", "resnet8:1", "--method", "sgd", "--epochs", "1", "--out", "out"];
    let outcome = run(folder.path(), &[&["train", "--data", data.to_str().unwrap()], &options[..]].concat());
    assert_eq!((outcome.code, warnings(&outcome.stderr).as_str()), (0, ""));
    assert!(outcome.stdout.starts_with("cifar-100-lt100: 10847 training images in 100 classes of 500 to 5"));
}
