//! Spectra while a network is trained: on a device of their own, so that no bit of the training depends on them.

use sse_sam_core::Method;

use crate::error::Error;
use crate::report::Observer;
use crate::run::folder::RunFolder;
use crate::run::position::Position;
use crate::run::snapshot::Snapshot;
use crate::spectrum::groups::{Classes, Group};
use crate::spectrum::job::{Settings, Talk, Work};
use crate::spectrum::picture;
use crate::spectrum::store::{Key, Line, fingerprint};
use crate::train::place::Placed;

/// The groups that are measured, as far as they have samples.
const GROUPS: [Group; 3] = [Group::All, Group::Head, Group::Tail];

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
    let classes = Classes { counts: &description.counts, eta: description.eta };
    let groups: Vec<Group> = GROUPS.into_iter().filter(|&group| classes.size(group) > 0).collect();
    let parameters = description.layout()?.plan.trainable();
    settings.question.steps = settings.question.steps.min(parameters);
    let mut device = placed.device.exact();
    let key = Key::new(fingerprint(&tensors), Some(position.epoch), &recipe.loss, &settings, &device.identity());
    let last = folder.last();
    let work = Work {
        description,
        tensors: (&last, &tensors),
        dataset: &prepared.dataset,
        loss: &recipe.loss,
        groups: &groups,
        settings: &settings,
    };
    let mut lines = kept(&folder.spectra()?, position.epoch);
    work.run(&mut device, Talk { proceed, observer }, &mut |measured| {
        lines.push(Line { key: key.clone(), measured });
        Ok(())
    })?;
    write(folder, &lines, &recipe.method, position.epochs)
}

/// Forgets the spectra of this epoch and of later ones: a run goes on from before its end.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read or written.
pub fn rewind(folder: &RunFolder, position: &Position, method: &Method, epochs: u32) -> Result<(), Error> {
    let text = folder.spectra()?;
    let lines = kept(&text, position.epoch);
    if lines.len() == text.lines().count() {
        return Ok(());
    }
    write(folder, &lines, method, epochs)
}

/// The lines of epochs before this one.
fn kept(text: &str, epoch: u32) -> Vec<Line> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.filter(|line| line.key.epoch.is_some_and(|of| of < epoch)).collect()
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
