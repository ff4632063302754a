//! Spectra of Hessians that runs have measured: how each arm's smallest eigenvalue moves, and its last densities.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use crate::compare::Comparison;
use crate::compare::table::Table;
use crate::error::Error;
use crate::page::charts::switches;
use crate::page::html::rows;
use crate::report::chart::{Axis, Chart, Line as Drawn};
use crate::report::statistics::mean;
use crate::spectrum::picture;
use crate::spectrum::report::Measured;
use crate::spectrum::store::{Line, parse};

/// What is shown.
pub const ABOUT: &str = "Eigenvalues of the Hessian of each group's loss, of the runs that were trained with --spectrum-every or \
                         --spectrum-at: means over the seeds that have them, densities of each arm's first seed. A smallest \
                         eigenvalue near 0 alone is no flat minimum: the miss (mean 1 - p of the label), the gradient and how far the \
                         loss falls along that eigenvector (u) belong to it.";

/// The spectra of a comparison's runs: for each arm those of each run that has any.
#[derive(Debug)]
pub struct Spectra {
    arms: Vec<Vec<Vec<Line>>>,
}

impl Spectra {
    /// Reads `spectrum.jsonl` of every run that has one.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] when one cannot be read.
    pub fn read(comparison: &Comparison) -> Result<Self, Error> {
        let mut arms = Vec::new();
        for arm in 0..comparison.arms().len() {
            let mut runs = Vec::new();
            for run in comparison.runs_of(arm) {
                let path = run.path.join("spectrum.jsonl");
                let content = match fs::read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    other => other.map_err(|source| Error::io(&path, source))?,
                };
                // A part of a line at the end is still being written, or was when the run was killed.
                runs.push(parse(&path, &content, true)?.0);
            }
            runs.retain(|lines| !lines.is_empty());
            arms.push(runs);
        }
        Ok(Self { arms })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.arms.iter().all(Vec::is_empty)
    }

    /// The groups, as they come.
    fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for line in self.arms.iter().flatten().flatten() {
            if !groups.contains(&line.measured.group.as_str()) {
                groups.push(&line.measured.group);
            }
        }
        groups
    }

    /// An arm's spectra of a group by epoch.
    fn of(&self, arm: usize, group: &str) -> BTreeMap<u32, Vec<&Measured>> {
        let mut found: BTreeMap<u32, Vec<&Measured>> = BTreeMap::new();
        for line in self.arms[arm].iter().flatten().filter(|line| line.measured.group == group) {
            found.entry(line.key.epoch.unwrap_or(0)).or_default().push(&line.measured);
        }
        found
    }

    /// For each group the smallest eigenvalue over the epochs, and the last densities.
    pub fn charts(&self, comparison: &Comparison) -> Vec<(String, Chart)> {
        let of = |group: &&str| [self.course(comparison, group), self.densities(comparison, group)];
        let names = |group: &&str| [format!("lambda-min-{group}"), format!("density-{group}")];
        let groups = self.groups();
        let all = groups.iter().flat_map(|group| names(group).into_iter().zip(of(group)));
        all.filter_map(|(name, chart)| Some((name, chart?))).collect()
    }

    fn course(&self, comparison: &Comparison, group: &str) -> Option<Chart> {
        let line = |arm: usize| {
            let (mut points, mut band) = (Vec::new(), Vec::new());
            for (epoch, measured) in self.of(arm, group) {
                let (x, values) = (f64::from(epoch), measured.iter().map(|one| one.lambda_min.value));
                points.push([x, mean(&values.clone().collect::<Vec<f64>>()).unwrap_or(f64::NAN)]);
                band.push([x, values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max)]);
            }
            let band = if self.arms[arm].len() > 1 { band } else { Vec::new() };
            Drawn { name: comparison.arms()[arm].label.clone(), points, dots: true, band, colour: Some(arm) }
        };
        let lines: Vec<Drawn> = (0..self.arms.len()).map(line).filter(|line| !line.points.is_empty()).collect();
        let lows = lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point[1]).chain(line.band.iter().map(|band| band[1])));
        let (low, last) = (
            lows.fold(0.0, f64::min),
            lines.iter().flat_map(|line| &line.points).map(|point| point[0]).fold(0.0, f64::max),
        );
        (low < 0.0).then(|| Chart {
            title: format!("Smallest eigenvalue of {group}"),
            note: String::new(),
            x: Axis { label: "epoch".into(), ends: [0.0, last], whole: true, ..Axis::default() },
            y: Axis { label: "lambda_min".into(), ends: [1.05 * low, 0.0], ..Axis::default() },
            lines,
            marks: switches(comparison),
        })
    }

    fn densities(&self, comparison: &Comparison, group: &str) -> Option<Chart> {
        let last = |arm: usize| {
            let lines = self.arms[arm].first()?.iter().filter(|line| line.measured.group == group);
            let line = lines.max_by_key(|line| line.key.epoch)?;
            Some((comparison.arms()[arm].label.clone(), line.measured.density()))
        };
        let nodes: Vec<_> = (0..self.arms.len()).filter_map(last).collect();
        let nodes: Vec<_> = nodes.iter().map(|(label, nodes)| (label.clone(), &nodes[..])).collect();
        picture::density(&format!("Density of the spectrum of {group}, last epoch"), &nodes)
    }

    /// The means of the last epoch that is there, arm by arm.
    pub fn table(&self, comparison: &Comparison) -> String {
        let head = [
            "group",
            "arm",
            "epoch",
            "seeds",
            "loss",
            "miss",
            "|g|",
            "lambda_max",
            "lambda_min",
            "drop along u",
            "drop along -g",
        ];
        let mut all = Vec::new();
        for group in self.groups() {
            for (arm, known) in comparison.arms().iter().enumerate() {
                let Some((epoch, measured)) = self.of(arm, group).into_iter().next_back() else { continue };
                let number = |of: fn(&Measured) -> f64| {
                    let values: Vec<f64> = measured.iter().map(|one| of(one)).collect();
                    mean(&values).map_or_else(String::new, |mean| format!("{mean:.3e}"))
                };
                let first = [group.to_owned(), known.label.clone(), epoch.to_string(), measured.len().to_string()];
                let numbers = [
                    number(|one| one.loss),
                    number(|one| one.miss),
                    number(|one| one.gradient_norm),
                    number(|one| one.lambda_max.value),
                    number(|one| one.lambda_min.value),
                    number(|one| one.drop.fall),
                    number(|one| one.drop_gradient.fall),
                ];
                all.push(first.into_iter().chain(numbers).collect());
            }
        }
        rows(&Table { words: 2, head: head.map(String::from).into(), rows: all })
    }
}
