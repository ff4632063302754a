//! The tables of a comparison, as cells of text: every format prints the same ones.

use crate::compare::comparison::{Comparison, Difference};
use crate::compare::plan::listed;
use crate::compare::read::{Measure, Run, Selection};
use crate::report::statistics::{deviation, mean};

/// Rows under a head; the first columns are words, the others numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Columns that hold words.
    pub words: usize,
    /// Names of the columns.
    pub head: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

/// What stands where there is nothing.
pub const NOTHING: &str = "-";

/// What is compared in pairs.
const PAIRED: [Measure; 2] = [Measure::Balanced, Measure::Few];

/// A row an arm and epoch: mean and standard deviation over seeds.
pub fn means(comparison: &Comparison) -> Table {
    let titles = comparison.measures.iter().map(|measure| measure.title());
    let head = ["arm", "epoch", "seeds"].into_iter().chain(titles).map(String::from).collect();
    let mut rows = Vec::new();
    for (arm, known) in comparison.arms().iter().enumerate() {
        for selection in Comparison::SELECTIONS {
            let values = |measure| comparison.values(arm, selection, measure).into_iter().map(|(_, value)| value);
            let finished = comparison.finished(arm);
            let cells = comparison.measures.iter().map(|&measure| {
                let values: Vec<f64> = values(measure).collect();
                format!("{}{}", spread(&values), fewer(values.len(), finished))
            });
            let epoch = comparison.epoch_title(arm, selection).to_owned();
            let first = [known.label.clone(), epoch, finished.to_string()];
            rows.push(first.into_iter().chain(cells).collect());
        }
    }
    Table { words: 2, head, rows }
}

/// How many seeds a number is from, where these are not all of its row: older versions measured less.
fn fewer(values: usize, finished: usize) -> String {
    match values {
        0 => String::new(),
        _ if values == finished => String::new(),
        1 => " (1 seed)".into(),
        _ => format!(" ({values} seeds)"),
    }
}

/// Mean and standard deviation: the latter for two numbers at least.
fn spread(values: &[f64]) -> String {
    match (mean(values), deviation(values)) {
        (Some(mean), Some(deviation)) => format!("{mean:.2} ± {deviation:.2}"),
        (Some(mean), None) => format!("{mean:.2}"),
        _ => NOTHING.into(),
    }
}

/// A row an arm and epoch: the mean difference to the baseline with its interval. None for a single arm.
pub fn differences(comparison: &Comparison) -> Option<Table> {
    let measures: Vec<Measure> = PAIRED.into_iter().filter(|measure| comparison.measures.contains(measure)).collect();
    let head = ["arm", "epoch", "seeds"].into_iter().chain(measures.iter().map(|measure| measure.title()));
    let of = |arm: usize, selection: Selection, measure: Measure| {
        let is_it = |found: &&Difference| (found.arm, found.selection, found.measure) == (arm, selection, measure);
        comparison.differences.iter().find(is_it)
    };
    let mut rows = Vec::new();
    for (arm, known) in comparison.arms().iter().enumerate().filter(|(arm, _)| *arm != comparison.baseline) {
        for selection in Comparison::SELECTIONS {
            let found: Vec<_> = measures.iter().filter_map(|&measure| of(arm, selection, measure)).collect();
            let seeds = found.first().map_or(0, |found| found.seeds.len());
            let cell = |found: &&Difference| format!("{}{}", interval(found), fewer(found.seeds.len(), seeds));
            let first = [known.label.clone(), comparison.epoch_title(arm, selection).to_owned(), seeds.to_string()];
            rows.push(first.into_iter().chain(found.iter().map(cell)).collect());
        }
    }
    (!rows.is_empty()).then(|| Table { words: 2, head: head.map(String::from).collect(), rows })
}

fn interval(found: &Difference) -> String {
    match (found.paired.mean, found.paired.interval) {
        (Some(mean), Some([low, high])) => format!("{mean:+.2} ({low:+.2} to {high:+.2})"),
        (Some(mean), None) => format!("{mean:+.2}"),
        _ => NOTHING.into(),
    }
}

/// A row an arm: seconds of training, and passes in a step.
pub fn costs(comparison: &Comparison) -> Table {
    let head = ["arm", "forward + backward passes a step", "seconds a run"].map(String::from).into();
    let row = |(arm, known): (usize, &crate::compare::group::Arm)| {
        let finished = || comparison.runs_of(arm).filter(|run| run.is_finished());
        let seconds: Vec<f64> = finished().map(|run| run.cost.total()).collect();
        let cell = mean(&seconds).map_or_else(|| NOTHING.into(), |mean| format!("{mean:.1}"));
        let mark = if finished().any(|run| run.cost.is_partial) { " *" } else { "" };
        let passes = longest(comparison, arm).map(passes);
        vec![known.label.clone(), passes.unwrap_or_else(|| NOTHING.into()), format!("{cell}{mark}")]
    };
    Table { words: 2, head, rows: comparison.arms().iter().enumerate().map(row).collect() }
}

/// The finished run of an arm that has the most epochs.
pub(crate) fn longest(comparison: &Comparison, arm: usize) -> Option<&Run> {
    comparison.runs_of(arm).filter(|run| run.is_finished()).max_by_key(|run| run.lines.len())
}

/// `3 + 4, then 2 + 3`.
fn passes(run: &Run) -> String {
    let stage = |([forward, backward], _): &([usize; 2], u32)| format!("{forward} + {backward}");
    run.cost.passes.iter().map(stage).collect::<Vec<_>>().join(", then ")
}

/// A row for each run that is in no mean. None where there is none.
pub fn left_out(comparison: &Comparison) -> Option<Table> {
    let row = |left: crate::compare::comparison::LeftOut<'_>| {
        vec![left.run.name.clone(), left.label.to_owned(), left.run.seed.to_string(), left.reason()]
    };
    let rows: Vec<_> = comparison.left_out().map(row).collect();
    let head = ["run", "arm", "seed", "why it is in no mean"].map(String::from).into();
    (!rows.is_empty()).then_some(Table { words: 4, head, rows })
}

/// What is said of the seconds, where some run went on in mid-epoch.
pub fn partial(comparison: &Comparison) -> Option<&'static str> {
    let is_partial = comparison.runs.iter().any(|run| run.is_finished() && run.cost.is_partial);
    is_partial.then_some("* some run went on in mid-epoch: what it had trained of that epoch before is not counted")
}

/// What is above the first table.
pub fn caption(comparison: &Comparison) -> String {
    let of = match &comparison.data()[..] {
        [] => String::new(),
        names => format!(" of {}", listed(names)),
    };
    format!("Accuracy on the test set{of} in %, mean ± standard deviation over seeds")
        + if comparison.measures.contains(&Measure::Ece) { "; ECE: calibration error in %, less is better" } else { "" }
}

/// What is above the second one.
pub fn paired_caption(comparison: &Comparison) -> String {
    let label = &comparison.arms()[comparison.baseline].label;
    format!("Difference to {label} with the same seed in points, mean and its 95 % interval")
}
