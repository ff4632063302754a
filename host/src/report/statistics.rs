//! What can be said of numbers that were measured with several seeds.

use serde::Serialize;

/// The share of intervals that hold the true mean, where differences are spread normally.
pub const CONFIDENCE: f64 = 0.95;

/// Percentages that are less apart than this differ by their rounding alone.
const ROUNDING: f64 = 1e-9;

/// The mean of `x_1 .. x_n`: `sum x_i / n`; None for no numbers.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation, `sqrt(sum (x_i - mean)^2 / (n - 1))`; None for fewer than two numbers.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// A mean of differences between pairs, and how well it is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// Pairs.
    pub pairs: usize,
    /// The mean difference; None for no pairs.
    pub mean: Option<f64>,
    /// The sample standard deviation of the differences; None for fewer than two pairs.
    pub deviation: Option<f64>,
    /// The interval of [`CONFIDENCE`] around the mean; None for fewer than two pairs.
    pub interval: Option<[f64; 2]>,
}

impl Paired {
    /// `mean +- t * s / sqrt(n)` of `n` differences with the sample standard deviation `s`, where `t` is the quantile
    /// `(1 + CONFIDENCE) / 2` of Student's distribution with `n - 1` degrees of freedom.
    ///
    /// # Source
    /// "Student" (Gosset) 1908, *The probable error of a mean*.
    pub fn new(differences: &[f64]) -> Self {
        let (pairs, mean, deviation) = (differences.len(), mean(differences), deviation(differences));
        let interval = mean.zip(deviation).map(|(mean, deviation)| {
            let quantile = student_quantile((1.0 + CONFIDENCE) / 2.0, (pairs - 1) as f64);
            let half = quantile * deviation / (pairs as f64).sqrt();
            [mean - half, mean + half]
        });
        Self { pairs, mean, deviation, interval }
    }

    /// Whether the differences differ themselves: by more than their rounding. None for fewer than two pairs.
    pub fn has_spread(&self) -> Option<bool> {
        self.deviation.map(|deviation| deviation > ROUNDING * self.mean.unwrap_or_default().abs().max(1.0))
    }

    /// Whether a mean of 0 lies outside the interval: a difference that chance alone seldom makes. None without an interval,
    /// and for equal differences other than 0, whose spread is not known.
    pub fn is_told_from_chance(&self) -> Option<bool> {
        let [low, high] = self.interval?;
        let is_apart = low > 0.0 || high < 0.0;
        if self.has_spread() == Some(true) { Some(is_apart) } else { self.is_zero().then_some(false) }
    }

    /// Whether the mean is 0 but for its rounding.
    pub fn is_zero(&self) -> bool {
        self.mean.is_some_and(|mean| mean.abs() <= ROUNDING)
    }
}

/// The number below which a share `p` (above 0.5 and below 1) of Student's distribution with `nu` degrees of freedom lies.
///
/// With `x = nu / (nu + t^2)`, the share above `t` is `I_x(nu / 2, 1 / 2) / 2`, which grows with `x`: halved until no number
/// lies between two bounds.
pub fn student_quantile(p: f64, nu: f64) -> f64 {
    let above = 2.0 * (1.0 - p);
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    loop {
        let middle = low.midpoint(high);
        if middle <= low || middle >= high {
            return (nu * (1.0 - middle) / middle).sqrt();
        }
        if incomplete_beta(middle, nu / 2.0, 0.5) < above { low = middle } else { high = middle }
    }
}

