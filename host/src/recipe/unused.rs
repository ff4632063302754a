//! Options of `train` that were typed and would do nothing. What comes from a file is left out without a word.

use std::num::NonZero;

use sse_sam_core::{Loss, Method};

use crate::error::Error;
use crate::recipe::moments::Moment;
use crate::recipe::options::Options;
use crate::recipe::resolved::Recipe;
use crate::recipe::words::{OnNan, ScheduleName, StemName};

/// An option, whether it is used where it was typed, and what it needs.
type Rule = (&'static str, bool, String);

/// Refuses options that were typed and that this run does not use.
///
/// # Errors
/// [`Error::Usage`] with the option, and what it needs.
pub fn check(typed: &Options, recipe: &Recipe) -> Result<(), Error> {
    let rules = by_settings(recipe).into_iter().chain(by_range(typed, recipe));
    let typed = typed.table()?;
    match rules.into_iter().find(|(option, is_used, _)| typed.contains_key(*option) && !is_used) {
        Some((option, _, needs)) => Err(Error::Usage(format!("--{option} does nothing in this run: it {needs}"))),
        None => Ok(()),
    }
}

/// Options whose value is not used with the method, the loss and the other settings of a run, and what each needs.
pub fn pointless(recipe: &Recipe) -> impl Iterator<Item = (&'static str, String)> {
    by_settings(recipe).into_iter().filter(|(_, is_used, _)| !is_used).map(|(option, _, needs)| (option, needs))
}

/// What a run's settings decide, whatever the value of the option.
fn by_settings(recipe: &Recipe) -> Vec<Rule> {
    let Recipe { method, loss, .. } = recipe;
    let is_sse_sam = matches!(method, Method::SseSam { .. });
    let is_focal_sam = matches!(method, Method::FocalSam { .. });
    let has_rho = is_focal_sam || matches!(method, Method::Sam { .. } | Method::ImbSam { .. });
    let (is_cut, is_ldam) = (recipe.imbalance.is_some(), matches!(loss, Loss::Ldam { .. }));
    let has_tau = matches!(loss, Loss::LogitAdjustment { .. } | Loss::VectorScaling { .. });
    let in_steps = recipe.rates.name == ScheduleName::MultiStep;
    let mut rules = vec![
        ("rho", has_rho, "needs --method sam, imbsam or focal-sam".into()),
        ("head-rho", is_staged(method), "needs --method sse-sam with a --gamma above 0".into()),
        ("tail-rho", is_sse_sam, "needs --method sse-sam".into()),
        ("gamma", is_sse_sam, "needs --method sse-sam".into()),
        ("focal-sam-lambda", is_focal_sam, "needs --method focal-sam".into()),
        ("focal-sam-gamma", is_focal_sam, "needs --method focal-sam".into()),
        ("tail-weight", method.has_tail(), "needs --method imbsam or sse-sam".into()),
        ("ldam-margin", is_ldam, "needs --loss ldam".into()),
        ("ldam-scale", is_ldam, "needs --loss ldam".into()),
        ("tau", has_tau, "needs --loss la or vs".into()),
        ("vs-gamma", matches!(loss, Loss::VectorScaling { .. }), "needs --loss vs".into()),
        ("focal-gamma", matches!(loss, Loss::Focal { .. }), "needs --loss focal".into()),
        ("milestones", in_steps, "needs --schedule multi-step".into()),
        ("nesterov", recipe.momentum > 0.0 || !recipe.nesterov, "needs a --momentum above 0".into()),
        ("stem", recipe.model.stem().is_some(), "needs --model resnet10, 18, 34, 50 or 101".into()),
        ("conv", !recipe.device.is_pointless(&recipe.model), "needs a model with convolutions".into()),
        ("rollbacks", recipe.on_nan == OnNan::Rollback, "needs --on-nan rollback".into()),
        ("long-tail", is_cut, "needs --imbalance".into()),
        ("subset", is_cut, "needs --imbalance".into()),
    ];
    let (is_encoded, is_cut_out) = (recipe.format.is_encoded(), recipe.cut.is_some());
    let of_cut = ["crop-scale", "crop-ratio", "jitter"];
    rules.extend(of_cut.map(|option| (option, is_cut_out, "needs --augment imagenet".into())));
    let needs = "is about pictures in files, and this data set holds none";
    rules.extend(["interpolation", "workers"].map(|option| (option, is_encoded || is_cut_out, needs.into())));
    let of_files = [
        "train",
        "val",
        "test",
        "data-root",
        "allow-outside",
        "class-map",
        "label-base",
        "extra-classes",
        "image-size",
        "resize",
        "channels",
        "exif",
        "grey16",
        "max-pixels",
        "bad-images",
        "verify",
    ];
    rules.extend(of_files.map(|option| (option, is_encoded, needs.into())));
    rules
}

fn is_staged(method: &Method) -> bool {
    matches!(method, Method::SseSam { gamma, .. } if *gamma != 0.0)
}

/// What depends on the value.
fn by_range(typed: &Options, recipe: &Recipe) -> [Rule; 8] {
    let Recipe { method, epochs, batch, .. } = recipe;
    let moments = || typed.spectrum_at.iter().flatten().copied();
    let switch = moments().any(|moment| moment == Moment::Switch);
    [
        ("warmup", typed.warmup <= Some(*epochs), format!("must be at most the number of epochs, {epochs}")),
        (
            "drw-epoch",
            typed.drw_epoch < Some(*epochs),
            format!("must be below the number of epochs, {epochs}: they count from 0"),
        ),
        (
            "milestones",
            typed.milestones.iter().flatten().all(|epoch| epoch < epochs),
            format!("must be below the number of epochs, {epochs}: they count from 0"),
        ),
        (
            "spectrum-at",
            !switch || is_staged(method) && Moment::Switch.epoch(method, *epochs).is_some(),
            "names switch, which needs --method sse-sam with a --gamma that begins a second stage".into(),
        ),
        (
            "spectrum-at",
            moments().all(|moment| moment == Moment::Switch || moment.epoch(method, *epochs).is_some()),
            format!("must be below the number of epochs, {epochs}: they count from 0"),
        ),
        (
            "spectrum-every",
            typed.spectrum_every.map(NonZero::get) <= Some(*epochs),
            format!("must be at most the number of epochs, {epochs}"),
        ),
        (
            "stem",
            typed.stem.map(StemName::stem) == recipe.model.stem(),
            "needs a --model that does not say its stem: one without -imagenet".into(),
        ),
        ("micro-batch", typed.micro_batch <= Some(*batch), format!("must be at most the batch, {batch}")),
    ]
}
