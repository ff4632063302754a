//! Epochs of a run after which something is measured, some of them named by what happens then.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sse_sam_core::Method;

/// The end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Moment {
    /// That of this number, from 0.
    Epoch(u32),
    /// The last one of a method's first stage.
    Switch,
    /// The last one of the run.
    Last,
}

impl Moment {
    /// The epoch that is meant in a run of so many; None where there is no such one.
    pub fn epoch(self, method: &Method, epochs: u32) -> Option<u32> {
        let last = epochs.checked_sub(1)?;
        match self {
            Self::Epoch(epoch) => (epoch <= last).then_some(epoch),
            Self::Switch => (0..last).find(|&epoch| method.stage(epoch, epochs) != method.stage(epoch + 1, epochs)),
            Self::Last => Some(last),
        }
    }
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "switch" => Ok(Self::Switch),
            "last" => Ok(Self::Last),
            number => number.parse().map(Self::Epoch).map_err(|_| "an epoch is a number from 0, or switch, or last"),
        }
    }
}

impl TryFrom<String> for Moment {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch(epoch) => epoch.fmt(f),
            Self::Switch => f.write_str("switch"),
            Self::Last => f.write_str("last"),
        }
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_the_last_epochs_of_a_stage_and_of_a_run() {
        let method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.6 };
        let epoch = |text: &str, method: &Method, epochs| text.parse::<Moment>().unwrap().epoch(method, epochs);
        assert_eq!(
            ["0", "7", "switch", "last", "10"].map(|text| epoch(text, &method, 10)),
            [Some(0), Some(7), Some(5), Some(9), None]
        );
        assert_eq!(epoch("switch", &Method::Sgd, 10), None);
        assert_eq!(epoch("switch", &Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 1.0 }, 10), None);
        assert!("first".parse::<Moment>().is_err() && "-1".parse::<Moment>().is_err());
    }
}
