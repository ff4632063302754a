//! Disks that are full, read-only or failing.

use super::*;

/// A file system of so many KiB in memory, where this user may make one.
struct Disk(TempDir);

impl Disk {
    fn new(size: &str) -> Option<Self> {
        let disk = Self(tempdir().unwrap());
        let made = disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        if !made {
            skip("this user cannot mount a small disk");
        }
        made.then_some(disk)
    }

    fn mount(&self, args: &[&str]) -> bool {
        let output = Command::new("mount").args(args).arg(self.0.path()).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_ends_in_a_sentence_and_the_run_goes_on_when_there_is_room() {
    let whole = tempdir().unwrap();
    succeed(whole.path(), &training("run", &["--keep", "1000"]));
    for size in ["16k", "80k", "160k"] {
        let Some(disk) = Disk::new(size) else { return };
        let folder = disk.0.path();
        refused(folder, &training("run", &["--keep", "1000"]), 1, "no space left on the disk");
        assert!(disk.mount(&["-o", "remount,size=64m"]));
        let started = folder.join("run/config.toml").exists();
        if started {
            let partial = checkpoints(&folder.join("run"));
            let layout = layout("resnet8:1");
            assert!(partial.iter().all(|path| Checkpoint::read(path, &layout).is_ok()), "{size}");
            succeed(folder, &["resume", "run", "--quiet"]);
            same(&whole.path().join("run"), &folder.join("run"), size);
        }
    }
}

#[test]
fn a_read_only_folder_is_named() {
    let Some(disk) = Disk::new("1m") else { return };
    let folder = disk.0.path();
    let elsewhere = tempdir().unwrap();
    unfinished(elsewhere.path(), &[]);
    copy_until(&elsewhere.path().join("run"), &folder.join("run"), &checkpoints(&elsewhere.path().join("run"))[0]);
    assert!(disk.mount(&["-o", "remount,ro"]));
    let out = folder.join("new");
    refused(elsewhere.path(), &training(out.to_str().unwrap(), &[]), 1, "new: ");
    let output = refused(elsewhere.path(), &["resume", folder.join("run").to_str().unwrap()], 1, "read-only");
    assert!(stderr(&output).contains(".lock"), "{}", stderr(&output));
}

/// How many system calls of each kind are made to fail, one a run.
pub fn failing_calls() -> u32 {
    std::env::var("SSE_SAM_FAILING_CALLS").map_or(3, |calls| calls.parse().unwrap())
}

#[test]
fn whichever_system_call_fails_the_checkpoints_stay_whole() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("there is no strace to make system calls fail");
    }
    let whole = tempdir().unwrap();
    succeed(whole.path(), &training("run", &QUICK));
    let layout = layout(QUICK[1]);
    let mut failures = 0;
    for (call, error) in [("write", "ENOSPC"), ("fsync", "EIO"), ("write", "EIO"), ("/^rename", "EIO")] {
        for number in 1..=failing_calls() {
            let what = format!("{error} at {call} {number}");
            let folder = tempdir().unwrap();
            let inject = format!("inject={call}:error={error}:when={number}");
            let args = training("run", &QUICK);
            let mut strace = Command::new("strace");
            strace.env("SSE_SAM_CACHE", CACHE).args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={call}"),
                "-e",
                &inject,
            ]);
            let output =
                strace.arg(env!("CARGO_BIN_EXE_sse-sam")).args(args).current_dir(folder.path()).output().unwrap();
            let text = stderr(&output);
            assert!(!text.contains("panicked"), "{what}: {text}");
            let run = folder.path().join("run");
            if !output.status.success() && run.join("checkpoints").exists() {
                failures += 1;
                assert_eq!(output.status.code(), Some(1), "{what}: {text}");
                // The call that fails in each thread may be the one that writes the sentence: the log has it too.
                let log = fs::read_to_string(run.join("log.txt")).unwrap_or_default();
                let said = text.contains("sse-sam: run/") || (text.is_empty() && log.contains(" failed: run/"));
                assert!(said, "{what}: {text}");
                let read = |path: &PathBuf| Checkpoint::read(path, &layout).unwrap_or_else(|e| panic!("{what}: {e}"));
                checkpoints(&run).iter().for_each(|path| drop(read(path)));
            }
            if run.join("config.toml").exists() && !checkpoints(&run).iter().any(|path| path.ends_with(LAST_OF_QUICK)) {
                succeed(folder.path(), &["resume", "run", "--quiet"]);
                same(&whole.path().join("run"), &run, &what);
            }
        }
    }
    assert!(failures > 0, "no call failed");
    println!("{failures} failures");
}

