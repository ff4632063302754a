//! A data set of pictures: found, looked at, and bound to the classes of its training set.

use std::path::Path;
use std::sync::Arc;

use sse_sam_core::Shape;

use crate::data::pictures::binding::Classes;
use crate::data::pictures::decode::{Channels, Exif, Grey16};
use crate::data::pictures::find::{Found, How, SETS, Set};
use crate::data::pictures::folder::Passed;
use crate::data::pictures::index::Summary;
use crate::data::pictures::kept::{self, Stamps};
use crate::data::pictures::options::{BadImages, PictureOptions};
use crate::data::pictures::source::{Pictures, View};
use crate::data::pictures::transform::Evaluation;
use crate::data::source::count;
use crate::data::{Dataset, Format, Source, Split, name_of};
use crate::error::Error;
use crate::shown::counted;

/// Sides from which pictures are cut out at random by default, and shown whole below.
pub const LARGE: usize = 97;

/// Sides where pictures have different sizes and nobody said one.
const USUAL_SIZE: u32 = 224;

/// Reads a data set of pictures; `cut_out` is whether those to train on are cut out at random, where that is said.
///
/// # Errors
/// What is wrong with the folders, the lists or the pictures, or [`Error::Usage`] for options that contradict each other.
pub fn load(
    path: &Path,
    format: Option<Format>,
    options: &PictureOptions,
    cut_out: Option<bool>,
) -> Result<Dataset, Error> {
    let how = How { options, map: options.class_map.as_deref().map(|map| Classes::read(Path::new(map))).transpose()? };
    let found = how.find(path, format)?;
    let Looked { image, format, classes, sets: [train, validation, test], mut notices, summary, view } =
        look(path, found, options, cut_out)?;
    let train = train.ok_or_else(|| Error::file(path, "holds no training pictures"))?;
    let (validation, test) = match (validation, test) {
        (Some(validation), None) => {
            notices.push("the validation set is taken for the test set, for there is no other".into());
            (None, validation)
        }
        (validation, test) => (validation, test.unwrap_or_else(|| Arc::new(Split::empty(image)))),
    };
    Ok(Dataset {
        name: name_of(path),
        format,
        image,
        classes: classes.len(),
        class_names: classes,
        train,
        validation,
        test,
        notices,
        summary,
        view: Some(view),
    })
}

/// Reads pictures to test weights with that know these classes: the test set of a place, or all that it has where it has no
/// splits. The training set of the result is empty.
///
/// # Errors
/// As [`load`]; [`Error::File`] for a class that the weights do not know.
pub fn load_test(path: &Path, classes: &[String], options: &PictureOptions) -> Result<Dataset, Error> {
    let how = How { options, map: Some(Classes { names: classes.to_vec() }) };
    let found = how.find_test(path)?;
    let Looked { image, format, sets: [_, validation, test], notices, summary, view, .. } =
        look(path, found, options, Some(false))?;
    let test = test.or(validation).filter(|set| set.len() > 0);
    let test = test.ok_or_else(|| Error::file(path, "holds no picture to test on"))?;
    Ok(Dataset {
        name: name_of(path),
        format,
        image,
        classes: classes.len(),
        class_names: classes.to_vec(),
        train: Arc::new(Split::empty(image)),
        validation: None,
        test,
        notices,
        summary,
        view: Some(view),
    })
}

/// Sets that were looked at.
struct Looked {
    image: Shape,
    format: Format,
    classes: Vec<String>,
    sets: [Option<Arc<dyn Source>>; 3],
    notices: Vec<String>,
    summary: Vec<String>,
    view: View,
}

/// Looks at all pictures: what can be read, and how it comes to the network's size.
fn look(path: &Path, found: Found, options: &PictureOptions, cut_out: Option<bool>) -> Result<Looked, Error> {
    let Found { format, classes, mut sets, mut notices, label_base } = found;
    if let Some(name) = classes.twice() {
        return Err(Error::file(path, format!("has two classes with the name {name}"))
            .with_hint("--class-map gives each class a name of its own"));
    }
    let (decoding, threads, verify) = (options.decoding(), options.threads(), options.verify.unwrap_or_default());
    let (mut bad, mut sizes, mut summary) = (Vec::new(), Summary::default(), Vec::new());
    for (set, name) in sets.iter_mut().zip(SETS) {
        let Some(set) = set else { continue };
        let stamps = Stamps::of(&set.samples, threads)?;
        let mut like = kept::summary(&set.samples, &stamps, &decoding, verify, threads)?;
        bad.extend(like.bad.iter().map(|(index, why)| format!("{} {why}", set.samples.place(*index))));
        let out: Vec<usize> = like.bad.iter().map(|(index, _)| *index).collect();
        let all = set.samples.len();
        set.samples.leave_out(&out);
        if all > 0 && set.samples.is_empty() && options.bad_images == Some(BadImages::Skip) {
            let (all, first) = (counted(all, &format!("{name} picture")), bad.first().map_or("", String::as_str));
            return Err(Error::file(path, format!("has {all}, none of which can be used, first {first}")));
        }
        summary.push(line(name, set, &like, classes.names.len()));
        like.bad.clear();
        sizes.add(like);
    }
    if !bad.is_empty() && options.bad_images.unwrap_or_default() == BadImages::Stop {
        return Err(refuse(path, &bad));
    }
    notices.extend(worth_a_word(&sizes, &sets, options));
    notices.extend(skipped(&bad));
    let view = View { label_base, ..view(&sizes, options, cut_out)? };
    let sets = sets.map(|set| set.map(|set| Arc::new(Pictures::new(set.samples, view)) as Arc<dyn Source>));
    Ok(Looked { image: view.image, format, classes: classes.names, sets, notices, summary, view })
}

