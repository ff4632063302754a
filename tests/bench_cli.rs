//! The `bench` command, from the outside.

use std::collections::{BTreeMap, BTreeSet};

use assert_cmd::Command;
use serde_json::Value;
use sse_sam::opencl::{Block, devices, kernel_names};
use sse_sam_tests::needs;

/// Every number that the line of `--json` has at least.
const NUMBERS: [&str; 13] = [
    "batch",
    "stage",
    "step_ms",
    "step_ms_min",
    "images_per_s",
    "flops",
    "fma_share",
    "optimizer_share",
    "launches",
    "host_ms",
    "device_bytes",
    "peak_rss_bytes",
    "steps",
];

/// Every text.
const TEXTS: [&str; 4] = ["device", "model", "method", "conv"];

/// A cache folder of the tests' own: none may write to the user's.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn bench(args: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    let output = command.env("SSE_SAM_CACHE", CACHE).arg("bench").args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a bench and returns what it printed, and the numbers of its last line.
#[track_caller]
fn measured(args: &[&str]) -> (String, Value) {
    let outcome = bench(&[args, &["--json", "--steps", "2"]].concat());
    assert_eq!(outcome.code, 0, "{args:?}\n{}", outcome.stderr);
    let last = outcome.stdout.lines().last().unwrap();
    let line: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{args:?}: {error} in {last}"));
    for name in NUMBERS {
        let number = line[name].as_f64().unwrap_or_else(|| panic!("{args:?}: no number {name} in {last}"));
        assert!(number >= 0.0 && number.is_finite(), "{args:?}: {name} is {number}");
    }
    for name in TEXTS {
        assert!(line[name].as_str().is_some_and(|text| !text.is_empty()), "{args:?}: no text {name} in {last}");
    }
    (outcome.stdout.clone(), line)
}

fn has_opencl() -> bool {
    needs::has_opencl(devices().unwrap().len())
}

/// The devices to try: the CPU core, and OpenCL where there is any.
fn each_device(test: impl Fn(&str)) {
    test("cpu");
    if has_opencl() {
        test("opencl");
    }
}

#[test]
fn operations_are_those_of_a_hand_count_and_times_fit_together() {
    each_device(|device| {
        let (_, line) = measured(&["--model", "mlp:7-4-3", "--batch", "5", "--method", "sgd", "--device", device]);
        // Forward and weight gradients 5 * (7 * 4 + 4 * 3) multiply-adds each, input gradients of the second layer.
        assert_eq!(line["flops"], 2 * (2 * 5 * (7 * 4 + 4 * 3) + 5 * 4 * 3));
        let number = |name: &str| line[name].as_f64().unwrap();
        assert!(number("step_ms_min") <= number("step_ms"));
        assert!(number("host_ms") <= number("step_ms") * 1.001);
        assert!((number("images_per_s") * number("step_ms") / 5e3 - 1.0).abs() < 1e-6);
        assert!(number("fma_share") > 0.0 && number("fma_share") < 1.0, "{line}");
        assert!(number("optimizer_share") > 0.0, "{line}");
        // Parameters, velocity and gradient at the very least.
        assert!(number("device_bytes") >= 4.0 * 3.0 * 47.0);
        assert!(!cfg!(target_os = "linux") || number("peak_rss_bytes") > 1e6);
        assert_eq!(number("launches") > 0.0, device == "opencl");
        assert_eq!((line["model"].as_str(), line["method"].as_str()), (Some("mlp:7-4-3"), Some("sgd")));
    });
}

#[test]
fn every_method_takes_a_stage_and_only_sse_sam_heeds_it() {
    let flops = |method: &str, stage: &str| {
        let args = ["--model", "mlp:7-4-3", "--batch", "5", "--device", "cpu", "--method", method, "--stage", stage];
        measured(&args).1["flops"].as_u64().unwrap()
    };
    let (all, last) = (5 * (7 * 4 + 4 * 3), 5 * 4 * 3);
    // Forward passes, then gradients.
    for (method, [first, second]) in [
        ("sgd", [(1, 1), (1, 1)]),
        ("sam", [(2, 2), (2, 2)]),
        ("imbsam", [(2, 3), (2, 3)]),
        ("sse-sam", [(3, 4), (2, 3)]),
    ] {
        for (stage, (forwards, gradients)) in [("1", first), ("2", second)] {
            let expected = 2 * (forwards * all + gradients * (all + last));
            assert_eq!(flops(method, stage), expected, "{method}, stage {stage}");
        }
    }
}

