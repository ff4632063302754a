//! Arms of a comparison: runs whose settings are equal but for the seed, and what each is called.

use std::cmp::Ordering;
use std::path::Path;

use clap::ValueEnum;
use toml::{Table, Value};

use crate::compare::read::Run;
use crate::error::Error;
use crate::recipe::file;
use crate::recipe::words::{LossName, MethodName, word};
use crate::shown::{self, shown};

/// Settings that a run's data and what is counted on them follow from: runs that differ in one do not stand in one table,
/// unless that is asked for.
const DATA: [&str; 6] = ["imbalance", "long-tail", "subset", "validation", "many", "few"];

/// The key of the data themselves: their place may differ, their fingerprint not.
const PLACE: &str = "data";

/// Runs whose settings are equal but for the seed, and but for where they were computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// What it is called: the method, the loss where that is not the same everywhere, then other settings that tell arms of
    /// one method and loss apart.
    pub label: String,
    /// Its settings that are not the same in all arms.
    pub settings: Table,
    /// Numbers of its runs in the list that was grouped, by seed.
    pub runs: Vec<usize>,
}

/// Runs in arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    /// The arms, those of the first runs first.
    pub arms: Vec<Arm>,
    /// Settings that all arms share.
    pub common: Table,
}

/// Whether a setting tells arms apart. The seed does not, nor does what may change when a run goes on; but the number of
/// epochs and the precision do.
pub fn is_told_apart(key: &str) -> bool {
    key != "seed" && (["epochs", "precision"].contains(&key) || !file::is_free(key))
}

/// Puts runs into arms.
///
/// # Errors
/// [`Error::Usage`] for runs of different data, unless the settings in `differs` are to differ (all for None), and for two
/// runs of one arm with the same seed.
pub fn group(runs: &[Run], differs: Option<&[String]>) -> Result<Groups, Error> {
    if let Some(allowed) = differs {
        same_data(runs, allowed)?;
    }
    let places = runs.iter().any(|run| run.origin.fingerprint != runs[0].origin.fingerprint);
    let mut keys: Vec<Table> = Vec::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let mut settings = arm_settings(&run.settings);
        if let Some(Value::String(place)) = run.settings.get(PLACE).filter(|_| places) {
            settings.insert(PLACE.into(), Value::String(last_part(place)));
            // Equal names of different data.
            settings.insert("fingerprint".into(), Value::String(run.origin.fingerprint.clone()));
        }
        match keys.iter().position(|known| *known == settings) {
            Some(arm) => members[arm].push(number),
            None => {
                keys.push(settings);
                members.push(vec![number]);
            }
        }
    }
    for list in &mut members {
        list.sort_by_key(|&number| runs[number].seed);
        list.windows(2).try_for_each(|pair| different(&runs[pair[0]], &runs[pair[1]]))?;
    }
    let (labels, common) = (labels(&keys), common(&keys));
    let own = |settings: &Table| settings.clone().into_iter().filter(|(key, _)| !common.contains_key(key)).collect();
    let arms = keys.iter().zip(labels).zip(members);
    let arms = arms.map(|((settings, label), runs)| Arm { label, settings: own(settings), runs }).collect();
    Ok(Groups { arms, common })
}

/// The settings that an arm is known by.
pub fn arm_settings(settings: &Table) -> Table {
    settings.clone().into_iter().filter(|(key, _)| is_told_apart(key)).collect()
}

/// Puts runs into the order in which tables have them: by method, loss, other settings and seed.
pub fn sort(runs: &mut [Run]) {
    runs.sort_by(|a, b| {
        let settings = settings_order(&a.settings, &b.settings);
        settings.then(a.seed.cmp(&b.seed)).then_with(|| a.path.cmp(&b.path))
    });
}

fn settings_order(a: &Table, b: &Table) -> Ordering {
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).filter(|key| is_told_apart(key)).collect();
    keys.sort_by_key(|key| rank(key));
    keys.dedup();
    let orders = keys.into_iter().map(|key| value_order(key, a.get(key), b.get(key)));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// The place of a key in a label: method, loss, then the others by name; bounds of class sizes, which may follow from these,
