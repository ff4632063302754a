//! Annotations as JSON in the form of COCO and of iNaturalist: `images`, `annotations` and `categories`.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::Error;
use crate::data::pictures::names::Names;

/// Pictures and classes of an annotation file.
#[derive(Debug, Default)]
pub struct Annotations {
    /// The file.
    pub file: PathBuf,
    /// Class names in the order of their ids.
    pub classes: Vec<String>,
    /// Names of files as they stand there, those without an annotation left out.
    pub names: Names,
    /// The class of each.
    pub labels: Vec<u32>,
    /// What is odd about it.
    pub notices: Vec<String>,
}

/// What is read of the file; all else is passed over without being kept.
#[derive(Deserialize)]
struct Content {
    images: Images,
    #[serde(default)]
    annotations: Vec<Annotation>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// The pictures: names go straight into one piece of memory.
#[derive(Default)]
struct Images {
    ids: Vec<u64>,
    names: Names,
}

impl<'de> Deserialize<'de> for Images {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        #[derive(Deserialize)]
        struct Image {
            id: u64,
            file_name: String,
        }
        impl<'de> Visitor<'de> for List {
            type Value = Images;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of images")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Images, A::Error> {
                let mut images = Images::default();
                while let Some(Image { id, file_name }) = list.next_element()? {
                    images.ids.push(id);
                    images.names.push_bytes(file_name.as_bytes());
                }
                Ok(images)
            }
        }
        from.deserialize_seq(List)
    }
}

/// Reads an annotation file.
///
/// # Errors
/// [`Error::Io`] when it cannot be read; [`Error::File`] when it has another form, has no annotations, as those of test sets,
/// or gives a picture two classes.
pub fn read(path: &Path) -> Result<Annotations, Error> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    let content: Content = serde_json::from_reader(BufReader::with_capacity(1 << 16, file))
        .map_err(|error| Error::file(path, format!("is no annotation file as of COCO or iNaturalist: {error}")))?;
    let Content { images, annotations, mut categories } = content;
    if annotations.is_empty() || categories.is_empty() {
        let what = if annotations.is_empty() { "annotations" } else { "categories" };
        return Err(Error::file(path, format!("has no {what}: nothing says which class a picture has"))
            .with_hint("the files of test sets are like that: --test takes one with annotations"));
    }
    categories.sort_by_key(|category| category.id);
    let classes: HashMap<u64, u32> = (0..).zip(&categories).map(|(class, category)| (category.id, class)).collect();
    let labels = labels(path, &images, &annotations, &classes)?;
    let without = labels.iter().filter(|&&label| label == NONE).count();
    let notices =
        (without > 0).then(|| format!("{}: {without} pictures without annotation are left out", path.display()));
    let has_class = |&index: &usize| labels[index] != NONE;
    Ok(Annotations {
        file: path.to_owned(),
        names: images.names.part((0..labels.len()).filter(has_class)),
        labels: labels.iter().copied().filter(|&label| label != NONE).collect(),
        classes: categories.into_iter().map(|category| category.name).collect(),
        notices: notices.into_iter().collect(),
    })
}

/// No class.
const NONE: u32 = u32::MAX;

/// The class of each picture.
fn labels(
    path: &Path,
    images: &Images,
    annotations: &[Annotation],
    classes: &HashMap<u64, u32>,
) -> Result<Vec<u32>, Error> {
    let places: HashMap<u64, usize> = images.ids.iter().enumerate().map(|(place, &id)| (id, place)).collect();
    if places.len() < images.ids.len() {
        return Err(Error::file(path, "has two images with the same id"));
    }
    let mut labels = vec![NONE; images.ids.len()];
    for Annotation { image_id, category_id } in annotations {
        let place = *places
            .get(image_id)
            .ok_or_else(|| Error::file(path, format!("has an annotation of image {image_id}, which is not there")))?;
        let class = *classes.get(category_id).ok_or_else(|| {
            Error::file(path, format!("has an annotation with category {category_id}, which is not there"))
        })?;
        if labels[place] != NONE && labels[place] != class {
            let name = String::from_utf8_lossy(images.names.bytes(place)).into_owned();
            return Err(Error::file(path, format!("gives {name} two classes")).with_hint("each picture has one class"));
        }
        labels[place] = class;
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Annotations, Error> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.json");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    const CATEGORIES: &str = r#""categories":[{"id":90,"name":"z"},{"id":1,"name":"b"},{"id":3,"name":"a"}]"#;

    #[test]
    fn classes_are_in_the_order_of_ids_and_annotations_in_any() {
        let images =
            r#"{"id":7,"file_name":"p/x.jpg","width":3},{"id":5,"file_name":"y.jpg"},{"id":6,"file_name":"z.jpg"}"#;
        let annotations =
            r#"{"id":1,"image_id":6,"category_id":1},{"image_id":7,"category_id":90},{"image_id":7,"category_id":90}"#;
        let text = format!(r#"{{"info":{{"x":[1]}},"annotations":[{annotations}],{CATEGORIES},"images":[{images}]}}"#);
        let read = told(&text).unwrap();
        assert_eq!(read.classes, ["b", "a", "z"]);
        assert_eq!([0, 1].map(|index| read.names.path(index)), ["p/x.jpg", "z.jpg"].map(PathBuf::from));
        assert_eq!(read.labels, [2, 0]);
        assert!(read.notices[0].ends_with("1 pictures without annotation are left out"));
    }

    #[test]
    fn what_says_no_class_or_two_is_refused() {
        let of = |annotations: &str| {
            let text =
                format!(r#"{{"images":[{{"id":7,"file_name":"x.jpg"}}],{CATEGORIES},"annotations":[{annotations}]}}"#);
            told(&text).unwrap_err().to_string()
        };
        for (annotations, says) in [
            ("", "has no annotations: nothing says which class a picture has"),
            (r#"{"image_id":7,"category_id":1},{"image_id":7,"category_id":3}"#, "gives x.jpg two classes"),
            (r#"{"image_id":8,"category_id":1}"#, "has an annotation of image 8, which is not there"),
            (r#"{"image_id":7,"category_id":2}"#, "has an annotation with category 2, which is not there"),
        ] {
            let error = of(annotations);
            assert!(error.ends_with(says), "{error}");
        }
        assert!(told("[1]").unwrap_err().to_string().contains("is no annotation file"));
    }
}
