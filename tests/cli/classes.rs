//! Thousands of classes.

use super::data::{NAMES, idx};
use super::*;

/// Bytes of an IDX file before its pictures.
const HEADER: usize = 4 + 3 * 4;

/// Pictures of 4 x 4 pixels.
const PIXELS: usize = 16;

/// An IDX file of 32-bit labels.
fn labels(values: &[u32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|label| label.to_be_bytes()).collect();
    let mut file = idx(&[values.len() as u32], &bytes);
    file[2] = 12;
    file
}

/// A picture of each of these classes, the same one for all of its samples.
fn pictures(labels: &[u32]) -> Vec<u8> {
    let pixel = |label: u32, at: u32| ((label * 16 + at) * 7919 % 65_537 * 31 % 251) as u8;
    let bytes: Vec<u8> = labels.iter().flat_map(|&label| (0..PIXELS as u32).map(move |at| pixel(label, at))).collect();
    idx(&[labels.len() as u32, 4, 4], &bytes)
}

/// A folder `data` with these labels.
fn folder_of(train: &[u32], test: &[u32]) -> TempDir {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let files = [pictures(train), labels(train), pictures(test), labels(test)];
    NAMES.iter().zip(files).for_each(|(name, bytes)| fs::write(data.join(name), bytes).unwrap());
    folder
}

/// The CPU core, and every OpenCL device.
fn devices() -> Vec<String> {
    let found = if has_opencl() { sse_sam::opencl::devices().unwrap() } else { Vec::new() };
    std::iter::once("cpu".to_owned()).chain(found.iter().map(|device| device.selector())).collect()
}

/// Logits of a perceptron of two layers in f64, from its weights file.
struct Reference {
    layers: Vec<(Vec<f64>, Vec<f64>)>,
    normalization: [f64; 2],
}

impl Reference {
    fn read(path: &Path) -> Self {
        let (tensors, metadata) = tensors(path);
        let values = |name: String| {
            let Data::F32(values) = &tensors.iter().find(|tensor| tensor.name == name).unwrap().data else {
                panic!("{name} is not of f32")
            };
            values.iter().map(|&value| f64::from(value)).collect()
        };
        let number = |key: &str| metadata[key].parse().unwrap();
        let layer = |number: usize| (values(format!("fc{number}.weight")), values(format!("fc{number}.bias")));
        Self { layers: vec![layer(1), layer(2)], normalization: [number("byte_mean"), number("byte_inverse_std")] }
    }

    fn logits(&self, picture: &[u8]) -> Vec<f64> {
        let [mean, inverse] = self.normalization;
        let mut x: Vec<f64> = picture.iter().map(|&byte| (f64::from(byte) - mean) * inverse).collect();
        for (number, (weight, bias)) in self.layers.iter().enumerate() {
            if number > 0 {
                x.iter_mut().for_each(|x| *x = x.max(0.0));
            }
            let row = |(row, bias): (&[f64], &f64)| bias + row.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>();
            x = weight.chunks_exact(x.len()).zip(bias).map(row).collect();
        }
        x
    }
}

