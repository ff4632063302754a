//! A network's accuracy on each class, or on a few where there are many.

use std::cmp::Reverse;

use sse_sam_core::longtail::classes::is_tail;

use crate::report::confusion::Confusion;
use crate::report::metrics::Accuracy;
use crate::shown::shown;

/// The most classes of which all are listed, with a column each.
pub const LISTED: usize = 40;

/// How many are listed of what there is too much of.
const SOME: usize = 20;

/// What a test set's classes were taken for.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a> {
    /// Which class was taken for which.
    pub confusion: &'a Confusion,
    /// Accuracies of it.
    pub accuracy: &'a Accuracy,
    /// Training samples of each class.
    pub counts: &'a [u32],
    /// Classes with fewer training samples are the tail.
    pub eta: u32,
    /// Names of the classes; empty where they have none.
    pub names: &'a [String],
}

/// The longest name that is shown whole.
const WIDEST: usize = 24;

impl Classes<'_> {
    /// A line for each class, with a column for each.
    pub fn matrix(&self) -> String {
        let class = self.named("class".into(), "name");
        let mut lines = vec![format!("{class}  training  accuracy %   confusion (row: label, column: prediction)")];
        let classes = 0..self.counts.len() as u32;
        for class in classes.clone() {
            let row: String =
                classes.clone().map(|other| format!("{:5}", self.confusion.count(class, other))).collect();
            lines.push(format!("{}  {:>10}   {row}", self.trained(class), self.percent(class)));
        }
        lines.join("\n")
    }

    /// The worst classes, the best ones, and the pairs that are confused most.
    pub fn extremes(&self) -> String {
        let of = |(class, accuracy): (u32, &Option<f64>)| Some((class, (*accuracy)?, self.confusion.total(class)));
        let tested: Vec<(u32, f64, u32)> = (0..).zip(&self.accuracy.per_class).filter_map(of).collect();
        // Of equals, those with more samples say more.
        let ranked = |sign: f64| -> Vec<u32> {
            let mut tested = tested.clone();
            tested.sort_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)).then(b.2.cmp(&a.2)));
            tested.iter().take(SOME).map(|&(class, ..)| class).collect()
        };
        let (worst, best) = (ranked(1.0), ranked(-1.0));
        let untested = self.counts.len() - tested.len();
        let without = if untested > 0 { format!("; {untested} have no test sample") } else { String::new() };
        [
            format!("the {} worst of {} classes{without}", worst.len(), self.counts.len()),
            self.list(&worst),
            format!("\nthe {} best", best.len()),
            self.list(&best),
            self.pairs(),
        ]
        .join("\n")
    }

    fn list(&self, classes: &[u32]) -> String {
        let class = self.named("class".into(), "name");
        let mut lines = vec![format!("{class}  training   test  accuracy %   taken for (times)")];
        for &class in classes {
            let mut mistakes: Vec<_> = self.confusion.of(class).filter(|&(other, _)| other != class).collect();
            mistakes.sort_by_key(|&(_, count)| Reverse(count));
            let others: Vec<String> =
                mistakes.iter().take(3).map(|&(other, count)| format!("{} ({count})", self.name(other))).collect();
            let (total, percent) = (self.confusion.total(class), self.percent(class));
            let line = format!("{} {total:6}  {percent:>10}   {}", self.trained(class), others.join(", "));
            lines.push(line.trim_end().to_owned());
        }
        lines.join("\n")
    }

    fn pairs(&self) -> String {
        let mut mistakes: Vec<_> = self.confusion.mistakes().collect();
        mistakes.sort_by_key(|&(label, _, count)| (Reverse(count), self.confusion.total(label)));
        mistakes.truncate(SOME);
        let mut lines = vec![format!("\nthe {} pairs that are confused most", mistakes.len())];
        let class = self.named("class".into(), "name");
        let width = self.width().max("taken for".len());
        lines.push(format!("{class}  {:width$}  times  of", "taken for"));
        for (label, prediction, count) in mistakes {
            let named = self.named(format!("{label:5}"), &self.name(label));
            let prediction = self.name(prediction);
            let prediction =
                if self.names.is_empty() { format!("{prediction:>width$}") } else { format!("{prediction:width$}") };
            lines.push(format!("{named}  {prediction}  {count:5}  {}", self.confusion.total(label)));
        }
        lines.join("\n")
    }

    /// A class, its training samples, and whether it is of the tail.
    fn trained(&self, class: u32) -> String {
        let count = self.counts.get(class as usize).copied().unwrap_or(0);
        let tail = if is_tail(count, self.eta) { '*' } else { ' ' };
        format!("{} {count:8}{tail}", self.named(format!("{class:5}"), &self.name(class)))
    }

    /// The name of a class, cut where it is long; its number where it has none.
    fn name(&self, class: u32) -> String {
        let Some(name) = self.names.get(class as usize) else { return class.to_string() };
        let name = shown(name);
        if name.chars().count() <= WIDEST {
            return name;
        }
        name.chars().take(WIDEST - 1).chain(['…']).collect()
    }

    /// Characters of a column of names; 0 where there are none.
    fn width(&self) -> usize {
        let lengths = (0..self.names.len() as u32).map(|class| self.name(class).chars().count());
        lengths.max().map_or(0, |longest| longest.max("name".len()))
    }

    /// A class's number, and its name beside it where it has one.
    fn named(&self, number: String, name: &str) -> String {
        match self.width() {
            0 => number,
            width => format!("{number}  {name:width$}"),
        }
    }

    fn percent(&self, class: u32) -> String {
        let percent = self.accuracy.per_class.get(class as usize).copied().flatten();
        percent.map_or_else(|| "-".into(), |percent| format!("{percent:.2}"))
    }
}

