//! Head and tail, many and few: where the classes of a training set are divided, and what is worth a warning there.

use sse_sam_core::Method;
use sse_sam_core::longtail::classes::{Shots, is_tail};

use crate::data::Dataset;

/// The smallest and the largest number of training samples of a class that has any.
fn range(counts: &[u32]) -> Option<(u32, u32)> {
    let counts = || counts.iter().copied().filter(|&count| count > 0);
    Some((counts().min()?, counts().max()?))
}

/// The smallest `n` with `n^power >= product`; `product` is one of that many counts.
fn root_up(power: u32, product: u128) -> u32 {
    let (mut low, mut high) = (0, u32::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if u128::from(middle).pow(power) < product { low = middle + 1 } else { high = middle }
    }
    low
}

/// The bound of the tail that leaves neither group empty where two classes differ: the number of samples halfway from
/// the smallest class to the largest by ratios, `sqrt(smallest * largest)`, rounded up.
///
/// With equal counts no class is below it.
pub fn halfway(counts: &[u32]) -> u32 {
    range(counts).map_or(0, |(least, most)| root_up(2, u128::from(least) * u128::from(most)))
}

/// The bound of the tail: the data set's usual one, unless it leaves head or tail without a class and another does not, or
/// leaves no head; then [`halfway`].
pub fn eta(counts: &[u32], usual: u32) -> u32 {
    match range(counts) {
        Some((least, most)) if most < usual || (least >= usual && least < most) => halfway(counts),
        _ => usual,
    }
}

/// The bounds of many and few shots: the usual ones, unless they leave one of the two without a class though classes differ;
/// then those a third and two thirds of the way from the smallest class to the largest by ratios,
/// `cbrt(smallest^2 * largest)` rounded up for few, `cbrt(smallest * largest^2)` rounded down for many.
pub fn shots(counts: &[u32], usual: Shots) -> Shots {
    let Some((least, most)) = range(counts).filter(|(least, most)| least < most) else { return usual };
    if most > usual.many && least < usual.few {
        return usual;
    }
    let (a, b) = (u128::from(least), u128::from(most));
    // Rounded down: one less than the smallest number whose cube is above the product.
    Shots { many: root_up(3, a * b * b + 1).saturating_sub(1), few: root_up(3, a * a * b) }
}

/// What is odd about the classes of a data set with so many training samples each; `cut` has the imbalance it was cut to, and
/// its counts before.
pub fn warnings(
    dataset: &Dataset,
    counts: &[u32],
    cut: Option<(f64, &[u32])>,
    method: &Method,
    eta: u32,
) -> Vec<String> {
    let (tested, names) = (dataset.test.counts(dataset.classes), &dataset.class_names[..]);
    let warnings = [
        empty_classes("training", counts, names, "what is never seen is never predicted"),
        empty_classes("test", &tested, names, "balanced accuracy is that of the others"),
        cut.and_then(|(imbalance, _)| inverse(imbalance)),
        cut.and_then(|(_, before)| smaller(before, counts)),
        groups(method, eta, counts),
    ];
    warnings.into_iter().flatten().collect()
}

/// What to say about classes without a sample.
pub fn empty_classes(split: &str, counts: &[u32], names: &[String], so: &str) -> Option<String> {
    const NAMED: usize = 10;
    let empty = (0_usize..).zip(counts).filter(|&(_, &count)| count == 0);
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let empty: Vec<String> = empty.map(|(class, _)| name(class)).collect();
    let named = empty.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match empty.len() {
        0 => None,
        1 => Some(format!("class {named} has no {split} sample: {so}")),
        count if count <= NAMED => Some(format!("classes {named} have no {split} sample: {so}")),
        count => Some(format!("{count} classes ({named}, ...) have no {split} sample: {so}")),
    }
}

/// A factor that is written the other way round.
fn inverse(imbalance: f64) -> Option<String> {
    let inverse = 1.0 / imbalance;
    (imbalance < 1.0)
        .then(|| format!("--imbalance {imbalance} means the same as {inverse}: largest class over smallest"))
}

/// A cut of data that have a long tail of their own.
fn smaller(before: &[u32], after: &[u32]) -> Option<String> {
    let (least, most) = range(before)?;
    let (cut_least, cut_most) = range(after)?;
    // Balanced sets are cut too whose classes differ a little, as the digits' do.
    (most >= least.saturating_mul(2)).then(|| {
        format!(
            "the training set has a long tail already, {most} to {least} samples a class: --imbalance cuts that to \
             {cut_most} to {cut_least}; without it the data are used as they are"
        )
    })
}