#[test]
fn ten_thousand_classes_are_trained_and_evaluated_as_the_reference_says() {
    // Twenty classes of ten samples, two hundred of one; each of them once in the test set.
    let train_labels: Vec<u32> =
        (0..200).map(|at| at % 20 * 500).chain((0..199).map(|at| at * 50 + 1)).chain([9_999]).collect();
    let mut test_labels = train_labels.clone();
    test_labels.sort_unstable();
    test_labels.dedup();
    let folder = folder_of(&train_labels, &test_labels);
    let test_pictures = pictures(&test_labels).split_off(HEADER);
    for device in devices() {
        let out = format!("out-{}", device.replace([':', '.'], "-"));
        let options = ["--data", "data", "--model", "mlp:16-8-10000", "--epochs", "30", "--batch", "64", "--eta", "5"];
        let args = [&["train", "--device", &device, "--out", &out, "--lr", "0.3"], &options[..]].concat();
        let trained = run(folder.path(), &args);
        assert_eq!(trained.code, 0, "{device}: {}", trained.stderr);
        let headline = "400 training images in 10000 classes of 10 to 0 (20 head, 9980 tail at eta 5)";
        assert!(trained.stdout.contains(headline) && trained.stdout.len() < 1500, "{}", trained.stdout);
        assert!(trained.stderr.contains("9780 classes") && trained.stderr.len() < 6000, "{}", trained.stderr);
        let per_class = &metrics(folder.path(), &out)[29]["accuracy"]["per_class"];
        assert_eq!(per_class.as_array().map(Vec::len), Some(10_000));

        let weights = format!("{out}/last.safetensors");
        let outcome = run(folder.path(), &["eval", &weights, "--device", &device, "--confusion", "pairs.csv"]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        assert!(lines.len() < 80 && lines.iter().all(|line| line.len() < 120), "{}", outcome.stdout);
        assert!(outcome.stdout.contains("the 20 worst of 10000 classes; 9780 have no test sample\n"));
        let reference = Reference::read(&folder.path().join(&weights));
        let pairs = fs::read_to_string(folder.path().join("pairs.csv")).unwrap();
        let mut pairs = pairs.lines();
        assert_eq!(pairs.next(), Some("label,prediction,count"));
        let mut right = 0;
        for ((pair, &label), picture) in pairs.zip(&test_labels).zip(test_pictures.chunks_exact(PIXELS)) {
            let cells: Vec<u32> = pair.split(',').map(|cell| cell.parse().unwrap()).collect();
            assert_eq!([cells[0], cells[2]], [label, 1], "a line for each label");
            let logits = reference.logits(picture);
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!(logits[cells[1] as usize] > largest - 1e-4, "{device}: {pair}");
            right += u32::from(cells[1] == label);
        }
        assert!(right > 0, "{device}");
        assert_eq!(row(&outcome.stdout, "accuracy %")[4], format!("{:.2}", f64::from(right) / 2.2), "{right} right");
    }
}

#[test]
fn the_last_class_that_a_row_can_name_is_trained_and_the_next_one_is_refused() {
    let folder = folder_of(&[32_766, 32_766, 0, 32_766], &[32_766, 0]);
    for device in devices() {
        let options =
            ["--data", "data", "--model", "mlp:16-2-32767", "--epochs", "12", "--eta", "2", "--method", "sam"];
        let args = [&["train", "--device", &device, "--out", "out", "--lr", "1"], &options[..]].concat();
        let outcome = run(folder.path(), &args);
        assert_eq!(outcome.code, 0, "{device}: {}", outcome.stderr);
        let per_class = &metrics(folder.path(), "out")[11]["accuracy"]["per_class"];
        assert_eq!(per_class[32_766], 100.0, "{device}");
        fs::remove_dir_all(folder.path().join("out")).unwrap();
    }
    let beyond = folder_of(&[32_767, 0], &[0]);
    let parts = ["label 32767 at byte 8 is not in 0..=32766", "there are at most 32767"];
    refused(beyond.path(), &["train", "--data", "data", "--out", "out"], 1, &parts);
}

#[test]
fn lines_for_programs_stay_short_whatever_the_number_of_classes() {
    let folder = folder_of(&[1_999, 3, 3, 3], &[3, 1_999]);
    let options = ["--data", "data", "--model", "mlp:16-2-2000", "--epochs", "1", "--eta", "2"];
    let args = [&["train", "--out", "out", "--log-format", "json"], &options[..]].concat();
    let outcome = run(folder.path(), &args);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let epoch = outcome.stderr.lines().find(|line| line.contains(r#""event":"epoch""#)).unwrap();
    assert!(epoch.contains(r#""balanced":"#) && !epoch.contains("per_class") && epoch.len() < 1000, "{epoch}");
}
