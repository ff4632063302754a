//! `config.toml`: the options of `train` under their own names.
//!
//! A file is read by handing its entries to the parser of the command line, ahead of what was typed: one set of names,
//! types and messages for both.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser, ValueEnum};
use sse_sam_core::longtail::classes::Profile;
use sse_sam_core::{Economy, Loss, Method};
use toml::{Table, Value};

use crate::cli::args::{Cli, Command, LongTail, LossName, MethodName, OnNan, TrainArgs, at_home};
use crate::data::Format;
use crate::error::Error;
use crate::recipe::resolved::Config;
use crate::run::checkpoint::Origin;
use crate::run::folder;

/// Options that are about a call, not about a run.
const NOT_SETTINGS: [&str; 5] = ["config", "out", "quiet", "log-format", "help"];

/// The table that says where a run's numbers come from.
const ORIGIN: &str = "run";

/// Settings that may change between a run and its continuation: none changes what a step computes, but for `epochs`,
/// which may grow, and the device with its tiles, precision and convolutions, of which resuming warns.
const FREE: [&str; 12] = [
    "tensorboard",
    "conv",
    "epochs",
    "device",
    "tiles",
    "precision",
    "device-memory",
    "data",
    "dataset",
    "keep",
    "checkpoint-every",
    "checkpoint-minutes",
];

/// The options of the file, with what was typed on top. The folder of a run stands for its configuration.
///
/// # Errors
/// [`Error::Io`] and [`Error::File`] for the file, [`Error::Usage`] for a value that an option does not take.
pub fn join(
    typed: &TrainArgs,
    file: &Path,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Box<TrainArgs>, Error> {
    let is_typed = |key: &str| typed.typed.iter().any(|name| name == key);
    let mut file = Settings::read(file)?;
    file.table.retain(|key, _| !is_typed(key));
    let words: Vec<OsString> = words.into_iter().skip(2).collect();
    let mut args = file.parse(&words)?;
    args.typed.clone_from(&typed.typed);
    args.device.recorded =
        is_typed("device") && !["tiles", "precision", "conv", "device-memory"].into_iter().any(is_typed);
    let same_data = !is_typed("data") && !is_typed("dataset");
    args.fingerprint = file.origin.as_ref().filter(|_| same_data).map(|origin| origin.fingerprint.clone());
    args.origin = file.origin;
    Ok(args)
}

/// The options of a run from its `config.toml`.
///
/// # Errors
/// As [`join`].
pub fn load(file: &Path) -> Result<Box<TrainArgs>, Error> {
    let file = Settings::read(file)?;
    let mut args = file.parse(&[])?;
    args.fingerprint = file.origin.as_ref().map(|origin| origin.fingerprint.clone());
    args.origin = file.origin;
    Ok(args)
}

/// A configuration file.
struct Settings {
    path: PathBuf,
    text: String,
    table: Table,
    /// Where its numbers came from, when it belongs to a run.
    origin: Option<Origin>,
}

impl Settings {
    fn read(path: &Path) -> Result<Self, Error> {
        // A run, or a file of one, stands for its configuration.
        let is_other = path.extension().is_none_or(|extension| extension != "toml");
        let path = if is_other { folder::folder_of(path) } else { path.to_owned() };
        let path = if path.is_dir() { path.join("config.toml") } else { path };
        let bytes = fs::read(&path).map_err(|source| Error::io(&path, source))?;
        let text = String::from_utf8(bytes).map_err(|_| Error::file(&path, "is no configuration: it is not UTF-8"))?;
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            Error::file(&path, format!("line {line}: {}", error.message().lines().next().unwrap_or_default()))
        })?;
        let origin = table.remove(ORIGIN).map(Value::try_into).transpose();
        let origin = origin.map_err(|error: toml::de::Error| {
            let (place, message) = (place(&text, ORIGIN), error.message());
            Error::file(&path, format!("[{ORIGIN}]: {message}{place}"))
        })?;
        let known = known();
        if let Some(key) = table.keys().find(|key| NOT_SETTINGS.contains(&key.as_str())) {
            let message = format!("there is no setting {key}: it is an option of a call{}", place(&text, key));
            return Err(Error::file(&path, message).with_hint(format!("type it: sse-sam train --{key} ...")));
        }
        if let Some((key, value)) = table.iter().find(|(key, value)| !has_kind(key, value)) {
            let message = format!("{key} cannot be {}{}", value.to_string().trim(), place(&text, key));
            return Err(Error::Usage(format!("{}: {message}", path.display())));
        }
        if let Some(key) = table.keys().find(|key| !known.contains(key)) {
            let nearest = known.iter().min_by_key(|name| distance(name, key));
            let error = Error::file(&path, format!("there is no setting {key}{}", place(&text, key)));
            return Err(error.with_hint(format!("the nearest name is {}", nearest.map_or("none", String::as_str))));
        }
        // Relative paths are relative to the file.
        let folder = path.parent().unwrap_or(Path::new(""));
        for (key, value) in &mut table {
            if let Value::String(name) = value
                && ["data", "init"].contains(&key.as_str())
                && !name.is_empty()
                && (key.as_str(), name.as_str()) != ("data", Format::Digits.word())
            {
                let place = folder.join(at_home(PathBuf::from(&name)));
                *name = place.into_os_string().into_string().map_err(|place| {
                    Error::file(&path, format!("{key} is {}, which is not UTF-8", Path::new(&place).display()))
                })?;
            }
        }
        Ok(Self { path, text, table, origin })
    }

    fn parse(&self, typed: &[OsString]) -> Result<Box<TrainArgs>, Error> {
        let mut words: Vec<OsString> = vec!["sse-sam".into(), "train".into()];
        for (key, value) in &self.table {
            words.extend(word(key, value).map(OsString::from));
        }
        words.extend_from_slice(typed);
        match Cli::try_parse_from(words) {
            Ok(Cli { command: Command::Train(args) }) => Ok(args),
            Ok(_) => Err(Error::file(&self.path, "is no configuration")),
            Err(error) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                let is_meant =
                    |key: &&String| first.contains(&format!("'--{key}'")) || first.contains(&format!("'--{key} "));
                let place = self.table.keys().find(is_meant).map(|key| place(&self.text, key)).unwrap_or_default();
                Err(Error::Usage(format!("{}: {first}{place}", self.path.display())))
            }
        }
    }
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

