//! `config.toml`: options under their own names, and where the numbers of a run come from.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sse_sam_core::Model;
use sse_sam_core::network::models::Stem;
use toml::{Table, Value};

use crate::data::Format;
use crate::error::Error;
use crate::paths::at_home;
use crate::recipe::options::Options;
use crate::recipe::words::{StemName, word};

/// Options of `train` that apply to one call and are not stored in a run.
const NOT_SETTINGS: [&str; 6] = ["config", "recipe", "out", "quiet", "log-format", "help"];

/// The table that says where a run's numbers come from.
const ORIGIN: &str = "run";

/// Settings that may change between a run and its continuation: none changes what a step computes, but for `epochs`,
/// which may grow, and the device with its tiles, precision and convolutions, of which resuming warns.
const FREE: [&str; 24] = [
    "spectrum-every",
    "spectrum-at",
    "tensorboard",
    "conv",
    // The model's name says which one it has.
    "stem",
    "epochs",
    "device",
    "tiles",
    "precision",
    "device-memory",
    "threads",
    "simd",
    "data",
    "dataset",
    "train",
    "val",
    "test",
    "data-root",
    "class-map",
    "workers",
    "verify",
    "keep",
    "checkpoint-every",
    "checkpoint-minutes",
];

/// The options of a file, and where the numbers of its run come from, when it belongs to one.
///
/// # Errors
/// [`Error::Io`] and [`Error::File`] for the file, [`Error::Usage`] for a value that an option does not take.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<(Options, Option<T>), Error> {
    let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::file(path, "is no configuration: it is not UTF-8"))?;
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        Error::file(path, format!("line {line}: {}", error.message().lines().next().unwrap_or_default()))
    })?;
    let origin = table.remove(ORIGIN).map(Value::try_into).transpose();
    let origin = origin.map_err(|error: toml::de::Error| {
        let (place, message) = (place(&text, ORIGIN), error.message());
        Error::file(path, format!("[{ORIGIN}]: {message}{place}"))
    })?;
    if origin.is_some() {
        name_stem(&mut table);
    }
    only_settings(path, &text, &table)?;
    find_places(path, &mut table)?;
    table.iter().try_for_each(|(key, value)| is_taken(path, &text, key, value))?;
    let options = table.try_into().map_err(|error: toml::de::Error| Error::file(path, error.message()))?;
    Ok((options, origin))
}

/// Runs from before there was a choice of stems do not name the one for small pictures, whatever the size of theirs.
fn name_stem(table: &mut Table) {
    let model = table.get("model").and_then(Value::as_str).and_then(|name| name.parse::<Model>().ok());
    if model.and_then(|model| model.stem()) == Some(Stem::Small) && !table.contains_key("stem") {
        table.insert("stem".into(), Value::String(word(&StemName::Cifar)));
    }
}

/// Refuses what is no option's name, with the nearest one that is.
fn only_settings(path: &Path, text: &str, table: &Table) -> Result<(), Error> {
    if let Some(key) = table.keys().find(|key| NOT_SETTINGS.contains(&key.as_str())) {
        let message = format!("there is no setting {key}: it is an option of a call{}", place(text, key));
        return Err(Error::file(path, message).with_hint(format!("type it: sse-sam train --{key} ...")));
    }
    let command = command();
    let known = || command.get_arguments().filter_map(clap::Arg::get_long);
    if let Some(key) = table.keys().find(|key| known().all(|name| name != *key)) {
        let error = Error::file(path, format!("there is no setting {key}{}", place(text, key)));
        return Err(error.with_hint(format!("the nearest name is {}", nearest(key, known()))));
    }
    Ok(())
}

/// Makes paths that are relative to the file ones that are true here.
fn find_places(path: &Path, table: &mut Table) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    for (key, value) in table {
        if let Value::String(name) = value
            && ["data", "init", "train", "val", "test", "data-root", "class-map"].contains(&key.as_str())
            && !name.is_empty()
            && (key.as_str(), name.as_str()) != ("data", Format::Digits.word())
        {
            let place = folder.join(at_home(PathBuf::from(&name)));
            *name = place.into_os_string().into_string().map_err(|place| {
                Error::file(path, format!("{key} is {}, which is not UTF-8", Path::new(&place).display()))
            })?;
        }
    }
    Ok(())
}

/// Refuses a value that its option does not take.
fn is_taken(path: &Path, text: &str, key: &str, value: &Value) -> Result<(), Error> {
    let alone = Table::from_iter([(key.to_owned(), value.clone())]);
    let reason = match alone.try_into::<Options>() {
        Ok(_) if value.as_str() != Some("") => return Ok(()),
        Ok(_) => "is empty".into(),
        Err(error) => in_words(error.message()),
    };
    let option = command().get_arguments().find(|option| option.get_long() == Some(key)).map(ToString::to_string);
    let (option, shown) = (option.unwrap_or_default(), value.as_str().map_or_else(|| value.to_string(), String::from));
    let message = format!("invalid value '{}' for '{option}': {reason}{}", shown.trim(), place(text, key));
    Err(Error::Usage(format!("{}: {message}", path.display())))
}

