//! Steps that methods take away from weights, counted by the program.

use serde_json::Value;
use tempfile::tempdir;

use super::program::{lines, named, run, train, works};

const ESCAPE: [&str; 10] =
    ["spectrum", "run", "--steps", "20", "--groups", "head,tail", "--escape", "--escape-steps", "200", "--out"];

#[test]
fn every_method_has_its_steps_and_its_share_and_two_runs_give_the_same_bytes() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let mut plain = Vec::new();
    for device in named() {
        let printed = ["a", "b"].map(|name| {
            let out = format!("{name}-{}.jsonl", device.replace(':', "-"));
            works(home.path(), &[&ESCAPE[..], &[&out, "--json", "--device", &device]].concat()).stdout
        });
        assert_eq!(printed[0], printed[1], "{device}");
        check(&printed[0]);
        plain.push(counted(&printed[0]));
    }
    // Plain descent's steps are the same to one on every device; a perturbed method's follow a direction and may part.
    for other in &plain[1..] {
        let alike = plain[0].iter().zip(other).all(|(a, b)| a.abs_diff(*b) <= 1);
        assert!(alike, "{plain:?}");
    }
}

/// The steps of plain descent, both ways, group by group.
fn counted(printed: &str) -> Vec<u64> {
    let steps = |line: &Value| line["escape"]["methods"][0]["steps"].as_array().unwrap().clone();
    lines(printed).iter().flat_map(steps).map(|steps| steps.as_u64().unwrap()).collect()
}

/// Asserts that each line has all methods with numbers that make sense.
fn check(printed: &str) {
    for line in lines(printed) {
        let escape = &line["escape"];
        assert_eq!((&escape["fall"], &escape["limit"]), (&line["drop"]["fall"], &200.into()));
        let methods = escape["methods"].as_array().unwrap();
        let names: Vec<&str> = methods.iter().map(|method| method["method"].as_str().unwrap()).collect();
        assert_eq!(names, ["sgd", "sam", "imbsam", "sse-sam"]);
        assert_eq!((&methods[0]["amplification"], &methods[0]["growth"]), (&1.0.into(), &1.0.into()));
        let mut shares = methods[1..].iter().map(|method| method["amplification"].as_f64().unwrap());
        assert!(shares.all(|share| share > 0.0 && share != 1.0), "{escape}");
        for steps in methods.iter().flat_map(|method| method["steps"].as_array().unwrap()) {
            assert!(steps.is_null() || (1..=200).contains(&steps.as_u64().unwrap()), "{escape}");
        }
        // A network of two epochs is on a slope: descent comes to where the best point along u is.
        assert!(!methods[0]["steps"][0].is_null() && !methods[0]["steps"][1].is_null(), "{escape}");
    }
}

#[test]
fn a_table_says_what_was_counted_and_a_limit_that_was_reached() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let told =
        works(home.path(), &[&ESCAPE[..], &["a.jsonl", "--device", "cpu", "--escape-lr", "1e-9"]].concat()).stdout;
    for part in ["steps w <- w - 0.000000001 G on batches of 64", "from w + 0.001u", "|G.u|/|g.u|", "> 200", "imbsam"] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let plain = works(home.path(), &["spectrum", "run", "--device", "cpu", "--steps", "20", "--out", "b.jsonl"]);
    assert!(!plain.stdout.contains("|G.u|") && !plain.stdout.contains("escape"));
}

#[test]
fn the_spectrum_is_what_it_is_without_and_groups_alone_escape_as_they_do_together() {
    let home = tempdir().unwrap();
    train(home.path(), "run", &[]);
    let found = |args: &[&str]| {
        let base = ["spectrum", "run", "--device", "cpu", "--steps", "20", "--json"];
        lines(&works(home.path(), &[&base[..], args].concat()).stdout)
    };
    let escape = ["--escape", "--escape-steps", "20"];
    let together = found(&[&escape[..], &["--groups", "head,tail", "--out", "a.jsonl"]].concat());
    let alone = found(&[&escape[..], &["--groups", "tail", "--out", "b.jsonl"]].concat());
    assert_eq!(together[1], alone[0]);
    let mut without = found(&["--groups", "tail", "--out", "c.jsonl"]).remove(0);
    for key in ["escape", "escapes"] {
        assert!(without.get(key).is_none());
        without[key] = alone[0][key].clone();
    }
    assert_eq!(without, alone[0]);
    // Another way to escape is another measurement; the same one is known.
    let told = |args: &[&str]| {
        let base = ["spectrum", "run", "--device", "cpu", "--steps", "20", "--groups", "tail", "--out", "b.jsonl"];
        works(home.path(), &[&base[..], args].concat()).stderr.contains("measured before")
    };
    assert!(told(&escape) && !told(&["--escape", "--escape-steps", "10"]) && !told(&[]));
}

#[test]
fn numbers_that_make_no_steps_are_refused() {
    let home = tempdir().unwrap();
    for args in [["--escape-lr", "0"], ["--escape-length", "-1"], ["--escape-length", "nan"], ["--escape-lr", "1e99"]] {
        let outcome = run(home.path(), &["spectrum", "run", "--escape", &format!("{}={}", args[0], args[1])]);
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("a number above 0"), "{}", outcome.stderr);
    }
    let outcome = run(home.path(), &["spectrum", "run", "--escape-steps", "5"]);
    assert!(outcome.code == 2 && outcome.stderr.contains("--escape"), "{}", outcome.stderr);
}