/// An entry as it would be typed; a switch that is off is not typed at all.
fn word(key: &str, value: &Value) -> Option<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    };
    Some(match value {
        Value::Boolean(false) => return None,
        Value::Boolean(true) => format!("--{key}"),
        Value::Array(values) if values.is_empty() => return None,
        Value::Array(values) => format!("--{key}={}", values.iter().map(text).collect::<Vec<_>>().join(",")),
        other => format!("--{key}={}", text(other)),
    })
}

/// Whether a value is of a kind that its setting takes: `true` and `false` for a switch, a list for milestones, else one
/// word or number. Settings that are not known take anything.
fn has_kind(key: &str, value: &Value) -> bool {
    let command = Cli::command();
    let mut options = command.find_subcommand("train").into_iter().flat_map(clap::Command::get_arguments);
    let Some(option) = options.find(|option| option.get_long() == Some(key)) else { return true };
    match value {
        Value::Boolean(_) => !option.get_action().takes_values(),
        Value::Array(values) => option.get_value_delimiter().is_some() && !values.iter().any(Value::is_array),
        Value::Table(_) => false,
        _ => option.get_action().takes_values(),
    }
}

/// Names of all settings.
fn known() -> Vec<String> {
    let command = Cli::command();
    let train = command.find_subcommand("train");
    let options = train.into_iter().flat_map(clap::Command::get_arguments).filter_map(|option| option.get_long());
    options.filter(|name| !NOT_SETTINGS.contains(name)).map(String::from).collect()
}

/// Letters to insert, remove or replace to make one word of the other.
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

/// The text of a run's `config.toml`.
///
/// # Errors
/// [`Error::File`] when it cannot be written as TOML.
pub fn text(settings: &Table, origin: &Origin) -> Result<String, Error> {
    let mut table = settings.clone();
    let origin = Table::try_from(origin).map_err(|error| Error::file("config.toml", error.to_string()))?;
    table.insert(ORIGIN.into(), Value::Table(origin));
    Ok(format!("# The whole configuration of a run: sse-sam train --config FILE repeats it.\n{table}"))
}

/// What differs between the settings of a checkpoint and those of the run that is to go on from it.
pub fn differences(before: &Table, now: &Table) -> Vec<String> {
    let shown = |value: Option<&Value>| value.map_or_else(|| "not set".into(), Value::to_string);
    let mut keys: Vec<&String> = before.keys().chain(now.keys()).filter(|key| !FREE.contains(&key.as_str())).collect();
    keys.sort();
    keys.dedup();
    let changed = keys.into_iter().filter(|&key| before.get(key) != now.get(key));
    changed.map(|key| format!("{key} was {}, is {}", shown(before.get(key)), shown(now.get(key)))).collect()
}

