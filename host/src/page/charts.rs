//! Charts over the epochs: accuracies, and losses of head and tail.

use crate::compare::Comparison;
use crate::compare::read::{Line as Epoch, Run};
use crate::report::chart::{Axis, Chart, HUES, Line};
use crate::report::statistics::mean;

/// What the charts show.
pub const ABOUT: &str = "Lines are means over the seeds that are through, areas reach from the lowest seed to the highest, both as \
                         far as the first of them that has stopped; a run that is not through has a dashed line of its own. A click on a name hides it.";

/// A number of an epoch's line.
type Number = fn(&Epoch) -> Option<f64>;

/// The axis of losses.
const LOSS: &str = "loss";

/// Name, title, axis and number of every chart.
const ALL: [(&str, &str, &str, Number); 8] = [
    ("balanced", "Balanced accuracy on the test set", "%", |line| Some(line.accuracy.balanced)),
    ("many", "Many-shot classes", "%", |line| line.accuracy.many),
    ("medium", "Medium-shot classes", "%", |line| line.accuracy.medium),
    ("few", "Few-shot classes", "%", |line| line.accuracy.few),
    ("validation", "Balanced accuracy on the validation set", "%", |line| Some(line.validation.as_ref()?.balanced)),
    ("loss", "Training loss", LOSS, |line| line.loss),
    ("loss-head", "The head's share of the training loss", LOSS, |line| line.loss_head),
    ("loss-tail", "The tail's share of the training loss", LOSS, |line| line.loss_tail),
];

/// The charts of which some run has numbers.
pub fn over_epochs(comparison: &Comparison) -> Vec<(String, Chart)> {
    ALL.iter()
        .filter_map(|&(name, title, unit, number)| Some((name.into(), chart(comparison, title, unit, number)?)))
        .collect()
}

fn chart(comparison: &Comparison, title: &str, unit: &str, number: Number) -> Option<Chart> {
    let lines: Vec<Line> = (0..comparison.arms().len()).flat_map(|arm| of_arm(comparison, arm, number)).collect();
    let lows = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point[1]).chain(line.band.iter().map(|band| band[1])));
    let highs = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point[1]).chain(line.band.iter().map(|band| band[2])));
    let (low, high) = (lows.fold(f64::INFINITY, f64::min), highs.fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return None;
    }
    let last = lines.iter().filter_map(|line| line.points.last()).map(|point| point[0]).fold(0.0, f64::max);
    // Losses fall by factors, accuracies rise by points.
    let logarithmic = unit == LOSS && low > 0.0;
    let spread = if high > low { high - low } else { high.abs().max(1.0) };
    let room = 0.05 * spread;
    let ends = if logarithmic { [low / 1.1, 1.1 * high] } else { [(low - room).max(0.0), high + room] };
    Some(Chart {
        title: title.into(),
        note: String::new(),
        x: Axis { label: "epoch".into(), ends: [0.0, last], whole: true, ..Axis::default() },
        y: Axis { label: unit.into(), ends, logarithmic, ..Axis::default() },
        lines,
        marks: switches(comparison),
    })
}

/// The mean of an arm's runs that are through, and each of the others.
fn of_arm(comparison: &Comparison, arm: usize, number: Number) -> Vec<Line> {
    let label = &comparison.arms()[arm].label;
    let (through, others): (Vec<&Run>, Vec<&Run>) = comparison.runs_of(arm).partition(|run| run.is_finished());
    let mut lines = Vec::new();
    // Where one has stopped early, the mean of the others would be that of other seeds.
    let epochs = through.iter().map(|run| run.lines.len()).min().unwrap_or(0);
    let (mut points, mut band) = (Vec::new(), Vec::new());
    for epoch in 0..epochs {
        let values: Vec<f64> = through.iter().filter_map(|run| number(run.lines.get(epoch)?)).collect();
        if let Some(mean) = mean(&values) {
            points.push([epoch as f64, mean]);
            let fold = |start: f64, pick: fn(f64, f64) -> f64| values.iter().copied().fold(start, pick);
            band.push([epoch as f64, fold(f64::INFINITY, f64::min), fold(f64::NEG_INFINITY, f64::max)]);
        }
    }
    if !points.is_empty() {
        let band = if through.len() > 1 { band } else { Vec::new() };
        lines.push(Line { name: label.clone(), points, band, colour: Some(arm), ..Line::default() });
    }
    for run in others {
        let of = |line: &Epoch| Some([f64::from(line.epoch), number(line)?]);
        let points: Vec<[f64; 2]> = run.lines.iter().filter_map(of).collect();
        if !points.is_empty() {
            let name = format!("{label}, seed {} (not through)", run.seed);
            lines.push(Line { name, points, colour: Some(arm + 3 * HUES), ..Line::default() });
        }
    }
    lines
}

/// Where arms begin their second stage.
pub fn switches(comparison: &Comparison) -> Vec<(f64, String)> {
    let mut marks: Vec<(f64, String)> = Vec::new();
    for (arm, known) in comparison.arms().iter().enumerate() {
        let first = |run: &Run| run.lines.iter().find(|line| line.stage == 2).map(|line| f64::from(line.epoch));
        let Some(epoch) = comparison.runs_of(arm).find_map(first) else { continue };
        match marks.iter_mut().find(|(at, _)| *at == epoch) {
            Some((_, text)) => *text += &format!(", {}", known.label),
            None => marks.push((epoch, format!("stage 2 of {}", known.label))),
        }
    }
    marks
}
