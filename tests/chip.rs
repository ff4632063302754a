//! From desk to chip and back: `export` and `import`, and what compilers make of the constants.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sse_sam::cli::firmware::numbers::Numbers;
use sse_sam::device::layout::{Layout, Needs, WINDOW};
use sse_sam::report::Silent;
use sse_sam::weights::{self, Data, Tensor, Weights};
use sse_sam_capi::{
    Image, Network, Options, SSE_SAM_HANDLE_WORDS, SSE_SAM_MEMORY_FULL, SSE_SAM_MEMORY_LEAN, SSE_SAM_MEMORY_RECOMPUTE,
    Sizes, Status, Update, sse_sam_initialize, sse_sam_lend, sse_sam_mlp, sse_sam_plan, sse_sam_resnet, sse_sam_save,
};
use sse_sam_core::{Arena, Economy, Method, Plan, Record, Shape};
use sse_sam_tests::needs::skip;
use tempfile::{TempDir, tempdir};

/// Runs a command in `folder`; what it printed, and whether it succeeded.
fn run(folder: &Path, program: &str, args: &[&str]) -> (bool, String, String) {
    let output = Command::new(program).args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// Runs the program; what it printed.
#[track_caller]
fn program(folder: &Path, args: &[&str]) -> String {
    let (success, stdout, stderr) = run(folder, env!("CARGO_BIN_EXE_sse-sam"), args);
    assert!(success, "{args:?}\n{stderr}");
    stdout
}

/// Asserts that a command fails with all of `parts` on standard error and writes no `new.safetensors`.
#[track_caller]
fn refused(folder: &Path, args: &[&str], parts: &[&str]) {
    let (success, stdout, stderr) = run(folder, env!("CARGO_BIN_EXE_sse-sam"), args);
    assert!(!success && stdout.is_empty() && !stderr.contains("panicked"), "{args:?}\n{stdout}{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in\n{stderr}");
    }
    assert!(!folder.join("new.safetensors").exists());
}

/// A folder with `run/last.safetensors`, a network trained for one epoch.
fn trained(model: &str) -> TempDir {
    let folder = tempdir().unwrap();
    let options = ["--epochs", "1", "--batch", "128", "--quiet", "--device", "cpu", "--out", "run"];
    program(folder.path(), &[&["train", "--model", model][..], &options].concat());
    folder
}

/// The numbers of a weights file, by name, without PyTorch's counters.
fn numbers(path: &Path) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: Tensor| match tensor.data {
        Data::F32(values) => Some((tensor.name, values.into_iter().map(f32::to_bits).collect())),
        Data::I64(_) => None,
    };
    let mut numbers: Vec<_> = weights::read(path).unwrap().0.into_iter().filter_map(bits).collect();
    numbers.sort();
    numbers
}

/// What `printer`, compiled by a compiler that takes no warnings, prints of the exported constants comes back as the same
/// bits, and evaluates alike.
#[track_caller]
fn comes_back(folder: &Path, constants: (&str, &str), printer: (&str, &str), compiler: &str, options: &[&str]) {
    let ((format, file), (source, text)) = (constants, printer);
    program(folder, &["export", "run/last.safetensors", "--format", format, "--out", file]);
    fs::write(folder.join(source), text).unwrap();
    let (success, _, stderr) = run(folder, compiler, &[options, &[source, "-o", "printer"]].concat());
    assert!(success && stderr.is_empty(), "{stderr}");
    let (success, printed, _) = run(folder, folder.join("printer").to_str().unwrap(), &[]);
    assert!(success);
    fs::write(folder.join("console.log"), format!("booting\r\n{printed}\r\ndone\n")).unwrap();
    let out = format!("{format}.safetensors");
    program(folder, &["import", "console.log", "--like", "run/last.safetensors", "--out", &out]);
    assert_eq!(numbers(&folder.join(&out)), numbers(&folder.join("run/last.safetensors")));
    let metadata = |path: &str| weights::read(&folder.join(path)).unwrap().1;
    assert_eq!(metadata(&out), metadata("run/last.safetensors"));
    let accuracy = |path: &str| program(folder, &["eval", path, "--device", "cpu"]);
    assert_eq!(accuracy(&out), accuracy("run/last.safetensors"));
}