/// What a value should have been, without the names that Rust has for numbers.
fn in_words(message: &str) -> String {
    let message = message.replace("nonzero u32", "whole number above 0").replace("expected f64", "expected a number");
    let whole = |message: String, kind| message.replace(&format!("expected {kind}"), "expected a whole number");
    ["u32", "u64", "usize"].into_iter().fold(message, whole)
}

/// The one of the words that is written most like this one.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    known.min_by_key(|name| distance(name, word)).unwrap_or("none")
}

/// Whether a setting changes nothing of what a step computes, or only where and how it is computed.
pub(crate) fn is_free(key: &str) -> bool {
    FREE.contains(&key)
}

/// All options, as the command line describes them.
pub(crate) fn command() -> clap::Command {
    let mut command = Options::augment_args(clap::Command::new("train").disable_help_flag(true));
    command.build();
    command
}

/// The line of a TOML file that begins with this key or table's name.
fn place(text: &str, key: &str) -> String {
    let begins = |line: &str| {
        let line = line.trim_start_matches([' ', '\t', '[', '"', '\'']);
        line.strip_prefix(key)
            .is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(['=', ']', '.']))
    };
    text.lines().position(begins).map_or_else(String::new, |line| format!(" (line {})", line + 1))
}

/// Edit distance (Levenshtein) between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (number, letter) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = number + 1;
        for (column, &other) in b.iter().enumerate() {
            let above = row[column + 1];
            let replaced = corner + usize::from(letter != other);
            row[column + 1] = replaced.min(above + 1).min(row[column] + 1);
            corner = above;
        }
    }
    row[b.len()]
}

/// The text of a run's `config.toml`: its settings, and where its numbers come from.
///
/// # Errors
/// [`Error::File`] when it cannot be written as TOML.
pub fn text(settings: &Table, origin: &impl Serialize) -> Result<String, Error> {
    let mut table = settings.clone();
    let origin = Table::try_from(origin).map_err(|error| Error::file("config.toml", error.to_string()))?;
    table.insert(ORIGIN.into(), Value::Table(origin));
    Ok(format!("# The whole configuration of a run: sse-sam train --config FILE repeats it.\n{table}"))
}

/// What differs between the settings of a checkpoint and those of the run that is to go on from it.
pub fn differences(before: &Table, now: &Table) -> Vec<String> {
    differences_in(before, now, |key| !is_free(key))
}

/// What differs between two tables of settings in the keys that count.
pub(crate) fn differences_in(before: &Table, now: &Table, counts: impl Fn(&str) -> bool) -> Vec<String> {
    let shown = |value: Option<&Value>| value.map_or_else(|| "not set".into(), Value::to_string);
    let mut keys: Vec<&String> = before.keys().chain(now.keys()).filter(|key| counts(key)).collect();
    keys.sort();
    keys.dedup();
    let changed = keys.into_iter().filter(|&key| before.get(key) != now.get(key));
    changed.map(|key| format!("{key} was {}, is {}", shown(before.get(key)), shown(now.get(key)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_from_before_there_was_a_choice_keeps_its_stem() {
        let stem = |text: &str| {
            let mut table: Table = text.parse().unwrap();
            name_stem(&mut table);
            table.get("stem").map(ToString::to_string)
        };
        assert_eq!(stem("model = \"resnet18\"").as_deref(), Some("\"cifar\""));
        assert_eq!(stem("model = \"resnet18-imagenet\""), None);
        assert_eq!(stem("model = \"resnet32\""), None);
        assert_eq!(stem("model = \"resnet50\"\nstem = \"imagenet\"").as_deref(), Some("\"imagenet\""));
    }

    #[test]
    fn a_wrong_word_is_near_the_right_one() {
        assert_eq!(distance("gamma", "gamma"), 0);
        assert_eq!(distance("gama", "gamma"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_number_is_asked_for_in_words() {
        for (text, expected) in [
            ("epochs = \"many\"", "expected a whole number"),
            ("batch = -1", "expected a whole number"),
            ("lr = true", "expected a number"),
            ("keep = 0", "expected a whole number above 0"),
            ("checkpoint-minutes = -1", "a number of minutes is in 0..=1000000"),
        ] {
            let message = in_words(toml::from_str::<Options>(text).unwrap_err().message());
            assert!(message.ends_with(expected), "{text}: {message}");
        }
    }

    #[test]
    fn a_key_is_found_in_its_line() {
        let text = "# lr = 1\nlr-x = 2\n  lr= 3\n[run]\n\"gamma\" = 1\n";
        assert_eq!(place(text, "lr"), " (line 3)");
        assert_eq!(place(text, "run"), " (line 4)");
        assert_eq!(place(text, "gamma"), " (line 5)");
        assert_eq!(place(text, "rho"), "");
    }
}
