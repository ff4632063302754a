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
fn failing_calls() -> u32 {
    std::env::var("SSE_SAM_FAILING_CALLS").map_or(3, |calls| calls.parse().unwrap())
}

#[test]
fn whichever_system_call_fails_the_checkpoints_stay_whole() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("there is no strace to make system calls fail");
    }
    let whole = tempdir().unwrap();
    succeed(whole.path(), &training("run", &["--epochs", "2"]));
    let layout = layout("resnet8:1");
    let mut failures = 0;
    for (call, error) in [("write", "ENOSPC"), ("fsync", "EIO"), ("write", "EIO"), ("/^rename", "EIO")] {
        for number in 1..=failing_calls() {
            let what = format!("{error} at {call} {number}");
            let folder = tempdir().unwrap();
            let inject = format!("inject={call}:error={error}:when={number}");
            let args = training("run", &["--epochs", "2"]);
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
                assert!(text.contains("sse-sam: run/") && output.status.code() == Some(1), "{what}: {text}");
                let read = |path: &PathBuf| Checkpoint::read(path, &layout).unwrap_or_else(|e| panic!("{what}: {e}"));
                checkpoints(&run).iter().for_each(|path| drop(read(path)));
            }
            if run.join("config.toml").exists() && !checkpoints(&run).iter().any(|path| path.ends_with(LAST_OF_TWO)) {
                succeed(folder.path(), &["resume", "run", "--quiet"]);
                same(&whole.path().join("run"), &run, &what);
            }
        }
    }
    assert!(failures > 0, "no call failed");
    println!("{failures} failures");
}

/// The last checkpoint of two epochs.
const LAST_OF_TWO: &str = "epoch-000002-step-0000000.safetensors";

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
