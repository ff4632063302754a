//! Runs that are killed, stopped, damaged or continued: nothing is lost, and bits stay the same.

mod choices;
mod device;
mod faults;
mod folder;
mod log;
mod rollback;
mod settings;
mod signals;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sse_sam::device::choose::Device;
use sse_sam::device::layout::{Layout, Needs};
use sse_sam::run::checkpoint::Checkpoint;
use sse_sam_core::Shape;
use sse_sam_tests::needs::{self, skip};
use sse_sam_tests::random::Numbers;
use tempfile::{TempDir, tempdir};

/// A short run with a checkpoint as often as the disk can take one.
const SHORT: [&str; 11] =
    ["--model", "resnet8:1", "--batch", "32", "--epochs", "6", "--checkpoint-minutes", "0", "--quiet", "--lr", "0.05"];

/// Files that are the same after any way through the same run.
const RESULTS: [&str; 4] = ["config.toml", "metrics.jsonl", "last.safetensors", "evaluation.json"];

/// Weights of the best epoch, one of these.
const BEST: [&str; 2] = ["best.safetensors", "best-on-test.safetensors"];

/// A cache folder of the tests' own: none may write to the user's.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).env("SSE_SAM_CACHE", CACHE);
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    program(folder, args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Arguments that train into `out` on the CPU core.
fn training<'a>(out: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--device", "cpu", "--out", out], &SHORT[..], options].concat()
}

#[track_caller]
fn succeed(folder: &Path, args: &[&str]) -> Output {
    let output = run(folder, args);
    assert!(output.status.success(), "{args:?}\n{}", stderr(&output));
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    output
}

/// Asserts that the command fails with this status and says this.
#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32, expected: &str) -> Output {
    let output = run(folder, args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{text}");
    assert!(text.contains(expected) && !text.contains("panicked"), "{expected:?} is not in\n{text}");
    output
}

/// The checkpoints of a run, none when it was ended before it had any.
fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
    found.sort();
    found
}

/// Asserts that two runs left the same bytes.
#[track_caller]
fn same(a: &Path, b: &Path, what: &str) {
    let best = if b.join(BEST[0]).exists() { BEST[0] } else { BEST[1] };
    for name in RESULTS.into_iter().chain([best]) {
        let read = |run: &Path| fs::read(run.join(name)).unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
        assert!(read(a) == read(b), "{what}: {name} differs");
        assert!(!read(a).is_empty(), "{what}: {name} is empty");
    }
    let last = |run: &Path| checkpoints(run).pop().expect("there is a checkpoint");
    assert_eq!(last(a).file_name(), last(b).file_name(), "{what}");
    assert!(fs::read(last(a)).unwrap() == fs::read(last(b)).unwrap(), "{what}: the last checkpoint differs");
}

/// A copy of a run as it was when `newest` was its newest checkpoint; its other files are those of later.
fn copy_until(from: &Path, to: &Path, newest: &Path) {
    fs::create_dir_all(to.join("checkpoints")).unwrap();
    for name in ["config.toml", "metrics.jsonl", "best-on-test.safetensors", "log.txt"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    for path in checkpoints(from).iter().filter(|path| path.as_path() <= newest) {
        fs::copy(path, to.join("checkpoints").join(path.file_name().unwrap())).unwrap();
    }
}

/// Waits until the run in this folder trains.
fn wait_for_steps(run: &Path) {
    let started = Instant::now();
    while !fs::read_to_string(run.join("log.txt")).is_ok_and(|log| log.contains("training from")) {
        assert!(started.elapsed() < Duration::from_secs(30), "{} does not begin", run.display());
        sleep(Duration::from_millis(2));
    }
}

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "kill {signal}");
}

