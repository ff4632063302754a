//! Spectra while a network is trained: on a device of their own, so that no bit of the training depends on them.

use std::{fs, io};

use sse_sam_core::Method;

use crate::error::Error;
use crate::report::Observer;
use crate::run::folder::RunFolder;
use crate::run::position::Position;
use crate::run::snapshot::Snapshot;
use crate::spectrum::groups::{Classes, Group};
use crate::spectrum::job::{Settings, Talk, Work};
use crate::spectrum::picture;
use crate::spectrum::source::Trained;
use crate::spectrum::store::{Key, Line, cut, fingerprint, parse};
use crate::train::place::Placed;

/// The groups that are measured, as far as they have samples.
const GROUPS: [Group; 3] = [Group::All, Group::Head, Group::Tail];

/// What to do about a file that cannot be read.
const AWAY: &str = "move it away: spectra are written to a new one then";

/// Measures the spectra at the end of an epoch, and writes them into the run's folder. `proceed` may end that; then nothing
/// is written.
///
/// # Errors
/// What the device or the folder reports, or `proceed`.
pub fn measure(
    placed: &Placed<'_>,
    snapshot: &Snapshot,
    position: &Position,
    folder: &RunFolder,
    proceed: &dyn Fn() -> Result<(), Error>,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let (prepared, mut settings) = (placed.prepared, Settings::default());
    let (recipe, description) = (&prepared.recipe, &prepared.description);
    let tensors = snapshot.tensors(&placed.layout)?;
    let counts = prepared.dataset.counts();
    let classes = Classes { counts: &counts, sizes: &description.counts, eta: description.eta };
    let groups: Vec<Group> = GROUPS.into_iter().filter(|&group| classes.size(group) > 0).collect();
    let trained = Trained::of(prepared);
    settings.question.steps = settings.question.steps.min(trained.parameters(description)?);
    let mut device = placed.device.exact();
    let key =
        Key::new((fingerprint(&tensors), Some(position.epoch)), &trained, &recipe.loss, &settings, &device.identity());
    let last = folder.last();
    let work = Work {
        description,
        tensors: (&last, &tensors),
        trained: &trained,
        dataset: &prepared.dataset,
        loss: &recipe.loss,
        groups: &groups,
        settings: &settings,
    };
    let (mut lines, _) = kept(folder, position.epoch, observer)?;
    work.run(&mut device, Talk { proceed, observer }, &mut |measured| {
        lines.push(Line { key: key.clone(), measured });
        Ok(())
    })?;
    write(folder, &lines, &recipe.method, position.epochs)
}

/// Forgets the spectra of this epoch and of later ones: a run goes on from before its end. What a killed process has left
/// of a line is forgotten too, with a warning.
///
/// # Errors
/// [`Error::File`] when the file has something else, [`Error::Io`] when it cannot be read or written.
pub fn rewind(
    folder: &RunFolder,
    position: &Position,
    (method, epochs): (&Method, u32),
    observer: &dyn Observer,
) -> Result<(), Error> {
    let (lines, forgets) = kept(folder, position.epoch, observer)?;
    if forgets { write(folder, &lines, method, epochs) } else { Ok(()) }
}

/// The lines of epochs before this one, and whether there is more.
fn kept(folder: &RunFolder, epoch: u32, observer: &dyn Observer) -> Result<(Vec<Line>, bool), Error> {
    let path = folder.spectra();
    let content = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
        other => other.map_err(|source| Error::io(&path, source))?,
    };
    let (lines, whole) = parse(&path, &content, true).map_err(|error| error.with_hint(AWAY))?;
    if whole < content.len() {
        observer.warn(&cut(&path));
    }
    let all = lines.len();
    let lines: Vec<Line> = lines.into_iter().filter(|line| line.key.epoch.is_some_and(|of| of < epoch)).collect();
    let forgets = lines.len() < all || whole < content.len();
    Ok((lines, forgets))
}

fn write(folder: &RunFolder, lines: &[Line], method: &Method, epochs: u32) -> Result<(), Error> {
    let text = lines.iter().map(|line| Ok(line.text()? + "\n")).collect::<Result<String, Error>>()?;
    let points = |group: &str| {
        let of_group = lines.iter().filter(|line| line.measured.group == group);
        of_group.map(|line| [f64::from(line.key.epoch.unwrap_or(0)), line.measured.lambda_min.value]).collect()
    };
    let series: Vec<(String, Vec<[f64; 2]>)> = GROUPS
        .map(|group| (group.to_string(), points(&group.to_string())))
        .into_iter()
        .filter(|(_, points): &(String, Vec<[f64; 2]>)| !points.is_empty())
        .collect();
    let switch = (1..epochs).find(|&epoch| method.stage(epoch, epochs) != method.stage(epoch - 1, epochs));
    let title = format!("lambda_min of {}", folder.path().file_name().unwrap_or_default().to_string_lossy());
    folder.set_spectra(&text, picture::over_epochs(&title, &series, switch).map(|chart| chart.svg()).as_deref())
}