/// The regularised incomplete beta function `I_x(a, b)`, for `x` in `0..=1` and positive `a` and `b`.
///
/// # Source
/// The continued fraction of Abramowitz and Stegun 26.5.8, evaluated from its front (Lentz 1976); `I_x(a, b) = 1 -
/// I_{1-x}(b, a)` where it would converge slowly.
pub fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let scale = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p();
    if x < (a + 1.0) / (a + b + 2.0) {
        scale.exp() * fraction(x, a, b) / a
    } else {
        1.0 - scale.exp() * fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction `1 / (1 + d_1 / (1 + d_2 / (1 + ..)))` of the incomplete beta function.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    // A denominator of 0 is replaced by so little.
    const TINY: f64 = 1e-300;
    // Some sqrt(max(a, b)) terms are needed.
    const TERMS: u32 = 10_000;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut value = d;
    for number in 1..TERMS {
        let m = f64::from(number);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            value *= c * d;
        }
        if (c * d - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64, relative: f64) {
        assert!((found - expected).abs() <= relative * expected.abs(), "{found} is not {expected}");
    }

    #[test]
    fn quantiles_are_those_of_scipy() {
        // scipy 1.17.1: from scipy.stats import t; [float(t.ppf(p, nu)) for p in (0.975, 0.995, 0.6)]
        let recorded = [
            (1.0, [12.706204736174694, 63.656741162871526, 0.32491969623290634]),
            (2.0, [4.302652729749462, 9.924843200918287, 0.2886751345948128]),
            (3.0, [3.1824463052837078, 5.840909309733355, 0.2766706623326898]),
            (4.0, [2.7764451051977934, 4.604094871349992, 0.2707222947075976]),
            (5.0, [2.5705818356363146, 4.032142983555228, 0.2671808657041451]),
            (9.0, [2.262157162798205, 3.249835541592126, 0.260955336473911]),
            (19.0, [2.0930240544083087, 2.8609346064649794, 0.25692281979615467]),
            (100.0, [1.9839715185235518, 2.6258905214380173, 0.25402218245822766]),
            (1000.0, [1.9623390808264083, 2.580754698065951, 0.25341451583943876]),
        ];
        for (nu, quantiles) in recorded {
            for (p, expected) in [0.975, 0.995, 0.6].into_iter().zip(quantiles) {
                close(student_quantile(p, nu), expected, 1e-11);
            }
        }
    }

    #[test]
    fn one_degree_of_freedom_is_cauchys_distribution() {
        for p in [0.51, 0.75, 0.9, 0.99, 0.9999] {
            close(student_quantile(p, 1.0), (std::f64::consts::PI * (p - 0.5)).tan(), 1e-10);
        }
    }

    #[test]
    fn the_incomplete_beta_function_has_its_closed_forms() {
        for x in [0.0, 1e-9, 0.2, 0.5, 0.77, 1.0] {
            close(incomplete_beta(x, 1.0, 1.0), x, 1e-13);
            close(incomplete_beta(x, 3.0, 1.0), x.powi(3), 1e-13);
            close(incomplete_beta(x, 2.0, 2.0), x * x * (3.0 - 2.0 * x), 1e-13);
            close(incomplete_beta(x, 2.5, 7.0) + incomplete_beta(1.0 - x, 7.0, 2.5), 1.0, 1e-13);
        }
    }

    #[test]
    fn a_mean_and_its_deviation_are_those_counted_by_hand() {
        // Squares 4 + 0 + 0 + 1 + 1 + 9 + 1 = 16 over 6.
        let values = [3.0, 5.0, 5.0, 6.0, 4.0, 8.0, 4.0];
        close(mean(&values).unwrap(), 5.0, 1e-15);
        close(deviation(&values).unwrap(), (16.0_f64 / 6.0).sqrt(), 1e-15);
        assert_eq!((mean(&[]), deviation(&[]), deviation(&[1.0])), (None, None, None));
        assert_eq!(mean(&[1.5]), Some(1.5));
    }

    #[test]
    fn an_interval_of_pairs_is_that_of_scipy() {
        // scipy 1.17.1: from scipy.stats import ttest_rel
        // ttest_rel([87.3, 88.9, 86.1, 89.0, 88.4], [85.0, 86.2, 86.3, 84.9, 86.6]).confidence_interval(0.95)
        let (ours, theirs) = ([87.3, 88.9, 86.1, 89.0, 88.4], [85.0, 86.2, 86.3, 84.9, 86.6]);
        let differences: Vec<f64> = ours.iter().zip(theirs).map(|(our, their)| our - their).collect();
        let paired = Paired::new(&differences);
        close(paired.mean.unwrap(), 2.14, 1e-12);
        let [low, high] = paired.interval.unwrap();
        close(low, 0.19926685747999584, 1e-10);
        close(high, 4.080733142520005, 1e-10);
        assert_eq!(paired.is_told_from_chance(), Some(true));
    }

    #[test]
    fn fewer_than_two_pairs_have_no_interval() {
        let none = Paired { pairs: 0, mean: None, deviation: None, interval: None };
        assert_eq!(Paired::new(&[]), none);
        assert_eq!(Paired::new(&[2.0]), Paired { pairs: 1, mean: Some(2.0), ..none.clone() });
        assert_eq!(none.is_told_from_chance(), None);
        assert_eq!(Paired::new(&[0.0, 0.0]).is_told_from_chance(), Some(false));
        // Equal but for their rounding.
        let alike = Paired::new(&[88.6 - 87.3, 91.4 - 90.1, 87.0 - 85.7]);
        assert_eq!((alike.has_spread(), alike.is_told_from_chance()), (Some(false), None));
        assert_eq!((Paired::new(&[1.0]).has_spread(), Paired::new(&[1.0, 1.1]).has_spread()), (None, Some(true)));
        assert_eq!(Paired::new(&[-1.0, 1.0]).is_told_from_chance(), Some(false));
        assert_eq!(Paired::new(&[-1.0, -1.1, -0.9]).is_told_from_chance(), Some(true));
    }
}
