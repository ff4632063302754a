//! Convolutions in matrix instructions, whose factors are rounded to TF32: all that is around the instructions, with these
//! written out, on every OpenCL device.

use std::path::Path;

use assert_cmd::Command;
use sse_sam::opencl::{
    Algorithm, Block, ConvProblem, DeviceInfo, Matrix, OpenCl, Precision, Selection, Tiling, devices,
};
use sse_sam_core::ops::{Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward};
use sse_sam_core::{Conv2d, Machine, Run, Shape, Span};
use sse_sam_tests::conformance::tolerance;
use sse_sam_tests::needs::has_opencl;
use sse_sam_tests::random::Numbers;
use sse_sam_tests::reference::layout::{hwio_to_oihw, nchw_to_nhwc, nhwc_to_nchw, oihw_to_hwio};
use sse_sam_tests::reference::{conv2d as reference, relative_error, wide};

/// Blocks that matrix instructions multiply.
const BLOCKS: [Block; 4] = [Block::B128x128, Block::B128x64, Block::B64x64, Block::B128x32];
const OPERATIONS: [&str; 3] = ["conv2d_forward", "conv2d_backward_input", "conv2d_backward_weight"];

/// What rounding factors to TF32 does to an operation: two errors of up to 2^-11 a product, which do not cancel as well
/// as they could.
const ROUNDED: f64 = 5e-4;

/// images, height, width, channels, filters, kernel, stride, padding
const CASES: [[usize; 8]; 5] = [
    [2, 8, 8, 16, 16, 3, 1, 1],
    [3, 9, 7, 20, 36, 3, 2, 1],
    [1, 13, 11, 132, 132, 3, 1, 1],
    [5, 4, 4, 64, 128, 1, 2, 0],
    [1, 1, 1, 4, 4, 1, 1, 0],
];

/// Every device found, as a GPU with matrix instructions that are written out.
fn each_device(test: impl Fn(&DeviceInfo)) {
    let found = devices().unwrap();
    has_opencl(found.len());
    for mut device in found {
        eprintln!("on {} ({})", device.name, device.platform_name);
        (device.tiles, device.precision, device.matrix) = (Tiling::Gpu, Precision::Tf32, Matrix::Emulated);
        test(&device);
    }
}

/// The nearest number of TF32, ties away from zero.
fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| f32::from_bits((value.to_bits() + 0x1000) & 0xffff_e000)).collect()
}

/// One convolution's numbers: x, dy and weights.
struct Data {
    images: usize,
    conv: Conv2d,
    lists: [Vec<f32>; 3],
}

impl Data {
    fn new([images, height, width, channels, filters, kernel, stride, padding]: [usize; 8]) -> Self {
        let conv = Conv2d::new(Shape::new(height, width, channels), filters, kernel, stride, padding).unwrap();
        let mut numbers = Numbers::named(&format!("{images} of {conv:?}"));
        let lengths = [images * conv.input.len(), images * conv.output.len(), conv.weights()];
        Self { images, conv, lists: lengths.map(|length| numbers.list(length)) }
    }

    /// y, dx and dweight by the formula, of numbers that `change` has been at.
    fn expected(&self, change: impl Fn(&[f32]) -> Vec<f32>) -> [Vec<f64>; 3] {
        let (conv, [x, dy, weight]) = (&self.conv, self.lists.each_ref().map(|list| wide(&change(list))));
        let (channels, filters) = (conv.input.channels, conv.output.channels);
        let (x, dy) = (nhwc_to_nchw(&x, conv.input), nhwc_to_nchw(&dy, conv.output));
        let weight = hwio_to_oihw(&weight, conv.kernel, channels, filters);
        [
            nchw_to_nhwc(&reference::forward(&x, &weight, conv), conv.output),
            nchw_to_nhwc(&reference::backward_input(&dy, &weight, conv), conv.input),
            oihw_to_hwio(&reference::backward_weight(&x, &dy, conv), conv.kernel, channels, filters),
        ]
    }

    /// The same in one block of a device.
    fn found(&self, device: &DeviceInfo, block: Block) -> [Vec<f64>; 3] {
        let (conv, mut end) = (&self.conv, 0);
        let mut span = |length: usize| {
            end += length.next_multiple_of(32);
            Span::work(end - length.next_multiple_of(32), length)
        };
        let inputs = self.lists.each_ref().map(|list| span(list.len()));
        let [dx, y, dweight] = self.lists.each_ref().map(|list| span(list.len()));
        let mut machine = OpenCl::new(device, end, &[], &[]).unwrap();
        let table = [(ConvProblem::new(conv, self.images), [Algorithm::Block(block); 3])].into_iter().collect();
        machine.set_selection(Selection::new(self.images, table));
        machine.reserve_convolution(conv, self.images).unwrap();
        assert_eq!(machine.algorithms(conv, self.images), [Algorithm::Block(block); 3]);
        for (span, values) in inputs.into_iter().zip(&self.lists) {
            machine.write(span, values).unwrap();
        }
        let [x, dy, weight] = inputs;
        machine.run(&Conv2dForward { y, x, weight, conv }).unwrap();
        machine.run(&Conv2dBackwardInput { dx: &[dx], dy: &[dy], weight, conv, accumulate: false }).unwrap();
        machine.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[dy], conv }).unwrap();
        [y, dx, dweight].map(|span| {
            let mut values = vec![0.0; span.length];
            machine.read(&mut values, span).unwrap();
            wide(&values)
        })
    }
}

