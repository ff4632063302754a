//! A planned network with the memory around it, on the CPU core.

use std::collections::BTreeMap;

use sse_sam_core::network::layer::Op;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::Fill;
use sse_sam_core::training::method::Present;
use sse_sam_core::{
    Arena, Backend, Cpu, Demand, Economy, Error, Graph, Losses, Machine, Method, Model, Network, Outcome, Plan,
    Problem, Row, Samples, Session, Sgd, Shape, Span, Tail, Vectors,
};
use sse_sam_tests::random::Numbers;
use sse_sam_tests::recorder::{Call, List, Recorder};

pub const SGD: Sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4, nesterov: false };
pub const SSE_SAM: Method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 };

/// Every method with an epoch of 2, and forward and backward passes of one of its steps.
pub const METHODS: [(Method, u32, (usize, usize)); 6] = [
    (Method::Sgd, 0, (1, 1)),
    (Method::Sam { rho: 0.05 }, 0, (2, 2)),
    (Method::ImbSam { rho: 0.05 }, 0, (2, 3)),
    (SSE_SAM, 0, (3, 4)),
    (SSE_SAM, 1, (2, 3)),
    (Method::FocalSam { rho: 0.05, lambda: 0.9, gamma: 0.7 }, 0, (2, 3)),
];

pub const PERCEPTRON: (&str, Shape) = ("mlp:6-9-7-5", Shape::new(1, 3, 2));
pub const RESNETS: [(&str, Shape); 2] = [("resnet8:4", Shape::new(7, 5, 3)), ("resnet18:2", Shape::new(5, 7, 1))];
pub const CLASSES: usize = 5;
/// Classes from this one on are tail.
pub const TAIL: usize = 3;
/// Training samples of each class.
pub const COUNTS: [u32; CLASSES] = [40, 30, 20, 7, 3];
/// Which classes are tail.
pub const TAILS: Tail = Tail { eta: 10, weight: 1.0 };
/// Rows of a batch.
pub const BATCH: usize = 7;
/// Rows planned for.
pub const LARGEST: usize = 9;
pub const SAMPLES: usize = 12;

/// What SSE-SAM asks for, whole batches at a time.
pub fn demand(economy: Economy) -> Demand {
    Demand { groups: SSE_SAM.largest().unwrap(), economy, pieces: false }
}

pub fn models() -> impl Iterator<Item = (&'static str, Shape)> {
    [PERCEPTRON].into_iter().chain(RESNETS)
}

/// A planned network, with the memory around it.
pub struct Rig {
    pub graph: Graph<MAX_LAYERS>,
    pub plan: Plan<MAX_LAYERS>,
    pub session: Session,
    pub vectors: Vectors,
    pub losses: Losses,
    pub outcome: Outcome,
    pub image: Shape,
    pub words: usize,
}

impl Rig {
    pub fn new(model: &str, image: Shape, arena: Arena) -> Self {
        let mut graph = Graph::new();
        model.parse::<Model>().unwrap().build(&mut graph, image, CLASSES).unwrap();
        Self::of(graph, image, arena)
    }

    /// With vectors and gradients for another form of the step.
    pub fn lean(model: &str, image: Shape, economy: Economy) -> Self {
        let Self { graph, .. } = Self::new(model, image, Arena::new(1));
        Self::planned(graph, image, LARGEST, demand(economy), Arena::new(1))
    }

    pub fn of(graph: Graph<MAX_LAYERS>, image: Shape, arena: Arena) -> Self {
        Self::planned(graph, image, LARGEST, demand(Economy::Full), arena)
    }

    /// A network whose activations are planned for `rows`.
    pub fn planned(graph: Graph<MAX_LAYERS>, image: Shape, rows: usize, demand: Demand, mut arena: Arena) -> Self {
        let plan = Plan::new(&graph, rows, demand.streams(), &mut arena).unwrap();
        Self::around(graph, plan, image, arena, demand)
    }

    /// Around a plan, what a step needs beside it.
    pub fn around(
        graph: Graph<MAX_LAYERS>,
        plan: Plan<MAX_LAYERS>,
        image: Shape,
        mut arena: Arena,
        demand: Demand,
    ) -> Self {
        let session = Session::new(plan.parameters(), &demand, LARGEST, 1, &mut arena).unwrap();
        let (losses, outcome) = (session.losses(0).unwrap(), session.outcome(0).unwrap());
        Self { graph, plan, session, vectors: session.vectors, losses, outcome, image, words: arena.len() }
    }

