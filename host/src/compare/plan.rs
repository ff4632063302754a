//! What a comparison is to train: every method with every loss, setting and seed, and which value passes to which run.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use clap::{ArgAction, FromArgMatches, ValueEnum};
use toml::{Table, Value};

use crate::compare::group;
use crate::data::{self, Dataset};
use crate::error::Error;
use crate::recipe::moments::Moment;
use crate::recipe::words::{LossName, MethodName, word};
use crate::recipe::{Options, Recipe, file, unused};
use crate::report::Observer;
use crate::run::origin::Origin;

/// The most seeds of a comparison.
const SEEDS: u64 = 10_000;

/// The most letters of a value in a folder's name.
const LETTERS: usize = 60;

/// The seeds of `--seeds`: a number `N` for those below it, `A..B`, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let text = text.trim();
            text.parse::<u64>().map_err(|_| format!("{text:?} is no whole number from 0 on"))
        };
        let range = |from: u64, to: u64| match to.checked_sub(from) {
            None | Some(0) => Err("these are no seeds at all; 5 means those below 5, 0,3,7 these three".to_owned()),
            Some(count) if count > SEEDS => Err(format!("a comparison has at most {SEEDS} seeds")),
            Some(_) => Ok((from..to).collect()),
        };
        if let Some((from, to)) = text.split_once("..") {
            return range(number(from)?, number(to)?).map(Self);
        }
        if !text.contains(',') {
            return range(0, number(text)?).map(Self);
        }
        let seeds: Vec<u64> = text.split(',').map(number).collect::<Result<_, _>>()?;
        match twice(&seeds) {
            Some(seed) => Err(format!("seed {seed} is there twice")),
            None => Ok(Self(seeds)),
        }
    }
}

/// The first value that another one equals.
fn twice<T: PartialEq>(values: &[T]) -> Option<&T> {
    values.iter().enumerate().find(|(number, value)| values[..*number].contains(value)).map(|(_, value)| value)
}

/// An option of `train` with several values: `OPTION=V1,V2,...`, or with `;` between values that have commas themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Varied {
    /// Its long name.
    pub option: String,
    /// Its values, as `config.toml` has them.
    pub values: Vec<Value>,
}

impl FromStr for Varied {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (option, list) = text.split_once('=').ok_or("it takes OPTION=V1,V2,...: rho=0.02,0.05")?;
        let option = option.trim().trim_start_matches("--");
        is_varied(option)?;
        let mark = if list.contains(';') { ';' } else { ',' };
        if list.trim().is_empty() {
            return Err(format!("{option} has no value"));
        }
        let values: Vec<Value> =
            list.split(mark).map(|text| parsed(option, text.trim())).collect::<Result<_, String>>()?;
        match twice(&values) {
            Some(value) => Err(format!("{option} has the value {} twice", group::text(value))),
            None => Ok(Self { option: option.into(), values }),
        }
    }
}

/// Whether runs of one comparison may differ in this option.
fn is_varied(option: &str) -> Result<(), String> {
    let command = file::command();
    let known = || command.get_arguments().filter_map(clap::Arg::get_long);
    if known().all(|name| name != option) {
        return Err(format!("train has no option {option}; the nearest name is {}", file::nearest(option, known())));
    }
    match option {
        "method" => Err("--methods names the methods".into()),
        "loss" => Err("--losses names the losses".into()),
        "seed" => Err("--seeds names the seeds".into()),
        "data" => Ok(()),
        _ if group::is_told_apart(option) => Ok(()),
        _ => {
            Err(format!("{option} says where a run is computed or what it leaves on the disk, and not what it learns"))
        }
    }
}

/// A value of an option, as it is typed.
fn parsed(option: &str, text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Err(format!("a value of {option} is empty"));
    }
    let command = file::command();
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some(option));
    let is_switch = argument.is_some_and(|argument| {
        matches!(argument.get_action(), ArgAction::SetTrue)
            || argument.get_num_args().is_some_and(|n| !n.takes_values())
    });
    if is_switch {
        let value = text.parse::<bool>();
        return value.map(Value::Boolean).map_err(|_| format!("{option} is true or false, and not {text:?}"));
    }
    let matches = command.try_get_matches_from(["train", &format!("--{option}={text}")]);
    let options = matches.and_then(|matches| Options::from_arg_matches(&matches)).map_err(|error| in_a_line(&error))?;
    let mut table = options.table().map_err(|error| error.to_string())?;
    table.remove(option).ok_or_else(|| format!("{option} does not take {text:?}"))
}

