//! Recipes that come with the program: settings under a name, where they are from, and what was published with them.

use std::fmt::Write as _;

use serde::Deserialize;
use toml::Table;

use crate::error::Error;
use crate::recipe::file;
use crate::recipe::options::Options;
use crate::recipe::words::{LossName, MethodName, word};

/// Names and texts of all recipes, in the order in which they are listed.
const TEXTS: [(&str, &str); 5] = [
    ("digits-lt", include_str!("../../recipes/digits-lt.toml")),
    ("fashion-mnist-lt", include_str!("../../recipes/fashion-mnist-lt.toml")),
    ("cifar100-lt-paper", include_str!("../../recipes/cifar100-lt-paper.toml")),
    ("cifar10-lt-paper", include_str!("../../recipes/cifar10-lt-paper.toml")),
    ("cifar100-lt-resnet32", include_str!("../../recipes/cifar100-lt-resnet32.toml")),
];

/// A recipe that comes with the program.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
    /// What it is and where it is from.
    pub about: About,
    /// Its settings.
    pub options: Options,
}

/// What a recipe says about itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// What it trains, in a line.
    pub about: String,
    /// Where its settings and published numbers are from.
    pub source: String,
    /// What `--data` has to name, where the data do not come with the program.
    pub data: Option<String>,
    /// What was published.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// Accuracies that somebody has published, in percent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Training method.
    pub method: MethodName,
    /// Loss.
    #[serde(default)]
    pub loss: LossName,
    /// Options that belong to it beside these.
    pub with: Option<String>,
    /// Many-shot classes.
    pub many: Option<f64>,
    /// Medium-shot classes.
    pub medium: Option<f64>,
    /// Few-shot classes.
    pub few: Option<f64>,
    /// All classes alike.
    pub average: f64,
}

/// The names of all recipes.
pub fn names() -> impl Iterator<Item = &'static str> {
    TEXTS.iter().map(|&(name, _)| name)
}

/// The recipe of this name.
///
/// # Errors
/// [`Error::Usage`] when there is none.
pub fn find(name: &str) -> Result<Named, Error> {
    let found = TEXTS.into_iter().find(|&(known, _)| known == name);
    let (name, text) = found.ok_or_else(|| {
        let names: Vec<&str> = names().collect();
        let nearest = file::nearest(name, self::names());
        let known = names.join(", ");
        Error::Usage(format!("there is no recipe {name}; there are {known}; the nearest name is {nearest}"))
    })?;
    parse(name, text)
}

fn parse(name: &'static str, text: &'static str) -> Result<Named, Error> {
    let wrong = |error: toml::de::Error| Error::file(format!("{name}.toml"), error.to_string());
    let mut table: Table = text.parse().map_err(wrong)?;
    let about = table.remove("recipe").unwrap_or_else(|| Table::new().into());
    Ok(Named { name, text, about: about.try_into().map_err(wrong)?, options: table.try_into().map_err(wrong)? })
}

impl Named {
    /// What was typed, on top of the recipe's settings.
    ///
    /// # Errors
    /// [`Error::Usage`] when the recipe needs data that nothing names.
    pub fn under(&self, typed: &Options) -> Result<Options, Error> {
        let options = typed.or(&self.options)?;
        match (&options.data, &self.about.data) {
            (None, Some(data)) => Err(Error::Usage(format!("--recipe {} needs --data: {data}", self.name))),
            _ => Ok(options),
        }
    }

    /// What was published, as a table under a sentence; nothing where nothing was.
    pub fn published(&self) -> String {
        if self.about.published.is_empty() {
            return String::new();
        }
        let mut text = format!("published, in % ({})\n", self.about.source);
        let _ = writeln!(text, "{:width$}  average    many  medium     few", "", width = WIDTH);
        for row in &self.about.published {
            let cell = |value: Option<f64>| value.map_or_else(|| "     -".into(), |value| format!("{value:6.2}"));
            let with = row.with.as_deref().map(|with| format!(" {with}")).unwrap_or_default();
            let name = format!("{}, {}{with}", word(&row.method), word(&row.loss));
            let [many, medium, few] = [row.many, row.medium, row.few].map(cell);
            let _ = writeln!(text, "{name:WIDTH$}   {:6.2}  {many}  {medium}  {few}", row.average);
        }
        text
    }
}

/// Letters of a published row's name.
const WIDTH: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_settings_that_options_have() {
        for name in names() {
            let named = find(name).unwrap();
            let mut table: Table = named.text.parse().unwrap();
            table.remove("recipe");
            let numbers = |table: &Table| -> Vec<(String, String)> {
                let plain =
                    |value: &toml::Value| value.as_integer().map_or_else(|| value.to_string(), |n| format!("{n}.0"));
                let of = |value: &toml::Value| if value.is_float() { value.to_string() } else { plain(value) };
                let mut rows: Vec<_> = table.iter().map(|(key, value)| (key.clone(), of(value))).collect();
                rows.sort();
                rows
            };
            assert_eq!(numbers(&named.options.table().unwrap()), numbers(&table), "{name}");
            assert!(named.options.seed.is_none() && named.options.method.is_none(), "{name}: these are for who trains");
            let at_hand = named.options.data.is_some();
            assert_eq!(at_hand, named.about.data.is_none(), "{name}");
        }
    }

    #[test]
    fn published_numbers_are_those_of_the_papers() {
        let rows = |name| -> Vec<(String, f64)> {
            find(name).unwrap().about.published.iter().map(|row| (word(&row.method), row.average)).collect()
        };
        let expected = [("sgd", 44.6), ("sam", 46.2), ("imbsam", 47.9), ("sse-sam", 49.3)];
        assert_eq!(rows("cifar100-lt-paper"), expected.map(|(method, average)| (method.to_owned(), average)));
        assert!(rows("cifar10-lt-paper").is_empty() && find("digits-lt").unwrap().published().is_empty());
        let text = find("cifar100-lt-paper").unwrap().published();
        assert!(text.contains("sse-sam, ce                   49.30   71.70   54.50   17.10\n"), "{text}");
    }

    #[test]
    fn a_recipe_that_needs_data_says_which_and_what_is_typed_wins() {
        let named = find("cifar100-lt-paper").unwrap();
        let refused = named.under(&Options::default()).unwrap_err().to_string();
        assert!(
            refused.starts_with("--recipe cifar100-lt-paper needs --data: CIFAR-100's binary version"),
            "{refused}"
        );
        let typed = Options { data: Some("here".into()), epochs: Some(3), ..Options::default() };
        let options = named.under(&typed).unwrap();
        assert_eq!((options.epochs, options.batch, options.data.as_deref()), (Some(3), Some(64), Some("here")));
        assert!(find("cifar").unwrap_err().to_string().starts_with("there is no recipe cifar; there are digits-lt, "));
    }
}
