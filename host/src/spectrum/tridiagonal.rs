//! The eigenproblem of a symmetric tridiagonal matrix, in `f64`.

/// Rotations that one eigenvalue may take; two or three are usual.
const MOST_SWEEPS: usize = 60;

/// A symmetric tridiagonal matrix: what Lanczos makes of an operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tridiagonal {
    /// `[m]`: the diagonal, Lanczos's alphas.
    pub diagonal: Vec<f64>,
    /// `[m - 1]`: beside it, Lanczos's betas.
    pub beside: Vec<f64>,
}

/// An eigenvalue, with two components of its eigenvector, which has length 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The eigenvalue.
    pub value: f64,
    /// The eigenvector's first component: its square is the weight of the node in Gauss's quadrature.
    pub first: f64,
    /// Its last component: beta times it is the residual of the Ritz pair.
    pub last: f64,
}

impl Tridiagonal {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.diagonal.len()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.diagonal.is_empty()
    }

    /// All eigenvalues in ascending order, by implicit QL with Wilkinson's shift. None when it does not converge, as with
    /// numbers that are not finite.
    ///
    /// # Source
    /// Bowdler, Martin, Reinsch and Wilkinson 1968, `imtql2`, of whose eigenvectors two rows are kept.
    pub fn pairs(&self) -> Option<Vec<Pair>> {
        let mut rows = vec![self.unit(0), self.unit(self.len().saturating_sub(1))];
        let values = self.rotate(&mut rows)?;
        let pair = |at: usize| Pair { value: values[at], first: rows[0][at], last: rows[1][at] };
        let mut pairs: Vec<Pair> = (0..self.len()).map(pair).collect();
        pairs.sort_by(|a, b| a.value.total_cmp(&b.value));
        Some(pairs)
    }

    /// The eigenvector of the smallest eigenvalue, of length 1. None where there is none.
    pub fn lowest_vector(&self) -> Option<Vec<f64>> {
        let mut rows: Vec<Vec<f64>> = (0..self.len()).map(|row| self.unit(row)).collect();
        let values = self.rotate(&mut rows)?;
        let lowest = (0..self.len()).min_by(|&a, &b| values[a].total_cmp(&values[b]))?;
        Some(rows.iter().map(|row| row[lowest]).collect())
    }

    fn unit(&self, at: usize) -> Vec<f64> {
        (0..self.len()).map(|index| if index == at { 1.0 } else { 0.0 }).collect()
    }

    /// The eigenvalues in no order; every rotation is applied to `rows` too, so that rows of the unit matrix become rows
    /// of the matrix of eigenvectors.
    fn rotate(&self, rows: &mut [Vec<f64>]) -> Option<Vec<f64>> {
        let (size, mut values) = (self.len(), self.diagonal.clone());
        let mut beside = self.beside.clone();
        beside.resize(size, 0.0);
        for low in 0..size {
            for sweep in 0.. {
                let high = (low..size).find(|&at| is_split(&values, &beside, at))?;
                if high == low {
                    break;
                }
                if sweep == MOST_SWEEPS {
                    return None;
                }
                sweep_up(&mut values, &mut beside, rows, (low, high));
            }
        }
        values.iter().all(|value| value.is_finite()).then_some(values)
    }
}

/// Whether nothing couples row `at` to the next one.
fn is_split(values: &[f64], beside: &[f64], at: usize) -> bool {
    let Some(next) = values.get(at + 1) else { return true };
    let size = values[at].abs() + next.abs();
    beside[at].abs() <= f64::EPSILON * size
}

