//! Arms of runs as numbers: what each has measured over its seeds, and by how much it differs from the baseline.

use std::path::PathBuf;

use crate::compare::group::{self, Arm, Groups, group};
use crate::compare::plan::listed;
use crate::compare::read::{self, ChosenOn, Measure, Run, Selection};
use crate::error::Error;
use crate::recipe::file;
use crate::report::Observer;
use crate::report::statistics::Paired;
use crate::run::state::State;
use crate::shown::runs;

/// Runs that stand in one table.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// All runs, finished or not.
    pub runs: Vec<Run>,
    /// Their arms, and what all share.
    pub groups: Groups,
    /// Number of the arm that the others are compared with.
    pub baseline: usize,
    /// What some run has measured, in the order of tables.
    pub measures: Vec<Measure>,
    /// By how much the other arms differ from the baseline.
    pub differences: Vec<Difference>,
}

/// By how much an arm differs from the baseline, over the seeds that both have finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Number of the arm.
    pub arm: usize,
    /// At which epoch.
    pub selection: Selection,
    /// In what.
    pub measure: Measure,
    /// Common seeds.
    pub seeds: Vec<u64>,
    /// The arm's number minus the baseline's, by seed.
    pub values: Vec<f64>,
    /// Their mean, and how well it is known.
    pub paired: Paired,
}

impl Comparison {
    /// Which epochs are reported.
    pub const SELECTIONS: [Selection; 2] = [Selection::Last, Selection::Chosen];

    /// Groups runs and compares them with the arm of this label, else with the first.
    ///
    /// # Errors
    /// [`Error::Usage`] as [`group()`], for no runs, and for a label that no arm has.
    pub fn new(runs: Vec<Run>, differs: Option<&[String]>, baseline: Option<&str>) -> Result<Self, Error> {
        if runs.is_empty() {
            return Err(Error::Usage("there are no runs to compare".into()));
        }
        let groups = group(&runs, differs)?;
        let labels: Vec<&str> = groups.arms.iter().map(|arm| arm.label.as_str()).collect();
        let baseline = baseline.map_or(Ok(0), |label| find(&labels, label))?;
        let measured =
            |measure: &Measure| runs.iter().flat_map(|run| &run.lines).any(|l| measure.of(&l.accuracy).is_some());
        let measures = Measure::ALL.into_iter().filter(measured).collect();
        let mut comparison = Self { runs, groups, baseline, measures, differences: Vec::new() };
        comparison.differences = comparison.differences();
        Ok(comparison)
    }

    /// Compares the runs that these paths stand for, as [`new`](Self::new) does. Where no baseline is named, it is that of the
    /// comparison that was written there.
    ///
    /// # Errors
    /// As [`read::all`] and [`new`](Self::new).
    pub fn read(
        paths: &[PathBuf],
        differs: Option<&[String]>,
        baseline: Option<&str>,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let mut runs = read::all(paths, observer)?;
        group::sort(&mut runs);
        let mut comparison = Self::new(runs, differs, baseline)?;
        let place = |label: String| comparison.arms().iter().position(|arm| arm.label == label);
        if let Some(kept) = read::baselines(paths).find_map(place).filter(|_| baseline.is_none()) {
            comparison.baseline = kept;
            comparison.differences = comparison.differences();
        }
        Ok(comparison)
    }

