//! Reference trajectories that compare less than they promise, or contradict themselves: `verify` names what is wrong, and
//! never takes nothing for agreement.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};
use sse_sam::Error;
use sse_sam::cli::args;
use sse_sam::cli::verify::{Report, replay, within_bounds};
use sse_sam::device::choose::Device;
use sse_sam::report::Silent;
use sse_sam::report::console::{Console, LogFormat};
use sse_sam::weights::{self, Data, Tensor};
use sse_sam_core::Economy;
use tempfile::{TempDir, tempdir};

use super::fuzz::{apply, change, fuzz};
use super::memory::peak;
use super::{SLACK, is_content, program, stderr};

const PERCEPTRON: &str = "mlp-ssesam-ce";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// A copy of a reference trajectory.
struct Copied {
    folder: TempDir,
    case: Value,
    tensors: Vec<Tensor>,
}

impl Copied {
    fn new(name: &str) -> Self {
        let text = fs::read_to_string(golden(name).with_extension("json")).unwrap();
        let (tensors, _) = weights::read(&golden(name).with_extension("safetensors")).unwrap();
        Self { folder: tempdir().unwrap(), case: serde_json::from_str(&text).unwrap(), tensors }
    }

    fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("case.json")
    }

    fn write(&self) {
        fs::write(self.path(), self.case.to_string()).unwrap();
        weights::write(&self.path().with_extension("safetensors"), &self.tensors, &[].into()).unwrap();
    }

    fn replay(&self) -> Result<Vec<Report>, Error> {
        self.write();
        replay(&self.path(), &Device::cpu(), Economy::Full, &Silent)
    }

    /// Asserts that the case is refused in these words, and by the program with exit code 1.
    #[track_caller]
    fn refused(&self, words: &str) {
        let error = self.replay().err().unwrap_or_else(|| panic!("{words}: it is replayed"));
        assert!(is_content(&error) && error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn a_description_that_compares_nothing_or_too_loosely_is_refused() {
    let edits: [(&str, Value, &str); 22] = [
        ("/steps", json!(0), "steps is 0, so that there is nothing to compare"),
        ("/steps", json!(9), "steps is 9, which 4 epochs of 2 steps do not have"),
        ("/steps", json!(u32::MAX), "which 4 epochs of 2 steps do not have"),
        ("/epochs", json!(0), "which 0 epochs of 2 steps do not have"),
        ("/steps_per_epoch", json!(0), "which 4 epochs of 0 steps do not have"),
        ("/records", json!([]), "records has none of step 0"),
        ("/records", json!([{ "float32_error": 1e-6 }]), "records has none of step 1"),
        ("/records/3", json!({ "loss_head": 0.5 }), "the record of step 3 has no float32_error"),
        ("/records/3/float32_error", json!(null), "the record of step 3 has no float32_error"),
        ("/records/7/float32_error", json!(-1e-6), "float32_error of step 7 must be in 0..=1e-4, is -1e-6"),
        ("/records/0/float32_error", json!(1.01e-4), "float32_error of step 0 must be in 0..=1e-4"),
        ("/records/0/float32_error", json!(1e300), "float32_error of step 0 must be in 0..=1e-4, is 1e300"),
        ("/records/0/float32_error", json!("NaN"), "not a case"),
        ("/class_counts", json!([]), "class_counts must name 1 to 32767 classes, names 0"),
        ("/class_counts", json!(vec![9; 32_768]), "class_counts must name 1 to 32767 classes, names 32768"),
        ("/class_counts", json!([9, 9, 9, 9]), "batch0/labels holds 4, which is not below 4"),
        ("/model", json!("mlp:8-16-6"), "model mlp:8-16-6: the model's output must hold 5 elements, got 6"),
        ("/model", json!("mlp:8-17-5"), "init/fc1.weight must have shape [17, 8], has [16, 8]"),
        ("/model", json!("mlp:8-16-16-5"), "init/fc2.weight must have shape [16, 16], has [5, 16]"),
        ("/model", json!("perceptron"), "model perceptron: unknown model"),
        ("/gamma", json!(1.5), "gamma must be in 0..=1, got 1.5"),
        ("/lr", json!(-0.1), "learning rate must be a finite number, at least 0, got -0.1"),
    ];
    assert!(within_bounds(&Copied::new(PERCEPTRON).replay().unwrap()));
    for (at, value, words) in edits {
        let mut copy = Copied::new(PERCEPTRON);
        *copy.case.pointer_mut(at).unwrap() = value;
        copy.refused(words);
    }
}

#[test]
fn a_model_of_any_size_is_refused_before_memory_is_taken_for_it() {
    let mut copy = Copied::new(PERCEPTRON);
    copy.case["model"] = json!("mlp:8-16777215-5");
    copy.write();
    let (result, held) = peak(|| replay(&copy.path(), &Device::cpu(), Economy::Full, &Silent));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("init/fc1.weight must have shape [16777215, 8]"), "{error}");
    assert!(held < SLACK, "{held} bytes");
}

/// Calls `edit` with every tensor of a case in turn, and expects a refusal that names the tensor.
fn each_tensor(name: &str, edit: impl Fn(&mut Tensor)) {
    let whole = Copied::new(name);
    let used = |tensor: &Tensor| !tensor.name.ends_with("num_batches_tracked");
    let names: Vec<String> = whole.tensors.iter().filter(|t| used(t)).map(|tensor| tensor.name.clone()).collect();
    assert!(names.len() > 20, "{names:?}");
    for tensor in names {
        let mut copy = Copied::new(name);
        edit(copy.tensor(&tensor));
        // The batch's own tensors may be refused by the name of the other one.
        copy.refused(tensor.strip_suffix("labels").or(tensor.strip_suffix("images")).unwrap_or(&tensor));
    }
}

#[test]
fn every_tensor_is_missed_when_it_is_not_there() {
    for name in [PERCEPTRON, "resnet8-ssesam-ce"] {
        each_tensor(name, |tensor| tensor.name = "elsewhere".into());
    }
}

#[test]
fn every_tensor_must_have_the_models_shape() {
    // A number each, which the first of every list would agree with.
    each_tensor("resnet8-ssesam-ce", |tensor| {
        tensor.shape = vec![1];
        match &mut tensor.data {
            Data::F32(values) => values.truncate(1),
            Data::I64(values) => values.truncate(1),
        }
    });
    // As many numbers in another shape.
    each_tensor(PERCEPTRON, |tensor| tensor.shape.insert(0, 1));
    // None at all.
    each_tensor(PERCEPTRON, |tensor| {
        tensor.shape[0] = 0;
        tensor.data = if let Data::I64(_) = tensor.data { Data::I64(vec![]) } else { Data::F32(vec![]) };
    });
}

#[test]
fn every_tensor_must_hold_finite_numbers_of_its_type() {
    each_tensor(PERCEPTRON, |tensor| {
        tensor.data = match &tensor.data {
            Data::F32(values) => Data::I64(vec![0; values.len()]),
            Data::I64(values) => Data::F32(vec![0.0; values.len()]),
        };
    });
    for bad in [f32::NAN, f32::INFINITY] {
        each_tensor(PERCEPTRON, |tensor| match &mut tensor.data {
            Data::F32(values) => values[0] = bad,
            Data::I64(values) => values[0] = -1,
        });
    }
}

#[test]
fn a_file_without_tensors_is_refused() {
    let mut copy = Copied::new(PERCEPTRON);
    copy.tensors.clear();
    copy.refused("batch0/images is missing");
}

#[test]
fn images_and_labels_must_agree_in_every_batch() {
    let labels = |step: u32, labels: Vec<i64>| {
        let mut copy = Copied::new(PERCEPTRON);
        let tensor = copy.tensor(&format!("batch{step}/labels"));
        tensor.shape = vec![labels.len()];
        tensor.data = Data::I64(labels);
        copy
    };
    let rows = labels(0, vec![]).tensor("batch0/images").shape[0];
    labels(0, vec![0; rows + 1]).refused("batch0/labels must have shape");
    labels(5, vec![0; rows - 1]).refused("batch5/labels must have shape");
    labels(2, vec![]).refused("batch2/labels must have shape");
    labels(3, vec![5; rows]).refused("batch3/labels holds 5, which is not below 5");
    labels(3, vec![i64::MIN; rows]).refused("batch3/labels holds -9223372036854775808");
    let images = |step: u32, shape: &[usize]| {
        let mut copy = Copied::new(PERCEPTRON);
        let tensor = copy.tensor(&format!("batch{step}/images"));
        *tensor = Tensor::f32(tensor.name.clone(), shape, vec![0.5; shape.iter().product()]);
        copy
    };
    let whole = labels(0, vec![]).tensor("batch1/images").shape.clone();
    images(1, &[whole[0], whole[1], whole[2], whole[3] + 1]).refused("batch1/images holds images of another size");
    images(0, &[whole[0], 2, 2, 3]).refused("batch1/images holds images of another size");
    images(1, &[whole[0] + 1, whole[1], whole[2], whole[3]]).refused("batch1/labels must have shape");
    images(0, &[0, 1, 1, 8]).refused("batch0/images is empty");
    images(0, &[1 << 40, 0, 1, 8]).refused("batch0/images is empty");
    images(0, &[64]).refused("batch0/images must have four dimensions");
}

#[test]
fn a_reference_without_a_norm_to_measure_by_is_refused() {
    let mut copy = Copied::new(PERCEPTRON);
    let init: Vec<Tensor> = copy.tensors.iter().filter(|tensor| tensor.name.starts_with("init/")).cloned().collect();
    for tensor in init {
        let name = tensor.name.replace("init/", "step4/");
        *copy.tensor(&name) = Tensor { name: name.clone(), ..tensor };
    }
    copy.refused("step 4 ends where init began");
    let mut copy = Copied::new("resnet8-ssesam-ce");
    let Data::F32(values) = &mut copy.tensor("final/bn1.running_mean").data else { unreachable!() };
    values.fill(0.0);
    copy.refused("final/bn1.running_mean is zero");
}

#[test]
fn what_is_refused_is_no_success_of_the_program() {
    let mut copy = Copied::new(PERCEPTRON);
    copy.case["steps"] = json!(0);
    copy.write();
    let whole = golden(PERCEPTRON).with_extension("json");
    let outcome = program(copy.folder.path(), &["verify", "--device", "cpu", whole.to_str().unwrap(), "case.json"]);
    assert_eq!(outcome.status.code(), Some(1));
    assert_eq!(stderr(&outcome), "sse-sam: case.json: steps is 0, so that there is nothing to compare\n");
    assert!(!String::from_utf8_lossy(&outcome.stdout).contains("within bounds"));
}

#[test]
fn no_report_and_no_case_are_no_agreement() {
    assert!(!within_bounds(&[]));
    let report = |error| Report { what: String::new(), error, bound: 1e-5 };
    assert!(within_bounds(&[report(0.0), report(1e-5)]));
    assert!(!within_bounds(&[report(0.0), report(f64::NAN)]));
    let parsed = <args::Cli as clap::Parser>::try_parse_from(["sse-sam", "verify", "case.json", "--device", "cpu"]);
    let args::Command::Verify(mut args) = parsed.unwrap().command else { unreachable!("verify was asked for") };
    args.cases.clear();
    assert!(matches!(sse_sam::cli::verify::run(&args, &Console::new(LogFormat::Text, false)), Err(Error::Usage(_))));
}

/// What becomes of a case: it is compared as far as it promises, or refused with a sentence about a file.
fn judge(path: &Path, size: usize) -> Result<(), TestCaseError> {
    let started = Instant::now();
    let (result, held) = peak(|| replay(path, &Device::cpu(), Economy::Full, &Silent));
    prop_assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    prop_assert!(held < 100 * size + SLACK, "{held} bytes of memory for {size}");
    match result {
        Ok(reports) => {
            prop_assert!(reports.iter().any(|report| report.what == "step 0"), "{:?}", reports);
            prop_assert!(reports.iter().all(|report| (1e-5..=1e-3).contains(&report.bound)), "{:?}", reports);
            Ok(())
        }
        Err(error) if is_content(&error) => Ok(()),
        Err(error) => Err(TestCaseError::fail(format!("{error:?}"))),
    }
}

/// What may stand for any value of a description.
fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![any::<f64>(), Just(0.0), Just(-1.0), Just(1e-9), 0.0..10.0_f64];
    prop_oneof![
        number.prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
        (0..300_u32).prop_map(|number| json!(number)),
        vec(0..300_u32, 0..8).prop_map(|list| json!(list)),
        "mlp:8-[0-9]{1,9}-5|resnet8(:[0-9]{1,9})?|sgd|sam|ssesam|ce|drw|vs|focal|cosine|.{0,6}"
            .prop_map(|text| json!(text)),
        any::<bool>().prop_map(|flag| json!(flag)),
        Just(json!(null)),
        Just(json!([{ "float32_error": 1e-6 }])),
    ]
}

