//! Pictures of spectra: the density of groups, and how the smallest eigenvalue moves over the epochs.

use crate::report::chart::{Axis, Chart, Line};
use crate::spectrum::quadrature::Node;

/// Deviation of the Gauss curve that smooths a density, as a share of the range that is shown.
const WIDTH: f64 = 0.01;

/// Points of a curve.
const POINTS: usize = 600;

/// Decades of density that are shown.
const DECADES: i32 = 6;

/// The density of some groups over the eigenvalue, on a logarithmic scale: every node a Gauss curve of a hundredth of the
/// range. None when there is no node.
pub fn density(title: &str, groups: &[(String, &[Node])]) -> Option<Chart> {
    let all = || groups.iter().flat_map(|(_, nodes)| nodes.iter());
    let (low, high) =
        all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), node| (low.min(node.value), high.max(node.value)));
    let range = if high > low { high - low } else { low.abs().max(1e-30) };
    if !range.is_finite() {
        return None;
    }
    let (width, ends) = (WIDTH * range, [low - 0.03 * range, high + 0.03 * range]);
    let curve = |nodes: &[Node]| -> Vec<[f64; 2]> {
        let at = |point: usize| ends[0] + (ends[1] - ends[0]) * point as f64 / (POINTS - 1) as f64;
        (0..POINTS).map(|point| [at(point), smoothed(nodes, width, at(point))]).collect()
    };
    let lines: Vec<Line> = groups
        .iter()
        .map(|(name, nodes)| Line { name: name.clone(), points: curve(nodes), ..Line::default() })
        .collect();
    let most = lines.iter().flat_map(|line| &line.points).map(|point| point[1]).fold(0.0, f64::max);
    let top = most.log10().ceil() as i32;
    Some(Chart {
        title: title.into(),
        note: format!("Lanczos quadrature, smoothed by a Gauss curve of deviation {width:.2e} (0.01 of the range)"),
        x: Axis { label: "eigenvalue of the Hessian".into(), ends, ..Axis::default() },
        y: Axis {
            label: "density".into(),
            ends: [10_f64.powi(top - DECADES), 10_f64.powi(top)],
            logarithmic: true,
            ..Axis::default()
        },
        lines,
        marks: vec![(0.0, "0".into())].into_iter().filter(|(at, _)| ends[0] < *at && *at < ends[1]).collect(),
    })
}

/// `sum_i weight_i * N(value_i, width)(at)`.
fn smoothed(nodes: &[Node], width: f64, at: f64) -> f64 {
    let scale = 1.0 / (width * std::f64::consts::TAU.sqrt());
    nodes.iter().map(|node| node.weight * scale * (-0.5 * ((at - node.value) / width).powi(2)).exp()).sum()
}

/// The smallest eigenvalue of some groups over the epochs, `[epoch, lambda_min]`; `switch` is the first epoch of the second
/// stage. None when there is no point.
pub fn over_epochs(title: &str, groups: &[(String, Vec<[f64; 2]>)], switch: Option<u32>) -> Option<Chart> {
    let all = || groups.iter().flat_map(|(_, points)| points.iter());
    let ends = |axis: usize, low: f64, high: f64| {
        all().fold([low, high], |[low, high], point| [low.min(point[axis]), high.max(point[axis])])
    };
    let [x, y] = [ends(0, f64::INFINITY, f64::NEG_INFINITY), ends(1, 0.0, 0.0)];
    if !x.iter().chain(&y).all(|end| end.is_finite()) {
        return None;
    }
    let lines = groups.iter().map(|(name, points)| Line {
        name: name.clone(),
        points: points.clone(),
        dots: true,
        ..Line::default()
    });
    Some(Chart {
        title: title.into(),
        note: "smallest eigenvalue of each group's Hessian at the end of an epoch".into(),
        x: Axis { label: "epoch".into(), ends: x, whole: true, ..Axis::default() },
        y: Axis { label: "lambda_min".into(), ends: [1.08 * y[0], y[1].max(0.0)], ..Axis::default() },
        lines: lines.collect(),
        marks: switch.map(|epoch| (f64::from(epoch), format!("stage 2 from epoch {epoch}"))).into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smoothed_density_has_its_weights_as_area() {
        let nodes = [Node { value: -1.0, weight: 0.25 }, Node { value: 2.0, weight: 0.75 }];
        let width = 0.03;
        let area = |low: f64, high: f64| {
            let step = (high - low) / 10_000.0;
            (0..10_000).map(|point| step * smoothed(&nodes, width, low + (f64::from(point) + 0.5) * step)).sum::<f64>()
        };
        assert!((area(-2.0, 3.0) - 1.0).abs() < 1e-9 && (area(-2.0, 0.0) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn the_width_is_stated_and_every_group_is_named() {
        let nodes = [Node { value: -1.0, weight: 0.5 }, Node { value: 3.0, weight: 0.5 }];
        let svg = density("digits", &[("head".into(), &nodes), ("tail".into(), &nodes[..1])]).unwrap().svg();
        for text in ["deviation 4.00e-2 (0.01 of the range)", ">head<", ">tail<", "eigenvalue of the Hessian"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(density("nothing", &[]).is_none());
        assert!(density("one", &[("all".into(), &nodes[..1])]).is_some());
    }

    #[test]
    fn the_stage_switch_is_marked_on_the_epochs() {
        let points = vec![[0.0, -1.0], [9.0, -0.25]];
        let svg = over_epochs("run", &[("tail".into(), points.clone())], Some(6)).unwrap().svg();
        assert!(svg.contains("stage 2 from epoch 6") && svg.matches("<circle").count() == 2);
        assert!(!over_epochs("run", &[("tail".into(), points)], None).unwrap().svg().contains("stage 2"));
        assert!(over_epochs("run", &[], None).is_none());
    }
}