    /// What the data of all runs are called: the last part of their place.
    pub fn data(&self) -> Vec<String> {
        let mut names: Vec<String> = self.runs.iter().filter_map(|run| group::data_of(&run.settings)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The arms.
    pub fn arms(&self) -> &[Arm] {
        &self.groups.arms
    }

    /// The runs of an arm, by seed.
    pub fn runs_of(&self, arm: usize) -> impl Iterator<Item = &Run> {
        self.groups.arms[arm].runs.iter().map(|&number| &self.runs[number])
    }

    /// What an arm's finished runs have measured on the test set, by seed.
    pub fn values(&self, arm: usize, selection: Selection, measure: Measure) -> Vec<(u64, f64)> {
        let value = |run: &Run| Some((run.seed, measure.of(&run.line(selection)?.accuracy)?));
        self.runs_of(arm).filter(|run| run.is_finished()).filter_map(value).collect()
    }

    /// How many of an arm's runs are finished.
    pub fn finished(&self, arm: usize) -> usize {
        self.runs_of(arm).filter(|run| run.is_finished()).count()
    }

    /// What an arm's epochs were chosen on: a set of their own where all its finished runs have one, or, where none is
    /// finished, all its runs.
    pub fn chosen_on(&self, arm: usize) -> ChosenOn {
        let counts = |run: &&Run| run.is_finished() || self.finished(arm) == 0;
        let is_apart = self.runs_of(arm).filter(counts).all(|run| run.chosen_on() == ChosenOn::Validation);
        if is_apart { ChosenOn::Validation } else { ChosenOn::Test }
    }

    /// How an epoch is called in an arm's row.
    pub fn epoch_title(&self, arm: usize, selection: Selection) -> &'static str {
        match selection {
            Selection::Last => "last",
            Selection::Chosen => self.chosen_on(arm).title(),
        }
    }

    fn differences(&self) -> Vec<Difference> {
        let mut found = Vec::new();
        for arm in (0..self.arms().len()).filter(|&arm| arm != self.baseline) {
            for selection in Self::SELECTIONS {
                for &measure in &self.measures {
                    found.push(self.difference(arm, selection, measure));
                }
            }
        }
        found
    }

    fn difference(&self, arm: usize, selection: Selection, measure: Measure) -> Difference {
        let theirs = self.values(self.baseline, selection, measure);
        let pair = |(seed, our): (u64, f64)| {
            let their = theirs.iter().find(|(other, _)| *other == seed)?.1;
            Some((seed, our - their))
        };
        let pairs = self.values(arm, selection, measure).into_iter().filter_map(pair);
        let (seeds, values): (Vec<u64>, Vec<f64>) = pairs.unzip();
        let paired = Paired::new(&values);
        Difference { arm, selection, measure, seeds, values, paired }
    }

    /// What can be told from chance of balanced accuracy, under a heading for each kind of epoch. Epochs that were chosen on
    /// the test set are left out: their numbers are too good.
    pub fn sentences(&self) -> Vec<(String, Vec<String>)> {
        let is_honest = |found: &&Difference| {
            found.measure == Measure::Balanced
                && (found.selection == Selection::Last
                    || [found.arm, self.baseline].iter().all(|&arm| self.chosen_on(arm) == ChosenOn::Validation))
        };
        let of = |selection| -> Vec<String> {
            let told = self.differences.iter().filter(is_honest).filter(|found| found.selection == selection);
            told.map(|found| self.sentence(found)).collect()
        };
        let last = ("Balanced accuracy after the last epoch:".to_owned(), of(Selection::Last));
        let chosen =
            ("Balanced accuracy of the epoch that was chosen on validation:".to_owned(), of(Selection::Chosen));
        let early = ("Runs that ended before the second stage of their method began:".to_owned(), self.early());
        let mut parts: Vec<_> =
            [early, last, chosen].into_iter().filter(|(_, sentences)| !sentences.is_empty()).collect();
        let intervals =
            self.differences.iter().filter(is_honest).filter(|found| found.paired.has_spread() == Some(true)).count();
        if intervals > 1 {
            let text = format!(
                "These are {intervals} intervals of 95 %: of 20 such intervals one misses the true difference by chance alone."
            );
            parts.push((text, Vec::new()));
        }
        parts
    }

    /// A sentence for each arm with finished runs that never came to a stage of their method.
    fn early(&self) -> Vec<String> {
        let sentence = |(number, arm): (usize, &Arm)| {
            let is_early = |run: &&Run| run.is_finished() && run.has_missed_a_stage();
            let seeds: Vec<String> = self.runs_of(number).filter(is_early).map(|run| run.seed.to_string()).collect();
            let word = if seeds.len() == 1 { "seed" } else { "seeds" };
            let of = format!("{}: {} of {}", arm.label, seeds.len(), runs(self.finished(number)));
            (!seeds.is_empty()).then(|| format!("{of}, {word} {}", listed(&seeds)))
        };
        self.arms().iter().enumerate().filter_map(sentence).collect()
    }

    fn sentence(&self, found: &Difference) -> String {
        let (arm, baseline) = (&self.arms()[found.arm].label, &self.arms()[self.baseline].label);
        let Paired { pairs, mean, interval, .. } = found.paired;
        let Some(mean) = mean else {
            return format!(
                "{arm} and {baseline}: there is no seed that both have finished, so nothing can be compared."
            );
        };
        let (by, side) = (mean.abs(), if mean < 0.0 { "below" } else { "above" });
        let Some([low, high]) = interval else {
            return format!(
                "{arm} is {by:.2} points {side} {baseline} with one seed, which says nothing about chance: more seeds would."
            );
        };
        if found.paired.has_spread() == Some(false) {
            return if found.paired.is_zero() {
                format!("{arm} and {baseline} are equal in all {pairs} seeds.")
            } else {
                format!(
                    "{arm} is {by:.2} points {side} {baseline} in each of {pairs} seeds: equal differences have no spread to judge by."
                )
            };
        }
        let range = format!("95 % interval {low:+.2} to {high:+.2}, {pairs} seeds");
        if found.paired.is_told_from_chance() == Some(true) {
            return format!("{arm} is {by:.2} points {side} {baseline} ({range}): seldom by chance alone.");
        }
        format!("{arm} and {baseline} cannot be told apart: {mean:+.2} points ({range}) may well be chance.")
    }

    /// Runs that are in no mean, and why.
    pub fn left_out(&self) -> impl Iterator<Item = LeftOut<'_>> {
        let arms = self.groups.arms.iter().enumerate();
        let runs = arms.flat_map(|(arm, _)| self.runs_of(arm).map(move |run| (arm, run)));
        runs.filter(|(_, run)| !run.is_finished())
            .map(|(arm, run)| LeftOut { label: &self.groups.arms[arm].label, run })
    }
}

/// A run that is in no mean.
#[derive(Clone, Copy, Debug)]
pub struct LeftOut<'a> {
    /// Its arm.
    pub label: &'a str,
    /// The run.
    pub run: &'a Run,
}

impl LeftOut<'_> {
    /// Why.
    pub fn reason(&self) -> String {
        let (done, all) = (self.run.lines.len(), self.run.epochs);
        match &self.run.state {
            State::Failed(reason) => format!("failed after {done} of {all} epochs: {reason}"),
            State::Running => format!("in work: {done} of {all} epochs"),
            State::Finished => self.run.gap().unwrap_or_default(),
            _ => format!("unfinished: {done} of {all} epochs"),
        }
    }
}

fn find(labels: &[&str], wanted: &str) -> Result<usize, Error> {
    labels.iter().position(|label| *label == wanted).ok_or_else(|| {
        let nearest = file::nearest(wanted, labels.iter().copied());
        Error::Usage(format!("--baseline: no arm is called {wanted:?}; the nearest name is {nearest:?}"))
    })
}