#[test]
fn descriptions() {
    let whole = Copied::new(PERCEPTRON);
    whole.write();
    let keys: Vec<String> = whole.case.as_object().unwrap().keys().cloned().collect();
    let size = fs::metadata(whole.path().with_extension("safetensors")).unwrap().len() as usize;
    let good = whole.case.to_string().into_bytes();
    let put = |bytes: &[u8]| fs::write(whole.path(), bytes).map_err(|error| TestCaseError::fail(error.to_string()));
    fuzz("cases by changes", vec(change(), 1..6), |changes| {
        let bytes = apply(good.clone(), &changes);
        put(&bytes)?;
        judge(&whole.path(), bytes.len() + size)
    });
    fuzz("cases by grammar", vec((any::<Index>(), value()), 1..4), |edits| {
        let mut case = whole.case.clone();
        edits.into_iter().for_each(|(at, value)| case[&keys[at.index(keys.len())]] = value);
        put(case.to_string().as_bytes())?;
        judge(&whole.path(), case.to_string().len() + size)
    });
}

#[test]
fn references() {
    let whole = Copied::new(PERCEPTRON);
    whole.write();
    let path = whole.path().with_extension("safetensors");
    let good = fs::read(&path).unwrap();
    fuzz("references by changes", vec(change(), 1..6), |changes| {
        let bytes = apply(good.clone(), &changes);
        fs::write(&path, &bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        judge(&whole.path(), bytes.len())
    });
    let side = || prop_oneof![8 => 0..10_usize, 1 => Just(16), 1 => Just(64)];
    let edit = (any::<Index>(), vec(side(), 0..5), any::<bool>(), any::<f32>());
    fuzz("references by grammar", vec(edit, 1..4), |edits| {
        let mut tensors = whole.tensors.clone();
        for (at, shape, integers, value) in edits {
            let at = at.index(tensors.len());
            let count = shape.iter().product();
            let data = if integers { Data::I64(vec![value as i64; count]) } else { Data::F32(vec![value; count]) };
            tensors[at] = Tensor { name: tensors[at].name.clone(), shape, data };
        }
        weights::write(&path, &tensors, &[].into()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        judge(&whole.path(), fs::metadata(&path).map_or(0, |file| file.len() as usize))
    });
}
