//! A measurement of several groups that is ended in the middle, and goes on.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sse_sam_tests::needs::skip;
use tempfile::tempdir;

use super::program::{CACHE, lines, named, train, works};

/// All, head, tail and ten classes, each of which takes a moment.
const GROUPS: usize = 13;

/// Arguments that measure them.
fn long<'a>(device: &'a str, out: &'a str) -> Vec<&'a str> {
    let what =
        ["spectrum", "run", "--groups", "all,head,tail,classes", "--samples", "200", "--steps", "60", "--vectors", "3"];
    [&what[..], &["--json", "--device", device, "--out", out]].concat()
}

/// Starts the program as a shell does in the foreground, whatever the tests run under.
fn in_foreground(folder: &Path, args: &[&str]) -> Child {
    let program = env!("CARGO_BIN_EXE_sse-sam");
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", program]).args(args).current_dir(folder).env("SSE_SAM_CACHE", CACHE);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn env(args: &[&str]) -> bool {
    Command::new("env").args(args).status().is_ok_and(|status| status.success())
}

/// Lines that are whole.
fn written(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().matches('\n').count()
}

/// Waits until `file` has so many lines.
fn wait_for(file: &Path, count: usize, child: &mut Child) {
    let started = Instant::now();
    while written(file) < count {
        assert!(child.try_wait().unwrap().is_none(), "it ended with {} lines", written(file));
        assert!(started.elapsed() < Duration::from_secs(120), "{} does not come", file.display());
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn whatever_ends_it_the_groups_before_stay_and_the_end_is_that_of_an_unbroken_one() {
    if !env(&["--default-signal=INT", "true"]) {
        return skip("this system's env sets no signals");
    }
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    for device in named() {
        let out = |name: &str| format!("{name}-{}.jsonl", device.replace(':', "-"));
        let whole = out("whole");
        let unbroken = works(home.path(), &long(&device, &whole)).stdout;
        assert_eq!(lines(&unbroken).len(), GROUPS);
        for (signal, after) in [("INT", 1), ("KILL", 4)] {
            let name = out(signal);
            let (file, args) = (home.path().join(&name), long(&device, &name));
            let mut child = in_foreground(home.path(), &args);
            wait_for(&file, after, &mut child);
            sleep(Duration::from_millis(20));
            assert!(env(&["kill", &format!("-{signal}"), &child.id().to_string()]));
            assert!(!child.wait().unwrap().success(), "{device}, {signal}");
            let left = written(&file);
            assert!((after..GROUPS).contains(&left), "{device}, {signal}: {left}");
            let again = works(home.path(), &args);
            let told = format!("{left} of {GROUPS} groups were measured before");
            assert_eq!(again.stderr.contains(&told), left > 0, "{device}, {signal}: {}", again.stderr);
            assert_eq!(again.stdout, unbroken, "{device}, {signal}");
            assert!(fs::read(&file).unwrap() == fs::read(home.path().join(&whole)).unwrap(), "{device}, {signal}");
        }
    }
}
