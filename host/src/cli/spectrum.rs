//! The `spectrum` command: eigenvalues of the Hessian of each group's loss at trained weights.

use std::path::{Path, PathBuf};

use crate::cli::args::SpectrumArgs;
use crate::device::choose::Device;
use crate::device::machine::Identity;
use crate::error::Error;
use crate::files::write_whole;
use crate::opencl::{Convolution, Precision};
use crate::recipe::DeviceOptions;
use crate::report::Observer;
use crate::report::console::{Console, say};
use crate::shown;
use crate::spectrum::escape;
use crate::spectrum::groups::Group;
use crate::spectrum::job::{Settings, Talk, Work};
use crate::spectrum::measure::Question;
use crate::spectrum::picture;
use crate::spectrum::quadrature::Node;
use crate::spectrum::report::{Measured, tables};
use crate::spectrum::source::Source;
use crate::spectrum::store::{Key, Line, Store, fingerprint};
use crate::weights::Out;

/// Measures the spectra of the groups that are named, but for those that were measured before in the same way.
///
/// # Errors
/// Whatever is wrong with the weights, the data, the groups or the device.
pub fn run(args: &SpectrumArgs, console: &Console) -> Result<(), Error> {
    let mut device = Device::choose(&device_options(&args.device)?, console)?;
    let source = Source::open(&args.weights, args.data.as_deref(), args.loss, console)?;
    args.device.check(&source.weights.description.model)?;
    let groups = source.classes().groups(&args.groups)?;
    let settings = settings(args);
    let key = key(&source, &settings, &device.identity());
    let path = args.out.clone().unwrap_or_else(|| beside(&source));
    Out::new("--out", &path, &[source.weights.path()])?;
    let mut store = Store::open(&path)?;
    let missing: Vec<Group> =
        groups.iter().copied().filter(|group| store.find(&key, &group.to_string()).is_none()).collect();
    if missing.len() < groups.len() {
        let (known, all) = (groups.len() - missing.len(), groups.len());
        console.warn(&format!("{known} of {all} groups were measured before and stand in {}", shown::path(&path)));
    }
    let work = Work {
        description: &source.weights.description,
        tensors: (source.weights.path(), source.weights.tensors()),
        dataset: &source.dataset,
        loss: &source.loss,
        groups: &missing,
        settings: &settings,
    };
    if !missing.is_empty() {
        let talk = Talk { proceed: &|| Ok(()), observer: console };
        work.run(&mut device, talk, &mut |measured| store.add(Line { key: key.clone(), measured }))?;
    }
    let lines: Vec<&Line> = groups.iter().filter_map(|group| store.find(&key, &group.to_string())).collect();
    draw(&source, &lines, &path)?;
    if args.json {
        return lines.iter().try_for_each(|line| say(&line.text()?));
    }
    let measured: Vec<Measured> = lines.iter().map(|line| line.measured.clone()).collect();
    console.clear();
    say(&headline(&source, &settings, &device.name()))?;
    say(&tables(&measured))?;
    say(&format!("nodes and weights in {}, densities in {}", shown::path(&path), shown::path(&picture_of(&path))))
}

/// Products in full precision: exact to the last digits of `f32`, not to those of a fast transform.
fn device_options(options: &DeviceOptions) -> Result<DeviceOptions, Error> {
    if options.precision == Some(Precision::Tf32) {
        let message = "a spectrum is computed in full precision: leave out --precision tf32";
        return Err(Error::Usage(message.into()));
    }
    let conv = options.conv.or(Some(Convolution::Direct));
    Ok(DeviceOptions { conv, ..options.clone() })
}

fn settings(args: &SpectrumArgs) -> Settings {
    let question = Question { steps: args.steps as usize, vectors: args.vectors as usize, seed: args.seed };
    let escape = args.escape.then_some(escape::Settings {
        length: args.escape_length,
        learning_rate: args.escape_lr,
        batch: args.escape_batch as usize,
        limit: args.escape_steps as usize,
    });
    Settings { question, samples: args.samples as usize, batch: args.batch as usize, basis: args.basis, escape }
}

fn key(source: &Source, settings: &Settings, identity: &Identity) -> Key {
    Key::new(fingerprint(source.weights.tensors()), None, &source.loss, settings, identity)
}

/// What the tables are about.
fn headline(source: &Source, settings: &Settings, device: &str) -> String {
    let description = &source.weights.description;
    let (path, counts) = (shown::path(source.weights.path()), &description.counts);
    format!(
        "{path}: {}, {} training samples in {} classes, tail below {}; loss {}, batch norm by running statistics\n\
         Lanczos: {} steps from {} start vector{}, on {device}\n",
        description.model,
        counts.iter().sum::<u32>(),
        counts.len(),
        description.eta,
        source.loss_name,
        settings.question.steps,
        settings.question.vectors,
        if settings.question.vectors == 1 { "" } else { "s" },
    )
}

/// Where lines go when nothing is said: beside the weights, or in the folder of their run.
fn beside(source: &Source) -> PathBuf {
    let weights = source.weights.path();
    let home = source.run.as_deref().or_else(|| weights.parent()).unwrap_or(Path::new(""));
    let name = weights.file_stem().unwrap_or_default().to_string_lossy();
    home.join(format!("{name}.spectrum.jsonl"))
}

fn picture_of(lines: &Path) -> PathBuf {
    lines.with_extension("svg")
}

/// The densities of head and tail, where both are there, else of all groups that are.
fn draw(source: &Source, lines: &[&Line], path: &Path) -> Result<(), Error> {
    let densities: Vec<(String, Vec<Node>)> =
        lines.iter().map(|line| (line.measured.group.clone(), line.measured.density())).collect();
    let halves = ["head", "tail"].map(String::from);
    let is_half = |name: &String| halves.contains(name);
    let has_both = densities.iter().filter(|(name, _)| is_half(name)).count() == 2;
    let chosen: Vec<(String, &[Node])> = densities
        .iter()
        .filter(|(name, _)| !has_both || is_half(name))
        .map(|(name, nodes)| (name.clone(), nodes.as_slice()))
        .collect();
    let title =
        format!("Hessian spectrum of {} ({})", source.weights.path().display(), source.weights.description.model);
    let Some(svg) = picture::density(&title, &chosen).map(|chart| chart.svg()) else { return Ok(()) };
    write_whole(&picture_of(path), |file| file.write_all(svg.as_bytes()))
}
