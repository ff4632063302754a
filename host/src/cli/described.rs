//! What weights are that `eval` is given: what they say themselves, and for the rest the command line and the data.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli::args::EvalArgs;
use crate::data::pictures::load::load_test;
use crate::data::pictures::options::PictureOptions;
use crate::data::{self, Dataset, Format, Rule};
use crate::error::Error;
use crate::recipe::defaults::Defaults;
use crate::recipe::ranges::by_option;
use crate::recipe::resolved;
use crate::recipe::words::StemName;
use crate::report::Observer;
use crate::weights::Description;

type Metadata = BTreeMap<String, String>;

/// The data to evaluate on, and the metadata of `path` with what it lacks.
///
/// # Errors
/// [`Error::Weights`] when nothing says what the weights are, [`Error::Usage`] when an option contradicts them, else
/// whatever is wrong with the data.
pub fn describe(
    args: &EvalArgs,
    path: &Path,
    metadata: Metadata,
    observer: &dyn Observer,
) -> Result<(Dataset, Metadata), Error> {
    let lacks = |key: &str, hint: &str| {
        Error::weights(path, format!("its metadata has no {key}"))
            .with_hint(format!("{hint}; sse-sam eval --help says what else"))
    };
    let source = args.data.as_ref().or(metadata.get("data"));
    let source =
        source.ok_or_else(|| lacks("data", "--model and --data say what it is and what it is evaluated on"))?;
    let word = metadata.get("dataset");
    let format = word.map(|word| Format::ALL.into_iter().find(|format| format.word() == word).ok_or(word)).transpose();
    let format =
        format.map_err(|word| Error::weights(path, format!("its metadata names an unknown data set, {word}")))?;
    let model = args.model.as_ref().or(metadata.get("model"));
    let model = model.ok_or_else(|| lacks("model", "--model says what it is, such as --model resnet32"))?;
    if let (Some(given), Some(Format::Digits), None) = (&args.data, format, args.dataset)
        && given != Format::Digits.word()
    {
        let message = format!("{} was trained on the built-in digits: leave --data out", path.display());
        return Err(Error::Usage(message));
    }
    let dataset = load(args, path, source, format, &metadata).map_err(|error| match &args.data {
        None if format != Some(Format::Digits) && !Path::new(source).exists() => {
            error.with_hint("there it was when these weights were trained: --data says where it is now")
        }
        _ => error,
    })?;
    for notice in &dataset.notices {
        observer.warn(&format!("warning: {notice}"));
    }
    let options = options(args);
    let is_whole = KEYS.iter().all(|key| metadata.contains_key(*key));
    if is_whole && options.is_empty() {
        return Ok((dataset, metadata));
    }
    let mut whole = from_data(args, source, model, &dataset)?.metadata();
    for (option, key) in options {
        if let (Some(said), Some(given)) = (metadata.get(key), whole.get(key))
            && said != given
        {
            let message = format!("{option} contradicts {}, whose {key} is {said}: leave it out", path.display());
            return Err(Error::Usage(message));
        }
    }
    whole.extend(metadata);
    Ok((dataset, whole))
}

/// The data that weights are evaluated on: pictures in files as the weights' own are read, by their classes.
fn load(
    args: &EvalArgs,
    path: &Path,
    source: &str,
    format: Option<Format>,
    metadata: &Metadata,
) -> Result<Dataset, Error> {
    if args.data.is_none() && metadata.contains_key("test_set") {
        let what = "was measured on training samples that were set aside, which no file holds by themselves";
        return Err(Error::weights(path, what).with_hint("--data names a test set"));
    }
    let is_wrong = |error: serde_json::Error| Error::weights(path, format!("its metadata about pictures: {error}"));
    let pictures: Option<PictureOptions> =
        metadata.get("pictures").map(|text| serde_json::from_str(text)).transpose().map_err(is_wrong)?;
    if !args.dataset.map_or(pictures.is_some(), Format::is_encoded) {
        return data::load(source, args.dataset.or(format));
    }
    let mut pictures = pictures.unwrap_or_else(|| {
        // Weights of other data: squares of their size.
        let side = metadata.get("image").and_then(|image| image.split('x').next()?.parse().ok());
        PictureOptions { image_size: side, resize: side, ..PictureOptions::default() }
    });
    if args.data.is_some() {
        pictures.test = None;
    }
    if let Some(root) = &args.data_root {
        pictures.data_root = Some(root.clone());
    }
    let names = metadata.get("class_names").map(|names| serde_json::from_str(names)).transpose().map_err(is_wrong)?;
    let count = metadata.get("classes").and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
    let names: Vec<String> = names.unwrap_or_else(|| (0..count).map(|class| class.to_string()).collect());
    let place = pictures.test.clone().unwrap_or_else(|| source.to_owned());
    load_test(Path::new(&place), &names, &pictures)
}

/// What a description is read from.
const KEYS: [&str; 10] =
    ["model", "data", "dataset", "image", "class_counts", "eta", "many", "few", "byte_mean", "byte_inverse_std"];

/// The options that were given, with what they decide.
fn options(args: &EvalArgs) -> Vec<(&'static str, &'static str)> {
    let all = [
        (args.model.is_some(), "--model", "model"),
        (args.dataset.is_some(), "--dataset", "dataset"),
        (args.normalize.is_some(), "--normalize", "byte_mean"),
        (args.normalize.is_some(), "--normalize", "byte_inverse_std"),
        (args.imbalance.is_some(), "--imbalance", "class_counts"),
        (args.long_tail.is_some(), "--long-tail", "class_counts"),
        (args.many.is_some(), "--many", "many"),
        (args.few.is_some(), "--few", "few"),
        (args.eta.is_some(), "--eta", "eta"),
    ];
    all.into_iter().filter(|(is_given, ..)| *is_given).map(|(_, option, key)| (option, key)).collect()
}

/// What training on these data with these options would have written.
fn from_data(args: &EvalArgs, source: &str, model: &str, dataset: &Dataset) -> Result<Description, Error> {
    let defaults = Defaults::of(dataset.format);
    let profile = args.long_tail.unwrap_or_default().profile();
    let imbalance = args.imbalance.map_or(defaults.imbalance, |given| given.0);
    if args.long_tail.is_some() && imbalance.is_none() {
        return Err(Error::Usage("--long-tail does nothing here: it needs --imbalance".into()));
    }
    let counts = data::counts_after(dataset, imbalance, profile).map_err(by_option)?;
    let defaults = defaults.divided(dataset.format, &counts);
    let choice = resolved::normalize(args.normalize.as_deref(), dataset)?;
    let chosen = match imbalance {
        Some(imbalance) => data::subset(dataset, imbalance, profile, Rule::First, 0).map_err(by_option)?,
        None => (0..dataset.train.len() as u32).collect(),
    };
    // What the weights say of their model is all of it.
    let stem = args.stem.or(args.model.is_none().then_some(StemName::Cifar));
    Ok(Description {
        model: resolved::with_stem(resolved::model(model)?, stem, dataset.image),
        data: source.into(),
        format: dataset.format,
        image: dataset.image,
        counts,
        eta: args.eta.unwrap_or(defaults.eta),
        shots: resolved::shots((args.many, args.few), defaults)?,
        normalization: choice.numbers(dataset, &chosen)?,
        class_names: dataset.class_names.clone(),
        pictures: None,
        set_aside: false,
    })
}
