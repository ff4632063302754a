//! A run's folder before its first step, without its checkpoints, and with files of others.

use super::*;

#[test]
fn a_run_killed_before_its_first_step_goes_on() {
    if !has_opencl() {
        return;
    }
    let folder = tempdir().unwrap();
    let args = |out| training(out, &["--device", "opencl", "--epochs", "2"]);
    succeed(folder.path(), &args("whole"));
    let run = folder.path().join("run");
    let mut command = program(folder.path(), &args("run"));
    let mut child = command.env("POCL_CACHE_DIR", folder.path().join("kernels")).spawn().unwrap();
    while !run.join("config.toml").exists() {
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(checkpoints(&run).is_empty(), "the kernels were there already");
    let listed = succeed(folder.path(), &["runs", "."]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.lines().any(|line| line.starts_with("run ") && line.ends_with("interrupted")), "{listed}");
    refused(
        folder.path(),
        &args("run"),
        2,
        "run already holds a run; name another folder, or go on: sse-sam resume run",
    );
    succeed(folder.path(), &["resume", "run", "--quiet"]);
    same(&folder.path().join("whole"), &run, "killed before the first step");
}

#[test]
fn a_run_whose_device_cannot_be_opened_goes_on_elsewhere() {
    if !has_opencl() {
        return;
    }
    let folder = tempdir().unwrap();
    let args = training("run", &["--device", "opencl", "--epochs", "1"]);
    let output = program(folder.path(), &args).env("SSE_SAM_OPENCL_FAIL", "60..:-6").output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    if !folder.path().join("run").exists() {
        return skip("this device fails before there is a run");
    }
    assert!(text.contains("hint: sse-sam resume run goes on"), "{text}");
    let listed = succeed(folder.path(), &["runs", "."]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("failed"));
    succeed(folder.path(), &["resume", "run", "--quiet", "--device", "cpu"]);
}

#[test]
fn files_of_others_are_not_written_over() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("exp")).unwrap();
    let text = "# my own\nmodel = \"mlp:64-4-10\"\nepochs = 1\n";
    fs::write(folder.path().join("exp/config.toml"), text).unwrap();
    let args = ["train", "--device", "cpu", "--config", "exp/config.toml", "--out", "exp"];
    refused(folder.path(), &args, 2, "exp holds config.toml, which a run writes too; name another folder");
    assert_eq!(fs::read_to_string(folder.path().join("exp/config.toml")).unwrap(), text);
    assert_eq!(fs::read_dir(folder.path().join("exp")).unwrap().count(), 1, "nothing was added");
    for name in ["best-on-test.safetensors", "last.safetensors", "log.txt", "events.out.tfevents.sse-sam"] {
        let out = format!("with-{name}");
        fs::create_dir(folder.path().join(&out)).unwrap();
        fs::write(folder.path().join(&out).join(name), "mine").unwrap();
        refused(folder.path(), &training(&out, &[]), 2, &format!("holds {name}, which a run writes too"));
        assert_eq!(fs::read(folder.path().join(&out).join(name)).unwrap(), b"mine");
    }
    // What a run does not write may lie there.
    fs::create_dir(folder.path().join("job")).unwrap();
    fs::write(folder.path().join("job/slurm-1.out"), "").unwrap();
    succeed(folder.path(), &training("job", &["--epochs", "1"]));
}

#[test]
fn a_run_that_lost_its_checkpoints_is_left_alone() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]);
    fs::remove_dir_all(path.join("checkpoints")).unwrap();
    let read = || ["metrics.jsonl", "best-on-test.safetensors"].map(|name| fs::read(path.join(name)).unwrap());
    let before = read();
    for _ in 0..2 {
        refused(folder.path(), &["resume", "run"], 1, "run: this run has no checkpoint to go on from, but epochs in");
        assert!(before == read());
    }
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_is_left_alone_however_often_it_is_resumed() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]);
    checkpoints(&path).iter().for_each(|path| fs::write(path, "x").unwrap());
    let metrics = fs::read(path.join("metrics.jsonl")).unwrap();
    refused(folder.path(), &["resume", "run"], 1, "every checkpoint of this run is damaged");
    refused(folder.path(), &["resume", "run"], 1, "this run has no checkpoint to go on from");
    assert_eq!(fs::read(path.join("metrics.jsonl")).unwrap(), metrics);
}