/// What is wrong with a value, without the hint at help.
fn in_a_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Settings of every run: those of a file and those that were typed.
    pub options: Options,
    /// Those that were typed.
    pub typed: Options,
    /// What the numbers of the run came from that the file belongs to.
    pub origin: Option<Origin>,
    /// The fingerprint that the data should have.
    pub fingerprint: Option<String>,
    /// Methods.
    pub methods: Vec<MethodName>,
    /// Losses.
    pub losses: Vec<LossName>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Other settings that differ.
    pub varied: Vec<Varied>,
}

/// Runs that belong together, planned.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is asked for.
    pub wanted: Wanted,
    /// Its arms: no two are the same.
    pub arms: Vec<PlannedArm>,
    /// What values do not pass to all of them, a sentence an option.
    pub notices: Vec<String>,
}

/// Runs that differ in the seed alone.
#[derive(Clone, Debug)]
pub struct PlannedArm {
    /// The beginning of their folders' names.
    pub name: String,
    /// What tables call it.
    pub label: String,
    /// Their options but for the seed, without those that they do not use.
    pub options: Options,
    /// Those of them that were typed.
    pub typed: Options,
    /// What they do, with the seed of none.
    pub recipe: Recipe,
    /// What they are trained on, before it is cut.
    pub dataset: Dataset,
    /// The fingerprint of that.
    pub fingerprint: String,
}

impl PlannedArm {
    /// The folder's name of its run with this seed.
    pub fn run(&self, seed: u64) -> String {
        format!("{}-seed{seed}", self.name)
    }

    /// The settings of its run with this seed, as `config.toml` has them but for the device.
    ///
    /// # Errors
    /// [`Error::Usage`] for a path that is not UTF-8.
    pub fn settings(&self, seed: u64) -> Result<Table, Error> {
        Options::from(&Recipe { seed, ..self.recipe.clone() }).table()
    }
}

/// An arm as it is made, before it is known which values it uses.
struct Draft {
    method: MethodName,
    loss: LossName,
    /// Options that were given for it and that it does not use, and what each needs.
    pointless: Vec<(&'static str, String)>,
    /// Values of the varied options that it uses.
    values: Table,
    arm: PlannedArm,
}

impl Plan {
    /// Plans every combination. A value that a combination does not use does not pass to it; combinations that are the same
    /// then are planned once.
    ///
    /// # Errors
    /// [`Error::Usage`] for what the options must change: a value that no run uses, a list with the same entry twice; whatever
    /// is wrong with the data or with settings of a run.
    pub fn new(wanted: Wanted, observer: &dyn Observer) -> Result<Self, Error> {
        lists(&wanted)?;
        let mut sets = Sets::default();
        let mut drafts = Vec::new();
        for &method in &wanted.methods {
            for &loss in &wanted.losses {
                for values in combinations(&wanted.varied) {
                    drafts.push(draft(&wanted, method, loss, values, &mut sets, observer)?);
                }
            }
        }
        let notices = notices(&wanted, &drafts)?;
        no_value_twice(&drafts)?;
        let mut arms: Vec<PlannedArm> = Vec::new();
        for Draft { arm, .. } in drafts {
            match arms.iter().find(|known| known.name == arm.name) {
                None => arms.push(arm),
                Some(known) if known.recipe == arm.recipe => {}
                Some(_) => {
                    let message = format!("two values would have the same folder, {}: give them other names", arm.name);
                    return Err(Error::Usage(message));
                }
            }
        }
        let settings = arms.iter().map(|arm| Ok(group::arm_settings(&arm.settings(0)?)));
        let labels = group::labels(&with_places(&arms, settings.collect::<Result<_, Error>>()?));
        arms.iter_mut().zip(labels).for_each(|(arm, label)| arm.label = label);
        Ok(Self { wanted, arms, notices })
    }

