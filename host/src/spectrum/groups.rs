//! The groups of samples whose losses have a spectrum: all, head, tail, single classes.

use std::fmt;
use std::str::FromStr;

use sse_sam_core::longtail::classes::is_tail;

use crate::error::Error;

/// A group as it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// All samples.
    All,
    /// Those of classes with `eta` or more training samples.
    Head,
    /// Those of the other classes.
    Tail,
    /// Those of one class.
    Class(usize),
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Head => f.write_str("head"),
            Self::Tail => f.write_str("tail"),
            Self::Class(class) => write!(f, "class{class}"),
        }
    }
}

/// A word of `--groups`: a group, or every class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// One group.
    One(Group),
    /// Each class by itself.
    Classes,
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let class = || text.strip_prefix("class")?.parse().ok();
        match text {
            "all" => Ok(Self::One(Group::All)),
            "head" => Ok(Self::One(Group::Head)),
            "tail" => Ok(Self::One(Group::Tail)),
            "classes" => Ok(Self::Classes),
            _ => class().map(|class| Self::One(Group::Class(class))).ok_or_else(|| {
                "a group is all, head, tail, classes (each by itself), or one class, such as class9".into()
            }),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(group) => group.fmt(f),
            Self::Classes => f.write_str("classes"),
        }
    }
}

/// The classes of a training set.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a> {
    /// Samples of each that were trained on.
    pub counts: &'a [u32],
    /// Training samples of each, with those that were set aside to validate on: head and tail and losses go by these.
    pub sizes: &'a [u32],
    /// Classes with fewer are the tail.
    pub eta: u32,
}

