//! Options of `train` that were typed and would do nothing. What comes from a file is left out without a word.

use crate::cli::args::{LossName, MethodName, OnNan, ScheduleName, TrainArgs};
use crate::device::open;
use crate::error::Error;
use crate::recipe::resolved::Config;

/// Refuses options that were typed and that this run does not use.
///
/// # Errors
/// [`Error::Usage`] with the option, and what it needs.
pub fn check(args: &TrainArgs, config: &Config) -> Result<(), Error> {
    let method = |names: &[MethodName]| names.contains(&args.method);
    let loss = |names: &[LossName]| names.contains(&args.loss);
    let (epochs, cut) = (config.epochs, config.imbalance.is_some());
    let staged = method(&[MethodName::SseSam]) && args.gamma != Some(0.0);
    let focal = MethodName::FocalSam;
    let steps = args.schedule == ScheduleName::MultiStep;
    let rules = [
        (
            "rho",
            method(&[MethodName::Sam, MethodName::Imbsam, focal]),
            "needs --method sam, imbsam or focal-sam".into(),
        ),
        ("head-rho", staged, "needs --method sse-sam with a --gamma above 0".into()),
        ("tail-rho", method(&[MethodName::SseSam]), "needs --method sse-sam".into()),
        ("gamma", method(&[MethodName::SseSam]), "needs --method sse-sam".into()),
        ("focal-sam-lambda", method(&[focal]), "needs --method focal-sam".into()),
        ("focal-sam-gamma", method(&[focal]), "needs --method focal-sam".into()),
        ("tail-weight", config.method.has_tail(), "needs --method imbsam or sse-sam".into()),
        ("ldam-margin", loss(&[LossName::Ldam]), "needs --loss ldam".into()),
        ("ldam-scale", loss(&[LossName::Ldam]), "needs --loss ldam".into()),
        ("tau", loss(&[LossName::La, LossName::Vs]), "needs --loss la or vs".into()),
        ("vs-gamma", loss(&[LossName::Vs]), "needs --loss vs".into()),
        ("focal-gamma", loss(&[LossName::Focal]), "needs --loss focal".into()),
        ("milestones", steps, "needs --schedule multi-step".into()),
        ("nesterov", config.momentum > 0.0, "needs a --momentum above 0".into()),
        ("conv", !open::is_pointless(&args.device, &config.model), "needs a model with convolutions".into()),
        ("rollbacks", args.on_nan == OnNan::Rollback, "needs --on-nan rollback".into()),
        ("long-tail", cut, "needs --imbalance".into()),
        ("subset", cut, "needs --imbalance".into()),
        ("warmup", args.warmup <= epochs, format!("must be at most the number of epochs, {epochs}")),
        (
            "drw-epoch",
            args.drw_epoch.is_none_or(|epoch| epoch < epochs),
            format!("must be below the number of epochs, {epochs}: they count from 0"),
        ),
        (
            "milestones",
            args.milestones.iter().all(|&epoch| epoch < epochs),
            format!("must be below the number of epochs, {epochs}: they count from 0"),
        ),
        (
            "micro-batch",
            args.micro_batch.is_none_or(|rows| rows <= config.batch),
            format!("must be at most the batch, {}", config.batch),
        ),
    ];
    let typed = |option: &str| args.typed.iter().any(|name| name == option);
    match rules.into_iter().find(|(option, used, _)| typed(option) && !used) {
        Some((option, _, needs)) => Err(Error::Usage(format!("--{option} does nothing in this run: it {needs}"))),
        None => Ok(()),
    }
}
