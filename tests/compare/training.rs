//! The runs that a comparison trains.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use sse_sam_tests::needs;
use sse_sam_tests::random::Numbers;
use tempfile::tempdir;

use super::{Outcome, SMALL, comparison, program, run, same, succeed, two_classes, words, written};

#[test]
fn runs_are_those_of_train() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    for device in ["cpu", "opencl"] {
        if device == "opencl" && !needs::has_opencl(sse_sam::opencl::devices().map_or(0, |devices| devices.len())) {
            continue;
        }
        let out = format!("compared-{device}");
        let lists = ["--methods", "sgd,sse-sam", "--losses", "ce,la", "--seeds", "2,5", "--tau", "1.5"];
        succeed(path, &[&["compare", "--out", &out, "--device", device], &SMALL[..], &lists].concat());
        for (method, loss, seed) in [("sgd", "ce", "2"), ("sse-sam", "la", "5")] {
            let alone = format!("{method}-{loss}-{device}");
            let tau = if loss == "la" { &["--tau", "1.5"][..] } else { &[] };
            let options = ["--method", method, "--loss", loss, "--seed", seed, "--device", device, "--quiet"];
            succeed(path, &[&["train", "--out", &alone], &SMALL[..], &options, tau].concat());
            same(&path.join(&alone), &path.join(&out).join(format!("{method}-{loss}-seed{seed}")));
        }
    }
}

/// How often the program began to train in runs of a folder, or ended an epoch.
fn lines(out: &Path, part: &str) -> usize {
    let runs = fs::read_dir(out).into_iter().flatten().map(|entry| entry.unwrap().path().join("log.txt"));
    runs.filter_map(|log| fs::read_to_string(log).ok()).map(|log| log.matches(part).count()).sum()
}

#[test]
fn a_killed_comparison_ends_as_if_it_had_not_been() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let lists = ["--methods", "sgd,sse-sam", "--seeds", "3", "--epochs", "8", "--quiet"];
    let begun = Instant::now();
    succeed(path, &comparison("whole", &lists));
    let span = begun.elapsed().as_micros() as usize;
    let mut random = Numbers::new(7);
    let (mut kills, mut stops) = (0, 0);
    // Signals come by chance before anything trains or after all is done: as many rounds as it takes.
    for round in 0.. {
        assert!(round < 50, "{kills} kills and {stops} signals in {round} rounds");
        let jobs = 1 + round % 2;
        let out = format!("killed-{round}");
        let ends = until_done(path, &comparison(&out, &[&lists[..], &["--jobs", &jobs.to_string()]].concat()), || {
            Duration::from_micros((span / 10 + random.below(span / 3)) as u64)
        });
        let said = format!("after {} kills and {} signals", ends[0], ends[1]);
        assert_eq!(written(&path.join("whole")), written(&path.join(&out)), "{said}");
        for name in ["sgd-ce-seed0", "sse-sam-ce-seed1", "sgd-ce-seed2", "sse-sam-ce-seed2"] {
            same(&path.join("whole").join(name), &path.join(&out).join(name));
        }
        // Every end leaves at most as many runs in work as there are jobs: none is begun again that was done. A signal loses
        // nothing; a kill loses what these runs have trained since their last checkpoint, of which a disk that is slower than
        // an epoch leaves some out.
        let (begins, epochs) = (lines(&path.join(&out), "training from"), lines(&path.join(&out), ": trained "));
        assert!(begins <= 6 + jobs * (ends[0] + ends[1]), "{begins} beginnings {said}");
        assert!((6 * 8..=(6 + jobs * ends[0]) * 8).contains(&epochs), "{epochs} epochs {said}");
        (kills, stops) = (kills + ends[0], stops + ends[1]);
        if round > 0 && (cfg!(not(unix)) || kills > 1 && stops > 1) {
            break;
        }
    }
}

