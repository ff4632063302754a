//! What was measured, as a line of JSON for programs and as a table for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::spectrum::directions::Drop;
use crate::spectrum::escape::{Escape, Escaped, Settings};
use crate::spectrum::quadrature::{Extreme, Mean, NegativeMass, Node};

/// What was measured of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// `all`, `head`, `tail`, or `classN`.
    pub group: String,
    /// Samples that were looked at.
    pub samples: usize,
    /// Samples that the group has.
    pub of: usize,
    /// Parameters: the Hessian has as many rows.
    pub parameters: usize,
    /// Mean loss.
    pub loss: f64,
    /// Mean of `1 - p` of the label.
    pub miss: f64,
    /// Length of the loss's gradient.
    pub gradient_norm: f64,
    /// Largest eigenvalue.
    pub lambda_max: Extreme,
    /// Smallest eigenvalue.
    pub lambda_min: Extreme,
    /// Shares of eigenvalues that are clearly negative.
    pub negative_mass: Vec<NegativeMass>,
    /// Trace, by the start vectors.
    pub trace: Mean,
    /// Trace without chance, of a small group.
    pub exact_trace: Option<f64>,
    /// `|g.u| / |g|`: how much of the gradient lies along the smallest eigenvalue's vector.
    pub gradient_along_lambda_min: f64,
    /// How far the loss really falls along that vector or against it.
    pub drop: Drop,
    /// How far it falls against the gradient; the length counts that way.
    pub drop_gradient: Drop,
    /// Products of the Lanczos runs.
    pub products: usize,
    /// How many steps methods take away from here, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escape: Option<Escape>,
    /// How right products are.
    pub checks: Checks,
    /// The density's nodes, a list for each start vector.
    pub nodes: Vec<Vec<f64>>,
    /// Their weights; those of a list sum to 1.
    pub weights: Vec<Vec<f64>>,
}

/// How right products with a Hessian are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checks {
    /// `|u'Hv - v'Hu| / (|Hu| |v|)`.
    pub symmetry: f64,
    /// `|H v - H_head v - H_tail v| / |H v|`, the parts weighed as in the whole; of all samples only.
    pub linearity: Option<f64>,
}

impl Measured {
    /// The density of all start vectors together.
    pub fn density(&self) -> Vec<Node> {
        let share = 1.0 / self.nodes.len().max(1) as f64;
        let pairs = self.nodes.iter().flatten().zip(self.weights.iter().flatten());
        pairs.map(|(&value, &weight)| Node { value, weight: weight * share }).collect()
    }
}

/// The tables of some groups.
pub fn tables(groups: &[Measured]) -> String {
    let mut text = format!(
        "{:<9}{:>8}{:>11}{:>11}{:>11}{:>24}{:>25}\n",
        "group", "samples", "loss", "miss", "|g|", "lambda_max", "lambda_min"
    );
    for group in groups {
        let cut = if group.samples < group.of { "+" } else { " " };
        let Measured { group: name, samples, loss, miss, gradient_norm, lambda_max, lambda_min, .. } = group;
        let _ = writeln!(
            text,
            "{name:<9}{samples:>7}{cut}{loss:>11.3e}{miss:>11.3e}{gradient_norm:>11.3e}{:>24}{:>25}",
            within(*lambda_max),
            within(*lambda_min)
        );
    }
    let _ = write!(
        text,
        "\n{:<9}{:>18}{:>18}{:>20}{:>10}{:>19}{:>19}\n",
        "group", "mass < -.01 max", "mass < -.001 max", "trace", "|g.u|/|g|", "drop along u", "drop along -g"
    );
    for group in groups {
        let mass = |at: usize| group.negative_mass.get(at).map_or_else(String::new, |mass| spread(mass.share, 4));
        let trace = group.exact_trace.map_or_else(|| spread(group.trace, 3), |trace| format!("{trace:.4} exact"));
        let _ = writeln!(
            text,
            "{:<9}{:>18}{:>18}{trace:>20}{:>10.4}{:>19}{:>19}",
            group.group,
            mass(0),
            mass(1),
            group.gradient_along_lambda_min,
            fallen(group.drop),
            fallen(group.drop_gradient)
        );
    }
    text.push('\n');
    if let Some(Escape { settings, .. }) = groups.iter().find_map(|group| group.escape.as_ref()) {
        escapes(&mut text, groups, settings);
    }
    text.push_str(&notes(groups));
    text
}

/// How many steps each method takes away.
fn escapes(text: &mut String, groups: &[Measured], settings: &Settings) {
    let Settings { length, learning_rate, batch, limit } = settings;
    let _ = writeln!(
        text,
        "escape: steps w <- w - {learning_rate} G on batches of {batch} until the loss has fallen by the drop along u, at \
         most {limit}\n\n{:<9}{:<9}{:>16}{:>16}{:>14}{:>10}",
        "group",
        "method",
        format!("from w + {length}u"),
        format!("from w - {length}u"),
        "|G.u|/|g.u|",
        "|G|/|g|"
    );
    for (group, escape) in groups.iter().filter_map(|group| Some((group, group.escape.as_ref()?))) {
        for Escaped { method, steps, amplification, growth } in &escape.methods {
            let [up, down] = steps.map(|steps| match steps {
                Some(steps) => steps.to_string(),
                None if escape.fall > 0.0 => format!("> {limit}"),
                None => "no drop".into(),
            });
            let [along, all] =
                [amplification, growth].map(|share| share.map_or_else(|| "-".into(), |share| format!("{share:.3}")));
            let _ = writeln!(text, "{:<9}{method:<9}{up:>16}{down:>16}{along:>14}{all:>10}", group.group);
        }
    }
    text.push('\n');
}

/// What the tables leave out.
fn notes(groups: &[Measured]) -> String {
    let mut text = String::new();
    for group in groups.iter().filter(|group| group.samples < group.of) {
        let Measured { group, samples, of, .. } = group;
        let _ = writeln!(text, "+ {group}: {samples} of its {of} samples, each class weighed as in the whole");
    }
    let worst = groups.iter().map(|group| group.checks.symmetry).fold(0.0, f64::max);
    let _ = write!(text, "checks: symmetry |u'Hv - v'Hu| / (|Hu| |v|) at most {worst:.1e}");
    if let Some(linearity) = groups.iter().find_map(|group| group.checks.linearity) {
        let _ = write!(text, ", |Hv - Hv of head - Hv of tail| / |Hv| {linearity:.1e}");
    }
    text
}

/// A number with what it may be off.
fn within(extreme: Extreme) -> String {
    format!("{:.5e} +-{:.0e}", extreme.value, extreme.bound)
}

/// A mean with its standard error, where there is one.
fn spread(mean: Mean, digits: usize) -> String {
    let error = mean.standard_error.map(|error| format!(" +-{error:.digits$}")).unwrap_or_default();
    format!("{:.digits$}{error}", mean.mean)
}

fn fallen(drop: Drop) -> String {
    if drop.fall > 0.0 { format!("{:.2e} at {:.2}", drop.fall, drop.length) } else { "none".into() }
}
