//! What a rollback goes back to, whenever a run stops and goes on.

use super::*;

/// Weights grow by the rate until it has been halved often enough: not finite within the first epoch.
const GROWING: [&str; 16] = [
    "--method",
    "sgd",
    "--model",
    "mlp:64-64-10",
    "--momentum",
    "0",
    "--schedule",
    "constant",
    "--weight-decay",
    "1",
    "--lr",
    "40",
    "--on-nan",
    "rollback",
    "--rollbacks",
    "9",
];

/// Stops a run by Ctrl-C when it has come so far; whether it was still running.
fn stop(folder: &Path, args: &[&str], until: impl Fn(&Path) -> bool) -> (bool, String) {
    let run = folder.join("run");
    let _ = fs::remove_dir_all(&run);
    let mut child = begin(folder, args);
    while !until(&run) && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_micros(200));
    }
    if child.try_wait().unwrap().is_none() {
        send(&child, "-INT");
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code() == Some(130), stderr(&output))
}

fn log(run: &Path) -> String {
    fs::read_to_string(run.join("log.txt")).unwrap_or_default()
}

#[test]
fn a_resumed_run_rolls_back_to_the_weights_it_began_with() {
    let folder = tempdir().unwrap();
    succeed(folder.path(), &training("first", &["--method", "sgd", "--model", "mlp:64-64-10", "--epochs", "2"]));
    let init = ["--init", "first/last.safetensors"];
    for (name, frozen) in [("all", &[][..]), ("frozen", &["--trainable-layers", "1"])] {
        let options = [&GROWING[..], &init, frozen].concat();
        let (whole, args) = (format!("whole-{name}"), training("run", &options));
        succeed(folder.path(), &training(&whole, &options));
        assert!(log(&folder.path().join(&whole)).contains("back to the start of epoch 0"), "{name}");
        let mut stopped = 0;
        for _ in 0..8 {
            if stop(folder.path(), &args, |run| run.join("config.toml").exists()).0 {
                stopped += 1;
                succeed(folder.path(), &["resume", "run", "--quiet"]);
            }
            same(&folder.path().join(&whole), &folder.path().join("run"), name);
        }
        assert!(stopped > 0, "{name}: no run was stopped in time");
    }
}

#[test]
fn a_run_stopped_after_a_rollback_goes_on_from_there() {
    let folder = tempdir().unwrap();
    for every in ["1", "2"] {
        let options = [&GROWING[..], &["--checkpoint-every", every, "--keep", "2"]].concat();
        let (whole, args) = (format!("whole-{every}"), training("run", &options));
        succeed(folder.path(), &training(&whole, &options));
        let mut stopped = 0;
        for rollbacks in (1..=5).cycle().take(10) {
            let said = format!("(rollback {rollbacks} of 9)");
            if stop(folder.path(), &args, |run| log(run).contains(&said)).0 {
                stopped += 1;
                let text = stderr(&succeed(folder.path(), &["resume", "run", "--quiet"]));
                assert!(!text.contains(&said), "every {every}: it goes back again: {text}");
            }
            same(&folder.path().join(&whole), &folder.path().join("run"), &format!("every {every} after {said}"));
        }
        assert!(stopped > 0, "no run was stopped in time");
    }
}

#[test]
fn a_course_that_was_given_up_leaves_no_checkpoint() {
    let folder = tempdir().unwrap();
    succeed(folder.path(), &training("run", &[&GROWING[..], &["--keep", "1000"]].concat()));
    let layout = layout("mlp:64-64-10");
    let read = |path: &PathBuf| Checkpoint::read(path, &layout).unwrap().0.position.rollbacks;
    let rollbacks: Vec<u32> = checkpoints(&folder.path().join("run")).iter().map(read).collect();
    let times = log(&folder.path().join("run")).matches("; back to the start").count() as u32;
    assert!(
        times > 2 && rollbacks.len() > 2 && rollbacks.iter().all(|&found| found == times),
        "{times}: {rollbacks:?}"
    );
}

#[test]
fn a_stop_between_two_epochs_does_not_move_the_target() {
    let folder = tempdir().unwrap();
    // One step an epoch, most of whose time is the evaluation, the second half of it in one pass.
    let options =
        [&GROWING[..], &["--batch", "1048", "--epochs", "90", "--checkpoint-every", "7", "--lr", "4"]].concat();
    let args = training("run", &options);
    succeed(folder.path(), &training("whole", &options));
    assert!(log(&folder.path().join("whole")).contains("(rollback 2 of 9)"));
    let (mut random, mut between) = (Numbers::new(3), 0);
    for _ in 0..60 {
        let epochs = 1 + random.below(60);
        let lines =
            |run: &Path| fs::read_to_string(run.join("metrics.jsonl")).is_ok_and(|t| t.lines().count() > epochs);
        let (stopped, text) = stop(folder.path(), &args, lines);
        if stopped {
            between += u32::from(text.contains("after 0 steps"));
            succeed(folder.path(), &["resume", "run", "--quiet"]);
        }
        same(&folder.path().join("whole"), &folder.path().join("run"), &text);
        if between == 3 {
            return;
        }
    }
    panic!("{between} runs were stopped between two epochs");
}

#[test]
fn a_target_that_is_gone_is_said() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &["--on-nan", "rollback", "--checkpoint-every", "4"]);
    let all = checkpoints(&path);
    let target = all.iter().find(|path| path.ends_with("epoch-000004-step-0000000.safetensors")).unwrap();
    assert_ne!(Some(target), all.last(), "the newest one lies in mid-epoch");
    fs::remove_file(target).unwrap();
    let text = stderr(&succeed(folder.path(), &["resume", "run", "--quiet"]));
    assert!(text.contains("cannot be read (epoch-000004-step-0000000.safetensors"), "{text}");
}

#[test]
fn the_last_good_weights_are_those_of_the_unbroken_run() {
    let folder = tempdir().unwrap();
    // Weights grow by a fiftieth a step, and are no longer finite after some epochs.
    let growing = ["--method", "sgd", "--model", "mlp:64-64-10", "--momentum", "0", "--schedule", "constant"];
    let options =
        [&growing[..], &["--weight-decay", "2023", "--lr", "0.001", "--batch", "10", "--epochs", "40"]].concat();
    refused(folder.path(), &training("whole", &options), 1, "no longer finite");
    let last = || ["whole", "run"].map(|run| fs::read(folder.path().join(run).join("last.safetensors")).unwrap());
    let (mut within, args) = (0, training("run", &options));
    // The epoch that fails, stopped at whichever step: the later ones are one in 105.
    let begun = fs::read_to_string(folder.path().join("whole/metrics.jsonl")).unwrap().lines().count();
    for number in 0..12 {
        let (stopped, text) = stop(folder.path(), &args, |run| {
            let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count();
            lines + usize::from(number % 2 == 0) >= begun
        });
        if stopped {
            within += u32::from(!text.contains("after 0 steps"));
            refused(folder.path(), &["resume", "run", "--quiet"], 1, "no longer finite");
        }
        let [whole, run] = last();
        assert!(whole == run, "stop {number}: {text}");
    }
    assert!(within > 0, "no run was stopped within an epoch");
}