/// Runs a comparison again and again, killed or stopped by a signal in turn, until it is done; how often each has ended it.
fn until_done(path: &Path, args: &[&str], mut wait: impl FnMut() -> Duration) -> [usize; 2] {
    let mut ends = [0, 0];
    for number in 0..100 {
        let mut child = program(path, args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        sleep(wait());
        if cfg!(unix) && child.try_wait().unwrap().is_none() {
            let signal = ["-KILL", "-INT"][number % 2];
            let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        }
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            Some(0) => return ends,
            None => ends[0] += 1,
            Some(130) => ends[1] += 1,
            code => panic!("{code:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
    panic!("it does not go on");
}

#[cfg(unix)]
#[test]
fn a_signal_saves_every_run_and_says_how_far_all_are() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let args = comparison("out", &["--methods", "sgd,sam", "--seeds", "2", "--epochs", "100000", "--jobs", "2"]);
    let child = program(path, &args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while lines(&path.join("out"), "training from") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing begins");
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(100));
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let outcome: Outcome = child.wait_with_output().unwrap().into();
    assert_eq!(outcome.code, 143, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("stopped by signal 15 when 0 of 4 runs were done; everything is saved"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("hint: the same command goes on from there"), "{}", outcome.stderr);
    let listed = succeed(path, &["compare", "out"]).stdout;
    assert!(listed.contains("unfinished: ") && listed.contains(" of 100000 epochs"), "{listed}");
}

#[test]
fn runs_at_once_are_the_same_runs() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let lists = ["--methods", "sgd,sam,imbsam", "--seeds", "3"];
    succeed(path, &comparison("one", &lists));
    succeed(path, &comparison("two", &[&lists[..], &["--jobs", "2"]].concat()));
    assert_eq!(written(&path.join("one")), written(&path.join("two")));
    let outcome = succeed(path, &comparison("many", &[&lists[..], &["--jobs", "1000", "--threads", "2"]].concat()));
    assert!(
        outcome.stderr.contains("warning: --jobs 1000: 2 runs train at a time, for CPU core"),
        "{}",
        outcome.stderr
    );
    assert_eq!(written(&path.join("one"))["arms"], written(&path.join("many"))["arms"]);
}

#[test]
fn more_seeds_and_methods_go_on_and_what_is_done_is_left() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    succeed(path, &comparison("out", &["--methods", "sgd", "--seeds", "1"]));
    let log = path.join("out/sgd-ce-seed0/log.txt");
    let before = fs::read(&log).unwrap();
    let outcome = succeed(path, &comparison("out", &["--methods", "sam,sgd", "--seeds", "2"]));
    assert_eq!(fs::read(&log).unwrap(), before, "a finished run was touched");
    assert_eq!(outcome.stderr.matches("run ").count(), 3, "{}", outcome.stderr);
    assert_eq!(words(&written(&path.join("out"))["arms"], "label"), ["sam", "sgd"]);
    let again = succeed(path, &comparison("out", &["--methods", "sam,sgd", "--seeds", "2"]));
    assert_eq!((again.stderr.as_str(), &again.stdout), ("", &outcome.stdout));
}

#[test]
fn a_value_passes_to_the_runs_that_use_it() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let lists = ["--methods", "sgd,sam,imbsam", "--losses", "ce,la", "--seeds", "1"];
    let values = ["--vary", "rho=0.02,0.1", "--tau", "2"];
    let outcome = succeed(path, &comparison("out", &[&lists[..], &values].concat()));
    for sentence in
        ["sse-sam: --vary rho is for sam and imbsam; sgd has none\n", "sse-sam: --tau is for la; ce has none\n"]
    {
        assert_eq!(outcome.stderr.matches(sentence).count(), 1, "{}", outcome.stderr);
    }
    let mut names: Vec<String> = fs::read_dir(path.join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("comparison."))
        .collect();
    names.sort();
    let expected = ["imbsam-ce-rho-0.02", "imbsam-ce-rho-0.1", "imbsam-la-rho-0.02", "imbsam-la-rho-0.1"];
    assert_eq!(names[..4], expected.map(|name| format!("{name}-seed0")));
    assert_eq!(names.len(), 2 + 4 + 4);
    let labels = words(&written(&path.join("out"))["arms"], "label");
    assert_eq!(labels[..4], ["sgd ce", "sgd la", "sam ce rho=0.02", "sam ce rho=0.1"], "{labels:?}");
    let config = |name: &str| fs::read_to_string(path.join("out").join(name).join("config.toml")).unwrap();
    assert!(!config("sgd-la-seed0").contains("rho") && config("sgd-la-seed0").contains("tau = 2.0"));
    assert!(config("sam-ce-rho-0.1-seed0").contains("rho = 0.1") && !config("sam-ce-rho-0.1-seed0").contains("tau"));
}

