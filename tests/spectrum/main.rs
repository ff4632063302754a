//! Spectra of Hessians: against those recorded from PyTorch in float64, and the program from the outside.

mod escape;
mod frozen;
mod interrupted;
mod program;
mod refused;
mod staged;
mod terminal;
mod training;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sse_sam::cli::verify::{Report, spectra};
use sse_sam::device::choose::Device;
use sse_sam::opencl::{Convolution, devices};
use sse_sam::recipe::DeviceOptions;
use sse_sam::report::Silent;
use sse_sam_tests::needs::has_opencl;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden-spectrum")
}

fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    cases.sort();
    assert_eq!(cases.len(), 6, "{}", folder().display());
    cases
}

/// What each group is compared by: loss, gradient, product, both ends, symmetry, trace.
const LEAST: usize = 7;

fn meets_all(device: &Device) {
    for case in cases() {
        let reports = spectra(&case, device, &Silent).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let groups = reports.iter().filter(|report| report.what.ends_with(" lambda_min")).count();
        assert!(groups >= 3 && reports.len() >= LEAST * groups, "{}: {}", case.display(), reports.len());
        for Report { what, error, bound } in &reports {
            assert!(error <= bound, "{}, {}: {what}: {error:e}, bound {bound:e}", device.name(), case.display());
        }
    }
}

#[test]
fn every_reference_spectrum_is_met_on_the_cpu_core() {
    meets_all(&Device::cpu());
}

#[test]
fn every_reference_spectrum_is_met_on_opencl() {
    let found = devices().unwrap_or_default();
    if !has_opencl(found.len()) {
        return;
    }
    for device in found {
        let conv = Some(Convolution::Direct);
        let options = DeviceOptions { device: Some(device.selector()), conv, ..DeviceOptions::default() };
        meets_all(&Device::choose(&options, &Silent).unwrap());
    }
}

/// A copy of a case with something else in its description.
fn changed(name: &str, folder: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let source = self::folder().join(name);
    let mut case: Value = serde_json::from_str(&fs::read_to_string(source.with_extension("json")).unwrap()).unwrap();
    let before = case.clone();
    change(&mut case);
    assert_ne!(case, before);
    let copy = folder.join(name).with_extension("json");
    fs::write(&copy, case.to_string()).unwrap();
    fs::copy(source.with_extension("safetensors"), copy.with_extension("safetensors")).unwrap();
    copy
}

/// Leaves a case the record of one group.
fn only(case: &mut Value, group: &str) {
    case["records"] = json!({ group: case["records"][group].clone() });
}

#[test]
fn a_wrong_setting_is_outside_its_bound() {
    let copies = tempfile::tempdir().unwrap();
    let wrong: [(&str, &str, Value, &str); 3] = [
        ("mlp-vs", "loss", json!("la"), "all loss"),
        ("mlp-focal", "focal_gamma", json!(1.01), "tail product"),
        ("mlp-focal", "focal_gamma", json!(0.99), "head lambda_max"),
    ];
    for (name, key, value, what) in wrong {
        let copy = changed(name, copies.path(), |case| {
            only(case, what.split_once(' ').unwrap().0);
            case[key] = value.clone();
        });
        let reports = spectra(&copy, &Device::cpu(), &Silent).unwrap();
        let report = reports.iter().find(|report| report.what == what).unwrap();
        assert!(!report.passes(), "{name} passes with {key} {value}: {report:?}");
    }
}

#[test]
fn wrong_numbers_of_a_reference_are_outside_their_bounds() {
    let copies = tempfile::tempdir().unwrap();
    for (key, what) in [
        ("loss", "tail loss"),
        ("gradient_norm", "tail gradient norm"),
        ("lambda_max", "tail lambda_max"),
        ("lambda_min", "tail lambda_min"),
        ("trace", "tail exact trace"),
    ] {
        // An error of 1e-3: a hundred bounds, and of the smallest eigenvalue, a tenth of the largest, ten.
        let copy = changed("mlp-ce", copies.path(), |case| {
            only(case, "tail");
            let number = &mut case["records"]["tail"][key];
            *number = json!(number.as_f64().unwrap() * 1.001);
        });
        let reports = spectra(&copy, &Device::cpu(), &Silent).unwrap();
        let outside: Vec<&str> = reports.iter().filter(|report| !report.passes()).map(|report| &*report.what).collect();
        assert_eq!(outside, [what]);
    }
}

#[test]
fn a_case_that_shows_nothing_is_refused() {
    let copies = tempfile::tempdir().unwrap();
    let refuse = |change: fn(&mut Value), expected: &str| {
        let copy = changed("mlp-ce", copies.path(), change);
        let error = spectra(&copy, &Device::cpu(), &Silent).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refuse(|case| case["records"] = json!({}), "records is empty");
    refuse(|case| case["records"]["tail"]["float32_error"]["hv"] = json!(0.1), "a wider one shows nothing");
    refuse(
        |case| case["records"]["tail"]["samples"] = json!(45),
        "tail has 44 samples by class_counts, 45 by its record",
    );
    refuse(|case| case["class_counts"][9] = json!(5), "by class_counts");
    refuse(|case| case["loss"] = json!("drw"), "no class weights");
    refuse(|case| case["loss"] = json!("hinge"), "unknown loss hinge");
    refuse(|case| case["records"]["rare"] = case["records"]["tail"].clone(), "rare, which is no group");
    refuse(|case| case["records"]["tail"]["loss"] = json!(0.0), "no error can be measured by");
    refuse(|case| case["model"] = json!("mlp:64-33-10"), "must have shape");
}
