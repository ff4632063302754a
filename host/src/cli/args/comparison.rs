//! Options of `compare` and `report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::args::TrainArgs;
use crate::compare::formats;
use crate::compare::plan::{Seeds, Varied};
use crate::paths::paths;
use crate::recipe::words::{LossName, MethodName};

/// What `--out` is to a comparison.
pub(super) const COMPARISON_OUT: &str = "Folder for the folders of the runs, and for comparison.txt, .md, .csv, .tex and .json; the same \
                              command goes on there with what is not done [runs/compare-DATA]";

/// Options of `train` that `compare` has a list for are not in its help.
pub(super) fn only_of_train(arg: clap::Arg) -> clap::Arg {
    let is_list = ["method", "loss", "seed"].iter().any(|name| arg.get_long() == Some(name));
    arg.hide(is_list)
}

/// Options of `compare`, with those of `train`.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// Compare these runs, or those in these folders, and train nothing
    #[arg(value_name = "RUN", value_parser = paths())]
    pub runs: Vec<PathBuf>,
    /// Methods; without a list that of --config, else sgd, sam, imbsam and sse-sam
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "METHODS",
        help_heading = "Comparison",
        display_order = 0
    )]
    pub methods: Option<Vec<MethodName>>,
    /// Losses; without a list that of --config or --recipe, else ce
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LOSSES",
        help_heading = "Comparison",
        display_order = 1
    )]
    pub losses: Option<Vec<LossName>>,
    /// How many seeds, from 0 on; or which ones: 5..8, or 0,3,7; without a list that of --config, else 5
    #[arg(long, value_name = "N|LIST", help_heading = "Comparison", display_order = 2)]
    pub seeds: Option<Seeds>,
    /// Give any other option several values; between values with commas stand semicolons. May be given again
    #[arg(long, value_name = "OPTION=V1,V2", help_heading = "Comparison", display_order = 3)]
    pub vary: Vec<Varied>,
    /// Train so many runs at once, each with its share of the threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000),
        help_heading = "Comparison", display_order = 4)]
    pub jobs: u32,
    /// Which arm the others are compared with, as tables call it; where none is named that of the folder's comparison.json, else the first one
    #[arg(long, value_name = "ARM", help_heading = "Comparison", display_order = 5)]
    pub baseline: Option<String>,
    /// How the comparison is printed; as text where nothing is said
    #[arg(long, value_enum, help_heading = "Comparison", display_order = 6)]
    pub format: Option<formats::Format>,
    /// Try runs again that have failed
    #[arg(long, help_heading = "Comparison", display_order = 7)]
    pub retry_failed: bool,
    /// Put runs of different data into one table
    #[arg(long, help_heading = "Comparison", display_order = 8)]
    pub different_data: bool,
    /// The training.
    #[command(flatten)]
    pub train: TrainArgs,
}

/// What a report is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One file for a browser, which needs no network
    #[default]
    Html,
    /// Every chart as a file of its own
    Svg,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Runs, or folders of runs such as a comparison's
    #[arg(required = true, value_name = "RUN", value_parser = paths())]
    pub runs: Vec<PathBuf>,
    /// The file to write, or the folder of charts [report.html in the folder that is named, or here; charts]
    #[arg(long, value_name = "PATH", value_parser = paths())]
    pub out: Option<PathBuf>,
    /// What is written
    #[arg(long, value_enum, default_value = "html")]
    pub format: ReportFormat,
    /// The arm that the others are compared with, by its label [that of the folder's comparison.json, else the first]
    #[arg(long, value_name = "LABEL")]
    pub baseline: Option<String>,
    /// Put runs of different data into one report all the same
    #[arg(long)]
    pub different_data: bool,
}