#[test]
fn a_failed_run_is_a_row_and_is_tried_again_when_asked() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let lists = ["--methods", "sgd", "--seeds", "2", "--vary", "lr=0.05,1e30"];
    let without_rate: Vec<&str> =
        comparison("out", &lists).into_iter().filter(|word| *word != "--lr" && *word != "0.05").collect();
    let outcome = run(path, &without_rate);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    for part in ["2 of 4 runs have failed", "hint: the same command with --retry-failed tries them again"] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    let reason = "failed after 0 of 2 epochs: loss, gradient or weights are no longer finite in epoch 0";
    assert_eq!(outcome.stdout.matches(reason).count(), 2, "{}", outcome.stdout);
    let runs = written(&path.join("out"))["runs"].clone();
    let failed: Vec<&Value> = runs.as_array().unwrap().iter().filter(|run| run["state"] == "failed").collect();
    assert!(failed.len() == 2 && failed.iter().all(|run| run["failed"].as_str().unwrap().contains("finite")), "{runs}");
    assert_eq!(written(&path.join("out"))["arms"][0]["finished"], 2);
    let begins = lines(&path.join("out"), "training from");
    assert_eq!((run(path, &without_rate).code, lines(&path.join("out"), "training from")), (1, begins), "tried again");
    let retried = run(path, &[&without_rate[..], &["--retry-failed"]].concat());
    assert_eq!((retried.code, lines(&path.join("out"), "training from")), (1, begins + 2), "{}", retried.stderr);
    assert!(retried.stderr.contains("2 of 4 runs have failed"), "{}", retried.stderr);
}