/// come last.
fn rank(key: &str) -> (usize, String) {
    let place = match key {
        "method" => 0,
        "loss" => 1,
        "eta" | "few" | "many" => 3,
        _ => 2,
    };
    (place, key.to_owned())
}

fn value_order(key: &str, a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let place = |value: Option<&Value>| {
        let value = value.and_then(Value::as_str)?;
        match key {
            "method" => MethodName::value_variants().iter().position(|method| word(method) == value),
            "loss" => LossName::value_variants().iter().position(|loss| word(loss) == value),
            _ => None,
        }
    };
    let number = |value: Option<&Value>| match value {
        Some(Value::Float(number)) => Some(*number),
        Some(Value::Integer(number)) => Some(*number as f64),
        _ => None,
    };
    let (text_a, text_b) = (a.map(text), b.map(text));
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => place(a).cmp(&place(b)).then(text_a.cmp(&text_b)),
    }
}

/// What arms with these settings are called.
pub fn labels(arms: &[Table]) -> Vec<String> {
    let mut keys: Vec<&String> = arms.iter().flat_map(Table::keys).filter(|key| *key != "fingerprint").collect();
    keys.sort_by_key(|key| rank(key));
    keys.dedup();
    let mut named: Vec<&String> = Vec::new();
    for key in keys {
        // A key whose value follows from those before it says nothing new.
        let alike = |a: &Table, b: &Table| named.iter().all(|key| a.get(*key) == b.get(*key));
        let is_new = arms.iter().any(|a| arms.iter().any(|b| alike(a, b) && a.get(key) != b.get(key)));
        if is_new || key == "method" {
            named.push(key);
        }
    }
    let part = |key: &str, value: &Value| match key {
        "method" | "loss" => text(value),
        _ => format!("{key}={}", text(value)),
    };
    let label = |arm: &Table| {
        let parts = named.iter().filter_map(|key| Some(part(key, arm.get(*key)?)));
        parts.collect::<Vec<String>>().join(" ")
    };
    unique(arms.iter().map(label).collect())
}

/// Numbers those that are called the same: data of one name in two places.
fn unique(labels: Vec<String>) -> Vec<String> {
    let count = |label: &String, until: usize| labels[..until].iter().filter(|other| *other == label).count();
    let number = |(place, label): (usize, &String)| match count(label, place) {
        0 => label.clone(),
        before => format!("{label} ({})", before + 1),
    };
    labels.iter().enumerate().map(number).collect()
}

/// A value as it is typed.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

fn common(arms: &[Table]) -> Table {
    let Some(first) = arms.first() else { return Table::new() };
    let is_shared = |key: &String, value: &Value| arms.iter().all(|arm| arm.get(key) == Some(value));
    first.clone().into_iter().filter(|(key, value)| is_shared(key, value)).collect()
}

/// What the data of a run are called: the last part of their place.
pub(crate) fn data_of(settings: &Table) -> Option<String> {
    settings.get(PLACE).and_then(Value::as_str).map(|place| shown(&last_part(place)))
}

