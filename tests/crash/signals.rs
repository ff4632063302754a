//! Signals, from a parent that leaves them as they are by default, on every device and in every phase of a run.

use super::*;

/// What ends a job: from a terminal, from a scheduler, by a limit of the system.
const ENDS: [(&str, i32); 10] = [
    ("INT", 2),
    ("TERM", 15),
    ("HUP", 1),
    ("QUIT", 3),
    ("XCPU", 24),
    ("USR1", 10),
    ("USR2", 12),
    ("ALRM", 14),
    ("VTALRM", 26),
    ("PWR", 30),
];

fn devices() -> Vec<&'static str> {
    if has_opencl() { vec!["cpu", "opencl"] } else { vec!["cpu"] }
}

/// The program as a shell starts it in the foreground, whatever the tests run under.
fn in_foreground(folder: &Path, args: &[&str]) -> Command {
    let plain = program(folder, args);
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT,TERM,HUP,QUIT,XCPU,USR1,USR2,ALRM,VTALRM,PWR,XFSZ")
        .arg(plain.get_program())
        .args(args);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env("SSE_SAM_CACHE", CACHE);
    command
}

/// Whether `env` can set what a process does at a signal.
fn can_set() -> bool {
    let can = Command::new("env").args(["--default-signal=INT", "true"]).output().is_ok_and(|o| o.status.success());
    if !can {
        skip("this system's env sets no signals");
    }
    can
}

fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "{} does not come", path.display());
        sleep(Duration::from_millis(2));
    }
}

/// Asserts that the run was saved and goes on to what the unbroken one left.
#[track_caller]
fn saved(folder: &Path, child: Child, number: i32, run: &str, whole: &str) -> String {
    let output = child.wait_with_output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(128 + number), "{run}: {:?} {text}", output.status);
    assert!(text.contains("everything is saved") && text.contains("hint: sse-sam resume "), "{run}: {text}");
    let log = fs::read_to_string(folder.join(run).join("log.txt")).unwrap();
    assert!(log.trim_end().ends_with(&format!("interrupted by signal {number}")), "{run}: {log}");
    succeed(folder, &["resume", run, "--quiet"]);
    same(&folder.join(whole), &folder.join(run), run);
    text
}

/// Arguments of a run that takes a moment.
fn on<'a>(device: &'a str, out: &'a str) -> Vec<&'a str> {
    training(out, &["--device", device, "--epochs", "10"])
}

#[test]
fn whatever_ends_a_job_saves_it_on_every_device() {
    if !can_set() {
        return;
    }
    let folder = tempdir().unwrap();
    for device in devices() {
        let whole = format!("whole-{device}");
        succeed(folder.path(), &on(device, &whole));
        for (name, number) in ENDS {
            let run = format!("{name}-{device}");
            let child = in_foreground(folder.path(), &on(device, &run)).spawn().unwrap();
            wait_for_steps(&folder.path().join(&run));
            sleep(Duration::from_millis(30));
            send(&child, &format!("-{name}"));
            saved(folder.path(), child, number, &run, &whole);
        }
    }
}

#[test]
fn a_signal_while_kernels_are_built_is_heard() {
    if !has_opencl() || !can_set() {
        return;
    }
    let folder = tempdir().unwrap();
    succeed(folder.path(), &on("opencl", "whole"));
    for (number, delay) in [0, 100, 1000].into_iter().enumerate() {
        let run = format!("built-{delay}");
        let mut command = in_foreground(folder.path(), &on("opencl", &run));
        // Kernels are built anew where their cache is empty.
        let child = command.env("POCL_CACHE_DIR", folder.path().join(format!("kernels-{number}"))).spawn().unwrap();
        // The configuration is there before anything slow begins.
        wait_for(&folder.path().join(&run).join("config.toml"));
        sleep(Duration::from_millis(delay));
        send(&child, "-INT");
        saved(folder.path(), child, 2, &run, "whole");
    }
}