#[test]
fn matrix_instructions_compute_what_rounded_factors_give() {
    each_device(|device| {
        let mut worst = [0.0f64; 3];
        for case in CASES {
            let data = Data::new(case);
            let (expected, full) = (data.expected(rounded), data.expected(<[f32]>::to_vec));
            for block in BLOCKS {
                for (index, found) in data.found(device, block).iter().enumerate() {
                    let (operation, what) = (OPERATIONS[index], format!("{case:?} in {block}"));
                    let error = relative_error(found, &expected[index]);
                    assert!(error <= tolerance(operation), "{operation} {what}: {error:e} from rounded factors");
                    let error = relative_error(found, &full[index]);
                    assert!(error <= ROUNDED, "{operation} {what}: {error:e} from the numbers themselves");
                    worst[index] = worst[index].max(error);
                }
            }
        }
        for (operation, error) in OPERATIONS.iter().zip(worst) {
            eprintln!("{operation}: at most {error:.1e} by rounding factors to TF32");
        }
        assert!(worst.iter().all(|error| *error > 1e-5), "factors are rounded: {worst:?}");
    });
}

/// What the program says, with matrix instructions that are written out if `able`.
fn program(folder: &Path, args: &[&str], able: bool) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.env("SSE_SAM_CACHE", folder.join("cache"));
    if able {
        command.env("SSE_SAM_OPENCL_MATRIX", "emulated");
    }
    let output = command.args(args).current_dir(folder).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap(), text)
}

#[test]
fn only_what_has_matrix_instructions_takes_the_option_and_verify_never_does() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/mlp-sgd-ce.json");
    let verify = ["verify", golden.to_str().unwrap(), "--precision", "tf32"];
    let train = ["train", "--epochs", "1", "--out", "out", "--precision", "tf32", "--device"];
    let mut cases = vec![
        ([&train[..], &["cpu"]].concat(), true, "needs a GPU with matrix instructions"),
        (verify.to_vec(), true, "verify computes in full precision"),
    ];
    if devices().unwrap().iter().any(|device| device.matrix == Matrix::Absent) {
        cases.push((
            [&train[..], &["opencl", "--tiles", "gpu"]].concat(),
            false,
            "needs a GPU with matrix instructions",
        ));
        cases.push((
            [&train[..], &["opencl", "--tiles", "cpu"]].concat(),
            true,
            "needs a GPU with matrix instructions",
        ));
    }
    for (args, able, message) in cases {
        let (code, text) = program(folder.path(), &args, able);
        assert!(code == 2 && text.contains(message), "{args:?}: {code}, {text}");
        assert!(!folder.path().join("out").exists(), "{args:?}");
    }
}

#[test]
fn a_run_in_tf32_repeats_resumes_and_says_so() {
    if !has_opencl(devices().unwrap().len()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let train = ["train", "--model", "resnet8:4", "--epochs", "2", "--quiet", "--device", "opencl", "--tiles", "gpu"];
    let run = |out: &str, more: &[&str]| {
        let args = [&train[..], &["--method", "sgd", "--out", out], more].concat();
        let (code, text) = program(folder.path(), &args, true);
        assert_eq!(code, 0, "{text}");
    };
    run("full", &[]);
    run("once", &["--precision", "tf32"]);
    run("twice", &["--precision", "tf32"]);
    let read = |out: &str, file: &str| std::fs::read(folder.path().join(out).join(file)).unwrap();
    // As a kill after the first epoch would leave it.
    std::fs::remove_file(folder.path().join("twice/last.safetensors")).unwrap();
    std::fs::remove_file(folder.path().join("twice/checkpoints/epoch-000002-step-0000000.safetensors")).unwrap();
    let (code, text) = program(folder.path(), &["resume", "twice"], true);
    assert_eq!(code, 0, "{text}");
    for file in ["last.safetensors", "metrics.jsonl"] {
        assert!(read("once", file) == read("twice", file), "{file}");
        assert!(read("once", file) != read("full", file), "{file}: factors are rounded");
    }
    let config = String::from_utf8(read("once", "config.toml")).unwrap();
    assert!(config.contains("precision = \"tf32\"") && config.contains("Emulated"), "{config}");
}
