//! The CPU core on several threads, and with every kind of vectors that the processor has: the same bits.

use std::fs;

use sse_sam::data;
use sse_sam::device::choose::Device;
use sse_sam::device::threads::{Cores, Level, Threads};
use sse_sam::recipe::words::{LossName, MemoryName, MethodName};
use sse_sam::recipe::{Options, Recipe};
use sse_sam::report::Silent;
use sse_sam::train::{place, prepare};
use sse_sam_core::{Cpu, Error};
use sse_sam_tests::conformance::{self, Body, Memory, Refusal};
use tempfile::tempdir;

/// Three threads that divide whatever has two rows.
struct Divided;

impl conformance::Machine for Divided {
    type Error = Error;

    fn name(&self) -> String {
        "three threads of the CPU".to_owned()
    }

    fn alignment(&self) -> usize {
        1
    }

    fn with(&self, memory: &Memory, body: Body<'_, Error>) -> Result<(), Refusal> {
        let mut work = memory.work.clone();
        let threads = Threads::new(Cores { threads: 3, level: Level::widest() }).dividing_from(0);
        body(&mut Cpu::with(threads, &mut work, &memory.constant, &memory.samples));
        Ok(())
    }
}

sse_sam_tests::conformance_tests!(Divided);

/// The file of weights after some training of the digits.
fn trained(options: &Options, cores: Cores) -> Vec<u8> {
    let dataset = data::load("digits", None).unwrap();
    let prepared = prepare(Recipe::resolve(options, &dataset).unwrap(), dataset, &Silent).unwrap();
    let placed = place(Device::Cpu(cores), &prepared, &Silent).unwrap();
    let (outcome, folder) = (placed.train(&Silent).unwrap(), tempdir().unwrap());
    let path = folder.path().join("weights");
    placed.save(&path, &outcome.weights).unwrap();
    fs::read(path).unwrap()
}

/// All vectors that the processor has, and several numbers of threads, against one thread of the oldest processor.
fn same_bits(options: &Options) {
    let expected = trained(options, Cores { threads: 1, level: Level::Baseline });
    let levels = Level::ALL.iter().copied().filter(|level| level.is_there());
    let widest = [1, 3, 7].map(|threads| (threads, Level::widest()));
    for (threads, level) in levels.map(|level| (2, level)).chain(widest) {
        let is_same = trained(options, Cores { threads, level }) == expected;
        let what = (&options.model, options.method, options.memory);
        assert!(is_same, "{what:?} by {threads} threads with {} differs", level.name());
    }
}

fn options(model: &str, method: MethodName) -> Options {
    Options { model: Some(model.into()), method: Some(method), epochs: Some(1), batch: Some(96), ..Options::default() }
}

#[test]
fn residual_networks_train_to_the_same_bits() {
    same_bits(&Options { epochs: Some(2), ..options("resnet8:16", MethodName::SseSam) });
    same_bits(&Options { memory: Some(MemoryName::Recompute), ..options("resnet8:12", MethodName::SseSam) });
    same_bits(&Options { memory: Some(MemoryName::Lean), ..options("resnet8:9", MethodName::FocalSam) });
}

#[test]
fn shortcuts_with_weights_and_pooling_train_to_the_same_bits() {
    same_bits(&options("resnet10:8", MethodName::Sam));
    same_bits(&options("resnet10-imagenet:16", MethodName::Imbsam));
}

#[test]
fn perceptrons_train_to_the_same_bits() {
    same_bits(&options("mlp:64-301-97-10", MethodName::Sgd));
    let focal = Options { loss: Some(LossName::Focal), ..options("mlp:64-256-10", MethodName::SseSam) };
    same_bits(&focal);
    same_bits(&Options { micro_batch: Some(7), ..options("mlp:64-96-10", MethodName::SseSam) });
}