    /// Every run: all arms with one seed, then all with the next.
    pub fn runs(&self) -> impl Iterator<Item = (&PlannedArm, u64)> {
        self.wanted.seeds.iter().flat_map(|&seed| self.arms.iter().map(move |arm| (arm, seed)))
    }
}

/// Refuses values that are written differently and make the same run: they would be trained twice.
fn no_value_twice(drafts: &[Draft]) -> Result<(), Error> {
    let mut known: Vec<(Table, &Draft)> = Vec::new();
    for draft in drafts {
        let identity = identity(&draft.arm)?;
        let same = known.iter().find(|(other, before)| *other == identity && before.values != draft.values);
        if let Some((_, before)) = same {
            let differs = |key: &&String| before.values.get(*key) != draft.values.get(*key);
            let key = before.values.keys().chain(draft.values.keys()).find(differs).map_or("", String::as_str);
            let value = |draft: &Draft| draft.values.get(key).map_or_else(|| "none".into(), group::text);
            let message = format!(
                "--vary {key}: {} and {} are the same, which would be trained twice",
                value(before),
                value(draft)
            );
            return Err(Error::Usage(message));
        }
        known.push((identity, draft));
    }
    Ok(())
}

/// What the runs of an arm follow from, whatever the spelling of paths.
fn identity(arm: &PlannedArm) -> Result<Table, Error> {
    let mut settings = group::arm_settings(&arm.settings(0)?);
    if let Some(Value::String(path)) = settings.get_mut("init") {
        let whole = Path::new(path).canonicalize().ok();
        whole.and_then(|whole| whole.to_str().map(String::from)).into_iter().for_each(|whole| *path = whole);
    }
    settings.insert("fingerprint".into(), Value::String(arm.fingerprint.clone()));
    Ok(settings)
}

/// Settings of arms with the names of their data, where these are not the same.
fn with_places(arms: &[PlannedArm], mut settings: Vec<Table>) -> Vec<Table> {
    let differ = arms.iter().any(|arm| arm.fingerprint != arms[0].fingerprint);
    for (arm, table) in arms.iter().zip(&mut settings).filter(|_| differ) {
        table.insert("data".into(), Value::String(arm.dataset.name.clone()));
    }
    settings
}

/// Data sets by the options that decide what they are: each is read once.
#[derive(Default)]
struct Sets(Vec<(Options, Dataset, String)>);

impl Sets {
    fn load(&mut self, options: &Options, observer: &dyn Observer) -> Result<(Dataset, String), Error> {
        let key = Options {
            data: Some(options.place().to_owned()),
            dataset: options.dataset,
            pictures: options.pictures.clone(),
            augment: options.augment,
            ..Options::default()
        };
        let known = self.0.iter().find(|(known, ..)| *known == key);
        if let Some((_, dataset, fingerprint)) = known {
            return Ok((dataset.clone(), fingerprint.clone()));
        }
        let dataset = data::read(&options.request())?;
        for notice in &dataset.notices {
            observer.warn(&format!("warning: {notice}"));
        }
        let fingerprint = dataset.fingerprint();
        self.0.push((key, dataset.clone(), fingerprint.clone()));
        Ok((dataset, fingerprint))
    }
}

/// Refuses lists that are empty or have an entry twice.
fn lists(wanted: &Wanted) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::Usage(message));
    if let Some(method) = twice(&wanted.methods) {
        return refuse(format!("--methods names {} twice", word(method)));
    }
    if let Some(loss) = twice(&wanted.losses) {
        return refuse(format!("--losses names {} twice", word(loss)));
    }
    let names: Vec<&String> = wanted.varied.iter().map(|varied| &varied.option).collect();
    if let Some(option) = twice(&names) {
        return refuse(format!("--vary names {option} twice: put all its values into one list"));
    }
    let typed = wanted.typed.table()?;
    if let Some(option) = names.iter().find(|option| typed.contains_key(option.as_str())) {
        return refuse(format!("--vary {option} gives {option} several values, and --{option} one: leave one out"));
    }
    let has_none = wanted.methods.is_empty() || wanted.losses.is_empty() || wanted.seeds.is_empty();
    if has_none { refuse("a comparison needs a method, a loss and a seed at least".into()) } else { Ok(()) }
}

/// Every combination of the values, the last option's values in turn first.
fn combinations(varied: &[Varied]) -> Vec<Table> {
    let add = |tables: Vec<Table>, varied: &Varied| {
        let with = |table: &Table, value: &Value| {
            let mut table = table.clone();
            table.insert(varied.option.clone(), value.clone());
            table
        };
        tables
            .iter()
            .flat_map(|table| varied.values.iter().map(|value| with(table, value)).collect::<Vec<_>>())
            .collect()
    };
    varied.iter().fold(vec![Table::new()], add)
}

