//! Classes: accuracy by size, what each arm gains and loses, and what classes are taken for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;

use crate::compare::Comparison;
use crate::compare::table::Table;
use crate::error::Error;
use crate::page::html::{escaped, paragraph, rows};
use crate::report::chart::{Axis, Chart, Line};
use crate::report::evaluation::Evaluation;
use crate::report::statistics::mean;

/// The most classes whose confusion is a square; of more the pairs are listed that are confused most.
const SQUARE: usize = 25;

/// The most classes that are points of their own in a chart; more are put together by size.
const POINTS: usize = 20;

/// The most groups of classes by size, where there are more.
const GROUPS: usize = 12;

/// How many classes are listed that an arm gains or loses most.
const LISTED: usize = 3;

/// What the last weights of each run make of the test set, by the run's place in the comparison.
#[derive(Debug)]
pub struct Evaluated(BTreeMap<usize, Evaluation>);

impl Evaluated {
    /// Reads `evaluation.json` of every run that is through. Runs of earlier versions have none.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] when one cannot be read.
    pub fn read(comparison: &Comparison) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        for (place, run) in comparison.runs.iter().enumerate().filter(|(_, run)| run.is_finished()) {
            let path = run.path.join("evaluation.json");
            match fs::read_to_string(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io(path, source)),
                Ok(text) => {
                    let parsed = serde_json::from_str(&text).map_err(|error| Error::file(&path, error.to_string()))?;
                    found.insert(place, parsed);
                }
            }
        }
        Ok(Self(found))
    }

    /// Whether no run has one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Evaluations of an arm's runs.
    fn of<'a>(&'a self, comparison: &'a Comparison, arm: usize) -> Vec<&'a Evaluation> {
        comparison.arms()[arm].runs.iter().filter_map(|place| self.0.get(place)).collect()
    }

    /// Training samples of each class, where all runs have the same.
    fn sizes(&self) -> Option<Vec<u32>> {
        let sizes =
            |evaluation: &Evaluation| evaluation.classes.iter().map(|class| class.training).collect::<Vec<u32>>();
        let mut all = self.0.values().map(sizes);
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// The mean accuracy of each class over an arm's runs.
    fn accuracies(&self, comparison: &Comparison, arm: usize) -> Vec<Option<f64>> {
        let all = self.of(comparison, arm);
        let classes = all.first().map_or(0, |evaluation| evaluation.classes.len());
        let of = |class: usize| {
            let values: Vec<f64> =
                all.iter().filter_map(|evaluation| evaluation.classes.get(class)?.accuracy).collect();
            mean(&values)
        };
        (0..classes).map(of).collect()
    }

    /// What is to be said about the chart, or why there is none.
    pub fn about(&self, comparison: &Comparison) -> String {
        if self.0.is_empty() {
            return "No run is through that has an evaluation.json, which says how large classes are.".into();
        }
        let Some(sizes) = self.sizes() else {
            return "Classes have other sizes in some runs than in others, so that they do not belong in one chart."
                .into();
        };
        let missing = comparison.runs.iter().filter(|run| run.is_finished()).count() - self.0.len();
        let without = if missing > 0 {
            format!(" {missing} runs have no evaluation.json and are left out.")
        } else {
            String::new()
        };
        let (classes, group) = grouped(&sizes);
        let points = match group {
            1 => "Each point is a class.".into(),
            _ => format!(
                "Each point is the mean of {group} classes of about the same size, of {} in all.",
                classes.len()
            ),
        };
        format!(
            "Accuracy of a class after the last epoch against its training samples, means over seeds. {points}{without}"
        )
    }

    /// Accuracy by class against class size.
    pub fn chart(&self, comparison: &Comparison) -> Option<(String, Chart)> {
        let sizes = self.sizes()?;
        let (order, group) = grouped(&sizes);
        let (smallest, largest) = (f64::from(sizes[*order.first()?]), f64::from(sizes[*order.last()?]));
        let line = |arm: usize| {
            let accuracies = self.accuracies(comparison, arm);
            let point = |classes: &[usize]| {
                let values: Vec<f64> = classes.iter().filter_map(|&class| *accuracies.get(class)?).collect();
                // Classes of one size have one place: that of the mean of their logarithms.
                let at = classes.iter().map(|&class| f64::from(sizes[class]).ln()).sum::<f64>() / classes.len() as f64;
                Some([at.exp(), mean(&values)?])
            };
            let points: Vec<[f64; 2]> = order.chunks(group).filter_map(point).collect();
            Line {
                name: comparison.arms()[arm].label.clone(),
                points,
                dots: true,
                colour: Some(arm),
                ..Line::default()
            }
        };
        let lines: Vec<Line> = (0..comparison.arms().len()).map(line).filter(|line| !line.points.is_empty()).collect();
        let lowest = lines.iter().flat_map(|line| &line.points).map(|point| point[1]).fold(100.0, f64::min);
        let chart = Chart {
            title: "Accuracy by class size".into(),
            note: String::new(),
            x: Axis {
                label: "training samples of the class".into(),
                ends: [0.9 * smallest, 1.1 * largest],
                logarithmic: true,
                ..Axis::default()
            },
            y: Axis { label: "%".into(), ends: [(lowest - 5.0).max(0.0), 102.0], ..Axis::default() },
            lines,
            marks: Vec::new(),
        };
        Some(("classes".into(), chart))
    }

    /// The classes that other arms gain and lose most against the baseline.
    pub fn gains(&self, comparison: &Comparison) -> String {
        let Some(sizes) = self.sizes().filter(|_| comparison.arms().len() > 1) else { return String::new() };
        let base = self.accuracies(comparison, comparison.baseline);
        let mut all = Vec::new();
        for (arm, known) in comparison.arms().iter().enumerate().filter(|(arm, _)| *arm != comparison.baseline) {
            let own = self.accuracies(comparison, arm);
            let mut found: Vec<(usize, f64, f64)> =
                (0..sizes.len()).filter_map(|class| Some((class, (*base.get(class)?)?, (*own.get(class)?)?))).collect();
            found.sort_by(|a, b| (b.2 - b.1).total_cmp(&(a.2 - a.1)));
            let gained = found.iter().filter(|(_, before, after)| after > before).take(LISTED);
            let lost: Vec<_> = found.iter().rev().filter(|(_, before, after)| after < before).take(LISTED).collect();
            let listed = gained.chain(lost.into_iter().rev());
            all.extend(listed.map(|&(class, before, after)| {
                vec![
                    known.label.clone(),
                    class.to_string(),
                    sizes[class].to_string(),
                    format!("{before:.2}"),
                    format!("{after:.2}"),
                    format!("{:+.2}", after - before),
                ]
            }));
        }
        if all.is_empty() {
            return String::new();
        }
        let baseline = &comparison.arms()[comparison.baseline].label;
        let head = ["arm", "class", "training samples", baseline, "the arm", "difference"].map(String::from).into();
        format!("<h3>Classes that gain and lose most against {}</h3>\n", escaped(baseline))
            + &rows(&Table { words: 1, head, rows: all })
    }

    /// What classes are taken for, arm by arm.
    pub fn confusion(&self, comparison: &Comparison) -> String {
        let mut body = paragraph(
            "soft",
            "After the last epoch, in percent of a class's test samples, all seeds together. Rows are labels, columns are what they are taken for.",
        );
        let mut squares = String::new();
        for (arm, known) in comparison.arms().iter().enumerate() {
            let all = self.of(comparison, arm);
            let Some(first) = all.first() else { continue };
            let mut times: BTreeMap<(u32, u32), u32> = BTreeMap::new();
            for [label, prediction, count] in all.iter().flat_map(|evaluation| &evaluation.confusion) {
                *times.entry((*label, *prediction)).or_default() += count;
            }
            let body_of =
                if first.classes.len() > SQUARE { pairs(&times) } else { square(first.classes.len() as u32, &times) };
            let _ = write!(squares, "<div><h3>{}</h3>\n{body_of}</div>\n", escaped(&known.label));
        }
        let _ = write!(body, "<div class=\"squares\">\n{squares}</div>\n");
        body
    }
}

