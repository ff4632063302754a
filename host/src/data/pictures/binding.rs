//! Classes of a training set, and what those of the other sets are called there.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use crate::Error;
use crate::data::pictures::names::Names;
use crate::data::pictures::table::{Labels, List};

/// What happens to pictures of a validation or test set whose class the training set does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtraClasses {
    /// Nothing is trained
    #[default]
    Stop,
    /// They are left out
    Ignore,
}

/// The classes of a training set, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// Their names.
    pub names: Vec<String>,
}

impl Classes {
    /// The names of a file, one a line.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::File`] when a name stands there twice or there is none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).map_err(|source| Error::io(path, source))?;
        let text = String::from_utf8_lossy(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text)).into_owned();
        let names: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if names.is_empty() {
            return Err(Error::file(path, "names no class").with_hint("a class map has a class's name in each line"));
        }
        let classes = Self { names };
        match classes.twice() {
            Some(name) => Err(Error::file(path, format!("names the class {name} twice"))),
            None => Ok(classes),
        }
    }

    /// A name that stands twice.
    pub fn twice(&self) -> Option<&str> {
        let mut seen = BTreeSet::new();
        self.names.iter().map(String::as_str).find(|name| !seen.insert(*name))
    }

    /// The numbers of these names, each a class of its own.
    pub fn numbers(&self) -> HashMap<&str, u32> {
        self.names.iter().map(String::as_str).zip(0..).collect()
    }

    /// The number of each class of another set; none of what is unknown to `whose` classes these are.
    ///
    /// # Errors
    /// [`Error::File`] for an unknown class of `place`, unless those are ignored.
    pub fn of(
        &self,
        others: &[String],
        place: &Path,
        extra: ExtraClasses,
        whose: &str,
    ) -> Result<Vec<Option<u32>>, Error> {
        let numbers = self.numbers();
        let known = |name: &String| numbers.get(name.as_str()).copied();
        let unknown: Vec<&str> = others.iter().filter(|name| known(name).is_none()).map(String::as_str).collect();
        if let ([first, ..], ExtraClasses::Stop) = (&unknown[..], extra) {
            let what = match unknown.len() {
                1 => format!("has the class {first}, which {whose} does not have"),
                many => format!("has {many} classes that {whose} does not have, first {first}"),
            };
            return Err(Error::file(place, what).with_hint("--extra-classes ignore leaves their pictures out"));
        }
        Ok(others.iter().map(known).collect())
    }
}

/// Leaves out the samples whose class is none, and gives the others their numbers.
pub fn renumber(names: &Names, labels: &[u32], numbers: &[Option<u32>]) -> (Names, Vec<u32>) {
    let number = |index: usize| numbers.get(labels[index] as usize).copied().flatten();
    let kept = || (0..labels.len()).filter(|&index| number(index).is_some());
    (names.part(kept()), kept().filter_map(number).collect())
}

/// The labels of lists as numbers of classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The classes.
    pub classes: Classes,
    /// The class of each picture, list by list; none of one that is left out.
    pub labels: Vec<Vec<Option<u32>>>,
    /// What numbers begin with; none where labels are names.
    pub base: Option<u32>,
    /// What is odd about the labels.
    pub notices: Vec<String>,
}

/// How labels of lists become numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbering<'a> {
    /// The classes, where they are known beforehand; else those of the first list, which is the training set's.
    pub map: Option<&'a Classes>,
    /// What numbers begin with; else it is found: 1 where no label of any list is 0 and the largest is how many there are.
    pub base: Option<u32>,
    /// What happens to pictures of other lists whose class the first one does not have.
    pub extra: ExtraClasses,
}