#[test]
fn a_signal_in_an_evaluation_does_not_wait_for_its_end() {
    if !can_set() {
        return;
    }
    let folder = tempdir().unwrap();
    write_split(&folder.path().join("data"), 40, 30_000);
    for device in devices() {
        let (whole, run) = (format!("whole-{device}"), format!("run-{device}"));
        let data = ["--data", "data", "--eta", "15", "--batch", "20", "--epochs", "3"];
        let options = [&data[..], &["--model", "resnet8:4", "--device", device]].concat();
        succeed(folder.path(), &training(&whole, &options));
        let child = in_foreground(folder.path(), &training(&run, &options)).spawn().unwrap();
        wait_for_steps(&folder.path().join(&run));
        sleep(Duration::from_millis(150));
        send(&child, "-TERM");
        let text = saved(folder.path(), child, 15, &run, &whole);
        assert!(text.contains("after 2 steps of epoch "), "this was not in an evaluation: {text}");
    }
}

#[test]
fn a_signal_before_there_is_a_run_ends_the_process_at_once() {
    if !can_set() {
        return;
    }
    let folder = tempdir().unwrap();
    // Nobody ever writes to this file, so that reading it never ends.
    let weights = folder.path().join("weights.safetensors");
    assert!(Command::new("mkfifo").arg(&weights).status().unwrap().success());
    for device in devices() {
        let args = training("run", &["--init", "weights.safetensors", "--device", device]);
        let child = in_foreground(folder.path(), &args).spawn().unwrap();
        sleep(Duration::from_millis(700));
        send(&child, "-TERM");
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
        assert!(!folder.path().join("run").exists());
    }
}

#[test]
fn a_signal_that_is_sent_twice_at_once_is_one_request() {
    if !can_set() {
        return;
    }
    let folder = tempdir().unwrap();
    succeed(folder.path(), &training("whole", &["--epochs", "10"]));
    let child = in_foreground(folder.path(), &training("run", &["--epochs", "10"])).spawn().unwrap();
    wait_for_steps(&folder.path().join("run"));
    // As `timeout` and a terminal that closes do.
    let id = child.id().to_string();
    let twice = format!("kill -HUP {id}; kill -TERM {id}; kill -HUP {id}");
    assert!(Command::new("sh").args(["-c", &twice]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(stderr(&output).contains("everything is saved"), "{}", stderr(&output));
    succeed(folder.path(), &["resume", "run", "--quiet"]);
    same(&folder.path().join("whole"), &folder.path().join("run"), "twice");
}

#[test]
fn nohup_is_respected() {
    let folder = tempdir().unwrap();
    for device in devices() {
        let run = format!("run-{device}");
        let args = training(&run, &["--device", device, "--epochs", "10"]);
        let mut command = Command::new("nohup");
        let plain = program(folder.path(), &args);
        command.arg(plain.get_program()).args(&args).current_dir(folder.path()).env("SSE_SAM_CACHE", CACHE);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let Ok(child) = spawned else { return skip("there is no nohup") };
        wait_for_steps(&folder.path().join(&run));
        send(&child, "-HUP");
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?} {}", output.status, stderr(&output));
        assert!(folder.path().join(&run).join("last.safetensors").exists());
    }
}

#[test]
fn a_file_that_outgrows_a_limit_of_the_system_ends_in_a_sentence() {
    if !can_set() {
        return;
    }
    let folder = tempdir().unwrap();
    for device in devices() {
        let run = format!("run-{device}");
        let args = training(&run, &["--device", device, "--model", "resnet8:8"]);
        let limited = "ulimit -f 16; exec \"$@\"";
        let plain = in_foreground(folder.path(), &args);
        let mut command = Command::new("sh");
        command.args(["-c", limited, "sh"]).arg(plain.get_program()).args(plain.get_args());
        let output = command.current_dir(folder.path()).env("SSE_SAM_CACHE", CACHE).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{:?} {text}", output.status);
        // A driver that cannot write its own files is the device's failure.
        let expected = if device == "cpu" { "file too large: a limit of the system (ulimit -f)" } else { "sse-sam: " };
        assert!(text.contains(expected), "{text}");
    }
}