#[test]
fn programs_are_told_which_run_an_event_is_of() {
    let folder = tempdir().unwrap();
    let lists = ["--methods", "sgd,sam", "--seeds", "1", "--log-format", "json"];
    let outcome = succeed(folder.path(), &comparison("out", &lists));
    assert_eq!(outcome.stdout, "");
    let events: Vec<Value> = outcome.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((of("start"), of("epoch"), of("end")), (2, 4, 1), "{}", outcome.stderr);
    let known = ["out/sgd-ce-seed0", "out/sam-ce-seed0"];
    let is_known = |event: &&Value| known.iter().any(|name| event["run"] == *name);
    assert_eq!(events.iter().filter(|event| event["event"] == "epoch").filter(is_known).count(), 4);
    let quiet = succeed(folder.path(), &comparison("quiet", &["--methods", "sgd", "--seeds", "1", "--quiet"]));
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn a_recipe_is_compared_by_its_name() {
    let folder = tempdir().unwrap();
    let lists = ["--recipe", "digits-lt", "--methods", "sgd", "--seeds", "1"];
    succeed(folder.path(), &comparison("out", &lists));
    let config = fs::read_to_string(folder.path().join("out/sgd-ce-seed0/config.toml")).unwrap();
    assert!(
        config.contains("model = \"mlp:64-16-10\"") && config.contains("epochs = 2"),
        "what is typed wins: {config}"
    );
}

#[test]
fn a_warning_is_told_of_every_run_that_it_is_about() {
    let folder = tempdir().unwrap();
    let lists = ["--methods", "sgd", "--seeds", "2", "--on-nan", "rollback", "--rollbacks", "1"];
    let args = comparison("out", &lists).into_iter().map(|word| if word == "0.05" { "1e30" } else { word });
    let outcome = run(folder.path(), &args.collect::<Vec<_>>());
    for run in ["sgd-ce-seed0: no longer finite in epoch 0", "sgd-ce-seed1: no longer finite in epoch 0"] {
        assert_eq!(outcome.stderr.matches(run).count(), 1, "{}", outcome.stderr);
    }
}

#[test]
fn programs_are_told_of_every_run_that_fails() {
    let folder = tempdir().unwrap();
    let lists = ["--methods", "sgd", "--seeds", "2", "--log-format", "json", "--quiet"];
    let args = comparison("out", &lists).into_iter().map(|word| if word == "0.05" { "1e30" } else { word });
    let outcome = run(folder.path(), &args.collect::<Vec<_>>());
    let events: Vec<Value> = outcome.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed: Vec<&Value> = events.iter().filter(|event| event["event"] == "failed").collect();
    let runs: Vec<&str> = failed.iter().map(|event| event["run"].as_str().unwrap()).collect();
    assert_eq!(runs, ["out/sgd-ce-seed0", "out/sgd-ce-seed1"], "{}", outcome.stderr);
    assert!(failed.iter().all(|event| event["message"].as_str().unwrap().contains("finite")), "{}", outcome.stderr);
}

#[test]
fn what_follows_from_data_that_are_varied_may_differ() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    two_classes(&path.join("small"), [30, 6]);
    two_classes(&path.join("large"), [300, 200]);
    let options = ["--device", "cpu", "--model", "mlp:64-4-2", "--epochs", "1", "--methods", "sgd,sam", "--seeds", "1"];
    for (out, varied, labels) in [
        ("sets", "data=small,large", ["sgd data=small", "sgd data=large"]),
        ("cuts", "imbalance=none,20", ["sgd", "sgd imbalance=20"]),
    ] {
        let data = if out == "cuts" { &["--data", "large"][..] } else { &[] };
        succeed(path, &[&["compare", "--out", out, "--vary", varied], &options[..], data].concat());
        let value = written(&path.join(out));
        let found = words(&value["arms"], "label");
        assert!(found.len() == 4 && labels.iter().all(|label| found.iter().any(|found| found == label)), "{found:?}");
        assert!(value["arms"][0]["settings"]["many"] != value["arms"][1]["settings"]["many"], "{value}");
    }
}

#[test]
fn a_files_method_and_seed_are_those_of_the_comparison() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("mine.toml"), "method = 'sam'\nrho = 0.1\nseed = 3\n").unwrap();
    succeed(path, &comparison("out", &["--config", "mine.toml"]));
    succeed(path, &comparison("more", &["--config", "mine.toml", "--methods", "sgd,sam", "--seeds", "2"]));
    let runs = |out: &str| words(&written(&path.join(out))["runs"], "run");
    assert_eq!(runs("out"), ["sam-ce-seed3"]);
    assert_eq!(runs("more"), ["sgd-ce-seed0", "sgd-ce-seed1", "sam-ce-seed0", "sam-ce-seed1"]);
}

#[test]
fn processes_that_are_too_late_say_that_another_one_works_there() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    for round in 0..3 {
        let out = format!("out-{round}");
        let args = comparison(&out, &["--methods", "sgd", "--seeds", "2", "--epochs", "30"]);
        let start = || program(path, &args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let children = [start(), start(), start()];
        for child in children {
            let outcome: Outcome = child.wait_with_output().unwrap().into();
            let is_told = outcome.stderr.contains("another process") && outcome.stderr.contains("hint: wait");
            assert!(outcome.code == 0 || outcome.code == 1 && is_told, "{}: {}", outcome.code, outcome.stderr);
        }
    }
}