/// How pictures of these sizes come to the network's.
fn view(sizes: &Summary, options: &PictureOptions, cut_out: Option<bool>) -> Result<View, Error> {
    let decoding = options.decoding();
    let (width, height) = match (options.image_size, sizes.size_of_all()) {
        (Some(size), _) => (size, size),
        (None, Some(all)) => all,
        (None, None) => (USUAL_SIZE, USUAL_SIZE),
    };
    let cut_out = cut_out.unwrap_or(height as usize >= LARGE);
    let has_size = sizes.size_of_all() == Some((width, height)) && options.resize.is_none() && !cut_out;
    if width != height && !has_size {
        let message = format!("pictures of {width} x {height} are cut to squares: --image-size says how large");
        return Err(Error::Usage(message));
    }
    let evaluation = (!has_size).then(|| Evaluation {
        resize: options.resize.unwrap_or(if cut_out { width * 8 / 7 } else { width }),
        crop: width,
        filter: options.interpolation.unwrap_or_default(),
    });
    let channels = if decoding.channels == Channels::Grey { 1 } else { 3 };
    Ok(View { image: Shape::new(height as usize, width as usize, channels), decoding, evaluation, label_base: None })
}

/// A line about a set.
fn line(name: &str, set: &Set, like: &Summary, classes: usize) -> String {
    let Passed { hidden, foreign, loose, loops } = set.passed;
    let counts = count(set.samples.labels().iter().copied(), classes);
    let seen = counts.iter().filter(|&&count| count > 0).count();
    let sides = match (like.size_of_all(), like.sizes.keys().next(), like.sizes.keys().next_back()) {
        (Some((width, height)), ..) => format!("of {width} x {height}"),
        (None, Some(_), Some(_)) => {
            let all = || like.sizes.keys().flat_map(|&(width, height)| [width, height]);
            format!("with sides of {} to {}", all().min().unwrap_or(0), all().max().unwrap_or(0))
        }
        _ => String::new(),
    };
    let left_out = [
        (like.bad.len(), "that cannot be read"),
        (hidden, "with hidden names"),
        (foreign, "that are no pictures"),
        (loose, "outside of class folders"),
        (loops, "that lead back"),
    ];
    let left_out: Vec<String> =
        left_out.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let left_out = if left_out.is_empty() { String::new() } else { format!("; left out: {}", left_out.join(", ")) };
    let (pictures, classes) = (
        counted(set.samples.len(), "picture"),
        if seen == 1 { "1 class".to_owned() } else { format!("{seen} classes") },
    );
    format!("{name:<10} {pictures} of {classes} {sides}{left_out}")
}

/// Pictures that are named before an error or a warning stops.
const NAMED: usize = 10;

fn refuse(path: &Path, bad: &[String]) -> Error {
    let named = bad.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    let what = match bad.len() {
        1 => format!("holds a picture that cannot be used: {named}"),
        many if many <= NAMED => format!("holds {many} pictures that cannot be used: {named}"),
        many => format!("holds {many} pictures that cannot be used, the first {NAMED}: {named}"),
    };
    Error::file(path, what).with_hint("--bad-images skip leaves them out")
}

fn skipped(bad: &[String]) -> Option<String> {
    let named = bad.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    (!bad.is_empty()).then(|| match bad.len() {
        1 => format!("a picture is left out: {named}"),
        many => format!("{many} pictures are left out, first {named}"),
    })
}

/// What is said once about pictures that are not what they seem.
fn worth_a_word(like: &Summary, sets: &[Option<Set>; 3], options: &PictureOptions) -> Vec<String> {
    let mut told = Vec::new();
    let mut tell = |count: usize, what: (&str, &str)| {
        if count > 0 {
            let (have, one) = what;
            told.push(if count == 1 { format!("1 picture {one}") } else { format!("{count} pictures {have}") });
        }
    };
    if options.exif.unwrap_or_default() == Exif::Ignore {
        tell(
            like.turned,
            (
                "have an EXIF orientation, which is ignored (--exif apply turns them)",
                "has an EXIF orientation, which is ignored (--exif apply turns it)",
            ),
        );
    }
    if options.grey16.unwrap_or_default() == Grey16::Shift {
        let taken = "grey values of 16 bits: their upper 8 are taken (--grey16 says another way)";
        tell(like.grey16, (&format!("have {taken}"), &format!("has {taken}")));
    }
    tell(like.alpha, ("have an alpha channel, which is dropped", "has an alpha channel, which is dropped"));
    tell(like.animated, ("have several frames: the first one is taken", "has several frames: the first one is taken"));
    let loose = sets.iter().flatten().map(|set| set.passed.loose).sum();
    tell(
        loose,
        ("lie outside of all class folders and are left out", "lies outside of all class folders and is left out"),
    );
    told
}
