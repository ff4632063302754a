//! `tune`, `--tiles`, and what becomes of blocks that a device cannot launch or computes wrongly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::Parser;
use serde_json::Value;
use sse_sam::cli::args::{Cli, Command as Subcommand};
use sse_sam::cli::{train, tune, verify};
use sse_sam::device::choose::Device;
use sse_sam::device::layout::{Layout, Needs};
use sse_sam::device::machine::{Job, Machine};
use sse_sam::device::store::TuningStore;
use sse_sam::opencl::{
    self, Algorithm, Algorithms, Block, DeviceInfo, Direction, Error, Fault, OpenCl, Tiling, devices,
};
use sse_sam::recipe::DeviceOptions;
use sse_sam::report::console::{Console, LogFormat};
use sse_sam_core::training::method::Groups;
use sse_sam_core::{Conv2d, Economy, Shape};
use sse_sam_tests::needs;
use tempfile::{TempDir, tempdir};

/// A network whose convolutions have several forms with the tiles of either kind, and take little time.
const NETWORK: [&str; 8] = ["--model", "resnet8:16", "--image", "8x8x3", "--classes", "5", "--batch", "6"];

fn has_opencl() -> bool {
    needs::has_opencl(devices().map_or(0, |devices| devices.len()))
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// What the program says of its own on standard error: compilers of OpenCL talk there too.
    fn said(&self) -> String {
        self.stderr.lines().filter(|line| line.starts_with("sse-sam: ")).collect::<Vec<_>>().join("\n")
    }
}

/// Standard error, where a child says what its parent reads.
fn console() -> Console {
    Console::new(LogFormat::Text, false)
}

/// A folder to work in, with a cache of its own.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("cache/devices.toml")
    }

    fn kept(&self) -> toml::Table {
        fs::read_to_string(self.file()).unwrap().parse().unwrap()
    }

    fn run(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
        let output = command.args(args).current_dir(&self.0).env("SSE_SAM_CACHE", self.path("cache")).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn succeed(&self, args: &[&str]) -> Outcome {
        let outcome = self.run(args);
        assert_eq!(outcome.code, 0, "{args:?}\n{}", outcome.stderr);
        outcome
    }

    /// What `command` finds about the network on OpenCL with these tiles: standard error, and its line of JSON.
    #[track_caller]
    fn json(&self, command: &[&str], tiles: &str) -> (String, Value) {
        let outcome = self.succeed(&[command, &NETWORK, &["--device", "opencl", "--tiles", tiles, "--json"]].concat());
        (outcome.said(), serde_json::from_str(outcome.stdout.lines().last().unwrap()).unwrap())
    }

    fn bench(&self, tiles: &str) -> (String, Value) {
        self.json(&["bench", "--steps", "1"], tiles)
    }
}

const OPERATIONS: [&str; 3] = ["forward", "backward_input", "backward_weight"];

/// The entries of a device in `devices.toml` by which `tiles` they are for.
fn entries<'a>(kept: &'a toml::Table, tiles: &str) -> &'a toml::Table {
    let part = if tiles == "gpu" { "interleaved: true" } else { "interleaved: false" };
    let mut devices = kept["device"].as_array().unwrap().iter();
    let device = devices.find(|device| device["kernels"].as_str().unwrap().contains(part)).unwrap();
    device["convolutions"].as_table().unwrap()
}

#[test]
fn tune_keeps_what_bench_then_shows() {
    if !has_opencl() {
        return;
    }
    for tiles in ["cpu4", "cpu8", "cpu16", "gpu"] {
        let desk = Desk::new();
        let (said, found) = desk.json(&["tune"], tiles);
        assert!(said.lines().all(|line| line.starts_with("sse-sam: timing 3x3")), "{said}");
        assert_eq!((found["tiles"].as_str(), found["kept"].as_str()), (Some(tiles), desk.file().to_str()));
        let (said, shown) = desk.bench(tiles);
        assert_eq!((said.as_str(), shown["tiles"].as_str()), ("", Some(tiles)));
        let kept = desk.kept();
        let lines = found["convolutions"].as_array().unwrap();
        assert_eq!((lines.len(), entries(&kept, tiles).len()), if tiles == "gpu" { (5, 5) } else { (3, 3) });
        for line in lines {
            let same = |shown: &&Value| shown["shape"] == line["shape"];
            let shown = shown["convolutions"].as_array().unwrap().iter().find(same).unwrap();
            assert_eq!(shown["layers"], line["layers"]);
            OPERATIONS.iter().for_each(|name| assert_eq!(shown[name], line[name]["form"], "{line}"));
        }
    }
}