    pub fn network(&self) -> Network<'_, MAX_LAYERS> {
        Network::new(&self.graph, &self.plan, 0.0, self.losses)
    }

    /// Initial weights, plain cross-entropy, and a batch of both groups.
    pub fn prepare<B: Backend>(&self, backend: &mut B) -> Network<'_, MAX_LAYERS>
    where
        B::Error: std::fmt::Debug,
    {
        let mut network = self.start(backend);
        self.gather(backend, &mut network, &(0..BATCH).collect::<Vec<_>>());
        network
    }

    /// Initial weights and plain cross-entropy.
    pub fn start<B: Backend>(&self, backend: &mut B) -> Network<'_, MAX_LAYERS>
    where
        B::Error: std::fmt::Debug,
    {
        let network = self.network();
        let mut streams: BTreeMap<usize, Numbers> = BTreeMap::new();
        let mut draw = |layer: usize| (streams.entry(layer).or_insert(Numbers::new(layer as u64)).bits() >> 32) as u32;
        network.initialize(backend, self.vectors.params, &mut draw).unwrap();
        let [scale, shift, margin] = self.plan.terms;
        backend.run(&Fill { to: scale, value: 1.0 }).unwrap();
        backend.run(&Fill { to: shift, value: 0.0 }).unwrap();
        backend.run(&Fill { to: margin, value: 0.0 }).unwrap();
        let (mean, inverse) = (self.plan.normalization, self.image.channels);
        backend.run(&Fill { to: mean.part(0, inverse).unwrap(), value: 127.5 }).unwrap();
        backend.run(&Fill { to: mean.part(inverse, inverse).unwrap(), value: 1.0 / 64.0 }).unwrap();
        network
    }

    /// Makes these samples the batch; sample `i` has label `i % CLASSES`.
    pub fn gather<B: Backend>(&self, backend: &mut B, network: &mut Network<'_, MAX_LAYERS>, indices: &[usize])
    where
        B::Error: std::fmt::Debug,
    {
        let rows = self.write_rows(backend, indices);
        network.gather(backend, rows, &self.samples(), self.losses).unwrap();
    }

    /// Puts the rows of these samples into the table.
    pub fn write_rows<B: Backend>(&self, backend: &mut B, indices: &[usize]) -> Span
    where
        B::Error: std::fmt::Debug,
    {
        let share = 1.0 / indices.len() as f32;
        let row = |&index: &usize| {
            let label = index % CLASSES;
            let weights = if label < TAIL { [share, 0.0] } else { [0.0, share] };
            Row { index: index as u32, label: label as u32, top: 1, left: 0, flip: index % 2 == 1, weights }.encode()
        };
        let words: Vec<f32> = indices.iter().flat_map(row).collect();
        let rows = self.session.table.part(0, words.len()).unwrap();
        backend.write(rows, &words).unwrap();
        rows
    }

    pub fn samples(&self) -> Samples {
        let images = Span::samples(0, SAMPLES * self.image.len());
        Samples { images, image: self.image, normalization: self.plan.normalization }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut numbers = Numbers::named("samples");
        (0..SAMPLES * self.image.len()).map(|_| numbers.below(256) as u8).collect()
    }

    /// Parameters, velocity and running statistics after `body`, layer by layer and without padding.
    pub fn run(
        &self,
        body: impl FnOnce(&mut Recorder<'_, Cpu<'_>>, &mut Network<'_, MAX_LAYERS>) -> Result<(), Error>,
    ) -> (Vec<f32>, Vec<Call>) {
        let (mut memory, bytes) = (vec![0.0; self.words], self.bytes());
        let mut cpu = Cpu::new(&mut memory, &[], &bytes);
        let mut backend = Recorder::new(&mut cpu, List::default());
        let mut network = self.prepare(&mut backend);
        backend.watch.calls.clear();
        body(&mut backend, &mut network).unwrap();
        let calls = backend.watch.calls;
        (self.state(&memory), calls)
    }

    pub fn state(&self, memory: &[f32]) -> Vec<f32> {
        let mut state = Vec::new();
        for slot in self.plan.slots() {
            for vector in [self.vectors.params, self.vectors.velocity] {
                state.extend(at(memory, slot.weight.of(vector).unwrap()));
                state.extend(at(memory, slot.bias.of(vector).unwrap()));
            }
            state.extend(slot.running.into_iter().flat_map(|running| at(memory, running)));
        }
        state
    }

    /// The state after `steps` steps of a method, two batches in turn.
    pub fn train(&self, method: Method, epoch: u32, steps: usize) -> Vec<f32> {
        let groups = method.groups(epoch, 2).unwrap().all();
        let train = |backend: &mut Recorder<'_, Cpu<'_>>, network: &mut Network<'_, MAX_LAYERS>| {
            for number in 0..steps {
                let batch: Vec<usize> = if number % 2 == 0 { (0..BATCH).collect() } else { (5..SAMPLES).collect() };
                self.gather(backend, network, &batch);
                self.step(backend, network, &groups)?;
            }
            Ok(())
        };
        self.run(train).0
    }

    /// A step in the rig's memory.
    pub fn step<B: Backend, P: Problem<B>>(
        &self,
        backend: &mut B,
        problem: &mut P,
        groups: &Present,
    ) -> Result<(), B::Error> {
        self.session.step(backend, problem, groups, &SGD, 0)
    }

    /// The calls of one step.
    pub fn calls(&self, groups: &Present) -> Vec<Call> {
        let calls = self.run(|backend, network| self.step(backend, network, groups)).1;
        assert!(!calls.is_empty(), "the step has asked for nothing");
        calls
    }

    /// Forward and backward passes among these calls: what every weighted layer was asked for.
    pub fn passes(&self, calls: &[Call]) -> (usize, usize) {
        let weighted = |op: &Op| matches!(op, Op::Linear | Op::Conv2d(_));
        let layers = self.graph.layers().iter().filter(|layer| weighted(&layer.op)).count();
        let sum = |names: &[&str]| -> usize {
            let streams: usize = calls.iter().filter(|call| names.contains(&call.name)).map(|call| call.streams).sum();
            assert_eq!(streams % layers, 0, "{names:?}: {streams} in {layers} layers");
            streams / layers
        };
        let backward = sum(&["linear_backward_weight", "conv2d_backward_weight"]);
        let input = calls.iter().filter(|call| call.name.ends_with("_backward_input"));
        assert_eq!(
            input.map(|call| call.streams).sum::<usize>(),
            backward * (layers - 1),
            "the images want no gradient"
        );
        (sum(&["linear_forward", "conv2d_forward", "conv2d_batch_norm_forward"]), backward)
    }
}

