//! Everything that a comparison knows. Times stand under `cost`; the rest is the same for the same runs.

use serde_json::{Map, Value, json};

use crate::compare::comparison::{Comparison, Difference};
use crate::compare::read::{Line, Measure, Run, Selection};
use crate::compare::table::longest;
use crate::report::statistics::{CONFIDENCE, deviation, mean};
use crate::run::origin::PROGRAM;
use crate::run::state::State;

/// One object, indented.
pub fn print(comparison: &Comparison) -> String {
    let arms: Vec<Value> = (0..comparison.arms().len()).map(|arm| self::arm(comparison, arm)).collect();
    let told: Vec<Value> =
        comparison.sentences().into_iter().map(|(about, told)| json!({"about": about, "told": told})).collect();
    let value = json!({
        "program": PROGRAM,
        "data": comparison.data(),
        "baseline": comparison.arms()[comparison.baseline].label,
        "confidence": CONFIDENCE,
        "measures": comparison.measures.iter().map(|measure| measure.key()).collect::<Vec<_>>(),
        "settings": comparison.groups.common,
        "arms": arms,
        "differences": comparison.differences.iter().map(|found| difference(comparison, found)).collect::<Vec<_>>(),
        "sentences": told,
        "runs": runs(comparison, run),
        "cost": { "arms": (0..comparison.arms().len()).map(|arm| arm_cost(comparison, arm)).collect::<Vec<_>>(),
                  "runs": runs(comparison, run_cost) },
    });
    // Numbers, words and maps by words: nothing that JSON has not.
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

/// All runs, arm by arm.
fn runs(comparison: &Comparison, of: fn(&str, &Run) -> Value) -> Vec<Value> {
    let arms = comparison.arms().iter().enumerate();
    arms.flat_map(|(arm, known)| comparison.runs_of(arm).map(|run| of(&known.label, run)).collect::<Vec<_>>()).collect()
}

fn arm(comparison: &Comparison, arm: usize) -> Value {
    let known = &comparison.arms()[arm];
    let measured = |selection| -> Map<String, Value> {
        let one = |&measure: &Measure| {
            let values = comparison.values(arm, selection, measure);
            let numbers: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
            let spread = json!({
                "seeds": values.iter().map(|(seed, _)| *seed).collect::<Vec<_>>(),
                "values": numbers, "mean": mean(&numbers), "deviation": deviation(&numbers),
            });
            (measure.key().to_owned(), spread)
        };
        comparison.measures.iter().map(one).collect()
    };
    json!({
        "label": known.label,
        "settings": known.settings,
        "finished": comparison.finished(arm),
        "last": measured(Selection::Last),
        "chosen_on": comparison.chosen_on(arm),
        "chosen": measured(Selection::Chosen),
    })
}

fn difference(comparison: &Comparison, found: &Difference) -> Value {
    json!({
        "arm": comparison.arms()[found.arm].label,
        "baseline": comparison.arms()[comparison.baseline].label,
        "selection": found.selection,
        "measure": found.measure.key(),
        "seeds": found.seeds,
        "values": found.values,
        "mean": found.paired.mean,
        "deviation": found.paired.deviation,
        "interval": found.paired.interval,
        "is_told_from_chance": found.paired.is_told_from_chance(),
    })
}

fn run(label: &str, run: &Run) -> Value {
    let line = |line: Option<&Line>| {
        let line = line?;
        let all = Measure::ALL.into_iter().map(|measure| (measure.key(), measure.of(&line.accuracy)));
        let numbers: Map<String, Value> =
            all.filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect();
        Some(json!({"epoch": line.epoch, "accuracy": numbers, "per_class": line.accuracy.per_class}))
    };
    let failed = if let State::Failed(reason) = &run.state { Some(reason) } else { None };
    json!({
        "run": run.name,
        "arm": label,
        "seed": run.seed,
        "state": run.state.word(),
        "failed": failed,
        "epochs": run.epochs,
        "epochs_done": run.lines.len(),
        "program": run.origin.program,
        "device": run.origin.device,
        "data": run.origin.fingerprint,
        "last": line(run.line(Selection::Last)),
        "chosen_on": run.chosen_on(),
        "chosen": line(run.line(Selection::Chosen)),
    })
}

fn run_cost(label: &str, run: &Run) -> Value {
    json!({"run": run.name, "arm": label, "seconds": run.cost.total(), "went_on_in_mid_epoch": run.cost.is_partial})
}

fn arm_cost(comparison: &Comparison, arm: usize) -> Value {
    let finished = comparison.runs_of(arm).filter(|run| run.is_finished());
    let seconds: Vec<f64> = finished.map(|run| run.cost.total()).collect();
    let stage = |([forward, backward], epochs): &([usize; 2], u32)| json!({"forward": forward, "backward": backward, "epochs": epochs});
    let passes: Vec<Value> =
        longest(comparison, arm).map(|run| run.cost.passes.iter().map(stage).collect()).unwrap_or_default();
    json!({"arm": comparison.arms()[arm].label, "passes_a_step": passes, "seconds": mean(&seconds)})
}
