//! `--log-format json`: a run as a program reads it.

use serde_json::Value;

use super::*;

/// Runs the program and returns its status and the lines of standard error, all of them JSON; the rest is silent.
fn told(folder: &Path, args: &[&str]) -> (i32, Vec<Value>) {
    let output = run(folder, &[args, &["--log-format", "json"]].concat());
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = stderr(&output);
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (output.status.code().unwrap(), text.lines().map(read).collect())
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// The run's options without `--quiet`.
fn loud<'a>(out: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    training(out, options).into_iter().filter(|word| *word != "--quiet").collect()
}

#[test]
fn a_run_is_told_as_one_object_a_line() {
    let folder = tempdir().unwrap();
    let (code, lines) = told(folder.path(), &loud("run", &[]));
    assert_eq!(code, 0);
    let start = &lines[0];
    assert_eq!((&start["event"], &start["run"], &start["method"]), (&"start".into(), &"run".into(), &"sse-sam".into()));
    assert_eq!((&start["epochs"], &start["epoch"], &start["step"]), (&6.into(), &0.into(), &0.into()));
    assert_eq!(
        lines.last().unwrap(),
        &serde_json::json!({"event": "end", "exit_code": 0, "message": null, "hint": null})
    );
    let metrics = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let epochs = of(&lines, "epoch");
    assert_eq!((epochs.len(), metrics.lines().count()), (6, 6));
    for (told, line) in epochs.into_iter().zip(metrics.lines()) {
        let mut told = told.as_object().unwrap().clone();
        assert_eq!(told.remove("event"), Some("epoch".into()));
        assert!(told.remove("images_per_second").is_some_and(|rate| rate.as_f64().unwrap() > 0.0));
        assert_eq!(Value::Object(told), serde_json::from_str::<Value>(line).unwrap());
    }
    assert_eq!(of(&lines, "stage"), [&serde_json::json!({"event": "stage", "epoch": 3, "stage": 2})]);
    let saved = of(&lines, "checkpoint");
    let last = saved.last().unwrap()["path"].as_str().unwrap();
    assert_eq!(folder.path().join(last), checkpoints(&folder.path().join("run")).pop().unwrap());
    let progress = of(&lines, "progress")[0];
    let number = |key: &str| progress[key].as_f64().unwrap_or_else(|| panic!("{key}: {progress}"));
    assert!((number("loss_head") + number("loss_tail") - number("loss")).abs() < 1e-9, "{progress}");
    assert!(number("images") >= 32.0 && number("seconds_left") > 0.0 && number("learning_rate") == 0.05, "{progress}");
}

#[test]
fn a_quiet_run_tells_warnings_and_its_end() {
    let folder = tempdir().unwrap();
    let path = unfinished(folder.path(), &[]);
    fs::write(checkpoints(&path).pop().unwrap(), "x").unwrap();
    let (code, lines) = told(folder.path(), &["resume", "run", "--quiet"]);
    assert_eq!((code, lines.len()), (0, 2), "{lines:?}");
    assert_eq!(lines[0]["event"], "warning");
    assert!(lines[0]["message"].as_str().unwrap().ends_with("; taking the checkpoint before it"), "{lines:?}");
    assert_eq!((&lines[1]["event"], &lines[1]["exit_code"]), (&"end".into(), &0.into()));
}

#[test]
fn an_error_is_the_end_with_its_status_and_hint() {
    let folder = tempdir().unwrap();
    let (code, lines) = told(folder.path(), &loud("run", &["--data", "nowhere"]));
    assert_eq!((code, lines.len()), (1, 1), "{lines:?}");
    assert_eq!((&lines[0]["event"], &lines[0]["exit_code"]), (&"end".into(), &1.into()));
    assert_eq!(lines[0]["message"], "nowhere: no such file or folder");
    assert!(lines[0]["hint"].as_str().unwrap().starts_with("data is digits, "), "{lines:?}");
}
