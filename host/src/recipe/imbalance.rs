//! The imbalance that a training set is cut to, as it is typed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest class over smallest, or `none`: the training set is taken as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Imbalance(pub Option<f64>);

impl FromStr for Imbalance {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self(None)),
            number => number.parse().map(|number| Self(Some(number))).map_err(|_| "an imbalance is a number, or none"),
        }
    }
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// A number in `config.toml` where there is one.
impl Serialize for Imbalance {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(number) => to.serialize_f64(number),
            None => to.serialize_str("none"),
        }
    }
}

impl<'de> Deserialize<'de> for Imbalance {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number, or none")]
        enum Either {
            Number(f64),
            Word(String),
        }
        match Either::deserialize(from)? {
            Either::Number(number) => Ok(Self(Some(number))),
            Either::Word(word) => word.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Options;

    #[test]
    fn numbers_and_none_survive_the_way_through_a_file() {
        for (text, imbalance) in [("100", Some(100.0)), ("0.01", Some(0.01)), ("none", None)] {
            let parsed: Imbalance = text.parse().unwrap();
            assert_eq!((parsed, parsed.to_string().as_str()), (Imbalance(imbalance), text));
            let options = Options { imbalance: Some(parsed), ..Options::default() };
            let file = options.table().unwrap().to_string();
            assert_eq!(toml::from_str::<Options>(&file).unwrap(), options, "{file}");
        }
        assert_eq!(toml::from_str::<Options>("imbalance = 50").unwrap().imbalance, Some(Imbalance(Some(50.0))));
        assert!("nothing".parse::<Imbalance>().is_err() && toml::from_str::<Options>("imbalance = true").is_err());
    }
}