impl Numbering<'_> {
    /// Gives the labels of all lists numbers: names in their own order (by bytes), or as the map has them.
    ///
    /// # Errors
    /// [`Error::File`] for names and numbers side by side, a class that is not known, and a number below `base`.
    pub fn number(&self, lists: &[List]) -> Result<Numbered, Error> {
        let (mut names, mut numbers) = (Vec::new(), Vec::new());
        for list in lists {
            match &list.labels {
                Labels::Names(labels) => names.push((list, &labels[..])),
                Labels::Numbers(labels) => numbers.push((list, &labels[..])),
            }
        }
        match (names.first(), numbers.first()) {
            (Some((one, _)), Some((other, _))) => {
                let what = format!("has names for labels, and {} has numbers", other.file.display());
                Err(Error::file(&one.file, what).with_hint("all lists of a data set need the same kind of labels"))
            }
            (Some(_), None) => self.by_name(&names),
            _ => self.by_number(&numbers),
        }
    }

    /// Why a class is not known, unless such pictures are left out.
    fn unknown(&self, list: &List, line: u32, class: &str, is_first: bool) -> Result<Option<u32>, Error> {
        if self.extra == ExtraClasses::Ignore && (!is_first || self.map.is_some()) {
            return Ok(None);
        }
        let whose = if self.map.is_some() { "the class map" } else { "the training set" };
        Err(Error::file(&list.file, format!("line {line} has the class {class}, which {whose} does not have"))
            .with_hint("--extra-classes ignore leaves such pictures out"))
    }

    fn by_name(&self, lists: &[(&List, &[Box<str>])]) -> Result<Numbered, Error> {
        let own = || {
            let names: BTreeSet<&str> =
                lists.first().into_iter().flat_map(|(_, names)| *names).map(|name| &**name).collect();
            Classes { names: names.into_iter().map(str::to_owned).collect() }
        };
        let classes = self.map.cloned().unwrap_or_else(own);
        let (numbers, mut labels) = (classes.numbers(), Vec::new());
        for (place, (list, names)) in lists.iter().enumerate() {
            let number = |(name, line): (&str, &u32)| match numbers.get(name) {
                Some(&number) => Ok(Some(number)),
                None => self.unknown(list, *line, name, place == 0),
            };
            let names = names.iter().map(|name| &**name);
            labels.push(names.zip(&list.lines).map(number).collect::<Result<_, _>>()?);
        }
        Ok(Numbered { classes, labels, base: None, notices: Vec::new() })
    }

    fn by_number(&self, lists: &[(&List, &[u32])]) -> Result<Numbered, Error> {
        let distinct: BTreeSet<u32> = lists.iter().flat_map(|(_, labels)| *labels).copied().collect();
        let is_from_1 =
            distinct.first() == Some(&1) && distinct.last().map(|&most| most as usize) == Some(distinct.len());
        let notice = "labels are numbered from 1: class 0 is label 1 (--label-base 0 takes them as they are)";
        let notices = if self.base.is_none() && is_from_1 { vec![notice.into()] } else { Vec::new() };
        let base = self.base.unwrap_or(is_from_1.into());
        let largest = lists.first().and_then(|(_, labels)| labels.iter().max()).copied().unwrap_or(0);
        let own = || Classes { names: (0..=largest.saturating_sub(base)).map(|class| class.to_string()).collect() };
        let classes = self.map.cloned().unwrap_or_else(own);
        let mut labels = Vec::new();
        for (place, (list, of_list)) in lists.iter().enumerate() {
            let number = |(&label, &line): (&u32, &u32)| match label.checked_sub(base) {
                None => Err(Error::file(
                    &list.file,
                    format!("line {line} has the label {label}, below --label-base {base}"),
                )),
                Some(class) if (class as usize) < classes.names.len() => Ok(Some(class)),
                Some(_) => self.unknown(list, line, &label.to_string(), place == 0),
            };
            labels.push(of_list.iter().zip(&list.lines).map(number).collect::<Result<_, _>>()?);
        }
        Ok(Numbered { classes, labels, base: Some(base), notices })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(labels: &[u32]) -> List {
        List { labels: Labels::Numbers(labels.to_vec()), lines: (1..=labels.len() as u32).collect(), ..List::default() }
    }

    fn number(lists: &[List], map: Option<&Classes>, base: Option<u32>) -> Result<Numbered, Error> {
        Numbering { map, base, ..Numbering::default() }.number(lists)
    }

    fn some(labels: &[u32]) -> Vec<Option<u32>> {
        labels.iter().copied().map(Some).collect()
    }

    fn names(names: &[&str]) -> List {
        let labels = Labels::Names(names.iter().map(|&name| name.into()).collect());
        List { labels, lines: (1..=names.len() as u32).collect(), ..List::default() }
    }

    #[test]
    fn labels_from_1_are_found_over_all_lists() {
        for (train, test, base, expected) in [
            (&[1, 2, 3][..], &[1, 3][..], None, [0, 1, 2]),
            // A 0 anywhere, or a gap: from 0.
            (&[1, 2, 3], &[0], None, [1, 2, 3]),
            (&[1, 2, 4], &[1], None, [1, 2, 4]),
            (&[1, 2, 3], &[1], Some(0), [1, 2, 3]),
            (&[2, 3, 5], &[2], Some(2), [0, 1, 3]),
        ] {
            let numbered = number(&[list(train), list(test)], None, base).unwrap();
            assert_eq!(numbered.labels[0], some(&expected));
            assert_eq!(numbered.base, Some(train[0] - expected[0]));
            assert_eq!(numbered.classes.names.len(), *expected.iter().max().unwrap() as usize + 1);
            assert_eq!(numbered.notices.len(), usize::from(expected == [0, 1, 2]), "{train:?} {test:?}");
        }
        assert!(
            number(&[list(&[0])], None, Some(1))
                .unwrap_err()
                .to_string()
                .contains("line 1 has the label 0, below --label-base 1")
        );
    }

    #[test]
    fn names_are_numbered_in_their_order_or_the_maps() {
        let numbered = number(&[names(&["wasp", "ant", "10", "2"]), names(&["ant"])], None, None).unwrap();
        assert_eq!(numbered.classes.names, ["10", "2", "ant", "wasp"]);
        assert_eq!(numbered.labels, [some(&[3, 2, 0, 1]), some(&[2])]);
        let map = Classes { names: ["wasp", "ant"].map(str::to_owned).to_vec() };
        assert_eq!(number(&[names(&["wasp", "ant"])], Some(&map), None).unwrap().classes, map);
        let error = number(&[names(&["bee"])], Some(&map), None).unwrap_err().to_string();
        assert!(error.ends_with("line 1 has the class bee, which the class map does not have"), "{error}");
        let error = number(&[names(&["ant"]), names(&["ant", "bee"])], None, None).unwrap_err().to_string();
        assert!(error.ends_with("line 2 has the class bee, which the training set does not have"), "{error}");
        assert!(number(&[names(&["ant"]), list(&[0])], None, None).is_err());
    }

    #[test]
    fn classes_of_other_sets_are_looked_up_by_name() {
        let classes = Classes { names: ["a", "b", "c"].map(str::to_owned).to_vec() };
        let others = ["c", "a"].map(str::to_owned);
        assert_eq!(
            classes.of(&others, Path::new("t"), ExtraClasses::Stop, "the training set").unwrap(),
            [Some(2), Some(0)]
        );
        let others = ["c", "zebra"].map(str::to_owned);
        let error = classes.of(&others, Path::new("t"), ExtraClasses::Stop, "the training set").unwrap_err();
        assert_eq!(error.to_string(), "t: has the class zebra, which the training set does not have");
        assert_eq!(
            classes.of(&others, Path::new("t"), ExtraClasses::Ignore, "the training set").unwrap(),
            [Some(2), None]
        );
    }

    #[test]
    fn what_only_other_lists_have_is_an_error_or_left_out() {
        for (train, test, says) in [
            (list(&[0, 1]), list(&[1, 7]), "line 2 has the class 7, which the training set does not have"),
            (names(&["a", "b"]), names(&["a", "c"]), "line 2 has the class c, which the training set does not have"),
        ] {
            let error = number(&[train, test], None, None).unwrap_err().to_string();
            assert!(error.ends_with(says), "{error}");
        }
        let ignore = Numbering { extra: ExtraClasses::Ignore, ..Numbering::default() };
        let numbered = ignore.number(&[list(&[0, 1]), list(&[1, 7])]).unwrap();
        assert_eq!((numbered.classes.names.len(), &numbered.labels[1][..]), (2, &[Some(1), None][..]));
        // Nothing is left out of what is trained on but by a map.
        let map = Classes { names: vec!["a".into()] };
        let lists = [names(&["a", "b"]), names(&["a"])];
        assert!(number(&lists, Some(&map), None).is_err());
        let numbered = Numbering { map: Some(&map), ..ignore }.number(&lists).unwrap();
        assert_eq!(numbered.labels[0], [Some(0), None]);
    }
}
