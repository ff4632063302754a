//! A line a run and epoch, in full precision (RFC 4180).

use crate::compare::comparison::Comparison;
use crate::compare::group;
use crate::compare::read::{Measure, Run, Selection};

/// The first columns.
const FIRST: [&str; 7] = ["run", "arm", "seed", "state", "selection", "chosen_on", "epoch"];

/// What the column of a setting is called: `setting:many` where a measure has its name.
fn column(setting: &str) -> String {
    let mut taken = FIRST.into_iter().chain(Measure::ALL.map(Measure::key));
    if taken.any(|name| name == setting) { format!("setting:{setting}") } else { setting.to_owned() }
}

/// Every run. Cells are empty where a run has no number: one that is not finished has none.
pub fn print(comparison: &Comparison) -> String {
    let mut settings: Vec<&String> = comparison.arms().iter().flat_map(|arm| arm.settings.keys()).collect();
    settings.sort();
    settings.dedup();
    let measures = comparison.measures.iter().map(|measure| measure.key());
    let head = FIRST.into_iter().chain(measures).map(String::from).chain(settings.iter().map(|key| column(key)));
    let mut lines = vec![line(head)];
    for (arm, known) in comparison.arms().iter().enumerate() {
        for run in comparison.runs_of(arm) {
            for selection in Comparison::SELECTIONS {
                let cells = cells(comparison, &known.label, run, selection);
                let values = settings.iter().map(|key| known.settings.get(*key).map_or_else(String::new, group::text));
                lines.push(line(cells.into_iter().chain(values)));
            }
        }
    }
    lines.concat()
}

fn cells(comparison: &Comparison, label: &str, run: &Run, selection: Selection) -> Vec<String> {
    let found = run.line(selection).filter(|_| run.is_finished());
    let chosen_on = match selection {
        Selection::Last => "",
        Selection::Chosen => run.chosen_on().key(),
    };
    let epoch = found.map_or_else(String::new, |line| line.epoch.to_string());
    let seed = run.seed.to_string();
    let first = [&run.name, label, &seed, run.state.word(), selection.key(), chosen_on, &epoch];
    let value = |measure: &Measure| {
        found.and_then(|line| measure.of(&line.accuracy)).map_or_else(String::new, |value| value.to_string())
    };
    first.into_iter().map(String::from).chain(comparison.measures.iter().map(value)).collect()
}

/// Cells with what is between them, quoted where they have to be.
fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted = |cell: String| {
        let is_plain = !cell.contains([',', '"', '\n', '\r']);
        if is_plain { cell } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
    };
    format!("{}\n", cells.map(quoted).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_marks_are_quoted() {
        let cells = ["a", "b,c", "say \"x\"", ""].map(String::from);
        assert_eq!(line(cells.into_iter()), "a,\"b,c\",\"say \"\"x\"\"\",\n");
    }
}