/// One combination, with the values that it uses.
fn draft(
    wanted: &Wanted,
    method: MethodName,
    loss: LossName,
    mut values: Table,
    sets: &mut Sets,
    observer: &dyn Observer,
) -> Result<Draft, Error> {
    let whose = |error: Error| in_arm(&format!("{}-{}", word(&method), word(&loss)), error);
    let named = |table: &Table| -> Result<Options, Error> {
        let error = |error: toml::de::Error| Error::Usage(error.message().into());
        let device = wanted.options.device.recorded;
        let mut options: Options = table.clone().try_into().map_err(error)?;
        options.device.recorded = device;
        Ok(options)
    };
    let (mut typed, mut all) = (wanted.typed.table()?, wanted.options.table()?);
    typed.extend(values.clone());
    all.extend(values.clone());
    for (key, value) in [("method", word(&method)), ("loss", word(&loss))] {
        all.insert(key.into(), Value::String(value));
    }
    all.remove("seed");
    let options = named(&all)?;
    let (dataset, fingerprint) = sets.load(&options, observer)?;
    let recipe = Recipe::resolve(&options, &dataset).map_err(whose)?;
    let mut pointless: Vec<_> = unused::pointless(&recipe).filter(|(key, _)| typed.contains_key(*key)).collect();
    for (key, _) in &pointless {
        [&mut typed, &mut all, &mut values].into_iter().for_each(|table| drop(table.remove(*key)));
    }
    let (mut typed, mut options) = (named(&typed)?, named(&all)?);
    let has_switch = Moment::Switch.epoch(&recipe.method, recipe.epochs).is_some();
    if !has_switch && without_switch(&mut typed) {
        without_switch(&mut options);
        pointless.push((SWITCH, "names switch, which needs --method sse-sam with a second stage".into()));
    }
    let recipe = Recipe::resolve(&options, &dataset).map_err(whose)?;
    unused::check(&typed, &recipe).map_err(whose)?;
    let name = name(method, loss, &wanted.varied, &values);
    let arm = PlannedArm { label: name.clone(), name, options, typed, recipe, dataset, fingerprint };
    Ok(Draft { method, loss, pointless, values, arm })
}

/// The option that names the switch between stages.
const SWITCH: &str = "spectrum-at";

/// Leaves out the switch, which a method without stages has not; whether it was there.
fn without_switch(options: &mut Options) -> bool {
    let Some(moments) = &mut options.spectrum_at else { return false };
    let before = moments.len();
    moments.retain(|moment| *moment != Moment::Switch);
    let was_there = moments.len() < before;
    if moments.is_empty() {
        options.spectrum_at = None;
    }
    was_there
}

/// The same error, with the arm that it is about.
pub(crate) fn in_arm(arm: &str, error: Error) -> Error {
    match error {
        Error::Usage(message) => Error::Usage(format!("{arm}: {message}")),
        Error::Core(core) => Error::Usage(format!("{arm}: {core}")),
        other => other,
    }
}

/// The beginning of a folder's name.
fn name(method: MethodName, loss: LossName, varied: &[Varied], values: &Table) -> String {
    let part = |varied: &Varied| {
        let value = values.get(&varied.option)?;
        Some(format!("-{}-{}", varied.option, slug(value)))
    };
    format!("{}-{}{}", word(&method), word(&loss), varied.iter().filter_map(part).collect::<String>())
}

/// A value as a part of a folder's name: of a path the last part.
fn slug(value: &Value) -> String {
    let text = group::text(value);
    let last = if text.contains('/') && Path::new(&text).is_absolute() { text.rsplit('/').next() } else { None };
    let plain = |letter: char| if letter.is_alphanumeric() || "._+".contains(letter) { letter } else { '-' };
    last.unwrap_or(&text).chars().map(plain).take(LETTERS).collect()
}

/// A sentence for every option that does not pass to all arms.
///
/// # Errors
/// [`Error::Usage`] for one that passes to none.
fn notices(wanted: &Wanted, drafts: &[Draft]) -> Result<Vec<String>, Error> {
    let mut needs: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, reason) in drafts.iter().flat_map(|draft| &draft.pointless) {
        needs.insert(key, reason);
    }
    let lacks = |draft: &Draft, key: &str| draft.pointless.iter().any(|(lacking, _)| *lacking == key);
    let is_varied = |key: &str| wanted.varied.iter().any(|varied| varied.option == key);
    let sentence = |(key, reason): (&str, &str)| {
        let (without, with): (Vec<&Draft>, Vec<&Draft>) = drafts.iter().partition(|draft| lacks(draft, key));
        let option = if is_varied(key) { format!("--vary {key}") } else { format!("--{key}") };
        if with.is_empty() {
            let message = format!("{option} does nothing in any run of this comparison: it {reason}");
            return Err(Error::Usage(message));
        }
        let (with, without) = names(&with, &without);
        let verb = if without.1 { "has" } else { "have" };
        let none = if key == SWITCH { "no switch" } else { "none" };
        Ok(format!("{option} is for {}; {} {verb} {none}", with.0, without.0))
    };
    needs.into_iter().map(sentence).collect()
}