#[test]
fn a_checkpoint_of_another_network_or_version_is_not_damaged() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]);
    let config = fs::read_to_string(path.join("config.toml")).unwrap();
    let before = checkpoints(&path);
    fs::write(path.join("config.toml"), config.replace("resnet8:1", "resnet8:2")).unwrap();
    for _ in 0..2 {
        refused(folder.path(), &["resume", "run"], 1, "model was \"resnet8:1\", is \"resnet8:2\"");
        assert_eq!(checkpoints(&path), before);
    }
    fs::write(path.join("config.toml"), &config).unwrap();
    succeed(folder.path(), &["resume", "run", "--quiet"]);
}

#[test]
fn a_run_of_a_released_version_is_named_and_left_alone() {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/crash/released");
    let versions: Vec<PathBuf> = fs::read_dir(&released).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(versions.len() >= 2, "{versions:?}");
    for version in versions {
        let folder = tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir_all(run.join("checkpoints")).unwrap();
        for name in ["config.toml", "metrics.jsonl"] {
            fs::copy(version.join(name), run.join(name)).unwrap();
        }
        let name = "epoch-000001-step-0000000.safetensors";
        fs::copy(version.join(name), run.join("checkpoints").join(name)).unwrap();
        let read = || (checkpoints(&run), fs::read(run.join("metrics.jsonl")).unwrap());
        let before = read();
        for _ in 0..2 {
            let program = version.file_name().unwrap().to_string_lossy();
            let expected = format!("was written by sse-sam {program}, and this is sse-sam ");
            let output = refused(folder.path(), &["resume", "run"], 1, &expected);
            assert!(stderr(&output).contains("hint: resume this run with that version"), "{}", stderr(&output));
            assert!(before == read(), "{}", version.display());
        }
    }
}

#[test]
fn a_file_of_a_run_stands_for_its_folder() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]);
    let newest = checkpoints(&path).pop().unwrap();
    for file in [path.join("config.toml"), newest, path.join("checkpoints"), path.join("metrics.jsonl")] {
        let args = ["resume", file.to_str().unwrap(), "--epochs", "2"];
        refused(folder.path(), &args, 2, "--epochs 2 is less than the 6 epochs of the run");
    }
    refused(&path, &["resume", "config.toml", "--epochs", "2"], 2, "--epochs 2 is less than the 6 epochs");
    succeed(folder.path(), &["train", "--config", "run", "--out", "again", "--quiet"]);
    succeed(folder.path(), &["resume", "run", "--quiet"]);
    same(&path, &folder.path().join("again"), "the folder as a configuration");
}

#[test]
fn a_folder_that_is_removed_in_mid_run_is_made_again() {
    let folder = tempdir().unwrap();
    let child = begin(folder.path(), &training("run", &["--epochs", "20"]));
    let path = folder.path().join("run");
    wait_for_steps(&path);
    let _ = fs::remove_dir_all(path.join("checkpoints"));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(checkpoints(&path).pop().unwrap().ends_with("epoch-000020-step-0000000.safetensors"));
}

#[test]
fn a_look_at_a_run_keeps_nobody_out() {
    let folder = tempdir().unwrap();
    unfinished(folder.path(), &[]);
    let lock = fs::File::open(folder.path().join("run/.lock")).unwrap();
    // As `runs` does for a moment, which is longer here.
    fs4::FileExt::lock_shared(&lock).unwrap();
    let child = begin(folder.path(), &["resume", "run", "--quiet"]);
    sleep(Duration::from_millis(150));
    drop(lock);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn checkpoints_are_ordered_by_number_however_many_digits_it_has() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]);
    let newest = checkpoints(&path).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    // As words, seven digits come before six.
    for epoch in ["999999", "1000000"] {
        fs::write(path.join(format!("checkpoints/epoch-{epoch}-step-0000000.safetensors")), &bytes).unwrap();
    }
    let text = stderr(&succeed(folder.path(), &["resume", "run", "--quiet"]));
    let place = |epoch: &str| text.find(&format!("epoch-{epoch}-step-0000000.safetensors: is damaged"));
    assert!(place("1000000").is_some() && place("1000000") < place("999999"), "the newest comes first: {text}");
}

