//! The name of a recipe on the command line.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command};

use crate::recipe::recipes;
use crate::shown::shown;

/// Takes the names of recipes; one that is none is answered with the nearest.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecipeName;

impl TypedValueParser for RecipeName {
    type Value = String;

    fn parse_ref(&self, command: &Command, option: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let name = value.to_string_lossy();
        let found = recipes::find(&name).map(|recipe| recipe.name.to_owned());
        found.map_err(|error| {
            let option = option.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value '{}' for '{option}': {error}\n", shown(&name));
            clap::Error::raw(ErrorKind::InvalidValue, message).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(recipes::names().map(PossibleValue::new)))
    }
}