/// The forms of `8x8x16 -> 16` that the file should hold by what `tune` said of it.
fn expected(found: &Value, tiles: &str) -> Vec<toml::Value> {
    let mut lines = found["convolutions"].as_array().unwrap().iter();
    let line = lines.find(|line| line["shape"] == "3x3 8x8x16 -> 16").unwrap();
    let form = |name: &&str| {
        let by_rule = tiles == "gpu" && line[name]["gain"] == 1.0;
        toml::Value::from(if by_rule { "direct" } else { line[name]["form"].as_str().unwrap() })
    };
    OPERATIONS.iter().map(form).collect()
}

#[test]
fn tune_replaces_what_was_kept_and_leaves_what_others_kept() {
    if !has_opencl() {
        return;
    }
    let desk = Desk::new();
    desk.json(&["tune"], "cpu");
    desk.json(&["tune"], "gpu");
    let mut kept = desk.kept();
    let case = "8x8x8x16x16";
    for device in kept["device"].as_array_mut().unwrap() {
        let gpu = device["kernels"].as_str().unwrap().contains("interleaved: true");
        // Never the fastest by far, and another shape.
        let planted = toml::Value::from(vec![if gpu { "128x128" } else { "direct" }; 3]);
        let table = device["convolutions"].as_table_mut().unwrap();
        table[case] = planted.clone();
        table.insert("8x1x1x16x16".into(), planted);
    }
    let mut other = kept["device"][0].clone();
    other["name"] = "another card".into();
    kept["device"].as_array_mut().unwrap().push(other.clone());
    fs::write(desk.file(), kept.to_string()).unwrap();
    let shown = desk.bench("gpu").1;
    let shown = shown["convolutions"].as_array().unwrap().iter().find(|line| line["shape"] == "3x3 8x8x16 -> 16");
    OPERATIONS.iter().for_each(|name| assert_eq!(shown.unwrap()[name], "128x128", "the file is followed"));
    for tiles in ["cpu", "gpu"] {
        let (_, found) = desk.json(&["tune"], tiles);
        let now = desk.kept();
        assert_eq!(entries(&now, tiles)[case].as_array().unwrap(), &expected(&found, tiles));
        assert_eq!(entries(&now, tiles)["8x1x1x16x16"], entries(&kept, tiles)["8x1x1x16x16"]);
        assert!(now["device"].as_array().unwrap().contains(&other), "{now}");
    }
}

#[test]
fn with_the_tiles_of_a_gpu_nothing_is_timed_by_itself() {
    if !has_opencl() {
        return;
    }
    let desk = Desk::new();
    let large = ["--model", "resnet8:16", "--image", "16x16x3", "--batch", "16", "--steps", "1", "--device", "opencl"];
    let bench = |tiles| desk.succeed(&[&["bench", "--tiles", tiles], &large[..]].concat()).said();
    assert_eq!(bench("gpu"), "");
    assert!(!desk.path("cache").exists());
    assert!(bench("cpu").contains("timing convolutions of 3 shapes"));
}

#[test]
fn what_is_found_is_said_where_it_cannot_be_kept() {
    if !has_opencl() {
        return;
    }
    let desk = Desk::new();
    fs::write(desk.path("cache"), "a file").unwrap();
    let (said, found) = desk.json(&["tune"], "gpu");
    assert!(said.contains("warning: what was measured is not kept: "), "{said}");
    assert!(found["kept"].is_null() && found["convolutions"].as_array().unwrap().len() == 5);
}