#[test]
fn a_write_that_is_cut_short_leaves_the_checkpoints_whole() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        return skip("there is no prlimit to cut writes short");
    }
    let whole = tempdir().unwrap();
    succeed(whole.path(), &training("run", &["--epochs", "2"]));
    let layout = layout("resnet8:1");
    let largest = checkpoints(&whole.path().join("run")).iter().map(|path| fs::metadata(path).unwrap().len()).max();
    for number in 0..u64::from(failing_calls()) {
        // No file may grow beyond this: the system writes the bytes before it, and refuses the next call.
        let limit = 1 + number * largest.unwrap() / u64::from(failing_calls());
        let folder = tempdir().unwrap();
        let limited = "trap '' XFSZ; limit=$1; shift; exec prlimit --fsize=$limit \"$@\"";
        let mut shell = Command::new("sh");
        shell.env("SSE_SAM_CACHE", CACHE).args([
            "-c",
            limited,
            "sh",
            &limit.to_string(),
            env!("CARGO_BIN_EXE_sse-sam"),
        ]);
        let output = shell.args(training("run", &["--epochs", "2"])).current_dir(folder.path()).output().unwrap();
        let (what, text, run) = (format!("at {limit} bytes"), stderr(&output), folder.path().join("run"));
        assert!(text.contains("sse-sam: run/") && text.contains("file too large"), "{what}: {text}");
        assert!(!text.contains("panicked") && output.status.code() == Some(1), "{what}: {text}");
        for path in checkpoints(&run) {
            Checkpoint::read(&path, &layout).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        if run.join("config.toml").exists() {
            succeed(folder.path(), &["resume", "run", "--quiet"]);
            same(&whole.path().join("run"), &run, &what);
        }
    }
}

/// A run of a hundred calls of each kind.
const QUICK: [&str; 4] = ["--model", "mlp:64-3-10", "--epochs", "60"];

/// Its last checkpoint.
const LAST_OF_QUICK: &str = "epoch-000060-step-0000000.safetensors";

#[test]
fn a_checkpoint_that_cannot_be_written_ends_the_run_by_name() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]);
    // A folder stands where the last checkpoint belongs.
    let taken = path.join("checkpoints/epoch-000006-step-0000000.safetensors");
    fs::create_dir(&taken).unwrap();
    refused(folder.path(), &["resume", "run", "--quiet"], 1, "run/checkpoints/epoch-000006-step-0000000.safetensors: ");
    fs::remove_dir(&taken).unwrap();
    succeed(folder.path(), &["resume", "run", "--quiet"]);
}

#[test]
fn a_thread_that_the_system_refuses_is_a_sentence() {
    let folder = tempdir().unwrap();
    let open =
        |path: &Path| Command::new("chmod").args(["777", path.to_str().unwrap()]).status().is_ok_and(|s| s.success());
    // A user of whom nothing else runs; the last number is that of its threads.
    let limited = |threads: &str, args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=54321", "--regid=54321", "--clear-groups", "prlimit", &format!("--nproc={threads}")]);
        command.args(["env", &format!("HOME={}", folder.path().display())]).arg(env!("CARGO_BIN_EXE_sse-sam"));
        command.args(args).current_dir(folder.path()).env("SSE_SAM_CACHE", folder.path()).output()
    };
    if !open(folder.path()) || !limited("9", &["--version"]).is_ok_and(|output| output.status.success()) {
        return skip("this user cannot become another one with a limit");
    }
    for (threads, who) in [("1", "signals"), ("2", "the thread that writes checkpoints")] {
        let output = limited(threads, &training(threads, &["--epochs", "1"])).unwrap();
        let expected = format!("sse-sam: {who}: the system gives this user no more threads (ulimit -u)");
        assert!(
            output.status.code() == Some(1) && stderr(&output).contains(&expected),
            "{threads}: {}",
            stderr(&output)
        );
    }
    succeed(folder.path(), &["resume", "2", "--quiet"]);
}