#[test]
fn a_configuration_that_somebody_wrote_is_no_run() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("exp")).unwrap();
    let text = "# my own\nmodel = \"mlp:64-4-10\"\nepochs = 1\n";
    fs::write(folder.path().join("exp/config.toml"), text).unwrap();
    let output = refused(folder.path(), &["resume", "exp"], 1, "its config.toml is one that somebody wrote");
    assert!(stderr(&output).contains("hint: sse-sam train --config exp/config.toml --out NEW"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(folder.path().join("exp/config.toml")).unwrap(), text);
    assert_eq!(fs::read_dir(folder.path().join("exp")).unwrap().count(), 1);
    assert!(succeed(folder.path(), &["runs", "."]).stdout.starts_with(b"no runs in ."));
}

#[test]
fn comments_in_a_runs_configuration_stay() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]).join("config.toml");
    let text = format!("# seen on a Tuesday\n{}", fs::read_to_string(&path).unwrap());
    fs::write(&path, &text).unwrap();
    succeed(folder.path(), &["resume", "run", "--quiet"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn metrics_that_are_removed_in_mid_run_are_put_back() {
    let folder = tempdir().unwrap();
    let args = |out| training(out, &["--epochs", "10"]);
    succeed(folder.path(), &args("whole"));
    let child = begin(folder.path(), &args("run"));
    let metrics = folder.path().join("run/metrics.jsonl");
    while !fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() > 2) {
        sleep(Duration::from_millis(2));
    }
    fs::remove_file(&metrics).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    same(&folder.path().join("whole"), &folder.path().join("run"), "removed metrics");
    // Once the process is gone nobody has them any more.
    fs::remove_file(&metrics).unwrap();
    let output = refused(folder.path(), &["resume", "run", "--epochs", "11"], 1, "metrics.jsonl has 0 bytes");
    assert!(stderr(&output).contains("hint: put it back, or sse-sam train --config "), "{}", stderr(&output));
}

#[test]
fn a_run_killed_after_its_last_checkpoint_is_finished() {
    let folder = tempdir().unwrap();
    succeed(folder.path(), &training("run", &[]));
    let log = folder.path().join("run/log.txt");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.strip_suffix("finished\n").unwrap().rsplit_once('\n').unwrap().0).unwrap();
    for place in [".", "run", "run/config.toml"] {
        let listed = succeed(folder.path(), &["runs", place]).stdout;
        let listed = String::from_utf8(listed).unwrap();
        assert!(listed.lines().count() == 2 && listed.trim_end().ends_with("finished"), "{place}: {listed}");
    }
}

#[test]
fn only_the_programs_own_half_written_files_are_removed() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]);
    let kept = ["my.partial", "config.toml.partial", "notes.12.partial"].map(|name| path.join(name));
    let gone = ["config.toml.12.partial", "best-on-test.safetensors.7.partial"].map(|name| path.join(name));
    let inside = path.join("checkpoints/epoch-000002-step-0000000.safetensors.9.partial");
    kept.iter().chain(&gone).chain([&inside]).for_each(|path| fs::write(path, "x").unwrap());
    succeed(folder.path(), &["resume", "run", "--quiet"]);
    assert!(kept.iter().all(|path| path.exists()));
    assert!(gone.iter().chain([&inside]).all(|path| !path.exists()));
}

#[test]
fn a_run_is_found_from_within_its_folders() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]);
    let newest = checkpoints(&path).pop().unwrap();
    let name = newest.file_name().unwrap().to_str().unwrap();
    for word in [".", name] {
        let args = ["resume", word, "--epochs", "2"];
        refused(&path.join("checkpoints"), &args, 2, "--epochs 2 is less than the 6 epochs of the run");
    }
    refused(
        folder.path(),
        &["resume", "nowhere"],
        1,
        "nowhere: holds no run that could go on: there is no such folder",
    );
    for (number, file) in ["run/metrics.jsonl", "run/checkpoints", "run/last.safetensors"].into_iter().enumerate() {
        fs::write(path.join("last.safetensors"), "x").unwrap();
        let out = number.to_string();
        succeed(folder.path(), &["train", "--config", file, "--out", &out, "--quiet"]);
    }
}

#[test]
fn a_standard_output_that_is_full_ends_no_run() {
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else { return skip("there is no /dev/full") };
    let folder = tempdir().unwrap();
    let args: Vec<&str> = training("run", &[]).into_iter().filter(|word| *word != "--quiet").collect();
    let output = program(folder.path(), &args).stdout(full).output().unwrap();
    let text = stderr(&output);
    assert!(output.status.success() && text.contains("warning: standard output: no space left"), "{text}");
    assert!(folder.path().join("run/last.safetensors").exists());
}