impl Classes<'_> {
    /// Whether samples of a class belong to a group.
    pub fn belongs(&self, class: usize, group: Group) -> bool {
        match group {
            Group::All => true,
            Group::Head => !self.is_tail(class),
            Group::Tail => self.is_tail(class),
            Group::Class(one) => class == one,
        }
    }

    fn is_tail(&self, class: usize) -> bool {
        is_tail(self.sizes.get(class).copied().unwrap_or(0), self.eta)
    }

    /// The groups that are meant, each once. A class without samples is passed over where every class is meant.
    ///
    /// # Errors
    /// [`Error::Usage`] for a class that there is not, and for a group without samples.
    pub fn groups(&self, words: &[Word]) -> Result<Vec<Group>, Error> {
        let mut groups = Vec::new();
        for word in words {
            match *word {
                Word::One(group) => groups.push(self.there(group)?),
                Word::Classes => groups.extend(self.filled().map(Group::Class)),
            }
        }
        let mut once = Vec::new();
        groups.into_iter().for_each(|group| {
            if !once.contains(&group) {
                once.push(group);
            }
        });
        Ok(once)
    }

    fn filled(&self) -> impl Iterator<Item = usize> {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(class, _)| class)
    }

    fn there(&self, group: Group) -> Result<Group, Error> {
        let (classes, eta) = (self.counts.len(), self.eta);
        let refuse = |text: String| Err(Error::Usage(format!("--groups {group}: {text}")));
        if self.filled().any(|class| self.belongs(class, group)) {
            return Ok(group);
        }
        match group {
            Group::Class(class) if class >= classes => refuse(format!("there are classes 0 to {}", classes.max(1) - 1)),
            Group::Class(_) => refuse("this class has no training sample, so that there is no loss to look at".into()),
            Group::Tail => refuse(format!("no class has fewer than {eta} training samples (eta): leave the tail out")),
            Group::Head | Group::All => {
                refuse(format!("no class has {eta} or more training samples (eta): leave it out"))
            }
        }
    }

    /// How many samples of each class a group takes where it is to have at most about `most`: of tail classes and of what
    /// is not too large all, of the others the same share, one at least.
    pub fn taken(&self, group: Group, most: usize) -> Vec<u32> {
        let count = |class: usize| if self.belongs(class, group) { self.counts[class] as usize } else { 0 };
        let classes = || 0..self.counts.len();
        let (all, tail): (usize, usize) =
            (classes().map(count).sum(), classes().filter(|&class| self.is_tail(class)).map(count).sum());
        let head = all - tail;
        let share = |class: usize| match count(class) {
            0 => 0,
            count if all <= most || self.is_tail(class) => count,
            count => (count * most.saturating_sub(tail) / head.max(1)).max(1),
        };
        classes().map(|class| share(class) as u32).collect()
    }

    /// What a sample of each class counts in the mean loss of a group that takes so many of each: so much that every class
    /// has the share that it has in the whole group, cut or not.
    pub fn factors(&self, group: Group, taken: &[u32]) -> Vec<f64> {
        let belongs = |class: usize| self.belongs(class, group);
        let counts = self.counts.iter().enumerate().map(|(class, &count)| if belongs(class) { count } else { 0 });
        let all: f64 = counts.clone().map(f64::from).sum();
        let factor =
            |(count, &taken): (u32, &u32)| if taken == 0 { 0.0 } else { f64::from(count) / f64::from(taken) / all };
        counts.zip(taken).map(factor).collect()
    }

    /// Samples of a group.
    pub fn size(&self, group: Group) -> usize {
        let counts = self.counts.iter().enumerate();
        counts.filter(|(class, _)| self.belongs(*class, group)).map(|(_, &count)| count as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [u32; 6] = [1000, 500, 100, 10, 0, 4];
    const CLASSES: Classes<'_> = Classes { counts: &SIZES, sizes: &SIZES, eta: 50 };

    fn words(text: &str) -> Vec<Word> {
        text.split(',').map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn words_name_groups_and_a_class_without_samples_is_passed_over() {
        let names = |text| CLASSES.groups(&words(text)).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names("all,tail,class5,all"), ["all", "tail", "class5"]);
        assert_eq!(names("class3,classes"), ["class3", "class0", "class1", "class2", "class5"]);
        assert!("rare".parse::<Word>().unwrap_err().contains("class9"));
        assert_eq!(
            words("head,classes,class7").iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["head", "classes", "class7"]
        );
    }

    #[test]
    fn a_group_without_samples_is_refused_in_a_sentence() {
        let refused = |classes: Classes<'_>, text| classes.groups(&words(text)).unwrap_err().to_string();
        assert_eq!(
            refused(CLASSES, "all,class4"),
            "--groups class4: this class has no training sample, so that there is no loss to look at"
        );
        assert_eq!(refused(CLASSES, "class6"), "--groups class6: there are classes 0 to 5");
        assert_eq!(
            refused(Classes { eta: 1, ..CLASSES }, "tail"),
            "--groups tail: no class has fewer than 1 training samples (eta): leave the tail out"
        );
        assert_eq!(
            refused(Classes { eta: 2000, ..CLASSES }, "head"),
            "--groups head: no class has 2000 or more training samples (eta): leave it out"
        );
    }

    #[test]
    fn a_cut_leaves_tails_whole_and_gives_the_rest_the_same_share() {
        assert_eq!(CLASSES.taken(Group::All, 10_000), [1000, 500, 100, 10, 0, 4]);
        // 814 - 14 of 1600: a half.
        assert_eq!(CLASSES.taken(Group::All, 814), [500, 250, 50, 10, 0, 4]);
        assert_eq!(CLASSES.taken(Group::Head, 160), [100, 50, 10, 0, 0, 0]);
        assert_eq!(CLASSES.taken(Group::Tail, 3), [0, 0, 0, 10, 0, 4]);
        assert_eq!(CLASSES.taken(Group::Class(1), 7), [0, 7, 0, 0, 0, 0]);
        assert_eq!(CLASSES.taken(Group::All, 1), [1, 1, 1, 10, 0, 4]);
        assert_eq!([Group::All, Group::Head, Group::Tail].map(|group| CLASSES.size(group)), [1614, 1600, 14]);
    }

    #[test]
    fn every_class_keeps_its_share_of_a_group_that_is_cut() {
        for most in [10_000, 814, 3] {
            for group in [Group::All, Group::Head, Group::Tail, Group::Class(3)] {
                let taken = CLASSES.taken(group, most);
                let factors = CLASSES.factors(group, &taken);
                for (class, (&taken, &factor)) in taken.iter().zip(&factors).enumerate() {
                    let count = if CLASSES.belongs(class, group) { CLASSES.counts[class] } else { 0 };
                    let share = f64::from(count) / CLASSES.size(group) as f64;
                    assert!((f64::from(taken) * factor - share).abs() < 1e-15, "{group} {most}: class {class}");
                }
            }
        }
    }
}