fn begin(folder: &Path, args: &[&str]) -> Child {
    program(folder, args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_run_killed_at_random_instants_ends_as_if_it_had_not_been() {
    survives(&[], std::env::var("SSE_SAM_KILLS").map_or(20, |kills| kills.parse().unwrap()));
}

#[test]
fn a_run_that_is_killed_waits_for_a_better_epoch_as_long_as_one_that_is_not() {
    survives(&["--validation", "0.2", "--patience", "2", "--epochs", "12", "--lr", "0"], 6);
}

/// Kills runs with these options at random instants, so often, and compares what they end with with an unbroken run.
fn survives(options: &[&str], wanted: u32) {
    let folder = tempdir().unwrap();
    let started = Instant::now();
    succeed(folder.path(), &training("whole", options));
    let span = started.elapsed().as_micros() as usize;
    let (mut random, mut kills, mut runs) = (Numbers::new(1), 0, 0);
    while kills < wanted {
        let path = folder.path().join("killed");
        let _ = fs::remove_dir_all(&path);
        let mut args = training("killed", options);
        loop {
            let mut child = begin(folder.path(), &args);
            sleep(Duration::from_micros(random.below(span * 4 / 5) as u64));
            let finished = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            kills += u32::from(!finished);
            assert!(!finished || output.status.success(), "after {kills} kills: {}", stderr(&output));
            if finished {
                break;
            }
            if path.join("config.toml").exists() {
                args = vec!["resume", "killed", "--quiet"];
            } else {
                let _ = fs::remove_dir_all(&path);
            }
            if path.join("last.safetensors").exists() && is_finished(folder.path()) {
                break;
            }
        }
        runs += 1;
        same(&folder.path().join("whole"), &path, &format!("run {runs} after {kills} kills"));
        let mut names = fs::read_dir(path.join("checkpoints")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.all(|name| !name.to_string_lossy().ends_with("damaged")), "a kill left half a checkpoint");
    }
    println!("{kills} kills in {runs} runs");
}

/// Whether the run `killed` has the last checkpoint that `whole` has.
fn is_finished(folder: &Path) -> bool {
    let last =
        |run: &str| checkpoints(&folder.join(run)).last().and_then(|path| path.file_name().map(ToOwned::to_owned));
    last("killed") == last("whole")
}

#[test]
fn resuming_from_any_checkpoint_gives_the_unbroken_run() {
    let folder = tempdir().unwrap();
    let options = ["--keep", "1000", "--augment", "crop-flip", "--nesterov"];
    for device in ["cpu", "opencl"] {
        if device == "opencl" && !has_opencl() {
            continue;
        }
        let whole = folder.path().join(device);
        succeed(folder.path(), &training(device, &[&options[..], &["--device", device]].concat()));
        let all = checkpoints(&whole);
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let inside = |path: &Path| !name(path).contains("-step-0000000");
        // Mid-epoch in each stage, at an epoch's end, and at the switch between the stages.
        let kinds: [&dyn Fn(&Path) -> bool; 4] = [
            &|path| inside(path) && name(path).as_str() < "epoch-000003",
            &|path| inside(path) && name(path).as_str() > "epoch-000003",
            &|path| !inside(path) && name(path).as_str() < "epoch-000006",
            &|path| name(path).starts_with("epoch-000003-step-0000000"),
        ];
        let find = |kind: &&dyn Fn(&Path) -> bool| all.iter().find(|path| kind(path));
        let mut chosen: Vec<&PathBuf> = kinds.iter().filter_map(find).collect();
        assert_eq!(chosen.len(), kinds.len(), "{device}: a kind of checkpoint is missing in {all:?}");
        if device == "cpu" {
            chosen
                .extend(all.iter().step_by(all.len().div_ceil(12)).filter(|path| name(path).as_str() < "epoch-000006"));
        }
        for checkpoint in chosen {
            let again = folder.path().join("again");
            copy_until(&whole, &again, checkpoint);
            succeed(folder.path(), &["resume", "again", "--quiet"]);
            same(&whole, &again, &format!("{device} from {}", name(checkpoint)));
            fs::remove_dir_all(&again).unwrap();
        }
    }
}

fn has_opencl() -> bool {
    needs::has_opencl(sse_sam::opencl::devices().map_or(0, |devices| devices.len()))
}

#[test]
fn a_first_signal_saves_and_says_how_to_go_on() {
    let folder = tempdir().unwrap();
    succeed(folder.path(), &training("whole", &["--epochs", "10"]));
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let path = folder.path().join(signal);
        let child = begin(folder.path(), &training(signal, &["--epochs", "10"]));
        wait_for_steps(&path);
        sleep(Duration::from_millis(40));
        send(&child, &format!("-{signal}"));
        let output = child.wait_with_output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("everything is saved") && text.contains("hint: sse-sam resume "), "{text}");
        assert!(!path.join("last.safetensors").exists());
        let listed = succeed(folder.path(), &["runs", "."]);
        assert!(String::from_utf8_lossy(&listed.stdout).contains("interrupted"));
        succeed(folder.path(), &["resume", path.to_str().unwrap(), "--quiet"]);
        same(&folder.path().join("whole"), &path, signal);
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let folder = tempdir().unwrap();
    let slow = ["train", "--device", "cpu", "--model", "resnet20:32", "--batch", "1048", "--out", "slow"];
    let mut child = begin(folder.path(), &slow);
    wait_for_steps(&folder.path().join("slow"));
    sleep(Duration::from_millis(500));
    send(&child, "-INT");
    sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "the step goes on after the first signal");
    let sent = Instant::now();
    send(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
    assert!(!stderr(&output).contains("everything is saved"));
}

#[test]
fn two_processes_never_share_a_run() {
    let folder = tempdir().unwrap();
    let mut child = begin(folder.path(), &training("one", &["--epochs", "100000"]));
    wait_for_steps(&folder.path().join("one"));
    refused(folder.path(), &["resume", "one"], 1, "one: another process is working on this run");
    refused(folder.path(), &training("one", &[]), 2, "one already holds a run");
    let listed = succeed(folder.path(), &["runs", "."]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("running"));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A run without its last checkpoints, as if it had been killed.
fn unfinished(folder: &Path, options: &[&str]) -> PathBuf {
    succeed(folder, &training("run", &[&["--keep", "1000"], options].concat()));
    let path = folder.join("run");
    checkpoints(&path).iter().rev().take(2).for_each(|path| fs::remove_file(path).unwrap());
    path
}

#[test]
fn a_damaged_newest_checkpoint_is_reported_and_the_one_before_is_taken() {
    let folder = tempdir().unwrap();
    succeed(folder.path(), &training("whole", &["--keep", "1000"]));
    for damage in ["flipped", "truncated", "empty"] {
        let path = folder.path().join(damage);
        let whole = folder.path().join("whole");
        copy_until(&whole, &path, checkpoints(&whole).last().unwrap());
        let newest = checkpoints(&path).pop().unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        match damage {
            "flipped" => *bytes.last_mut().unwrap() ^= 1,
            "truncated" => bytes.truncate(bytes.len() / 2),
            _ => bytes.clear(),
        }
        fs::write(&newest, bytes).unwrap();
        let output = succeed(folder.path(), &["resume", damage, "--quiet"]);
        let text = stderr(&output);
        assert!(text.contains("epoch-000006-step-0000000.safetensors: "), "{text}");
        assert!(text.contains("taking the checkpoint before it"), "{text}");
        same(&whole, &path, damage);
    }
}

fn layout(model: &str) -> Layout {
    let image = Shape::new(8, 8, 1);
    let needs = Needs { rows: 1797, ..Needs::new(image, 10, 32) };
    Device::cpu().plan_network(&model.parse().unwrap(), &needs, |_| 0).unwrap()
}

#[test]
fn weights_inside_a_checkpoint_can_be_evaluated_and_trained_on() {
    let folder = tempdir().unwrap();
    succeed(folder.path(), &training("run", &[]));
    let newest = checkpoints(&folder.path().join("run")).pop().unwrap();
    let report = |file: &Path| succeed(folder.path(), &["eval", "--device", "cpu", file.to_str().unwrap()]).stdout;
    assert_eq!(report(&newest), report(&folder.path().join("run/last.safetensors")));
    succeed(folder.path(), &training("more", &["--init", newest.to_str().unwrap(), "--epochs", "1"]));
}

#[test]
fn a_configuration_repeats_its_run_and_typed_options_win() {
    let folder = tempdir().unwrap();
    let options = ["--schedule", "multi-step", "--milestones", "1,3", "--loss", "vs", "--seed", "18446744073709551615"];
    succeed(folder.path(), &training("a", &options));
    succeed(folder.path(), &["train", "--config", "a/config.toml", "--out", "b", "--quiet"]);
    same(&folder.path().join("a"), &folder.path().join("b"), "the same configuration");
    let over = ["train", "--config", "a/config.toml", "--out", "c", "--quiet", "--milestones", "2", "--lr", "0.01"];
    succeed(folder.path(), &over);
    let text = fs::read_to_string(folder.path().join("c/config.toml")).unwrap();
    assert!(
        text.contains("milestones = [2]") && text.contains("lr = 0.01") && text.contains("loss = \"vs\""),
        "{text}"
    );
}

#[test]
fn wrong_configurations_are_refused_by_line_or_name() {
    let folder = tempdir().unwrap();
    let refuse = |text: &str, code, expected: &str| {
        fs::write(folder.path().join("c.toml"), text).unwrap();
        refused(folder.path(), &["train", "--config", "c.toml", "--out", "out"], code, expected);
        assert!(!folder.path().join("out").exists());
    };
    refuse("gama = 0.5", 1, "c.toml: there is no setting gama (line 1)\n  hint: the nearest name is gamma");
    refuse("epochs = 2\nlr = = 3", 1, "c.toml: line 2: ");
    refuse("epochs = \"many\"", 2, "c.toml: invalid value 'many' for '--epochs <EPOCHS>'");
    refuse("seed = 1\nepochs = \"many\"", 2, "(line 2)\n");
    refuse("method = \"adam\"", 2, "c.toml: invalid value 'adam'");
    refuse("out = \"elsewhere\"", 1, "there is no setting out");
    refuse("\n[run]\nfingerprint = 3", 1, "c.toml: [run]: ");
    refuse("\n[run]\nfingerprint = 3", 1, " (line 2)\n");
    refused(folder.path(), &["train", "--config", "gone.toml"], 1, "gone.toml: no such file or folder");
}

#[test]
fn a_changed_configuration_is_named_setting_by_setting() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]).join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("lr = 0.05", "lr = 0.06").replace("eta = 60", "eta = 50")).unwrap();
    refused(
        folder.path(),
        &["resume", "run"],
        1,
        "since the last checkpoint: eta was 60, is 50; lr was 0.05, is 0.06\n",
    );
    fs::write(&path, text.replace("program = \"sse-sam", "program = \"other")).unwrap();
    succeed(folder.path(), &["resume", "run", "--quiet"]);
}