#[test]
fn kernels_lists_every_operation_of_a_step() {
    let operations = [
        "gather",
        "fill",
        "conv2d_backward_weight",
        "conv2d_backward_input",
        "batch_norm_backward",
        "shortcut_forward",
        "shortcut_backward",
        "global_average_pool_forward",
        "global_average_pool_backward",
        "linear_forward",
        "linear_backward_weight",
        "linear_backward_input",
        "cross_entropy",
        "ascend",
        "sgd",
    ];
    each_device(|device| {
        let args = ["--model", "resnet8:4", "--image", "8x8x3", "--classes", "5", "--batch", "6", "--device", device];
        let (stdout, line) = measured(&[&args[..], &["--kernels"]].concat());
        let listed: Vec<&str> = stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let kernels = line["kernels"].as_array().unwrap();
        // A convolution and its norm are one operation where a device gains from it.
        let apart: &[&str] = &["conv2d_forward", "batch_norm_forward"];
        let forward = if device == "cpu" { apart } else { &["conv2d_batch_norm_forward"] };
        for &operation in operations.iter().chain(forward) {
            // Once for each kind of layer, and once in all.
            assert!(listed.iter().filter(|name| **name == operation).count() >= 2, "no {operation} in\n{stdout}");
            let times =
                kernels.iter().filter(|line| line["operation"] == operation).filter_map(|line| line["ms"].as_f64());
            assert!(times.sum::<f64>() > 0.0, "{operation} takes no time on {device}:\n{stdout}");
        }
        let flops: f64 = kernels.iter().filter_map(|line| line["flops"].as_f64()).sum();
        assert_eq!(line["flops"].as_f64().unwrap(), flops, "the operations' own sum on {device}");
        let profiled = stdout.contains("timed by the device") || stdout.contains("timed by the host's clock");
        assert!(profiled && stdout.contains("GFLOP/s") && stdout.contains("GB/s"), "{stdout}");
    });
}

#[test]
fn every_kind_of_convolution_is_listed_with_its_forms() {
    let shape = ["--model", "resnet8:16", "--image", "8x8x3", "--classes", "5", "--batch", "6", "--device"];
    let forms = |device: &str, conv: &str| -> Vec<String> {
        let (stdout, line) = measured(&[&shape[..], &[device, "--conv", conv]].concat());
        let kind = |kind: &Value| {
            let form = |name: &str| kind[name].as_str().unwrap().to_owned();
            let forms = [form("forward"), form("backward_input"), form("backward_weight")];
            let alike = forms.iter().all(|form| *form == forms[0]);
            let forms = if alike { forms[0].clone() } else { forms.join(", ") };
            let text = format!("{} ({}): {forms}", kind["shape"].as_str().unwrap(), kind["layers"]);
            assert!(stdout.contains(&text), "{text} is not in\n{stdout}");
            text
        };
        line["convolutions"].as_array().unwrap().iter().map(kind).collect()
    };
    let expected = |form: &str| {
        let stride1 = |shape: &str, layers| format!("3x3 {shape} ({layers}): {form}");
        let direct = |shape: &str| format!("{shape} (1): direct");
        [
            direct("3x3 8x8x3 -> 16"),
            stride1("8x8x16 -> 16", 2),
            direct("3x3/2 8x8x16 -> 32"),
            stride1("4x4x32 -> 32", 1),
            direct("3x3/2 4x4x32 -> 64"),
            stride1("2x2x64 -> 64", 1),
        ]
    };
    assert_eq!(forms("cpu", "direct"), expected("direct"));
    if !has_opencl() {
        return;
    }
    let (direct, winograd) = (forms("opencl", "direct"), forms("opencl", "winograd"));
    let tiles = measured(&[&shape[..], &["opencl"]].concat()).1["tiles"].clone();
    if tiles.as_str().is_some_and(|tiles| tiles.starts_with("cpu")) {
        assert_eq!((direct, winograd), (expected("direct").to_vec(), expected("winograd").to_vec()));
        return;
    }
    assert_eq!(tiles, "gpu");
    assert_eq!(direct, winograd, "there is no such form, and a rule picks the blocks");
    for (found, expected) in direct.iter().zip(expected("direct")) {
        let (kind, forms) = found.split_once("): ").unwrap();
        assert_eq!(kind, expected.split_once("): ").unwrap().0);
        // Three channels are no whole quads: one block takes them. The others have a better one each.
        let any = kind.contains("x3 -> ");
        let block = |form: &str| form.parse::<Block>().is_ok_and(|block| (block == Block::Any) == any);
        assert!(forms.split(", ").all(block), "{found}");
    }
}

#[test]
fn what_every_kernel_takes_of_a_device_is_listed() {
    if !has_opencl() {
        return;
    }
    let kernels = |tiles: &str| -> BTreeMap<String, [u64; 3]> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
        let output = command.args(["devices", "--kernels", "--device", "opencl", "--tiles", tiles]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, group, local, private] = words[..] else { panic!("{line}") };
            (name.to_owned(), [group, local, private].map(|number| number.parse().unwrap()))
        };
        text.lines().skip(2).map(line).collect()
    };
    let [cpu, gpu] = ["cpu", "gpu"].map(kernels);
    let all: BTreeSet<&str> = kernel_names().collect();
    let listed: BTreeSet<&str> = cpu.keys().chain(gpu.keys()).map(String::as_str).collect();
    assert_eq!(listed, all);
    assert!(cpu.contains_key("conv2d_forward_winograd") && !gpu.contains_key("conv2d_forward_winograd"));
    let [group, local, _] = gpu["conv2d_forward_128x64"];
    assert!(group >= 256 && local >= 25_600, "{gpu:?}");
}

