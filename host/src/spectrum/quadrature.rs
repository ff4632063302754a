//! What a few Lanczos runs say about a spectrum: extremes with bounds, density, trace, share of negative mass.

use serde::{Deserialize, Serialize};

use crate::spectrum::tridiagonal::{Pair, Tridiagonal};

/// Rounding of a product in `f32`, relative to the largest |eigenvalue|: the part of a bound that a residual does not see.
pub const FLOOR: f64 = 4e-6;

/// The shares of the largest eigenvalue below whose negative mass counts. "Below 0" means nothing: a quarter to a half of
/// a network's eigenvalues are, most of them of the size of rounding.
pub const BELOW: [f64; 2] = [0.01, 0.001];

/// One Lanczos run from one start vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The matrix.
    pub matrix: Tridiagonal,
    /// What couples it to what was not computed: the last beta, 0 after a breakdown.
    pub rest: f64,
}

/// An extreme eigenvalue: the true one lies within `bound` of it.
///
/// The bound is `beta_m |s_m| + 4e-6 * max |lambda|`: the residual of the Ritz pair, which is rigorous in exact arithmetic,
/// and what rounding of the products in `f32` may add.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extreme {
    /// The Ritz value.
    pub value: f64,
    /// How far it may be off.
    pub bound: f64,
}

/// A mean over start vectors, with its standard error where there are two or more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its standard error; None from a single start vector.
    pub standard_error: Option<f64>,
}

impl Mean {
    /// The mean of these; None of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_error = (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt());
        (!values.is_empty()).then_some(Self { mean, standard_error })
    }
}

/// The share of eigenvalues below `-below * lambda_max`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NegativeMass {
    /// The share of the largest eigenvalue.
    pub below: f64,
    /// The share of all eigenvalues.
    #[serde(flatten)]
    pub share: Mean,
}

/// A point of a spectral density.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Where.
    pub value: f64,
    /// The share of eigenvalues that it stands for.
    pub weight: f64,
}

/// A spectrum by Gauss's quadrature.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// The largest eigenvalue.
    pub lambda_max: Extreme,
    /// The smallest eigenvalue.
    pub lambda_min: Extreme,
    /// The number of the run that found the smallest.
    pub lowest: usize,
    /// The density as each run sees it, in ascending order: the weights of a run sum to 1.
    pub nodes: Vec<Vec<Node>>,
    /// Shares of negative mass, one for each of [`BELOW`].
    pub negative_mass: Vec<NegativeMass>,
    /// The trace over the number of parameters: mean of `v'Hv` over the start vectors of length 1.
    pub mean_eigenvalue: Mean,
    /// Products that were computed.
    pub products: usize,
}

impl Spectrum {
    /// What the runs say together. None without any, or when a number is not finite.
    pub fn of(runs: &[Run]) -> Option<Self> {
        let solved: Vec<Vec<Pair>> =
            runs.iter().map(|run| run.matrix.pairs().filter(|pairs| !pairs.is_empty())).collect::<Option<_>>()?;
        let all = || solved.iter().zip(runs).enumerate();
        let ends = |pairs: &[Pair], at: usize| pairs[if at == 0 { 0 } else { pairs.len() - 1 }];
        let size = solved.iter().flatten().map(|pair| pair.value.abs()).fold(0.0, f64::max);
        let extreme =
            |(pair, run): (Pair, &Run)| Extreme { value: pair.value, bound: run.rest * pair.last.abs() + FLOOR * size };
        let least = all().min_by(|a, b| ends(a.1.0, 0).value.total_cmp(&ends(b.1.0, 0).value))?;
        let most = all().max_by(|a, b| ends(a.1.0, 1).value.total_cmp(&ends(b.1.0, 1).value))?;
        let lambda_max = extreme((ends(most.1.0, 1), most.1.1));
        let node = |pair: &Pair| Node { value: pair.value, weight: pair.first * pair.first };
        let mass = |below: f64| {
            let is_below = |pair: &&Pair| pair.value < -below * lambda_max.value;
            let share = |pairs: &Vec<Pair>| pairs.iter().filter(is_below).map(|pair| pair.first.powi(2)).sum();
            Some(NegativeMass { below, share: Mean::of(&solved.iter().map(share).collect::<Vec<_>>())? })
        };
        let quotients: Vec<f64> = runs.iter().map(|run| run.matrix.diagonal[0]).collect();
        Some(Self {
            lambda_max,
            lambda_min: extreme((ends(least.1.0, 0), least.1.1)),
            lowest: least.0,
            nodes: solved.iter().map(|pairs| pairs.iter().map(node).collect()).collect(),
            negative_mass: BELOW.into_iter().map(mass).collect::<Option<_>>()?,
            mean_eigenvalue: Mean::of(&quotients)?,
            products: runs.iter().map(|run| run.matrix.len()).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(diagonal: &[f64], beside: &[f64], rest: f64) -> Run {
        Run { matrix: Tridiagonal { diagonal: diagonal.to_vec(), beside: beside.to_vec() }, rest }
    }

    #[test]
    fn extremes_come_from_the_run_that_goes_furthest_with_its_own_residual() {
        // Eigenvalues -1 and 1 with components of 1/sqrt(2), then 3 alone.
        let spectrum = Spectrum::of(&[run(&[0.0, 0.0], &[1.0], 0.5), run(&[3.0], &[], 0.0)]).unwrap();
        let floor = 4e-6 * 3.0;
        assert!((spectrum.lambda_min.value + 1.0).abs() < 1e-14 && spectrum.lowest == 0);
        assert!((spectrum.lambda_min.bound - (0.5 * 0.5_f64.sqrt() + floor)).abs() < 1e-14);
        assert_eq!(spectrum.lambda_max, Extreme { value: 3.0, bound: floor });
        assert_eq!(spectrum.products, 3);
    }

    #[test]
    fn weights_of_a_run_sum_to_one_and_masses_have_standard_errors() {
        let spectrum = Spectrum::of(&[run(&[0.0, 0.0], &[1.0], 0.5), run(&[3.0], &[], 0.0)]).unwrap();
        for nodes in &spectrum.nodes {
            assert!((nodes.iter().map(|node| node.weight).sum::<f64>() - 1.0).abs() < 1e-14);
        }
        // Half of the first run lies below -0.03, nothing of the second.
        let mass = spectrum.negative_mass[0];
        assert!((mass.below - 0.01).abs() < 1e-15 && (mass.share.mean - 0.25).abs() < 1e-14);
        assert!((mass.share.standard_error.unwrap() - 0.25).abs() < 1e-14);
        assert_eq!(spectrum.mean_eigenvalue, Mean { mean: 1.5, standard_error: Some(1.5) });
    }

    #[test]
    fn one_vector_has_no_standard_error_and_none_has_no_spectrum() {
        let spectrum = Spectrum::of(&[run(&[2.0], &[], 0.1)]).unwrap();
        assert_eq!(spectrum.mean_eigenvalue, Mean { mean: 2.0, standard_error: None });
        assert_eq!(spectrum.negative_mass[1].share, Mean { mean: 0.0, standard_error: None });
        assert_eq!(Spectrum::of(&[]), None);
        assert_eq!(Spectrum::of(&[run(&[], &[], 0.0)]), None);
        assert_eq!(Spectrum::of(&[run(&[f64::NAN], &[], 0.0)]), None);
    }
}
