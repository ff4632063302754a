//! Training from a program, without the command line.

use std::fs;
use std::num::NonZero;
use std::process::Command;
use std::sync::Mutex;

use clap::ValueEnum;
use sse_sam::device::choose::Device;
use sse_sam::opencl::Convolution;
use sse_sam::recipe::imbalance::Imbalance;
use sse_sam::recipe::words::{LossName, MethodName, OnNan, ScheduleName};
use sse_sam::recipe::{DeviceOptions, Options, Recipe};
use sse_sam::report::{Event, Observer, Silent};
use sse_sam::train::outcome::Outcome;
use sse_sam::train::{place, prepare};
use sse_sam::{Error, data};
use tempfile::tempdir;

/// A cache folder of the tests' own: none may write to the user's.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

fn options(method: MethodName) -> Options {
    Options {
        model: Some("mlp:64-16-10".into()),
        epochs: Some(4),
        batch: Some(32),
        lr: Some(0.05),
        method: Some(method),
        ..Options::default()
    }
}

/// Trains on the digits on the CPU core.
fn train(options: &Options, observer: &dyn Observer) -> Result<Outcome, Error> {
    let dataset = data::load("digits", None)?;
    let recipe = Recipe::resolve(options, &dataset)?;
    let prepared = prepare(recipe, dataset, observer)?;
    place(Device::cpu(), &prepared, observer)?.train(observer)
}

#[test]
fn a_program_trains_the_very_weights_that_the_command_does() {
    let folder = tempdir().unwrap();
    let words = ["--model", "mlp:64-16-10", "--epochs", "4", "--batch", "32", "--lr", "0.05", "--device", "cpu"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.args(["train", "--quiet", "--out", "run"]).args(words).env("SSE_SAM_CACHE", CACHE);
    assert!(command.current_dir(folder.path()).status().unwrap().success());
    let dataset = data::load("digits", None).unwrap();
    let recipe = Recipe::resolve(&options(MethodName::SseSam), &dataset).unwrap();
    let prepared = prepare(recipe, dataset, &Silent).unwrap();
    let placed = place(Device::cpu(), &prepared, &Silent).unwrap();
    let outcome = placed.train(&Silent).unwrap();
    for (name, weights) in [("last", &outcome.weights), ("best-on-test", &outcome.best_weights)] {
        let (theirs, ours) = (folder.path().join("run").join(name), folder.path().join(name));
        placed.save(&ours, weights).unwrap();
        assert!(fs::read(theirs.with_extension("safetensors")).unwrap() == fs::read(ours).unwrap(), "{name}");
    }
    let metrics = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&outcome.last.accuracy).unwrap(), line["accuracy"]);
    assert_eq!((outcome.last.epoch, outcome.rollbacks), (3, 0));
}

#[test]
fn trainings_at_once_tell_their_own_observers() {
    let told = |method| {
        let told = Mutex::new(Vec::new());
        let observer = |event: &Event<'_>| {
            told.lock().unwrap().extend(match event {
                Event::Start { method, epochs, .. } => Some(format!("{method}, {epochs} epochs")),
                Event::Stage { epoch, stage, .. } => Some(format!("stage {stage} from epoch {epoch}")),
                Event::Evaluated { line, .. } => Some(format!("epoch {}", line.epoch)),
                _ => None,
            });
        };
        train(&options(method), &observer).unwrap();
        told.into_inner().unwrap()
    };
    let [sgd, sse_sam] = std::thread::scope(|scope| {
        [MethodName::Sgd, MethodName::SseSam]
            .map(|method| scope.spawn(move || told(method)))
            .map(|run| run.join().unwrap())
    });
    assert_eq!(sgd, ["sgd, 4 epochs", "epoch 0", "epoch 1", "epoch 2", "epoch 3"]);
    let expected = ["sse-sam, 4 epochs", "epoch 0", "epoch 1", "stage 2 from epoch 2", "epoch 2", "epoch 3"];
    assert_eq!(sse_sam, expected);
}

/// Trains; how that ended, and what was warned of.
fn warned(options: &Options) -> (Result<Outcome, Error>, Vec<String>) {
    let warnings = Mutex::new(Vec::new());
    let observer = |event: &Event<'_>| {
        if let Event::Warning { message } = event {
            warnings.lock().unwrap().push((*message).to_owned());
        }
    };
    let result = train(options, &observer);
    (result, warnings.into_inner().unwrap())
}

#[test]
fn a_training_without_a_folder_goes_back_and_gives_up_without_one() {
    // Weights grow threefold a step until the rate is halved.
    let grows = Options {
        model: Some("mlp:64-4-10".into()),
        momentum: Some(0.0),
        weight_decay: Some(1.0),
        lr: Some(4.0),
        on_nan: Some(OnNan::Rollback),
        ..options(MethodName::Sgd)
    };
    let (result, warnings) = warned(&grows);
    let rollbacks = result.unwrap().rollbacks;
    assert!(rollbacks > 0 && warnings.len() == rollbacks as usize, "{rollbacks} rollbacks: {warnings:?}");
    assert!(warnings.iter().all(|warning| warning.starts_with("no longer finite in epoch ")), "{warnings:?}");
    // No half of this is small enough.
    let gives_up = Options { lr: Some(1e30), rollbacks: NonZero::new(2), ..grows };
    let stops = Options { on_nan: None, rollbacks: None, ..gives_up.clone() };
    for (options, expected) in [(gives_up, 2), (stops, 0)] {
        let (result, warnings) = warned(&options);
        let error = result.unwrap_err();
        assert!(matches!(error, Error::NotFinite { epoch: 0, saved: None, .. }), "{error:?}");
        assert_eq!(warnings.len(), expected, "{warnings:?}");
    }
}

#[test]
fn what_a_recipe_is_written_down_as_gives_the_same_recipe() {
    let dataset = data::load("digits", None).unwrap();
    let steps = Some(ScheduleName::MultiStep);
    let device = DeviceOptions { conv: Some(Convolution::default()), ..DeviceOptions::default() };
    for method in MethodName::value_variants() {
        for loss in LossName::value_variants() {
            for more in [
                Options {
                    rho: Some(0.3),
                    tail_rho: Some(0.2),
                    tau: Some(0.75),
                    focal_gamma: Some(2.0),
                    ..Options::default()
                },
                Options { normalize: Some("0.1/0.25".into()), seed: Some(u64::MAX), ..Options::default() },
                Options { schedule: steps, milestones: Some(vec![1, 3]), flip: Some(true), ..Options::default() },
                Options {
                    on_nan: Some(OnNan::Rollback),
                    keep: NonZero::new(7),
                    imbalance: Some(Imbalance(Some(20.0))),
                    ..Options::default()
                },
            ] {
                let asked = Options { loss: Some(*loss), device: device.clone(), ..options(*method) };
                let recipe = Recipe::resolve(&more.or(&asked).unwrap(), &dataset).unwrap();
                let written = Options::from(&recipe);
                assert_eq!(Recipe::resolve(&written, &dataset).unwrap(), recipe);
                assert_eq!(toml::from_str::<Options>(&written.table().unwrap().to_string()).unwrap(), written);
            }
        }
    }
}