/// One implicit QL step on the rows from `low` to `high`, which nothing couples to those after.
fn sweep_up(values: &mut [f64], beside: &mut [f64], rows: &mut [Vec<f64>], (low, high): (usize, usize)) {
    let ratio = (values[low + 1] - values[low]) / (2.0 * beside[low]);
    let root = ratio.hypot(1.0);
    let mut bulge = values[high] - values[low] + beside[low] / (ratio + root.copysign(ratio));
    let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
    for at in (low..high).rev() {
        let (f, b) = (sine * beside[at], cosine * beside[at]);
        let length = f.hypot(bulge);
        beside[at + 1] = length;
        if length == 0.0 {
            // Nothing is left of the bulge: the matrix has split here.
            values[at + 1] -= shift;
            beside[high] = 0.0;
            return;
        }
        (sine, cosine) = (f / length, bulge / length);
        let difference = values[at + 1] - shift;
        let turned = (values[at] - difference) * sine + 2.0 * cosine * b;
        shift = sine * turned;
        values[at + 1] = difference + shift;
        bulge = cosine * turned - b;
        for row in rows.iter_mut() {
            let (left, right) = (row[at], row[at + 1]);
            (row[at], row[at + 1]) = (cosine * left - sine * right, sine * left + cosine * right);
        }
    }
    values[low] -= shift;
    beside[low] = bulge;
    beside[high] = 0.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(matrix: &Tridiagonal) -> Vec<f64> {
        matrix.pairs().unwrap().iter().map(|pair| pair.value).collect()
    }

    fn is_near(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= 1e-13 * expected.abs().max(1.0)
    }

    /// The second difference, whose eigenvalues and eigenvectors are known in closed form.
    fn second_difference(size: usize) -> Tridiagonal {
        Tridiagonal { diagonal: vec![2.0; size], beside: vec![-1.0; size - 1] }
    }

    #[test]
    fn the_second_difference_has_its_known_eigenvalues_and_components() {
        for size in [1, 2, 3, 7, 80, 200] {
            let pairs = second_difference(size).pairs().unwrap();
            for (number, pair) in (1..).zip(&pairs) {
                let angle = f64::from(number) * std::f64::consts::PI / (size + 1) as f64;
                assert!(is_near(pair.value, 2.0 - 2.0 * angle.cos()), "{size}: {number}: {}", pair.value);
                let expected = (2.0 / (size + 1) as f64) * angle.sin().powi(2);
                assert!(is_near(pair.first * pair.first, expected), "{size}: {number}: {}", pair.first);
                assert!(is_near(pair.last * pair.last, expected), "{size}: {number}: {}", pair.last);
            }
        }
    }

    #[test]
    fn the_lowest_vector_solves_its_equation() {
        let matrix = Tridiagonal { diagonal: vec![1.0, -3.0, 0.25, 5.0, -2.0], beside: vec![0.5, -2.0, 1e-3, 4.0] };
        let (vector, lowest) = (matrix.lowest_vector().unwrap(), matrix.pairs().unwrap()[0]);
        assert!(is_near(vector.iter().map(|value| value * value).sum(), 1.0));
        assert!(is_near(vector[0].abs(), lowest.first.abs()) && is_near(vector[4].abs(), lowest.last.abs()));
        for row in 0..5 {
            let mut sum = matrix.diagonal[row] * vector[row];
            sum += if row > 0 { matrix.beside[row - 1] * vector[row - 1] } else { 0.0 };
            sum += if row < 4 { matrix.beside[row] * vector[row + 1] } else { 0.0 };
            assert!(is_near(sum, lowest.value * vector[row]), "{row}");
        }
    }

    #[test]
    fn weights_sum_to_one_and_give_the_first_diagonal_entry() {
        let matrix = Tridiagonal { diagonal: vec![0.5, -1.0, 3.0, 0.0], beside: vec![1.0, 0.1, 2.0] };
        let pairs = matrix.pairs().unwrap();
        let moment = |power: i32| pairs.iter().map(|pair| pair.first.powi(2) * pair.value.powi(power)).sum::<f64>();
        assert!(is_near(moment(0), 1.0) && is_near(moment(1), 0.5), "{} {}", moment(0), moment(1));
        assert!(is_near(moment(2), 0.25 + 1.0), "{}", moment(2));
    }

    #[test]
    fn a_matrix_that_is_split_is_solved_in_its_parts() {
        let matrix = Tridiagonal { diagonal: vec![3.0, 1.0, 0.0, 0.0], beside: vec![0.0, 0.0, 2.0] };
        assert_eq!(
            values(&matrix).iter().map(|value| (value * 1e9).round() / 1e9).collect::<Vec<_>>(),
            [-2.0, 1.0, 2.0, 3.0]
        );
        let zero = Tridiagonal { diagonal: vec![0.0; 3], beside: vec![0.0; 2] };
        assert_eq!(values(&zero), [0.0; 3]);
        assert_eq!(Tridiagonal::default().pairs(), Some(vec![]));
        assert_eq!(Tridiagonal::default().lowest_vector(), None);
    }

    #[test]
    fn numbers_that_are_not_finite_have_no_eigenvalues() {
        for bad in [f64::NAN, f64::INFINITY] {
            let matrix = Tridiagonal { diagonal: vec![1.0, bad, 2.0], beside: vec![1.0, 1.0] };
            assert_eq!(matrix.pairs(), None, "{bad}");
            let matrix = Tridiagonal { diagonal: vec![1.0, 0.0, 2.0], beside: vec![bad, 1.0] };
            assert_eq!(matrix.pairs(), None, "{bad}");
        }
    }
}
