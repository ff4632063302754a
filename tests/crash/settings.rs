//! What a configuration means where it is read again: on another device, in another folder, for more epochs.

use serde_json::Value;

use super::*;

fn config(run: &Path) -> String {
    fs::read_to_string(run.join("config.toml")).unwrap()
}

fn rates(run: &Path) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let rate = |line: &str| serde_json::from_str::<Value>(line).unwrap()["learning_rate"].as_f64().unwrap();
    text.lines().map(rate).collect()
}

#[track_caller]
fn near(found: &[f64], expected: &[f64]) {
    let near = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(near, "{found:?} is not {expected:?}");
}

#[test]
fn what_another_device_cannot_do_is_left_out() {
    if !has_opencl() {
        return;
    }
    let folder = tempdir().unwrap();
    let recorded = [
        ("winograd", &["--conv", "winograd"][..], Some("conv")),
        ("tiles", &["--tiles", "gpu"], Some("tiles")),
        ("memory", &["--device-memory", "2000"], None),
        ("direct", &["--conv", "direct", "--tiles", "cpu", "--precision", "fp32"], Some("tiles")),
    ];
    for (name, options, left_out) in recorded {
        let args = training(name, &[options, &["--device", "opencl", "--model", "resnet8:8", "--keep", "99"]].concat());
        succeed(folder.path(), &args);
        let path = folder.path().join(name);
        checkpoints(&path).iter().rev().take(2).for_each(|path| fs::remove_file(path).unwrap());
        let again = format!("{name}-again");
        let from = path.join("config.toml");
        let repeat = ["train", "--config", from.to_str().unwrap(), "--device", "cpu", "--out", &again, "--quiet"];
        let texts =
            [&repeat[..], &["resume", name, "--device", "cpu", "--quiet"]].map(|a| stderr(&succeed(folder.path(), a)));
        for text in &texts {
            let said =
                left_out.is_none_or(|option| text.contains(&format!("the configuration's {option} is left out")));
            assert!(said, "{name}: {text}");
        }
        assert!(path.join("last.safetensors").exists(), "{name}");
    }
    // What is typed for a device that cannot do it is a mistake.
    refused(folder.path(), &training("out", &["--conv", "winograd"]), 2, "has no convolutions in Winograd's form");
}

#[test]
fn usual_milestones_follow_the_number_of_epochs() {
    let folder = tempdir().unwrap();
    let options = ["--model", "mlp:64-4-10", "--schedule", "multi-step", "--epochs", "5"];
    succeed(folder.path(), &training("run", &options));
    let path = folder.path().join("run");
    near(&rates(&path), &[0.05, 0.05, 0.05, 0.005, 0.0005]);
    assert!(!config(&path).contains("milestones"), "{}", config(&path));
    succeed(folder.path(), &["resume", "run", "--epochs", "20", "--quiet"]);
    near(&rates(&path)[5..], &[[0.05; 7].as_slice(), &[0.005; 4], &[0.0005; 4]].concat());
    for (epochs, expected) in [("1", &[0.05][..]), ("2", &[0.05, 0.0005])] {
        succeed(folder.path(), &training(epochs, &[&options[..4], &["--epochs", epochs]].concat()));
        near(&rates(&folder.path().join(epochs)), expected);
    }
}

#[test]
fn more_epochs_say_what_they_change() {
    let folder = tempdir().unwrap();
    let options = ["--model", "mlp:64-4-10", "--lr", "0.1", "--epochs", "4"];
    succeed(folder.path(), &training("run", &options));
    let output = succeed(folder.path(), &["resume", "run", "--epochs", "12"]);
    let expected = "with 12 epochs instead of 4 the learning rate is 0.075000 in epoch 4, after 0.014645 in epoch 3, and \
                    stage 1 follows stage 2";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    let path = folder.path().join("run");
    near(&rates(&path)[3..5], &[0.1 * (1.0 + (0.75 * std::f64::consts::PI).cos()) / 2.0, 0.075]);
}

#[test]
fn a_run_goes_on_from_any_folder() {
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("data"));
    fs::create_dir(folder.path().join("elsewhere")).unwrap();
    succeed(folder.path(), &training("first", &["--data", "data", "--eta", "15"]));
    let options = ["--data", "data", "--eta", "15", "--init", "first/last.safetensors"];
    let path = unfinished(folder.path(), &options);
    succeed(&folder.path().join("elsewhere"), &["resume", "../run", "--quiet"]);
    succeed(&folder.path().join("elsewhere"), &["eval", "../run/best-on-test.safetensors", "--device", "cpu"]);
    succeed(
        &folder.path().join("elsewhere"),
        &["train", "--config", "../run/config.toml", "--out", "again", "--quiet"],
    );
    same(&path, &folder.path().join("elsewhere/again"), "repeated from another folder");
}