#[test]
fn a_finished_run_goes_on_only_for_more_epochs() {
    let folder = tempdir().unwrap();
    let plain = ["--schedule", "constant", "--method", "imbsam"];
    succeed(folder.path(), &training("long", &[&plain[..], &["--epochs", "5"]].concat()));
    succeed(folder.path(), &training("short", &[&plain[..], &["--epochs", "3"]].concat()));
    refused(folder.path(), &["resume", "short"], 1, "short: this run is finished after 3 epochs\n  hint: --epochs");
    refused(folder.path(), &["resume", "short", "--epochs", "2"], 2, "--epochs 2 is less than the 3 epochs of the run");
    succeed(folder.path(), &["resume", "short", "--epochs", "5", "--quiet"]);
    for name in ["metrics.jsonl", "last.safetensors", "best-on-test.safetensors"] {
        let read = |run: &str| fs::read(folder.path().join(run).join(name)).unwrap();
        assert!(read("long") == read("short"), "{name}");
    }
}

#[test]
fn a_folder_without_a_run_is_refused() {
    let folder = tempdir().unwrap();
    refused(folder.path(), &["resume", "."], 1, ".: holds no run that could go on");
    refused(folder.path(), &["resume", "gone"], 1, "gone: holds no run that could go on");
    refused(folder.path(), &["runs", "gone"], 1, "gone: no such file or folder");
    assert!(succeed(folder.path(), &["runs", "."]).stdout.starts_with(b"no runs in ."));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Four IDX files of 40 training and 20 test images of 4 x 4 pixels in two classes.
fn write_data(folder: &Path) {
    write_split(folder, 40, 20);
}

/// The same with other numbers of images.
fn write_split(folder: &Path, train: u32, test: u32) {
    fs::create_dir_all(folder).unwrap();
    for (name, count) in [("train", train), ("t10k", test)] {
        let labels: Vec<u8> = (0..count).map(|index| u8::from(index % 4 == 0)).collect();
        let images: Vec<u8> =
            (0..count * 16).map(|at| (at * 37 % 101) as u8 + 100 * labels[at as usize / 16]).collect();
        let head = |sides: &[u32]| {
            let sides = sides.iter().flat_map(|side| side.to_be_bytes());
            [0, 0, 8, sides.clone().count() as u8 / 4].into_iter().chain(sides).collect::<Vec<u8>>()
        };
        let images = [head(&[count, 4, 4]), images].concat();
        fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), [head(&[count]), labels].concat()).unwrap();
    }
}