/// The classes that have training samples, the smallest first, and how many of them make a point of a chart.
fn grouped(sizes: &[u32]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..sizes.len()).filter(|&class| sizes[class] > 0).collect();
    order.sort_by_key(|&class| sizes[class]);
    let group = if order.len() > POINTS { order.len().div_ceil(GROUPS) } else { 1 };
    (order, group)
}

fn total(times: &BTreeMap<(u32, u32), u32>, label: u32) -> u32 {
    times.range((label, 0)..=(label, u32::MAX)).map(|(_, count)| count).sum()
}

/// All pairs of few classes.
fn square(classes: u32, times: &BTreeMap<(u32, u32), u32>) -> String {
    let head: String = (0..classes).map(|class| format!("<th>{class}</th>")).collect();
    let mut html = format!("<div class=\"wide\"><table class=\"heat\">\n<tr><th></th>{head}</tr>\n");
    for label in 0..classes {
        let all = f64::from(total(times, label).max(1));
        let cell = |prediction: u32| {
            let share = 100.0 * f64::from(times.get(&(label, prediction)).copied().unwrap_or(0)) / all;
            let (strong, text) = (
                if share > 55.0 { " class=\"strong\"" } else { "" },
                if share > 0.0 { format!("{share:.1}") } else { String::new() },
            );
            format!("<td{strong} style=\"--v:{share:.1}\">{text}</td>")
        };
        let _ = writeln!(html, "<tr><th>{label}</th>{}</tr>", (0..classes).map(cell).collect::<String>());
    }
    html + "</table></div>\n"
}

/// The pairs that are confused most, of many classes.
fn pairs(times: &BTreeMap<(u32, u32), u32>) -> String {
    let mut mistakes: Vec<(u32, u32, f64)> = times
        .iter()
        .filter(|((label, prediction), _)| label != prediction)
        .map(|(&(label, prediction), &count)| {
            (label, prediction, 100.0 * f64::from(count) / f64::from(total(times, label)))
        })
        .collect();
    mistakes.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
    mistakes.truncate(20);
    let row = |&(label, prediction, share): &(u32, u32, f64)| {
        vec![label.to_string(), prediction.to_string(), format!("{share:.1}")]
    };
    let head = ["class", "taken for", "% of its samples"].map(String::from).into();
    format!(
        "<details><summary>the {} pairs that are confused most</summary>\n{}</details>\n",
        mistakes.len(),
        rows(&Table { words: 0, head, rows: mistakes.iter().map(row).collect() })
    )
}