#[cfg(test)]
mod tests {
    use sse_sam_core::longtail::classes::Shots;

    use super::*;

    /// Class `c` of `classes` has `c % 7` samples; of those of an even class the first is taken for the class after it.
    fn confusion(classes: u32) -> Confusion {
        let (mut confusion, mut logits) = (Confusion::new(classes as usize), vec![0.0; classes as usize]);
        for (class, number) in (0..classes).flat_map(|class| (0..class % 7).map(move |number| (class, number))) {
            let prediction = if class % 2 == 0 && number == 0 { class + 1 } else { class } as usize;
            logits[prediction] = 1.0;
            confusion.add(class, &logits);
            logits[prediction] = 0.0;
        }
        confusion
    }

    fn told(classes: u32, confusion: &Confusion) -> String {
        let counts: Vec<u32> = (0..classes).map(|class| classes - class).collect();
        let accuracy = confusion.accuracy(&counts, Shots { many: 100, few: 20 });
        Classes { confusion, accuracy: &accuracy, counts: &counts, eta: 20, names: &[] }.extremes()
    }

    #[test]
    fn of_ten_thousand_classes_some_dozens_of_lines_are_told() {
        let text = told(10_000, &confusion(10_000));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3 * (SOME + 2) + 2);
        assert_eq!(lines[0], "the 20 worst of 10000 classes; 1429 have no test sample");
        assert_eq!(lines[1], "class  training   test  accuracy %   taken for (times)");
        // The first class with a single sample that is even, and so is mistaken.
        assert_eq!(lines[2], "    8     9992       1        0.00   9 (1)");
        assert_eq!(lines[24], "class  training   test  accuracy %   taken for (times)");
        // Odd classes are right; among them those with most samples come first.
        assert_eq!(lines[25], "   13     9987       6      100.00");
        assert!(text.lines().all(|line| line.len() < 100));
    }

    #[test]
    fn pairs_come_by_how_often_they_are_confused() {
        let mut confusion = confusion(50);
        for (label, prediction, times) in [(3, 9, 4), (30, 2, 7)] {
            let mut logits = vec![0.0; 50];
            logits[prediction] = 1.0;
            (0..times).for_each(|_| confusion.add(label, &logits));
        }
        let text = told(50, &confusion);
        let (_, pairs) = text.split_once("class  taken for  times  of\n").unwrap();
        let lines: Vec<&str> = pairs.lines().take(3).collect();
        assert_eq!(lines, ["   30          2      7  9", "    3          9      4  7", "    8          9      1  1"]);
    }
}