const RUST_PRINTER: &str = "mod network;
fn main() {
    assert_eq!(network::IMAGE.iter().product::<usize>(), 64);
    assert!(network::CLASS_COUNTS.len() == network::CLASSES && network::PARAMETERS <= network::WEIGHTS.len());
    for row in network::WEIGHTS.chunks(8) {
        print!(\"weights\");
        row.iter().for_each(|value| print!(\" {:08x}\", value.to_bits()));
        println!();
    }
}
";

const C_PRINTER: &str = "#include <stdio.h>
#include <string.h>
#include \"digits.h\"
int main(void) {
  for (int at = 0; at < NETWORK_WEIGHTS; at += 1) {
    uint32_t bits;
    memcpy(&bits, &network_weights[at], 4);
    printf(\"weights %08x\\n\", (unsigned)bits);
  }
  return NETWORK_HEIGHT * NETWORK_WIDTH * NETWORK_CHANNELS == 64 && NETWORK_CLASSES == 10 ? 0 : 1;
}
";

#[test]
fn constants_in_rust_compile_without_a_warning_and_come_back_bit_for_bit() {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    for model in ["mlp:64-16-10", "resnet8:4", "resnet18:2"] {
        let folder = trained(model);
        let options = ["--edition", "2024", "-D", "warnings"];
        comes_back(folder.path(), ("rust", "network.rs"), ("printer.rs", RUST_PRINTER), &compiler, &options);
    }
}

#[test]
fn constants_in_c_compile_without_a_warning_and_come_back_bit_for_bit() {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    if !Command::new(&compiler).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skip("there is no C compiler");
    }
    for model in ["mlp:64-16-10", "resnet8:4"] {
        let folder = trained(model);
        let options = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
        comes_back(folder.path(), ("c", "digits.h"), ("printer.c", C_PRINTER), &compiler, &options);
    }
}

#[test]
fn constants_say_what_a_network_is() {
    let folder = trained("resnet8:4");
    let export = |more: &[&str]| program(folder.path(), &[&["export", "run/last.safetensors"][..], more].concat());
    let header = export(&["--format", "c", "--name", "Gate_2"]);
    for line in
        ["#define GATE_2_DEPTH 8", "#define GATE_2_FILTERS 4", "#define GATE_2_ETA 60", "#define GATE_2_CLASSES 10"]
    {
        assert!(header.contains(line), "{line}\n{header}");
    }
    assert!(header.contains("static const uint32_t gate_2_class_counts[GATE_2_CLASSES] = {376, 243, 157,"));
    let module = export(&["--format", "rust"]);
    assert!(module.contains("pub const MODEL: &str = \"resnet8:4\";") && module.contains("pub const DEPTH: u32 = 8;"));
    assert!(header.lines().chain(module.lines()).all(|line| line.len() <= 120));
}

#[test]
fn exports_refuse_files_that_are_no_trained_network() {
    let folder = trained("mlp:64-16-10");
    let path = folder.path();
    let (tensors, mut metadata) = weights::read(&path.join("run/last.safetensors")).unwrap();
    weights::write(&path.join("bare.safetensors"), &tensors, &Default::default()).unwrap();
    refused(path, &["export", "bare.safetensors", "--format", "c"], &["bare.safetensors: its metadata has no"]);
    metadata.insert("model".into(), "mlp:64-17-10".into());
    weights::write(&path.join("other.safetensors"), &tensors, &metadata).unwrap();
    refused(path, &["export", "other.safetensors", "--format", "c"], &["fc1.weight must have shape [17, 64]"]);
    refused(path, &["export", "run/last.safetensors", "--format", "c", "--name", "2nd"], &["no digit first"]);
    refused(path, &["export", "none.safetensors", "--format", "rust"], &["no such file or folder"]);
}

#[test]
fn imports_refuse_damaged_dumps_and_other_networks() {
    let folder = trained("mlp:64-16-10");
    let path = folder.path();
    let import = ["import", "dump", "--like", "run/last.safetensors", "--out", "new.safetensors"];
    refused(path, &import, &["dump: no such file or folder"]);
    let cases = [
        ("", "dump: holds 0 numbers; mlp:64-16-10 takes 1210"),
        ("weights 3f800000\nweights 3f80000", "dump: line 2: 3f80000 is not eight hexadecimal digits"),
        ("\n\nweights 3f8000x0", "dump: line 3: 3f8000x0 is not eight hexadecimal digits"),
        ("weights +f800000", "dump: line 1: +f800000 is not eight hexadecimal digits"),
        ("weights 7fc00000", "dump: line 1: 7fc00000 are the bits of a number that is not finite"),
        ("weights 3f800000 3f800000", "dump: holds 2 numbers; mlp:64-16-10 takes 1210"),
    ];
    for (text, message) in cases {
        fs::write(path.join("dump"), text).unwrap();
        refused(path, &import, &[message]);
    }
    fs::write(path.join("dump"), "weights 3f800000\n".repeat(1211)).unwrap();
    refused(path, &import, &["holds 1211 numbers", "hint: a line of numbers is the word weights"]);
}

#[test]
fn imports_find_their_lines_behind_what_a_console_adds() {
    let folder = trained("mlp:64-16-10");
    let path = folder.path();
    let exported = weights::read(&path.join("run/best-on-test.safetensors")).unwrap().0;
    put_numbers(path, "plain", |line| format!("{line}\n"));
    let import = |dump: &str| {
        let out = format!("{dump}.safetensors");
        program(path, &["import", dump, "--like", "run", "--out", &out]);
        numbers(&path.join(out))
    };
    let expected = import("plain");
    assert_eq!(expected.len(), exported.len());
    type Form = fn(&str) -> String;
    let forms: [(&str, Form); 9] = [
        ("crlf", |line| format!("{line}\r\n")),
        ("minicom", |line| format!("[2026-11-27 20:53:00.123] {line}\r\n")),
        ("defmt", |line| format!("0.001234 INFO  {line}\n└─ firmware::__cortex_m_rt_main @ src/main.rs:12\n")),
        ("esp-idf", |line| format!("\x1b[0;32mI (123) trainer: {line}\x1b[0m\r\n")),
        ("zephyr", |line| format!("\x1b[8D\x1b[J[00:01:02.345,000] \x1b[0m<inf> weights: {line}\x1b[0m\n")),
        ("glued", |line| format!("[00:01]{line}\n")),
        ("titled", |line| format!("\x1b]0;console\x07\x00\x11{line}\x13\n")),
        ("talk", |line| format!("loading weights from flash\n{line}\nweights_done 1\n")),
        ("cr", |line| format!("{line}\r")),
    ];
    for (name, form) in forms {
        put_numbers(path, name, form);
        assert_eq!(import(name), expected, "{name}");
    }
    let plain = fs::read_to_string(path.join("plain")).unwrap();
    let wide: Vec<u8> = format!("\u{feff}{plain}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(path.join("powershell"), wide).unwrap();
    assert_eq!(import("powershell"), expected);
    // Damage behind a prefix is still damage.
    fs::write(path.join("dump"), "I (1) a: weights 3f800000 3f80000\n").unwrap();
    let import = ["import", "dump", "--like", "run", "--out", "new.safetensors"];
    refused(path, &import, &["dump: line 1: 3f80000 is not eight hexadecimal digits"]);
    fs::write(path.join("dump"), "a\r\nb\r\nweights 3f80000\r\n").unwrap();
    refused(path, &import, &["dump: line 3: 3f80000 is not eight hexadecimal digits"]);
}

/// Writes the numbers of a run's best weights, eight a line, each line in a console's form.
fn put_numbers(folder: &Path, name: &str, form: impl Fn(&str) -> String) {
    let values = Numbers::new(&Weights::read(&folder.join("run/best-on-test.safetensors"), &Silent).unwrap())
        .unwrap()
        .values()
        .unwrap();
    let line = |row: &[f32]| row.iter().map(|value| format!(" {:08x}", value.to_bits())).collect::<String>();
    let text: String = values.chunks(8).map(|row| form(&format!("weights{}", line(row)))).collect();
    fs::write(folder.join(name), text).unwrap();
}

/// A network of this size is never made: the process may have no more than 512 MiB of addresses.
#[cfg(target_os = "linux")]
#[test]
fn sizes_that_a_file_only_claims_take_no_memory() {
    let folder = trained("mlp:64-6-10");
    let path = folder.path();
    let (tensors, metadata) = weights::read(&path.join("run/best-on-test.safetensors")).unwrap();
    for (key, value) in [
        ("model", "mlp:16777215-60-10"),
        ("model", "mlp:64-16777215-10"),
        ("model", "resnet56:16777215"),
        ("model", "resnet34:4000"),
        ("image", "65535x65535x65535"),
        ("image", "99999999x99999999x99999999"),
        ("image", "16777215x1x1"),
    ] {
        let claim = [metadata.clone(), [(key.to_owned(), value.to_owned())].into()].into_iter().flatten().collect();
        weights::write(&path.join("claim.safetensors"), &tensors, &claim).unwrap();
        fs::write(path.join("dump"), "weights 3f800000\n").unwrap();
        for command in [
            "export claim.safetensors --format c",
            "import dump --like claim.safetensors --out new.safetensors",
            "eval claim.safetensors --device cpu",
        ] {
            let limited = format!("ulimit -v 524288 && exec {} {command}", env!("CARGO_BIN_EXE_sse-sam"));
            let (success, stdout, stderr) = run(path, "sh", &["-c", &limited]);
            assert!(!success && stdout.is_empty(), "{key} {value}, {command}: {stdout}");
            let line = stderr.lines().next().unwrap_or_default();
            let is_sentence = line.starts_with("sse-sam: claim.safetensors: ") && !stderr.contains("allocation");
            assert!(is_sentence, "{key} {value}, {command}: {stderr}");
        }
    }
}

/// What the C interface holds of a new `resnet8:4` on digits after a seed was given.
fn initialized(seed: u64) -> Vec<f32> {
    let mut handle = vec![0_usize; sse_sam_capi::SSE_SAM_HANDLE_WORDS];
    let (network, bytes) = (handle.as_mut_ptr().cast::<Network>(), handle.len() * size_of::<usize>());
    let (groups, radius, tail_radius) = (1, 0.0, 0.0);
    let update =
        Update { groups, radius, tail_radius, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: 0 };
    let mut sizes = Sizes { floats: 0, weights: 0, parameters: 0, classes: 0, frozen: 0 };
    // SAFETY: pointers are as long as stated; the arena lives as long as it is used.
    unsafe {
        assert_eq!(sse_sam_resnet(network, bytes, Image { height: 8, width: 8, channels: 1 }, 8, 4, 10), Status::Ok);
        assert_eq!(sse_sam_plan(network, 1, &update, std::ptr::null(), &mut sizes), Status::Ok);
        let (mut arena, mut numbers) = (vec![0.0; sizes.floats], vec![0.0; sizes.weights]);
        assert_eq!(sse_sam_lend(network, arena.as_mut_ptr(), arena.len()), Status::Ok);
        assert_eq!(sse_sam_initialize(network, seed, None, std::ptr::null_mut()), Status::Ok);
        assert_eq!(sse_sam_save(network, numbers.as_mut_ptr(), numbers.len()), Status::Ok);
        numbers.truncate(sizes.parameters);
        numbers
    }
}

#[test]
fn a_seed_starts_a_chip_as_it_starts_the_desk() {
    let folder = tempdir().unwrap();
    let options = ["--epochs", "1", "--lr", "0", "--seed", "81985529216486895", "--quiet", "--device", "cpu"];
    program(folder.path(), &[&["train", "--model", "resnet8:4", "--out", "run"][..], &options].concat());
    let weights = Weights::read(&folder.path().join("run/last.safetensors"), &Silent).unwrap();
    let numbers = Numbers::new(&weights).unwrap();
    let (parameters, values) = (numbers.parameters(), numbers.values().unwrap());
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&initialized(81_985_529_216_486_895)), bits(&values[..parameters]));
    assert_ne!(bits(&initialized(81_985_529_216_486_894)), bits(&values[..parameters]));
}

/// What a step of each method asks for, as the host and as C say it.
fn methods() -> [(&'static str, Method, Update); 5] {
    let update = |groups, radius, tail_radius| Update {
        groups,
        radius,
        tail_radius,
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.0,
        nesterov: 0,
    };
    [
        ("sgd", Method::Sgd, update(1, 0.0, 0.0)),
        ("sam", Method::Sam { rho: 0.1 }, update(1, 0.1, 0.0)),
        ("imbsam", Method::ImbSam { rho: 0.1 }, update(2, 0.0, 0.1)),
        ("sse-sam", Method::SseSam { head_rho: 0.1, tail_rho: 0.1, gamma: 0.5 }, update(2, 0.1, 0.1)),
        ("focal-sam", Method::FocalSam { rho: 0.1, lambda: 1.0, gamma: 1.0 }, update(2, 0.0, 0.1)),
    ]
}

const ECONOMIES: [(&str, Economy, u32); 3] = [
    ("full", Economy::Full, SSE_SAM_MEMORY_FULL),
    ("lean", Economy::Lean, SSE_SAM_MEMORY_LEAN),
    ("recompute", Economy::Recompute, SSE_SAM_MEMORY_RECOMPUTE),
];

/// Floats that C is asked for.
fn c_plan(model: &str, largest: &Update, memory: u32, micro_batch: usize) -> usize {
    let mut handle = [0_usize; SSE_SAM_HANDLE_WORDS];
    let network = handle.as_mut_ptr().cast::<Network>();
    let (bytes, image) = (size_of_val(&handle), Image { height: 8, width: 8, channels: 1 });
    let mut sizes = Sizes { floats: 0, weights: 0, parameters: 0, classes: 0, frozen: 0 };
    let options = Options { memory, trainable_layers: 0, micro_batch };
    // SAFETY: the handle is as long as said, and so is every array.
    unsafe {
        let made = match model {
            "mlp:64-32-10" => sse_sam_mlp(network, bytes, image, [64, 32, 10].as_ptr(), 3),
            _ => sse_sam_resnet(network, bytes, image, 8, 4, 10),
        };
        assert_eq!(made, Status::Ok);
        assert_eq!(sse_sam_plan(network, 16, largest, &options, &mut sizes), Status::Ok);
    }
    sizes.floats
}

#[test]
fn footprint_host_and_c_plan_the_same_memory_for_every_method() {
    for (model, piece) in [("mlp:64-32-10", None), ("mlp:64-32-10", Some(3)), ("resnet8:4", None)] {
        let pieces = piece.map(|rows: usize| vec!["--micro-batch".to_owned(), rows.to_string()]).unwrap_or_default();
        let options: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let network = ["--json", "--model", model, "--image", "8x8x1", "--classes", "10", "--batch", "16"];
        let folder = tempdir().unwrap();
        let text = program(folder.path(), &[&["footprint"][..], &network, &options].concat());
        let said: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        for (name, method, largest) in methods() {
            for (memory, economy, c_memory) in ECONOMIES {
                let what = format!("{model}, {name}, {memory}, pieces of {piece:?}");
                let mut forms = said["forms"].as_array().unwrap().iter();
                let form = forms.find(|form| form["method"] == name && form["memory"] == memory).unwrap();
                let number = |key: &str| form[key].as_u64().unwrap() as usize;
                let groups = method.largest().unwrap();
                let needs = Needs { groups, economy, piece, ..Needs::new(Shape::new(8, 8, 1), 10, 16) };
                let host = Layout::new(&model.parse().unwrap(), &needs, Arena::new(1)).unwrap();
                // The host keeps the records of many steps.
                assert_eq!(number("total_f32"), host.words - (WINDOW - 1) * Record::WORDS, "{what}");
                assert_eq!(number("c_f32"), c_plan(model, &largest, c_memory, piece.unwrap_or(0)), "{what}");
                let one = matches!(name, "sgd" | "sam") || piece.is_some() || memory == "recompute";
                let streams = if one || (name != "sse-sam" && memory == "lean") { 1 } else { 2 };
                let single = Plan::new(&host.graph, piece.unwrap_or(16), 1, &mut Arena::new(1)).unwrap();
                assert_eq!(number("gradients_f32"), streams * single.usage().gradients, "{what}");
                assert_eq!(host.plan.usage().gradients, streams * single.usage().gradients, "{what}");
            }
        }
    }
}