#[test]
fn a_product_with_the_hessian_stands_beside_a_gradient_of_the_same_batch() {
    let shape = ["--model", "resnet8:4", "--image", "8x8x3", "--classes", "5", "--batch", "32", "--device"];
    each_device(|device| {
        let (stdout, line) = measured(&[&shape[..], &[device, "--hessian"]].concat());
        let number = |name: &str| line["hessian"][name].as_f64().unwrap_or_else(|| panic!("no {name} in {line}"));
        let [gradient, product, gradients] = ["gradient_ms", "product_ms", "gradients"].map(number);
        assert!((gradients * gradient / product - 1.0).abs() < 1e-12, "{line}");
        // Eight convolutions a layer against three: a product cannot be had for a gradient.
        assert!(gradient > 0.0 && gradients > 1.0, "{line}");
        let text = format!("product with Hessian  {product:.3} ms, {gradients:.2} gradients of {gradient:.3} ms");
        assert!(stdout.contains(&text), "{text} is not in\n{stdout}");
        let (stdout, line) = measured(&[&shape[..], &[device]].concat());
        assert!(line.get("hessian").is_none() && !stdout.contains("Hessian"), "{stdout}");
    });
}

#[track_caller]
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let outcome = bench(args);
    assert_eq!(outcome.code, code, "{args:?}\n{}", outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "{args:?}: {part:?} is not in\n{}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "", "{args:?}");
}

#[test]
fn bad_input_is_refused_before_anything_is_measured() {
    refused(&["--model", "vgg"], 2, &["--model vgg: unknown model", "resnet10/18/34"]);
    refused(&["--stage", "3"], 2, &["--stage", "3 is not in 1..=2"]);
    refused(&["--method", "adam"], 2, &["--method", "sse-sam"]);
    refused(&["--batch", "0"], 2, &["--batch"]);
    refused(&["--steps", "0"], 2, &["--steps"]);
    refused(&["--classes", "32768"], 2, &["--classes"]);
    refused(&["--image", "32x32"], 2, &["an image is HEIGHTxWIDTHxCHANNELS"]);
    refused(&["--image", "32x0x3"], 2, &["an image is HEIGHTxWIDTHxCHANNELS"]);
    refused(&["--conv", "fast"], 2, &["--conv", "auto, direct, winograd"]);
    refused(&["--conv", "winograd", "--device", "cpu"], 2, &["no convolutions in Winograd's form"]);
    refused(&["--device", "abacus"], 2, &["abacus"]);
    refused(&["--model", "mlp:7-3", "--image", "2x2x1"], 1, &["must hold 4 elements", "mlp:4-HIDDEN-CLASSES"]);
}

/// The batch that the hint of a refusal names.
#[track_caller]
fn largest(args: &[&str]) -> u64 {
    let outcome = bench(args);
    assert_eq!(outcome.code, 1, "{args:?}\n{}", outcome.stderr);
    let hint = outcome.stderr.split_once("hint: --batch ").unwrap_or_else(|| panic!("no hint in {}", outcome.stderr)).1;
    hint.split_once(" fits").unwrap().0.parse().unwrap()
}

#[test]
fn a_batch_that_does_not_fit_names_the_largest_that_does() {
    let model = ["--model", "resnet8:4", "--image", "8x8x3", "--steps", "1", "--device"];
    assert!(largest(&[&model[..], &["cpu", "--batch", "4000000000"]].concat()) > 1000);
    if !has_opencl() {
        return;
    }
    let small = [&model[..], &["opencl", "--device-memory", "10", "--batch"]].concat();
    let fits = largest(&[&small[..], &["5000"]].concat());
    assert_eq!(bench(&[&small[..], &[&fits.to_string()]].concat()).code, 0);
    assert_eq!(largest(&[&small[..], &[&(fits + 1).to_string()]].concat()), fits);
    // A product needs more than a step of plain descent.
    let plain = largest(&[&small[..], &["5000", "--method", "sgd"]].concat());
    let products = ["--method", "sgd", "--hessian"];
    let both = largest(&[&small[..], &[&plain.to_string()], &products[..]].concat());
    assert!(both < plain, "{both}, {plain}");
    assert_eq!(bench(&[&small[..], &[&both.to_string()], &products[..]].concat()).code, 0);
    let refused = bench(&[&small[..], &[&(both + 1).to_string()], &products[..]].concat());
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{}", refused.stderr);
}