#[test]
fn a_relative_path_in_a_file_is_relative_to_that_file() {
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("exp/data"));
    let text = "data = \"data\"\neta = 15\nmodel = \"resnet8:1\"\nepochs = 1\nbatch = 20\n";
    fs::write(folder.path().join("exp/a.toml"), text).unwrap();
    succeed(folder.path(), &["train", "--config", "exp/a.toml", "--out", "out", "--device", "cpu", "--quiet"]);
    let stored = folder.path().join("exp/data");
    assert!(config(&folder.path().join("out")).contains(&format!("data = {:?}", stored.to_str().unwrap())));
    // What is typed is relative to where one is.
    let args =
        ["train", "--config", "exp/a.toml", "--data", "exp/data", "--out", "typed", "--device", "cpu", "--quiet"];
    succeed(folder.path(), &args);
    // The built-in digits are no path.
    fs::write(folder.path().join("exp/b.toml"), "data = \"digits\"\nmodel = \"mlp:64-4-10\"\nepochs = 1\n").unwrap();
    succeed(folder.path(), &["train", "--config", "exp/b.toml", "--out", "digits", "--device", "cpu", "--quiet"]);
}

#[test]
fn a_home_that_no_shell_has_named_is_found() {
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("data"));
    let home = |args: &[&str]| {
        let output = program(Path::new("/"), args).env("HOME", folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    let options = ["--model", "resnet8:1", "--epochs", "1", "--eta", "15", "--device", "cpu", "--quiet"];
    home(&[&["train", "--data=~/data", "--out=~/run"], &options[..]].concat());
    fs::write(folder.path().join("c.toml"), "data = \"~/data\"\ninit = \"~/run/last.safetensors\"\n").unwrap();
    home(&[&["train", "--config=~/c.toml", "--out=~/again"], &options[..]].concat());
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_not_utf_8_is_refused_where_it_would_be_stored() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempdir().unwrap();
    let odd = OsStr::from_bytes(b"\xff\xfe");
    write_data(&folder.path().join(odd));
    let train = |at: &Path, words: &[&OsStr]| {
        let mut command =
            program(at, &["train", "--device", "cpu", "--model", "resnet8:1", "--epochs", "1", "--quiet"]);
        let output = command.args(words).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    for option in ["--data", "--init"] {
        let (code, text) = train(folder.path(), &[option.as_ref(), odd]);
        assert!(code == Some(2) && text.contains("not UTF-8") && text.contains(option), "{text}");
    }
    write_data(&folder.path().join(odd).join("data"));
    let (code, text) = train(&folder.path().join(odd), &["--data".as_ref(), "data".as_ref()]);
    assert!(code == Some(2) && text.contains("--data lies in ") && text.contains("not UTF-8"), "{text}");
    // A run itself may lie anywhere.
    assert_eq!(train(folder.path(), &["--out".as_ref(), OsStr::from_bytes(b"out\xff")]), (Some(0), String::new()));
}

#[test]
fn options_that_would_do_nothing_are_refused_where_they_are_typed() {
    let folder = tempdir().unwrap();
    let refuse = |options: &[&str], expected: &str| {
        let output = refused(folder.path(), &training("out", options), 2, expected);
        assert!(stderr(&output).contains("hint: sse-sam train --help lists its options"), "{}", stderr(&output));
        assert!(!folder.path().join("out").exists(), "{options:?}");
    };
    refuse(&["--rho", "0.1"], "--rho does nothing in this run: it needs --method sam, imbsam or focal-sam");
    refuse(&["--method", "sgd", "--rho", "0.1"], "--rho does nothing");
    refuse(&["--method", "sam", "--head-rho", "0.1"], "--head-rho does nothing");
    refuse(&["--method", "imbsam", "--tail-rho", "0.1"], "--tail-rho does nothing");
    refuse(&["--method", "imbsam", "--gamma", "0.1"], "--gamma does nothing");
    refuse(&["--method", "sam", "--tail-weight", "2"], "--tail-weight does nothing");
    refuse(&["--tau", "0.5"], "--tau does nothing in this run: it needs --loss la or vs");
    refuse(&["--loss", "ldam", "--vs-gamma", "0.5"], "--vs-gamma does nothing");
    refuse(&["--ldam-margin", "0.5"], "--ldam-margin does nothing");
    refuse(&["--loss", "vs", "--ldam-scale", "9"], "--ldam-scale does nothing");
    refuse(&["--focal-gamma", "2"], "--focal-gamma does nothing");
    refuse(&["--milestones", "2,4"], "--milestones does nothing in this run: it needs --schedule multi-step");
    refuse(&["--rollbacks", "2"], "--rollbacks does nothing");
    refuse(&["--nesterov", "--momentum", "0"], "--nesterov does nothing");
    refuse(&["--drw-epoch", "6"], "--drw-epoch does nothing in this run: it must be below the number of epochs, 6");
    refuse(&["--schedule", "multi-step", "--milestones", "3,6"], "--milestones does nothing");
    refuse(&["--warmup", "7"], "--warmup does nothing in this run: it must be at most the number of epochs, 6");
    refuse(&["--device-memory", "100"], "--device-memory");
    write_data(&folder.path().join("data"));
    refuse(&["--data", "data", "--long-tail", "step"], "--long-tail does nothing in this run: it needs --imbalance");
    refuse(&["--data", "data", "--subset", "shuffled"], "--subset does nothing");
    for (option, value) in
        [("--checkpoint-minutes", "-1"), ("--checkpoint-minutes", "nan"), ("--keep", "0"), ("--out", "")]
    {
        let output = run(folder.path(), &["train", option, value]);
        assert_eq!(output.status.code(), Some(2), "{option} {value}: {}", stderr(&output));
        assert!(stderr(&output).contains(option), "{}", stderr(&output));
    }
}

#[test]
fn values_of_a_file_that_a_run_does_not_use_are_left_out() {
    let folder = tempdir().unwrap();
    let text = "rho = 0.1\ntau = 0.5\nmilestones = [2]\ntail-weight = 2.0\nepochs = 1\nmodel = \"mlp:64-4-10\"\n";
    fs::write(folder.path().join("c.toml"), text).unwrap();
    let args = ["train", "--device", "cpu", "--config", "c.toml", "--quiet"];
    assert_eq!(stderr(&succeed(folder.path(), &[&args[..], &["--out", "a", "--method", "sgd"]].concat())), "");
    let stored = config(&folder.path().join("a"));
    assert!(["rho", "tau", "milestones", "tail-weight"].iter().all(|key| !stored.contains(key)), "{stored}");
    assert_eq!(stderr(&succeed(folder.path(), &["train", "--config", "a", "--out", "b", "--quiet"])), "");
    same(&folder.path().join("a"), &folder.path().join("b"), "the stored configuration");
    // Typed beside the file it is a mistake again.
    refused(folder.path(), &[&args[..], &["--out", "c", "--tau", "1"]].concat(), 2, "--tau does nothing");
}

#[test]
fn tensorboards_file_keeps_what_was_measured() {
    let folder = tempdir().unwrap();
    let options = ["--tensorboard", "--epochs", "4"];
    succeed(folder.path(), &training("run", &options));
    let file = folder.path().join("run/events.out.tfevents.sse-sam");
    let before = fs::read(&file).unwrap();
    succeed(folder.path(), &["resume", "run", "--epochs", "6", "--quiet"]);
    let after = fs::read(&file).unwrap();
    assert!(after.starts_with(&before), "times, radii and images a second of earlier epochs stay as they were");
    let count = |bytes: &[u8], tag: &str| bytes.windows(tag.len()).filter(|window| *window == tag.as_bytes()).count();
    assert_eq!((count(&after, "images_per_s"), count(&after, "radius_tail")), (6, 6));
    // Half a record, as a killed process leaves it.
    fs::write(&file, &after[..after.len() - 3]).unwrap();
    succeed(folder.path(), &["resume", "run", "--epochs", "7", "--quiet"]);
    assert_eq!(count(&fs::read(&file).unwrap(), "accuracy/balanced"), 7);
}

#[test]
fn removing_tensorboards_file_does_not_end_a_run() {
    let folder = tempdir().unwrap();
    let child = begin(folder.path(), &training("run", &["--tensorboard", "--epochs", "20"]));
    let file = folder.path().join("run/events.out.tfevents.sse-sam");
    wait_for_steps(&folder.path().join("run"));
    let _ = fs::remove_file(&file);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let bytes = fs::read(&file).unwrap();
    assert_eq!(bytes.windows(17).filter(|window| *window == b"accuracy/balanced").count(), 20);
}

#[test]
fn a_run_of_a_long_name_gets_a_folder() {
    let folder = tempdir().unwrap();
    let name = "long-".repeat(50);
    write_data(&folder.path().join(&name));
    let options = ["--model", "resnet8:1", "--epochs", "1", "--eta", "15", "--device", "cpu", "--quiet"];
    succeed(folder.path(), &[&["train", "--data", &name], &options[..]].concat());
    assert_eq!(fs::read_dir(folder.path().join("runs")).unwrap().count(), 1);
}

#[test]
fn errors_of_the_system_are_words() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["train", "--out", "file"], "file: a file of that name is there already"),
        (&["train", "--out", "file/run"], "file/run: a part of the path is a file, not a folder"),
        (&["train", "--config", "folder"], "folder/config.toml: no such file or folder"),
        (&["runs", "file"], "file: a part of the path is a file, not a folder"),
    ];
    for (args, expected) in cases {
        let text = stderr(&refused(folder.path(), args, 1, expected));
        assert!(!text.contains("os error"), "{text}");
    }
}