fn last_part(place: &str) -> String {
    Path::new(place).file_name().map_or_else(|| place.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Refuses runs whose numbers are not about the same images.
fn same_data(runs: &[Run], allowed: &[String]) -> Result<(), Error> {
    let is_allowed = |key: &str| allowed.iter().any(|name| name == key);
    let Some(first) = runs.first() else { return Ok(()) };
    for run in runs {
        let key = DATA.into_iter().find(|key| !is_allowed(key) && run.settings.get(*key) != first.settings.get(*key));
        let what = if run.origin.fingerprint != first.origin.fingerprint && !is_allowed(PLACE) {
            let place = |run: &Run| run.settings.get(PLACE).map_or_else(|| "?".into(), text);
            format!("were trained on different data, {} and {}", place(first), place(run))
        } else if let Some(key) = key {
            let value = |run: &Run| run.settings.get(key).map_or_else(|| "none".into(), text);
            format!("differ in their data: {key} is {} and {}", value(first), value(run))
        } else {
            continue;
        };
        let (a, b) = (shown::path(&first.path), shown::path(&run.path));
        return Err(Error::Usage(format!(
            "{a} and {b} {what}; their numbers do not belong in one table, unless --different-data says so"
        )));
    }
    Ok(())
}

/// Refuses two runs of one arm with the same seed.
fn different(a: &Run, b: &Run) -> Result<(), Error> {
    if a.seed != b.seed {
        return Ok(());
    }
    let (first, second) = (shown::path(&a.path), shown::path(&b.path));
    Err(Error::Usage(format!(
        "{first} and {second} are the same run twice: equal settings and seed {}; leave one of them out",
        a.seed
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arms(texts: &[&str]) -> Vec<Table> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_label_names_what_does_not_follow_from_what_was_named() {
        let methods = arms(&[
            "method = 'sgd'\nloss = 'ce'",
            "method = 'sam'\nloss = 'ce'\nrho = 0.05",
            "method = 'sse-sam'\nloss = 'ce'\nhead-rho = 0.05\ntail-rho = 0.1",
        ]);
        assert_eq!(labels(&methods), ["sgd", "sam", "sse-sam"]);
        let radii = arms(&[
            "method = 'sgd'\nloss = 'ce'",
            "method = 'sam'\nloss = 'ce'\nrho = 0.05",
            "method = 'sam'\nloss = 'ce'\nrho = 0.1",
            "method = 'sam'\nloss = 'la'\nrho = 0.1\ntau = 1.0",
        ]);
        assert_eq!(labels(&radii), ["sgd ce", "sam ce rho=0.05", "sam ce rho=0.1", "sam la rho=0.1"]);
        let deferred = arms(&["method = 'sgd'", "method = 'sgd'\ndrw-epoch = 20"]);
        assert_eq!(labels(&deferred), ["sgd", "sgd drw-epoch=20"]);
        assert_eq!(labels(&arms(&["method = 'sgd'\nlr = 0.1"])), ["sgd"]);
        let steps = arms(&["method = 'sgd'\nmilestones = [1, 2]", "method = 'sgd'\nmilestones = [2]"]);
        assert_eq!(labels(&steps), ["sgd milestones=1,2", "sgd milestones=2"]);
    }

    #[test]
    fn arms_stand_in_the_order_of_methods_losses_and_numbers() {
        let sorted = arms(&[
            "method = 'sgd'\nloss = 'ce'",
            "method = 'sam'\nloss = 'ce'\nrho = 0.05",
            "method = 'sam'\nloss = 'ce'\nrho = 0.1",
            "method = 'sam'\nloss = 'la'\nrho = 0.02",
            "method = 'focal-sam'\nloss = 'ce'",
        ]);
        for (number, pair) in sorted.windows(2).enumerate() {
            assert_eq!(settings_order(&pair[0], &pair[1]), Ordering::Less, "{number}");
            assert_eq!(settings_order(&pair[1], &pair[0]), Ordering::Greater, "{number}");
        }
        let cuts = arms(&["method = 'sgd'\nimbalance = 10.0\nfew = 9", "method = 'sgd'\nimbalance = 20.0\nfew = 5"]);
        assert_eq!(labels(&cuts), ["sgd imbalance=10", "sgd imbalance=20"]);
        let words = arms(&["method = 'sgd'\nlr = 9.0", "method = 'sgd'\nlr = 10.0"]);
        assert_eq!(settings_order(&words[0], &words[1]), Ordering::Less);
    }

    #[test]
    fn where_a_run_was_computed_tells_no_arms_apart() {
        for key in ["device", "threads", "keep", "data", "seed", "conv", "tensorboard"] {
            assert!(!is_told_apart(key), "{key}");
        }
        for key in ["method", "rho", "epochs", "precision", "imbalance", "many", "init"] {
            assert!(is_told_apart(key), "{key}");
        }
    }

    #[test]
    fn equal_names_are_numbered() {
        let same = arms(&["method = 'sgd'\nfingerprint = 'a'", "method = 'sgd'\nfingerprint = 'b'"]);
        assert_eq!(labels(&same), ["sgd", "sgd (2)"]);
    }
}
