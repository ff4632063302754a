//! Runs whose first layers were frozen: the Hessian is that of what was trained.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::tempdir;

use super::program::{lines, named, run, train, works};

/// A perceptron, and one that goes on from it with its last layer alone.
fn trained(home: &Path) {
    train(home, "base", &[]);
    train(home, "run", &["--init", "base", "--trainable-layers", "1", "--spectrum-at", "last"]);
}

fn number(line: &Value, key: &str) -> f64 {
    line[key]["value"].as_f64().unwrap_or_else(|| panic!("no {key} in {line}"))
}

#[test]
fn a_frozen_layer_has_no_rows_in_the_hessian() {
    let home = tempdir().unwrap();
    trained(home.path());
    for device in named() {
        let args = ["--device", &device, "--groups", "all,tail", "--steps", "80", "--json"];
        let of = |weights: &str, out: &str| {
            let out = format!("{out}-{}.jsonl", device.replace(':', "-"));
            lines(&works(home.path(), &[&["spectrum", weights, "--out", &out], &args[..]].concat()).stdout)
        };
        fs::copy(home.path().join("run/last.safetensors"), home.path().join("w.safetensors")).unwrap();
        // The same weights, by themselves: nothing says that layers were frozen.
        let (own, all) = (of("run/last.safetensors", "own"), of("w.safetensors", "all"));
        for (own, all) in own.iter().zip(&all) {
            // 16 * 10 + 10 of 64 * 16 + 16 + 16 * 10 + 10 parameters.
            assert_eq!((&own["parameters"], &all["parameters"]), (&170.into(), &1210.into()));
            assert_eq!((own["trainable_layers"].as_str(), all.get("trainable_layers")), (Some("1"), None));
            // The same loss and miss; a part of the gradient; eigenvalues within those of the whole (Cauchy's interlacing).
            for key in ["loss", "miss"] {
                let [own, all] = [own, all].map(|line| line[key].as_f64().unwrap());
                assert!((own / all - 1.0).abs() < 1e-6, "{device}: {key}: {own}, {all}");
            }
            let [part, whole] = [own, all].map(|line| line["gradient_norm"].as_f64().unwrap());
            assert!(part < 0.99 * whole, "{device}: {part} {whole}");
            assert!(number(own, "lambda_max") < 0.99 * number(all, "lambda_max"), "{device}");
            // A last layer's loss is convex: no eigenvalue is below 0 by more than rounding.
            assert!(number(own, "lambda_min") > -1e-5 * number(own, "lambda_max"), "{device}: {own}");
            assert!(number(all, "lambda_min") < -1e-3 * number(all, "lambda_max"), "{device}: {all}");
        }
    }
}

#[test]
fn the_table_says_what_was_frozen_and_steps_are_limited_by_what_was_not() {
    let home = tempdir().unwrap();
    trained(home.path());
    let base = ["spectrum", "run/last.safetensors", "--device", "cpu", "--groups", "tail", "--out", "a.jsonl"];
    let told = works(home.path(), &base).stdout;
    let sentence = "--trainable-layers 1: the Hessian of its 170 parameters; the other 1040 are frozen";
    assert!(told.contains(sentence), "{told}");
    let outcome = run(home.path(), &[&base[..], &["--steps", "171"]].concat());
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the network has 170 trained parameters"), "{}", outcome.stderr);
    // The training measured the same.
    let during = lines(&fs::read_to_string(home.path().join("run/spectrum.jsonl")).unwrap());
    let later = lines(&fs::read_to_string(home.path().join("a.jsonl")).unwrap());
    assert_eq!((&during[2]["group"], &during[2]["trainable_layers"]), (&"tail".into(), &"1".into()));
    for key in ["parameters", "lambda_max", "lambda_min", "nodes", "weights", "drop"] {
        assert_eq!(during[2][key], later[0][key], "{key}");
    }
}

#[test]
fn steps_of_escape_move_what_was_trained_alone() {
    let home = tempdir().unwrap();
    train(home.path(), "base", &["--model", "resnet8:2", "--batch", "128"]);
    let frozen = ["--model", "resnet8:2", "--init", "base", "--trainable-layers", "layer3", "--epochs", "1"];
    train(home.path(), "run", &[&frozen[..], &["--batch", "128"]].concat());
    for device in named() {
        let out = format!("{}.jsonl", device.replace(':', "-"));
        let base =
            ["spectrum", "run/last.safetensors", "--device", &device, "--groups", "tail", "--steps", "40", "--out"];
        let escape = ["--json", "--escape", "--escape-steps", "40"];
        let line = lines(&works(home.path(), &[&base[..], &[&out], &escape[..]].concat()).stdout).remove(0);
        let methods = line["escape"]["methods"].as_array().unwrap();
        assert_eq!((methods.len(), &methods[0]["growth"]), (4, &1.0.into()));
        assert!(line["checks"]["symmetry"].as_f64().unwrap() < 1e-6, "{line}");
        assert!(number(&line, "lambda_min") < 0.0, "{line}");
    }
}