#[test]
fn a_terminal_shows_a_pace_that_can_be_read() {
    let folder = tempdir().unwrap();
    let command =
        format!("{} train --device cpu --model resnet8:2 --epochs 3 --out run", env!("CARGO_BIN_EXE_sse-sam"));
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path()).env("SSE_SAM_CACHE", CACHE);
    let Ok(output) = script.env("TERM", "xterm").stdin(Stdio::null()).output() else {
        return skip("there is no script to make a terminal");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let paces = text.split(" images/s").map(|before| before.rsplit(' ').next().unwrap());
    let paces: Vec<&str> = paces.filter(|pace| !pace.is_empty()).collect();
    assert!(paces.len() > 3, "{text}");
    let readable = |pace: &&str| pace.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    assert!(paces[..paces.len() - 1].iter().all(readable), "{paces:?}");
    for epoch in ["epoch 0 of 0..=2 stage", "epoch 2 of 0..=2: loss ", "last (epoch 2)"] {
        assert!(text.contains(epoch), "{epoch} is not in {text}");
    }
}

#[test]
fn an_epoch_that_has_begun_is_finished_as_it_was_meant() {
    let folder = tempdir().unwrap();
    let options = ["--model", "mlp:64-64-10", "--batch", "8", "--keep", "1000", "--lr", "0.1", "--epochs", "4"];
    succeed(folder.path(), &training("whole", &options));
    let whole = folder.path().join("whole");
    let lines = |run: &str| -> Vec<String> {
        let text = fs::read_to_string(folder.path().join(run).join("metrics.jsonl")).unwrap();
        text.lines().map(String::from).collect()
    };
    // In mid-epoch of the second stage; with twelve epochs that would be the first.
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let all = checkpoints(&whole);
    let begun = all.iter().find(|path| name(path).starts_with("epoch-000003") && !name(path).contains("-step-0000000"));
    let Some(begun) = begun else { return skip("no checkpoint was written in mid-epoch") };
    copy_until(&whole, &folder.path().join("run"), begun);
    let output = succeed(folder.path(), &["resume", "run", "--epochs", "12"]);
    assert_eq!(lines("run")[..4], lines("whole")[..], "its rate, stage and sums are of one kind");
    let expected = "the learning rate is 0.075000 in epoch 4, after 0.014645 in epoch 3, and stage 1 follows stage 2";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn values_of_another_kind_are_refused_by_line() {
    let folder = tempdir().unwrap();
    let lines = [
        "lr = false",
        "data = false",
        "seed = []",
        "batch = []",
        "init = false",
        "method = true",
        "flip = 1",
        "flip = []",
        "tensorboard = \"yes\"",
        "gamma = {}",
        "milestones = 3.5",
        "keep = [1, 2]",
    ];
    for line in lines {
        fs::write(folder.path().join("c.toml"), format!("epochs = 1\n{line}\n")).unwrap();
        let output = refused(folder.path(), &["train", "--config", "c.toml", "--out", "out"], 2, "c.toml: ");
        assert!(stderr(&output).contains("(line 2)"), "{line}: {}", stderr(&output));
        assert!(!folder.path().join("out").exists(), "{line}");
    }
    fs::write(folder.path().join("c.toml"), "quiet = true\n").unwrap();
    refused(
        folder.path(),
        &["train", "--config", "c.toml"],
        1,
        "there is no setting quiet: it is an option of a call (line 1)",
    );
}

#[test]
fn data_that_have_moved_are_asked_for() {
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("data"));
    unfinished(folder.path(), &["--data", "data", "--eta", "15"]);
    fs::rename(folder.path().join("data"), folder.path().join("moved")).unwrap();
    let output = refused(folder.path(), &["resume", "run"], 1, "data: no such file or folder");
    assert!(stderr(&output).contains("hint: --data PLACE says where this run's data lie now"), "{}", stderr(&output));
}

#[test]
fn tables_that_overflow_are_refused_by_option_before_there_is_a_run() {
    let folder = tempdir().unwrap();
    for (loss, option, value) in
        [("la", "--tau", "1e38"), ("vs", "--vs-gamma", "300"), ("ldam", "--ldam-margin", "1e38")]
    {
        refused(folder.path(), &training("out", &["--loss", loss, option, value]), 2, option);
        assert!(!folder.path().join("out").exists());
    }
    refused(folder.path(), &training("out", &["--gamma", "0", "--head-rho", "1"]), 2, "--head-rho does nothing");
    refused(folder.path(), &training("out", &["--on-nan", "rollback", "--rollbacks", "0"]), 2, "--rollbacks");
}