#[test]
fn changed_data_are_refused_and_moved_data_are_not() {
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("data"));
    let path = unfinished(folder.path(), &["--data", "data", "--eta", "15"]);
    let file = folder.path().join("data/train-images-idx3-ubyte");
    let bytes = fs::read(&file).unwrap();
    let mut changed = bytes.clone();
    changed[100] ^= 1;
    fs::write(&file, changed).unwrap();
    refused(folder.path(), &["resume", "run"], 1, "/data are not those of this run\n  hint: --data");
    fs::write(&file, &bytes[..300]).unwrap();
    refused(folder.path(), &["resume", "run"], 1, "train-images-idx3-ubyte: ends at byte 300");
    fs::write(&file, &bytes).unwrap();
    fs::rename(folder.path().join("data"), folder.path().join("moved")).unwrap();
    refused(folder.path(), &["resume", "run"], 1, "data: no such file or folder");
    succeed(folder.path(), &["resume", "run", "--data", "moved", "--quiet"]);
    assert!(path.join("last.safetensors").exists());
}

#[test]
fn data_that_change_while_a_run_goes_on_are_not_read_again() {
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("data"));
    let options = ["--data", "data", "--eta", "15", "--epochs", "200"];
    succeed(folder.path(), &training("whole", &options));
    let child = begin(folder.path(), &training("run", &options));
    wait_for_steps(&folder.path().join("run"));
    fs::write(folder.path().join("data/train-images-idx3-ubyte"), "x").unwrap();
    fs::remove_file(folder.path().join("data/t10k-images-idx3-ubyte")).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    same(&folder.path().join("whole"), &folder.path().join("run"), "changed data");
}