/// Every setting of a run, defaults included; what the method or the loss does not use is left out.
pub fn table(args: &TrainArgs, config: &Config, device: &str) -> Table {
    let mut table = Table::new();
    let mut put = |key: &str, value: Value| table.insert(key.into(), value);
    put("data", config.data.clone().into());
    put("dataset", config.format.word().into());
    put("augment", name(&config.augment));
    put("normalize", args.normalize.clone().into());
    put("many", config.shots.many.into());
    put("few", config.shots.few.into());
    put("model", config.model.to_string().into());
    put("eta", config.eta.into());
    put("epochs", config.epochs.into());
    put("batch", (config.batch as i64).into());
    put("lr", config.rates.base.into());
    put("momentum", config.momentum.into());
    put("nesterov", config.nesterov.into());
    put("weight-decay", config.weight_decay.into());
    put("schedule", name(&config.rates.name));
    put("warmup", config.rates.warmup.into());
    put("seed", i64::try_from(config.seed).map_or_else(|_| config.seed.to_string().into(), Value::from));
    put("flip", config.flip.into());
    put("device", device.into());
    put("conv", name(&args.device.conv.unwrap_or_default()));
    put("checkpoint-every", args.checkpoint_every.into());
    put("keep", args.keep.into());
    put("on-nan", name(&args.on_nan));
    put("tensorboard", args.tensorboard.into());
    let choices = method(&config.method).into_iter().chain(loss(&config.loss)).chain([
        ("imbalance", config.imbalance.map(Value::from)),
        ("long-tail", config.imbalance.map(|_| profile(config.profile))),
        ("subset", config.imbalance.map(|_| name(&config.rule))),
        ("tail-weight", config.method.has_tail().then(|| config.tail_weight.into())),
        ("milestones", config.rates.given_milestones().map(|epochs| epochs.to_vec().into())),
        ("rollbacks", (args.on_nan == OnNan::Rollback).then(|| args.rollbacks.into())),
        ("drw-epoch", config.drw_epoch.map(Value::from)),
        ("init", config.init.as_ref().map(|path| path.display().to_string().into())),
        ("trainable-layers", config.trainable_layers.clone().map(Value::from)),
        ("micro-batch", config.micro_batch.map(|rows| (rows as i64).into())),
        ("memory", (config.memory != Economy::Full).then(|| name(&args.memory))),
        ("device-memory", args.device.device_memory.map(Value::from)),
        ("precision", args.device.precision.filter(|_| device != "cpu").as_ref().map(name)),
        ("tiles", args.device.tiles.filter(|_| device != "cpu").as_ref().map(name)),
        ("checkpoint-minutes", args.checkpoint_minutes.map(Value::from)),
    ]);
    choices.for_each(|(key, value)| {
        value.map(|value| put(key, value));
    });
    table
}

fn profile(profile: Profile) -> Value {
    name(&match profile {
        Profile::Exponential => LongTail::Exp,
        Profile::Step => LongTail::Step,
    })
}

/// The word of the command line.
fn name(value: &impl ValueEnum) -> Value {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().into()).into()
}

type Choice = (&'static str, Option<Value>);

fn method(method: &Method) -> Vec<Choice> {
    let (word, radii) = match *method {
        Method::Sgd => (MethodName::Sgd, vec![]),
        Method::Sam { rho } => (MethodName::Sam, vec![("rho", rho)]),
        Method::ImbSam { rho } => (MethodName::Imbsam, vec![("rho", rho)]),
        Method::SseSam { head_rho, tail_rho, gamma } => {
            (MethodName::SseSam, vec![("head-rho", head_rho), ("tail-rho", tail_rho), ("gamma", gamma)])
        }
        Method::FocalSam { rho, lambda, gamma } => {
            (MethodName::FocalSam, vec![("rho", rho), ("focal-sam-lambda", lambda), ("focal-sam-gamma", gamma)])
        }
    };
    choices("method", &word, radii)
}

fn loss(loss: &Loss) -> Vec<Choice> {
    let (word, numbers) = match *loss {
        Loss::CrossEntropy => (LossName::Ce, vec![]),
        Loss::Ldam { max_m, scale } => (LossName::Ldam, vec![("ldam-margin", max_m), ("ldam-scale", scale)]),
        Loss::LogitAdjustment { tau } => (LossName::La, vec![("tau", tau)]),
        Loss::VectorScaling { gamma, tau } => (LossName::Vs, vec![("vs-gamma", gamma), ("tau", tau)]),
        Loss::BalancedSoftmax => (LossName::BalancedSoftmax, vec![]),
        Loss::Focal { gamma } => (LossName::Focal, vec![("focal-gamma", gamma)]),
    };
    choices("loss", &word, numbers)
}

fn choices(key: &'static str, word: &impl ValueEnum, numbers: Vec<(&'static str, f64)>) -> Vec<Choice> {
    let numbers = numbers.into_iter().map(|(key, number)| (key, Some(number.into())));
    [(key, Some(name(word)))].into_iter().chain(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_word_is_near_the_right_one() {
        assert_eq!(distance("gamma", "gamma"), 0);
        assert_eq!(distance("gama", "gamma"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_key_is_found_in_its_line() {
        let text = "# lr = 1\nlr-x = 2\n  lr= 3\n[run]\n\"gamma\" = 1\n";
        assert_eq!(place(text, "lr"), " (line 3)");
        assert_eq!(place(text, "run"), " (line 4)");
        assert_eq!(place(text, "gamma"), " (line 5)");
        assert_eq!(place(text, "rho"), "");
    }

    #[test]
    fn numbers_survive_the_way_through_a_file() {
        for number in [0.1, 1e-300, 5.0, 1.0 / 3.0, f64::MAX] {
            let mut table = Table::new();
            table.insert("lr".into(), number.into());
            let back: Table = table.to_string().parse().unwrap();
            let word = word("lr", &back["lr"]).unwrap();
            assert_eq!(word.strip_prefix("--lr=").unwrap().parse(), Ok(number));
        }
    }
}