/// What both kinds of arms are called, and whether it is a single one: methods where these decide, else losses, else names.
fn names(with: &[&Draft], without: &[&Draft]) -> ((String, bool), (String, bool)) {
    let ways: [fn(&Draft) -> String; 3] =
        [|draft| word(&draft.method), |draft| word(&draft.loss), |draft| draft.arm.name.clone()];
    let lists = ways.map(|way| [with, without].map(|drafts| distinct(drafts.iter().map(|draft| way(draft)))));
    let decides = |[with, without]: &&[Vec<String>; 2]| with.iter().all(|name| !without.contains(name));
    let [with, without] = lists.iter().find(decides).unwrap_or(&lists[2]);
    ((listed(with), with.len() == 1), (listed(without), without.len() == 1))
}

fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The methods that are compared where none are named.
pub fn usual_methods() -> Vec<MethodName> {
    MethodName::value_variants().iter().copied().filter(|method| *method != MethodName::FocalSam).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_number_a_range_or_a_list() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0);
        assert_eq!(seeds("3"), Ok(vec![0, 1, 2]));
        assert_eq!(seeds("0,3,7"), Ok(vec![0, 3, 7]));
        assert_eq!(seeds("5..7"), Ok(vec![5, 6]));
        for (text, expected) in [
            ("0", "no seeds at all"),
            ("7..7", "no seeds at all"),
            ("1,2,1", "seed 1 is there twice"),
            ("", "no whole number"),
            ("1,", "no whole number"),
            ("-1", "no whole number"),
            ("99999999999", "at most 10000"),
        ] {
            let error = seeds(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn values_are_those_that_train_takes() {
        let values = |text: &str| text.parse::<Varied>().map(|varied| varied.values);
        assert_eq!(values("rho=0.02,0.10"), Ok(vec![Value::Float(0.02), Value::Float(0.1)]));
        assert_eq!(values("nesterov=true,false"), Ok(vec![Value::Boolean(true), Value::Boolean(false)]));
        assert_eq!(values("--epochs=1,2"), Ok(vec![Value::Integer(1), Value::Integer(2)]));
        let milestones = |list: &[i64]| Value::Array(list.iter().map(|&epoch| Value::Integer(epoch)).collect());
        assert_eq!(values("milestones=1,2;3"), Ok(vec![milestones(&[1, 2]), milestones(&[3])]));
        for (text, expected) in [
            ("rho", "OPTION=V1,V2"),
            ("roh=1", "the nearest name is rho"),
            ("rho=", "rho has no value"),
            ("rho=0.1,,0.2", "a value of rho is empty"),
            ("rho=0.1,0.10", "rho has the value 0.1 twice"),
            ("rho=much", "invalid value 'much' for '--rho <RHO>'"),
            ("schedule=cosin", "possible values"),
            ("nesterov=yes", "true or false"),
            ("seed=1,2", "--seeds"),
            ("method=sgd", "--methods"),
            ("loss=ce", "--losses"),
            ("threads=1,2", "not what it learns"),
            ("out=a", "train has no option out"),
        ] {
            let error = values(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn combinations_are_all_pairs() {
        let varied = ["rho=0.1,0.2", "lr=1,2"].map(|text| text.parse().unwrap());
        let found: Vec<String> =
            combinations(&varied).iter().map(|table| table.to_string().replace('\n', " ")).collect();
        assert_eq!(found, ["lr = 1.0 rho = 0.1 ", "lr = 2.0 rho = 0.1 ", "lr = 1.0 rho = 0.2 ", "lr = 2.0 rho = 0.2 "]);
        assert_eq!(combinations(&[]), [Table::new()]);
    }

    #[test]
    fn lists_read_as_english() {
        let list = |names: &[&str]| listed(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!([list(&["a"]), list(&["a", "b"]), list(&["a", "b", "c"])], ["a", "a and b", "a, b and c"]);
    }
}