/// A group of the method that no sample belongs to, what then happens, and a value that helps.
fn groups(method: &Method, eta: u32, counts: &[u32]) -> Option<String> {
    if !method.has_tail() {
        return None;
    }
    let (least, most) = range(counts)?;
    let tail = counts.iter().filter(|&&count| is_tail(count, eta)).count();
    let head = counts.len() - tail;
    if least < eta && most >= eta {
        return None;
    }
    let then = becomes(method, most >= eta);
    if least == most {
        let which = if most >= eta { "tail" } else { "head" };
        let that = if counts.contains(&0) { "that has any " } else { "" };
        return Some(format!(
            "every class {that}has {most} training samples, so that there is no {which} at eta {eta}: {then}"
        ));
    }
    let better = halfway(counts);
    let below = counts.iter().filter(|&&count| is_tail(count, better)).count();
    Some(format!(
        "eta {eta} leaves {head} head and {tail} tail classes; one group is empty: {then}; --eta {better} leaves {} and {below}",
        counts.len() - below
    ))
}

/// What a method is when all classes are head, or all tail.
fn becomes(method: &Method, all_head: bool) -> &'static str {
    match (method, all_head) {
        (Method::SseSam { .. }, true) => "sse-sam is sam with --head-rho in its first stage, sgd after it",
        (Method::SseSam { .. }, false) => "sse-sam is sam with --tail-rho",
        (Method::ImbSam { .. }, true) => "imbsam is sgd",
        (Method::ImbSam { .. }, false) => "imbsam is sam",
        (Method::Sgd | Method::Sam { .. } | Method::FocalSam { .. }, _) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of every kind: one class and many, equal and not, with empty classes, and the largest there are.
    fn every_kind() -> Vec<Vec<u32>> {
        let mut kinds = vec![
            vec![],
            vec![0, 0],
            vec![7],
            vec![1, 2],
            vec![2, 1, 0],
            vec![30, 6],
            vec![1, u32::MAX],
            vec![u32::MAX - 1, u32::MAX],
            vec![5, 5, 5, 5, 100],
            vec![100, 100, 100, 99],
            vec![300; 4],
        ];
        kinds.extend((1..60).flat_map(|least| (least..60).map(move |most| vec![most, least])));
        kinds
    }

    fn groups_of(counts: &[u32], eta: u32) -> (bool, bool) {
        let group = |tail| counts.iter().any(|&count| count > 0 && is_tail(count, eta) == tail);
        (group(false), group(true))
    }

    #[test]
    fn head_and_tail_are_never_empty_where_two_classes_differ() {
        for counts in every_kind() {
            let differ = range(&counts).is_some_and(|(least, most)| least < most);
            for usual in [0, 1, 60, 100, 400, u32::MAX] {
                let eta = eta(&counts, usual);
                let (head, tail) = groups_of(&counts, eta);
                assert_eq!((head && tail, head), (differ, range(&counts).is_some()), "{counts:?}: {eta}");
            }
        }
    }

    #[test]
    fn many_and_few_are_never_empty_where_two_classes_differ() {
        for counts in every_kind() {
            let Some((least, most)) = range(&counts).filter(|(least, most)| least < most) else { continue };
            for usual in [Shots { many: 100, few: 20 }, Shots { many: 1000, few: 200 }] {
                let Shots { many, few } = shots(&counts, usual);
                assert!(most > many && least < few && few <= many.saturating_add(1), "{counts:?}: {many} {few}");
            }
        }
    }

    #[test]
    fn a_usual_value_that_divides_the_classes_is_kept() {
        let usual = Shots { many: 1000, few: 200 };
        let fashion = [6000, 3596, 2155, 1291, 774, 464, 278, 166, 100, 60];
        assert_eq!((eta(&fashion, 400), shots(&fashion, usual)), (400, usual));
        // Equal counts: nothing divides them, and all are head.
        assert_eq!((eta(&[6000; 10], 400), shots(&[6000; 10], usual)), (400, usual));
        assert_eq!((eta(&[300; 10], 400), shots(&[300; 10], usual)), (300, usual));
    }

    #[test]
    fn what_is_derived_is_near_what_papers_use() {
        let usual = Shots { many: u32::MAX, few: 0 };
        // CIFAR-10 and CIFAR-100 at imbalance 100, digits at 50: 400, 1000, 200; 100, 100, 20; 60, 100, 30.
        for (most, least, expected) in [(5000, 50, [500, 1077, 233]), (500, 5, [50, 107, 24]), (376, 7, [52, 99, 27])] {
            let Shots { many, few } = shots(&[most, least], usual);
            assert_eq!([halfway(&[most, least]), many, few], expected);
        }
    }

    #[test]
    fn roots_are_exact() {
        for n in [0_u32, 1, 2, 3, 10, 99, 65_535, 65_536, u32::MAX] {
            for power in [2, 3] {
                let product = u128::from(n).pow(power);
                assert_eq!(root_up(power, product), n);
                assert_eq!(root_up(power, product + 1), n.saturating_add(1), "{n}");
            }
        }
    }
}
