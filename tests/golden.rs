//! The CPU core follows trajectories recorded from PyTorch in float64.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sse_sam::cli::verify::{Report, replay, within_bounds};
use sse_sam::device::choose::Device;
use sse_sam::report::Silent;
use sse_sam_core::Economy;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    cases.sort();
    assert!(!cases.is_empty(), "there is no reference trajectory in {}", folder().display());
    cases
}

fn run(case: &Path) -> Vec<Report> {
    run_in(case, Economy::Full)
}

fn run_in(case: &Path, memory: Economy) -> Vec<Report> {
    replay(case, &Device::cpu(), memory, &Silent).unwrap_or_else(|error| panic!("{}: {error}", case.display()))
}

#[test]
fn every_reference_trajectory_is_met_on_the_cpu_core() {
    let cases = cases();
    assert_eq!(cases.len(), 22);
    for case in cases {
        let reports = run(&case);
        assert!(reports.iter().filter(|report| report.what.starts_with("step")).count() >= 2, "{}", case.display());
        for report in reports {
            let Report { what, error, bound } = &report;
            assert!(report.passes(), "{}: {what}: error {error:e}, bound {bound:e}", case.display());
        }
    }
}

#[test]
fn every_reference_trajectory_is_met_in_lean_memory() {
    let mut nesterov = 0;
    for case in cases() {
        for memory in [Economy::Lean, Economy::Recompute] {
            match replay(&case, &Device::cpu(), memory, &Silent) {
                Ok(reports) => assert!(within_bounds(&reports), "{} {memory:?}: {reports:?}", case.display()),
                Err(error) => {
                    nesterov += 1;
                    assert!(error.to_string().contains("nesterov"), "{error}");
                }
            }
        }
    }
    assert_eq!(nesterov, 4, "two cases have Nesterov momentum");
}

#[test]
fn running_statistics_are_compared_too() {
    let reports = run(&folder().join("resnet8-ssesam-ce.json"));
    assert!(reports.iter().any(|report| report.what == "bn1.running_var"), "{reports:?}");
}

#[test]
fn a_wrong_setting_is_outside_its_bound() {
    let wrong = [
        ("mlp-sgd-ce", "lr", json!(0.1001)),
        ("mlp-ssesam-lr-head", "lr_head", json!(0.501)),
        ("mlp-sgd-ce", "momentum", json!(0.899)),
        ("mlp-sgd-ce", "weight_decay", json!(0.0006)),
        ("mlp-sgd-nesterov", "nesterov", json!(false)),
        ("mlp-sgd-ce", "schedule", json!("constant")),
        ("mlp-sam-ce", "rho", json!(0.0501)),
        ("mlp-imbsam-ce", "rho", json!(0.0501)),
        ("mlp-imbsam-tail-weight-2", "tail_weight", json!(1.0)),
        ("mlp-ssesam-ce", "head_rho", json!(0.0501)),
        ("mlp-ssesam-ce", "tail_rho", json!(0.1002)),
        ("mlp-ssesam-ce", "gamma", json!(0.75)),
        // A class of 28 training samples, then one of 75, changes sides.
        ("mlp-ssesam-ce", "eta", json!(28)),
        ("mlp-ssesam-ce", "eta", json!(76)),
        ("mlp-ssesam-la", "loss", json!("ce")),
        ("mlp-ssesam-focal", "focal_gamma", json!(1.5)),
        ("mlp-ssesam-drw", "loss", json!("ce")),
        ("mlp-focalsam-ce", "rho", json!(0.0501)),
        ("mlp-focalsam-ce", "focal_sam_lambda", json!(0.801)),
        ("mlp-focalsam-ce", "focal_sam_gamma", json!(2.01)),
        ("mlp-focalsam-ce", "method", json!("sam")),
        ("resnet8-ssesam-ce", "tail_rho", json!(0.0)),
    ];
    let copies = tempfile::tempdir().unwrap();
    for (name, key, value) in wrong {
        let source = folder().join(name);
        let mut case: Value =
            serde_json::from_str(&fs::read_to_string(source.with_extension("json")).unwrap()).unwrap();
        assert_ne!(case[key], value, "{name}: {key}");
        case[key] = value.clone();
        let copy = copies.path().join(name).with_extension("json");
        fs::write(&copy, case.to_string()).unwrap();
        fs::copy(source.with_extension("safetensors"), copy.with_extension("safetensors")).unwrap();
        let steps = run(&copy).into_iter().filter(|report| report.what.starts_with("step"));
        assert!(steps.filter(|report| !report.passes()).count() > 0, "{name} passes with {key} {value}");
    }
}

#[test]
fn a_bound_is_met_by_an_error_up_to_it_and_by_no_other() {
    let report = |error| Report { what: String::new(), error, bound: 1e-5 };
    assert!(report(1e-5).passes());
    assert!(!report(1.1e-5).passes());
    assert!(!report(f64::NAN).passes());
    assert!(!report(f64::INFINITY).passes());
}