#[test]
fn what_has_no_tiles_is_refused_with_a_sentence() {
    let desk = Desk::new();
    let cases: [(&[&str], &str); 5] = [
        (&["bench", "--device", "cpu", "--tiles", "gpu"], "--tiles is about kernels of OpenCL devices: CPU core"),
        (&["train", "--device", "cpu", "--tiles", "cpu"], "--tiles is about kernels of OpenCL devices: CPU core"),
        (&["bench", "--tiles", "dsp"], "[possible values: cpu, cpu4, cpu8, cpu16, gpu]"),
        (&["tune", "--device", "cpu"], "has one form of each convolution: there is nothing to tune"),
        (&["tune", "--conv", "direct"], "tune times every form of convolutions: --conv has no place here"),
    ];
    for (args, sentence) in cases {
        let outcome = desk.run(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{args:?}");
        assert!(outcome.stderr.contains(sentence), "{args:?}: {}", outcome.stderr);
    }
    assert_eq!(fs::read_dir(&desk.0).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn resume_and_a_configuration_keep_the_tiles() {
    if !has_opencl() {
        return;
    }
    let desk = Desk::new();
    let sizes = ["--model", "resnet8:4", "--epochs", "2", "--keep", "9", "--quiet"];
    desk.succeed(&[&["train", "--out", "whole", "--device", "opencl", "--tiles", "gpu"], &sizes[..]].concat());
    let config = |run: &str| fs::read_to_string(desk.path(run).join("config.toml")).unwrap();
    assert!(config("whole").contains("tiles = \"gpu\"\n"), "{}", config("whole"));
    desk.succeed(&["train", "--config", "whole/config.toml", "--out", "again", "--quiet"]);
    let weights = |run: &str| fs::read(desk.path(run).join("last.safetensors")).unwrap();
    assert!(weights("again") == weights("whole"), "a configuration is followed");
    // As a kill after the first epoch would leave it.
    let cut = |run: &str| {
        fs::remove_file(desk.path(run).join("last.safetensors")).unwrap();
        fs::remove_file(desk.path(run).join("checkpoints/epoch-000002-step-0000000.safetensors")).unwrap();
    };
    cut("again");
    assert_eq!(desk.succeed(&["resume", "again", "--quiet"]).said(), "");
    assert!(weights("again") == weights("whole") && config("again") == config("whole"), "a run goes on as it was");
    cut("again");
    let moved = desk.succeed(&["resume", "again", "--quiet", "--device", "cpu"]);
    assert!(moved.stderr.contains("warning") && !config("again").contains("tiles"), "{}", moved.stderr);
    desk.succeed(&[
        "train",
        "--config",
        "whole/config.toml",
        "--device",
        "cpu",
        "--out",
        "core",
        "--epochs",
        "1",
        "--quiet",
    ]);
}

#[test]
fn auto_goes_on_to_the_next_device_where_one_is_too_small() {
    if !has_opencl() {
        return;
    }
    let choose = |name: &str| {
        let cli = Cli::try_parse_from(["sse-sam", "bench", "--model", "resnet8:4", "--device", name]).unwrap();
        let Subcommand::Bench(args) = cli.command else { unreachable!() };
        let mut device = Device::choose(&args.device, &console()).unwrap();
        let Device::OpenCl { info, memory, instead, .. } = &mut device else { unreachable!() };
        let next = instead.as_deref().cloned();
        // So small by itself, and not by an option.
        (info.global_memory, *memory) = (1 << 20, 1 << 20);
        (device, next)
    };
    let image = Shape::new(8, 8, 3);
    let groups = Groups::new(0.1, Some(0.1)).unwrap();
    let needs = Needs { groups, ..Needs::new(image, 5, 6) };
    let plan = |device: &Device| device.plan_network(&"resnet8:16".parse().unwrap(), &needs, |rows| rows * image.len());
    let (mut device, next) = choose("auto");
    device.or_next(plan, &console()).unwrap();
    assert_eq!(device.name(), next.unwrap().name());
    let (mut named, next) = choose("opencl");
    let error = named.or_next(plan, &console()).unwrap_err();
    assert!(next.is_none() && error.to_string().contains("MiB are needed at batch 6, 1 MiB are there"), "{error}");
    assert!(error.hint().unwrap().contains("--device cpu"), "{error}");
}

/// The preferred OpenCL device with the tiles of a GPU.
fn gpu() -> Device {
    let (device, tiles) = ("opencl".into(), Some(Tiling::Gpu));
    Device::choose(&DeviceOptions { device: Some(device), tiles, ..DeviceOptions::default() }, &console()).unwrap()
}

fn info(device: &Device) -> DeviceInfo {
    let Device::OpenCl { info, .. } = device else { panic!("{device:?} is no OpenCL device") };
    (**info).clone()
}

/// A residual network of four images with four channels and more.
fn small(device: &Device) -> Layout {
    let image = Shape::new(8, 8, 4);
    let needs = Needs { groups: Groups::new(0.1, Some(0.1)).unwrap(), ..Needs::new(image, 3, 4) };
    device.plan_network(&"resnet8:4".parse().unwrap(), &needs, |rows| rows * image.len()).unwrap()
}

#[test]
fn blocks_that_local_memory_is_too_small_for_are_skipped_with_a_line_each() {
    if !has_opencl() {
        return;
    }
    let (folder, mut device) = (tempdir().unwrap(), gpu());
    let layout = small(&device);
    let there = info(&device);
    let mut limit = |bytes: u64| {
        let Device::OpenCl { info, .. } = &mut device else { unreachable!() };
        info.local_memory = bytes;
        tune::tune(&device, &layout, "resnet8:4", &TuningStore::at(folder.path()), &console()).unwrap()
    };
    let least = Block::ALL.iter().map(|block| block.local_bytes(&there)).min().unwrap();
    let large = || Block::ALL.into_iter().filter(|block| block.local_bytes(&there) > least);
    let report = limit(least);
    assert_eq!(report.skipped.len(), large().count());
    for (sentence, block) in report.skipped.iter().zip(large()) {
        let (start, end) = (format!("{block} is skipped: it needs "), " bytes of local memory, the device has ");
        let numbers = sentence.strip_prefix(&start).unwrap().split_once(end).unwrap();
        let number = |text: &str| text.replace(',', "").parse::<u64>().unwrap();
        assert_eq!((number(numbers.0), number(numbers.1)), (block.local_bytes(&there), least), "{sentence}");
    }
    assert_eq!(report.convolutions.len(), 0, "the one block that is left is no choice");
    let (most, report) = (
        large().map(|block| block.local_bytes(&there)).max().unwrap(),
        limit(large().map(|block| block.local_bytes(&there)).max().unwrap() - 1),
    );
    assert!(!report.convolutions.is_empty() && report.kept.is_some());
    for line in &report.convolutions {
        for best in [line.forward, line.backward_input, line.backward_weight] {
            assert!(best.algorithm.block().is_some_and(|block| block.local_bytes(&there) < most), "{line:?}");
        }
    }
    assert_eq!(limit(1).skipped.len(), Block::ALL.len());
}

/// Whether this process was started by [`child`]: a test named `child_...` does nothing in any other.
fn is_child() -> bool {
    std::env::var_os("SSE_SAM_TEST_CHILD").is_some()
}

/// Runs a test of this file named `child_...` in a process of its own, with a cache of its own, and returns what it said.
#[track_caller]
fn child(test: &str) -> String {
    let folder = tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads", "1"]).env("SSE_SAM_TEST_CHILD", "1");
    let Output { status, stdout, stderr } = command.env("SSE_SAM_CACHE", folder.path()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{}{}", text(&stdout), text(&stderr));
    text(&stderr)
}

/// Every operation in every block.
fn all_blocks() -> Vec<(Direction, Block)> {
    Direction::ALL.into_iter().flat_map(|operation| Block::ALL.map(|block| (operation, block))).collect()
}

#[test]
fn child_checks_every_block_once() {
    if !is_child() {
        return;
    }
    let mut machine = OpenCl::new(&info(&gpu()), 32, &[], &[]).unwrap();
    assert_eq!(machine.check(all_blocks()).unwrap(), []);
    let calls = opencl::calls();
    assert_eq!(machine.check(all_blocks()).unwrap(), []);
    assert_eq!(opencl::calls(), calls, "what is known costs nothing");
}

#[test]
fn every_block_agrees_with_the_general_kernel_and_is_asked_once() {
    if has_opencl() {
        child("child_checks_every_block_once");
    }
}

/// The forms of a network's convolutions, layer by layer.
struct Look<'a>(&'a Layout);

impl Job for Look<'_> {
    type Output = Vec<Algorithms>;

    fn run<B: Machine>(self, backend: &mut B) -> Result<Vec<Algorithms>, sse_sam::Error>
    where
        sse_sam::Error: From<B::Error>,
    {
        Ok(self.0.convolutions().map(|conv| backend.algorithms(&conv, self.0.plan.max_batch())).collect())
    }
}

/// Replays a residual network's trajectory on a device.
fn assert_verified(device: &Device) {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/resnet8-ssesam-ce.json");
    for report in verify::replay(&case, device, Economy::Full, &console()).unwrap() {
        assert!(report.error <= report.bound, "{}: {:e}", report.what, report.error);
    }
}

#[test]
fn child_trains_without_any_block() {
    if !is_child() {
        return;
    }
    all_blocks().into_iter().for_each(|(operation, block)| opencl::falsify(operation, block, 1e3));
    let device = gpu();
    let layout = small(&device);
    let forms = device.run(&layout, &[], &[], Look(&layout), &console()).unwrap();
    // Nothing needs the gradient with respect to the images, so its block is not checked.
    assert_eq!(forms[0][0], Algorithm::Direct);
    assert!(forms[1..].iter().all(|forms| *forms == [Algorithm::Direct; 3]), "{forms:?}");
    assert_verified(&device);
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let words = ["sse-sam", "train", "--model", "resnet8:4", "--epochs", "1", "--device", "opencl", "--tiles", "gpu"];
    let cli = Cli::parse_from(words.into_iter().chain(["--quiet", "--out", out.to_str().unwrap()]));
    let Subcommand::Train(args) = cli.command else { unreachable!() };
    train::run(&args, &Console::new(LogFormat::Text, true)).unwrap();
    assert!(out.join("last.safetensors").exists());
}

#[test]
fn a_device_that_computes_every_block_wrongly_trains_with_the_general_kernels() {
    if !has_opencl() {
        return;
    }
    let said = child("child_trains_without_any_block");
    let mut warnings: Vec<&str> = said.lines().filter(|line| line.contains(" is skipped for the ")).collect();
    let start = format!("sse-sam: warning: {}: ", info(&gpu()).name);
    for warning in &warnings {
        let differs = ": its result differs from the general kernel's by ";
        assert!(warning.starts_with(&start) && warning.contains(differs), "{warning}");
    }
    // Every block takes over from another until none is left; the convolutions of images have but one.
    let count = warnings.len();
    assert_eq!(count, all_blocks().len(), "{said}");
    warnings.sort_unstable();
    warnings.dedup();
    assert_eq!(warnings.len(), count, "each is said once in a process");
}

#[test]
fn child_has_another_block_take_over() {
    if !is_child() {
        return;
    }
    let device = gpu();
    let layout = small(&device);
    // What it would take, and what it takes for an epoch's last batch.
    let conv = Conv2d::new(Shape::new(8, 8, 64), 64, 3, 1, 1).unwrap();
    let mut machine = OpenCl::new(&info(&device), 32, &[], &[]).unwrap();
    let block = |machine: &OpenCl, images| machine.algorithms(&conv, images)[0].block().unwrap();
    let [whole, last] = [64, 1].map(|images| block(&machine, images));
    assert_ne!(whole, last);
    opencl::falsify(Direction::Forward, last, f32::NAN);
    let refused = machine.check_operations(&[(Direction::Forward, conv)], 64).unwrap();
    let found: Vec<_> = refused.iter().map(|refusal| (refusal.direction, refusal.algorithm, refusal.first)).collect();
    assert_eq!(found, [(Direction::Forward, Algorithm::Block(last), true)]);
    assert!(matches!(refused[0].fault, Fault::Wrong(error) if error.is_nan()), "{}", refused[0]);
    assert_eq!(block(&machine, 64), whole);
    assert_ne!(block(&machine, 1), last);
    // The network's own.
    let look = || device.run(&layout, &[], &[], Look(&layout), &console()).unwrap();
    let before = look()[1];
    opencl::forget_checks(&info(&device)).unwrap();
    opencl::falsify(Direction::BackwardWeight, before[2].block().unwrap(), 1e3);
    let after = look()[1];
    assert_eq!(after[..2], before[..2]);
    assert!(after[2] != before[2] && after[2].block().is_some(), "{after:?}");
    assert_verified(&device);
    // A wrong block is not timed, and tune says so.
    let report = tune::tune(&device, &layout, "resnet8:4", &TuningStore::of_user(), &console()).unwrap();
    let wrong = format!("{} is skipped for the weight gradient: its result differs", before[2].name());
    assert_eq!(report.skipped.iter().filter(|sentence| sentence.starts_with(&wrong)).count(), 1, "{report:?}");
    assert!(report.convolutions.iter().all(|line| line.backward_weight.algorithm != before[2]));
}

#[test]
fn a_block_that_is_wrong_is_replaced_by_another_for_every_size_of_batch() {
    if !has_opencl() {
        return;
    }
    let said = child("child_has_another_block_take_over");
    assert!(
        said.contains(" is skipped for the weight gradient: its result differs from the general kernel's by"),
        "{said}"
    );
}

/// What OpenCL says when a work-group is too large.
const TOO_LARGE: i32 = -54;

#[test]
fn child_survives_a_failure_of_every_call_of_a_check() {
    if !is_child() {
        return;
    }
    let device = info(&gpu());
    let mut refused = 0;
    for after in 1.. {
        opencl::forget_checks(&device).unwrap();
        let mut machine = OpenCl::new(&device, 32, &[], &[]).unwrap();
        let before = opencl::calls();
        opencl::fail_after(after, TOO_LARGE);
        let result = machine.check([(Direction::Forward, Block::B64x32)]);
        opencl::fail_after(0, 0);
        match result {
            Ok(refusals) => {
                for refusal in &refusals {
                    let Fault::Fails(error) = &refusal.fault else { panic!("call {after}: {refusal}") };
                    assert!(error.to_string().contains("-54 (CL_INVALID_WORK_GROUP_SIZE)"), "call {after}: {error}");
                }
                refused += refusals.len();
            }
            Err(error) => assert!(matches!(error, Error::Call { code: TOO_LARGE, .. }), "call {after}: {error}"),
        }
        if opencl::calls() - before < after {
            break;
        }
    }
    // A forward pass alone sets a dozen arguments and launches, and there are two of them.
    assert!(refused > 24, "only {refused} failures refused the block");
}

#[test]
fn a_check_whose_calls_fail_refuses_the_block_or_is_an_error() {
    if has_opencl() {
        child("child_survives_a_failure_of_every_call_of_a_check");
    }
}

#[test]
fn child_tunes_on_a_device_that_fails_now_and_then() {
    if !is_child() {
        return;
    }
    let device = gpu();
    let (layout, cache) = (small(&device), TuningStore::of_user());
    let tune = || tune::tune(&device, &layout, "resnet8:4", &cache, &console());
    tune().unwrap();
    let before = opencl::calls();
    assert!(tune().unwrap().skipped.is_empty(), "nothing fails yet");
    let calls = opencl::calls() - before;
    let mut skipped = 0;
    for after in (1..calls).step_by((calls / 29) as usize) {
        opencl::fail_after(after, TOO_LARGE);
        let result = tune();
        opencl::fail_after(0, 0);
        match result {
            Ok(report) => {
                assert!(report.skipped.len() < 2 && report.kept.is_some(), "call {after}: {report:?}");
                let sentence =
                    |text: &String| text.contains(" is skipped for the ") && text.contains("failed with -54 (");
                assert!(report.skipped.iter().all(sentence), "call {after}: {report:?}");
                skipped += report.skipped.len();
            }
            Err(error) => assert!(error.to_string().contains("-54"), "call {after}: {error}"),
        }
    }
    assert!(skipped >= 10, "only {skipped} forms were skipped");
}

#[test]
fn a_form_that_fails_while_it_is_timed_is_skipped_with_a_line() {
    if has_opencl() {
        child("child_tunes_on_a_device_that_fails_now_and_then");
    }
}