#[test]
fn another_device_is_allowed_with_a_warning() {
    if !has_opencl() {
        return;
    }
    let folder = tempdir().unwrap();
    unfinished(folder.path(), &[]);
    let output = succeed(folder.path(), &["resume", "run", "--quiet", "--device", "opencl"]);
    assert!(stderr(&output).contains("this run was on CPU core and goes on on "), "{}", stderr(&output));
}

#[test]
fn a_rollback_halves_the_rate_and_gives_up_after_so_many() {
    let folder = tempdir().unwrap();
    // Weights grow threefold a step until the rate is halved.
    let options = ["--method", "sgd", "--model", "mlp:64-4-10", "--momentum", "0", "--schedule", "constant"];
    let options =
        [&options[..], &["--weight-decay", "1", "--lr", "4", "--on-nan", "rollback", "--keep", "1000"]].concat();
    let whole = folder.path().join("recovers");
    let output = succeed(folder.path(), &training("recovers", &options));
    assert!(stderr(&output).contains("rollback 2 of 3"), "{}", stderr(&output));
    let metrics = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 6);
    assert!(metrics.contains("\"learning_rate\":2.0") && metrics.contains("\"learning_rate\":1.0"), "{metrics}");
    assert!(fs::read_to_string(whole.join("log.txt")).unwrap().contains("rollback 2 of 3"));
    for checkpoint in checkpoints(&whole).iter().filter(|path| !path.to_string_lossy().contains("epoch-000006")) {
        let again = folder.path().join("again");
        copy_until(&whole, &again, checkpoint);
        succeed(folder.path(), &["resume", "again", "--quiet"]);
        same(&whole, &again, &checkpoint.display().to_string());
        fs::remove_dir_all(&again).unwrap();
    }
    let hopeless = training("hopeless", &["--lr", "1e30", "--on-nan", "rollback", "--rollbacks", "2"]);
    let output = refused(folder.path(), &hopeless, 1, "no longer finite");
    assert_eq!(stderr(&output).matches("; back to the start of epoch 0").count(), 2);
    let listed = succeed(folder.path(), &["runs", "."]);
    assert!(String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.contains("failed")));
}

#[test]
fn tensorboards_file_holds_each_epoch_once_after_a_resumption() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &["--tensorboard"]);
    succeed(folder.path(), &["resume", "run", "--quiet"]);
    let bytes = fs::read(path.join("events.out.tfevents.sse-sam")).unwrap();
    let (mut rest, mut steps) = (&bytes[..], Vec::new());
    while let Some((length, _)) = rest.split_first_chunk() {
        let end = 12 + u64::from_le_bytes(*length) as usize;
        let data = &rest[12..end];
        assert_eq!(data[0], 1 << 3 | 1, "a wall time comes first");
        // Field 2 is a step below 128, field 3 the version of the first record.
        steps.extend((data[9] == 2 << 3).then_some(data[10]));
        rest = &rest[end + 4..];
    }
    assert_eq!(steps, [0, 1, 2, 3, 4, 5]);
    let tag = |name: &str| bytes.windows(name.len()).filter(|window| *window == name.as_bytes()).count();
    assert_eq!((tag("accuracy/balanced"), tag("radius_head"), tag("radius_tail")), (6, 3, 6));
    assert_eq!((tag("gradient_norm_head"), tag("gradient_norm_tail"), tag("gradient_norm")), (3, 6, 15));
}