pub fn at(memory: &[f32], span: Span) -> &[f32] {
    &memory[span.offset..span.offset + span.length]
}

#[track_caller]
pub fn assert_same_bits(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    assert!(!a.is_empty(), "{what}: nothing was compared");
    let differing = a.iter().zip(b).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(differing, 0, "{what}: {differing} of {} numbers differ", a.len());
}

pub fn overlap(a: Span, b: Span) -> bool {
    a.length > 0 && b.length > 0 && a.offset < b.offset + b.length && b.offset < a.offset + a.length
}

impl Rig {
    /// The state after `steps` steps on a batch whose samples count in the column the method gives them.
    pub fn train_by_columns(&self, method: Method, steps: usize) -> Vec<f32> {
        let rule = method.rule(&COUNTS, TAILS, 0, 2).unwrap();
        let train = |backend: &mut Recorder<'_, Cpu<'_>>, network: &mut Network<'_, MAX_LAYERS>| {
            let factors: [_; BATCH] = std::array::from_fn(|index| rule.factors(index % CLASSES, 1.0, BATCH));
            let columns = [0, 1].map(|column| factors.map(|factors| factors[column]));
            let spans = network.batch()?.weights;
            spans.into_iter().zip(columns).try_for_each(|(span, column)| backend.write(span, &column))?;
            (0..steps).try_for_each(|_| self.step(backend, network, &rule.groups.all()))
        };
        self.run(train).0
    }
}
