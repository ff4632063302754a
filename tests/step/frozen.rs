//! Frozen layers and plans for inference: the same numbers from less memory.

use sse_sam_core::network::layer::{Name, Op, Part};
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::{Axpy, Fill};
use sse_sam_core::training::problem::Target;
use sse_sam_core::{
    Arena, Cpu, Economy, Error, Graph, Machine, Method, Network, Pieces, Plan, Problem, Run, Shape, Space, Span,
    Statistics,
};
use sse_sam_tests::recorder::{List, Recorder};
use sse_sam_tests::reference::{relative_error, wide};

use crate::braid::Braid;
use crate::rig::{BATCH, LARGEST, METHODS, PERCEPTRON, RESNETS, Rig, SSE_SAM, assert_same_bits, at, demand, models};

/// Parameters and running statistics of a trained network as frozen layers read them: in the order of `plan`.
fn constants(full: &Rig, memory: &[f32], plan: &Plan<MAX_LAYERS>) -> Vec<f32> {
    let mut constants = vec![0.0; plan.frozen().length];
    let slots = full.plan.slots().iter().zip(plan.slots()).take(plan.first_trained());
    let mut put = |to: Span, from: Span| {
        assert_eq!(to.space, Space::Constant);
        constants[to.offset..][..to.length].copy_from_slice(at(memory, from));
    };
    for (full_slot, slot) in slots {
        for (to, from) in [(slot.weight, full_slot.weight), (slot.bias, full_slot.bias)] {
            put(to.of(plan.frozen()).unwrap(), from.of(full.vectors.params).unwrap());
        }
        if let (Some(to), Some(from)) = (slot.running, full_slot.running) {
            put(to, from);
        }
    }
    constants
}

/// A network that has taken three steps, so that its running statistics are no longer those of the start.
fn trained(model: &str, image: Shape) -> (Rig, Vec<f32>) {
    let rig = Rig::new(model, image, Arena::new(1));
    let memory = after_steps(&rig);
    (rig, memory)
}

fn after_steps(rig: &Rig) -> Vec<f32> {
    let (mut memory, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut backend = Cpu::new(&mut memory, &[], &bytes);
    let mut network = rig.prepare(&mut backend);
    let groups = Method::Sgd.groups(0, 1).unwrap().all();
    (0..3).for_each(|_| rig.step(&mut backend, &mut network, &groups).unwrap());
    memory
}

/// The logits of the batch by a plan, with the parameters of `full`; the rest of work memory is `stale`.
fn logits(full: &Rig, memory: &[f32], plan: &Plan<MAX_LAYERS>, words: usize, stale: f32) -> Vec<f32> {
    let constants = constants(full, memory, plan);
    let (mut work, bytes) = (vec![stale; words], full.bytes());
    let mut backend = Cpu::new(&mut work, &constants, &bytes);
    let mut network = Network::new(&full.graph, plan, 0.0, full.losses);
    network.set_batch(BATCH, full.losses).unwrap();
    let images = full.plan.slots()[0].activation.part(0, BATCH * full.image.len()).unwrap();
    backend.write(network.batch().unwrap().images, at(memory, images)).unwrap();
    network.forward(&mut backend, Span::work(0, 0), Statistics::Running).unwrap();
    let mut logits = vec![0.0; network.logits().unwrap().length];
    backend.read(&mut logits, network.logits().unwrap()).unwrap();
    logits
}

/// The same by the plan that it was trained with.
fn trained_logits(full: &Rig, memory: &[f32]) -> Vec<f32> {
    let (mut work, bytes) = (memory.to_vec(), full.bytes());
    let mut backend = Cpu::new(&mut work, &[], &bytes);
    let mut network = full.network();
    network.set_batch(BATCH, full.losses).unwrap();
    network.forward(&mut backend, full.vectors.params, Statistics::Running).unwrap();
    at(&work, network.logits().unwrap()).to_vec()
}

#[test]
fn inference_gives_the_same_bits_from_reused_memory() {
    let rigs = models().map(|(model, image)| (model, Rig::new(model, image, Arena::new(1))));
    let braid = Rig::of(Braid::new().graph, crate::braid::BRAID_IMAGE, Arena::new(1));
    for (model, rig) in rigs.chain([("a braid", braid)]) {
        let memory = after_steps(&rig);
        let mut arena = Arena::new(1);
        let plan = Plan::inference(&rig.graph, LARGEST, &mut arena).unwrap();
        let found = logits(&rig, &memory, &plan, arena.len(), f32::NAN);
        assert_same_bits(&found, &trained_logits(&rig, &memory), model);
    }
}

/// Values of activations, and `f32` in all, of a network for training and for inference.
fn sizes(model: &str, image: Shape, batch: usize) -> [(usize, usize); 2] {
    let mut graph = Graph::<MAX_LAYERS>::new();
    model.parse::<sse_sam_core::Model>().unwrap().build(&mut graph, image, 10).unwrap();
    let (mut training, mut inference) = (Arena::new(1), Arena::new(1));
    let trained = Plan::new(&graph, batch, 2, &mut training).unwrap();
    let plan = Plan::inference(&graph, batch, &mut inference).unwrap();
    assert_eq!((plan.parameters(), plan.usage().gradients), (0, 0));
    assert_eq!(plan.frozen().length, trained.parameters() + trained.usage().statistics / 2);
    [(trained.usage().activations, training.len()), (plan.usage().activations, inference.len())]
}

#[test]
fn inference_needs_a_fraction_of_the_memory_of_training() {
    // Of 64, 32, 32 and 10 values those of every second layer share memory.
    let [(trained, _), (inferred, words)] = sizes("mlp:64-32-10", Shape::new(8, 8, 1), 16);
    assert_eq!([trained, inferred], [16 * (64 + 32 + 32 + 10), 16 * (64 + 32)]);
    assert_eq!(words, 16 * (64 + 32) + 3 * 16 + 2);
    // Three activations of the first stage at once: the input of a block, and what is on its way through it.
    let [(trained, all), (inferred, words)] = sizes("resnet8:4", Shape::new(8, 8, 1), 8);
    let stage = 8 * 8 * 8 * 4;
    let values = 64 + 6 * 256 + 5 * 128 + 5 * 64 + 16 + 10;
    assert_eq!([trained, inferred], [8 * values, 3 * stage]);
    let (statistics, tables) = (4 * 60, 3 * 8 + 3 * 10 + 2);
    assert_eq!(all, trained + statistics + tables + 2 * 3 * stage);
    assert_eq!(words, inferred + 3 * 8 + 2);
}

#[test]
fn an_inference_plan_refuses_to_train() {
    let (rig, memory) = trained(RESNETS[0].0, RESNETS[0].1);
    let mut arena = Arena::new(1);
    let plan = Plan::inference(&rig.graph, LARGEST, &mut arena).unwrap();
    let constants = constants(&rig, &memory, &plan);
    let mut work = vec![0.0; arena.len()];
    let mut backend = Cpu::new(&mut work, &constants, &[]);
    let mut network = Network::new(&rig.graph, &plan, 0.0, rig.losses);
    network.forward(&mut backend, Span::work(0, 0), Statistics::Update).unwrap();
    let target = Target { column: 0, gradient: Span::work(0, 0) };
    let refused = network.backward(&mut backend, Span::work(0, 0), &[target]);
    assert_eq!(refused, Err(Error::Inference));
    assert_eq!(Pieces::new(network, rig.samples(), Span::work(0, 1)).map(drop), Err(Error::Inference));
}

/// A rig that trains the layers of `full` from number `first` on, and its constants.
fn tuned(full: &Rig, memory: &[f32], first: usize, form: Economy, batch: usize) -> (Rig, Vec<f32>) {
    let mut arena = Arena::new(1);
    let demand = demand(form);
    let plan = Plan::fine_tuning(&full.graph, first, batch, demand.streams(), &mut arena).unwrap();
    let constants = constants(full, memory, &plan);
    (Rig::around(full.graph.clone(), plan, full.image, arena, demand), constants)
}

/// Where a slot's parameters lie in a vector, both of them.
fn places(rig: &Rig, index: usize, vector: Span) -> [Span; 2] {
    let slot = &rig.plan.slots()[index];
    [slot.weight.of(vector).unwrap(), slot.bias.of(vector).unwrap()]
}

/// Puts tables and trained parameters where a rig with frozen layers looks for them.
fn copy_start(rig: &Rig, full: &Rig, memory: &[f32], backend: &mut Cpu<'_>) {
    rig.start(backend);
    for index in rig.plan.first_trained()..rig.plan.slots().len() {
        let pairs = places(rig, index, rig.vectors.params).into_iter().zip(places(full, index, full.vectors.params));
        let running = rig.plan.slots()[index].running.into_iter().zip(full.plan.slots()[index].running);
        pairs.chain(running).for_each(|(to, from)| backend.write(to, at(memory, from)).unwrap());
    }
}

/// The gradient of a loss of both groups by a rig's plan, in the order of its parameters, and what its passes cost.
fn gradient(rig: &Rig, full: &Rig, memory: &[f32], constants: &[f32]) -> Vec<f32> {
    let (mut work, bytes) = (vec![f32::NAN; rig.words], rig.bytes());
    let mut backend = Cpu::new(&mut work, constants, &bytes);
    copy_start(rig, full, memory, &mut backend);
    let mut network = rig.network();
    rig.gather(&mut backend, &mut network, &(0..BATCH).collect::<Vec<_>>());
    backend.run(&Fill { to: rig.vectors.gradient, value: 0.0 }).unwrap();
    network.forward(&mut backend, rig.vectors.params, Statistics::Update).unwrap();
    let targets = [Target { column: 0, gradient: rig.vectors.gradient }];
    network.backward(&mut backend, rig.vectors.params, &targets).unwrap();
    at(&work, rig.vectors.gradient).to_vec()
}

/// The loss of column 0 with the trained parameters moved `by` so much.
fn shifted_loss(rig: &Rig, full: &Rig, memory: &[f32], constants: &[f32], by: &[f32]) -> f64 {
    let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut backend = Cpu::new(&mut work, constants, &bytes);
    copy_start(rig, full, memory, &mut backend);
    let mut network = rig.network();
    rig.gather(&mut backend, &mut network, &(0..BATCH).collect::<Vec<_>>());
    backend.write(rig.vectors.velocity, by).unwrap();
    backend.run(&Axpy { y: rig.vectors.params, alpha: 1.0, x: rig.vectors.velocity }).unwrap();
    network.forward(&mut backend, rig.vectors.params, Statistics::Update).unwrap();
    let targets = [Target { column: 0, gradient: rig.vectors.gradient }];
    network.backward(&mut backend, rig.vectors.params, &targets).unwrap();
    f64::from(at(&work, rig.losses.plain[0])[0])
}

/// Asserts that the loss changes along the gradient of each tensor as fast as that says.
#[track_caller]
fn assert_slopes(full: &Rig, memory: &[f32], first: usize) {
    let (rig, constants) = tuned(full, memory, first, Economy::Full, LARGEST);
    let found = gradient(&rig, full, memory, &constants);
    let mut tensors = 0;
    for slot in rig.plan.slots().iter().skip(first) {
        for place in [slot.weight, slot.bias].into_iter().filter(|place| place.length > 0) {
            let part = &found[place.offset..][..place.length];
            let norm = wide(part).iter().map(|g| g * g).sum::<f64>().sqrt();
            // The loss is an f32: a step large enough for its digits, small enough for its curvature.
            let step = 4e-3;
            let scale = (step / norm) as f32;
            let loss = |scale: f32| {
                let mut direction = vec![0.0; found.len()];
                direction[place.offset..][..place.length].iter_mut().zip(part).for_each(|(d, g)| *d = scale * g);
                shifted_loss(&rig, full, memory, &constants, &direction)
            };
            let slope = (loss(scale) - loss(-scale)) / (2.0 * step);
            assert!((slope / norm - 1.0).abs() < 2e-2, "from layer {first}, {place:?}: {slope} and {norm}");
            tensors += 1;
        }
    }
    assert!(tensors > 1);
}

#[test]
fn gradients_above_frozen_layers_are_central_differences_of_the_loss() {
    for ((model, image), most) in [(PERCEPTRON, 2), (RESNETS[0], 6), (RESNETS[1], 5)] {
        let (full, memory) = trained(model, image);
        for count in 1..=most {
            assert_slopes(&full, &memory, full.graph.last_layers(count));
        }
    }
}

#[test]
fn frozen_perceptron_layers_leave_the_gradient_of_the_others_as_it_is() {
    let (model, image) = PERCEPTRON;
    let (full, memory) = trained(model, image);
    let (all, none) = tuned(&full, &memory, 0, Economy::Full, LARGEST);
    let whole = gradient(&all, &full, &memory, &none);
    for count in 1..=3 {
        let first = full.graph.last_layers(count);
        let (rig, constants) = tuned(&full, &memory, first, Economy::Full, LARGEST);
        let found = gradient(&rig, &full, &memory, &constants);
        assert_eq!(rig.plan.parameters() == all.plan.parameters(), count == 3);
        assert_same_bits(&found, &whole[whole.len() - found.len()..], &format!("the last {count} layers"));
    }
}

#[test]
fn no_backward_pass_goes_below_the_first_trained_layer() {
    for (model, image) in models() {
        let (full, memory) = trained(model, image);
        let weighted = |op: &Op| matches!(op, Op::Linear | Op::Conv2d(_) | Op::BatchNorm { .. });
        let layers = full.graph.layers().iter().filter(|layer| weighted(&layer.op)).count();
        for count in 1..=layers {
            let first = full.graph.last_layers(count);
            let (rig, _) = tuned(&full, &memory, first, Economy::Full, LARGEST);
            for (index, slot) in rig.plan.slots().iter().enumerate() {
                let op = full.graph.layers()[index].op;
                assert!(index >= first || slot.backward_input.is_none(), "{model} {count} {index}");
                assert!(index < first || !weighted(&op) || slot.gradient.is_some(), "{model} {count} {index}");
            }
            let trained = full.graph.layers()[first..].iter().filter(|layer| weighted(&layer.op)).count();
            assert_eq!(trained, count, "{model}");
        }
        assert_eq!([layers, layers + 1].map(|count| full.graph.last_layers(count)), [0, 0], "{model}");
        assert_eq!(full.graph.last_layers(0), full.graph.layers().len(), "{model}");
    }
}

/// Parameters and constants after `steps` steps with frozen layers.
fn fine_tuned(full: &Rig, memory: &[f32], first: usize, form: Economy, method: Method, epoch: u32) -> (Vec<f32>, bool) {
    let (rig, constants) = tuned(full, memory, first, form, LARGEST);
    let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut backend = Cpu::new(&mut work, &constants, &bytes);
    copy_start(&rig, full, memory, &mut backend);
    let mut network = rig.network();
    let groups = method.groups(epoch, 2).unwrap().all();
    for number in 0..3 {
        let batch: Vec<usize> = if number % 2 == 0 { (0..BATCH).collect() } else { (5..12).collect() };
        rig.gather(&mut backend, &mut network, &batch);
        rig.step(&mut backend, &mut network, &groups).unwrap();
    }
    let params = at(&work, rig.vectors.params).to_vec();
    let start: Vec<f32> = (first..rig.plan.slots().len())
        .flat_map(|index| places(full, index, full.vectors.params))
        .flat_map(|span| at(memory, span).to_vec())
        .collect();
    let moved = params != start;
    (params, moved)
}

#[test]
fn every_method_and_memory_fine_tunes_with_the_same_bits_in_every_run() {
    for (model, image) in models() {
        let (full, memory) = trained(model, image);
        let first = full.graph.last_layers(3);
        for (method, epoch, _) in METHODS {
            for form in [Economy::Full, Economy::Lean, Economy::Recompute] {
                let run = || fine_tuned(&full, &memory, first, form, method, epoch);
                let ((once, moved), (again, _)) = (run(), run());
                assert!(moved && once.iter().all(|value| value.is_finite()), "{model} {method:?} {form:?}");
                assert_same_bits(&once, &again, &format!("{model} {method:?} {form:?}"));
            }
        }
    }
}

#[test]
fn frozen_layers_are_computed_once_a_batch() {
    let (model, image) = RESNETS[0];
    let (full, memory) = trained(model, image);
    let first = full.graph.last_layers(3);
    let (rig, constants) = tuned(&full, &memory, first, Economy::Full, LARGEST);
    let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut cpu = Cpu::new(&mut work, &constants, &bytes);
    copy_start(&rig, &full, &memory, &mut cpu);
    let mut backend = Recorder::new(&mut cpu, List::default());
    let mut network = rig.network();
    rig.gather(&mut backend, &mut network, &(0..BATCH).collect::<Vec<_>>());
    let layers = full.graph.layers().len();
    let calls = [(Statistics::Update, layers - 1), (Statistics::Keep, layers - first)];
    let logits = calls.map(|(statistics, calls)| {
        backend.watch.calls.clear();
        network.forward(&mut backend, rig.vectors.params, statistics).unwrap();
        assert_eq!(backend.watch.calls.len(), calls, "{statistics:?}");
        let mut logits = vec![0.0; network.logits().unwrap().length];
        backend.read(&mut logits, network.logits().unwrap()).unwrap();
        logits
    });
    assert_same_bits(&logits[0], &logits[1], model);
    // The images have made room: what would be computed from them is refused, not wrong.
    assert_eq!(network.forward(&mut backend, rig.vectors.params, Statistics::Update), Err(Error::Consumed));
    rig.gather(&mut backend, &mut network, &(0..BATCH).collect::<Vec<_>>());
    assert_eq!(network.forward(&mut backend, rig.vectors.params, Statistics::Update), Ok(()));
}

#[test]
fn freezing_saves_vectors_gradients_and_activations() {
    let (full, memory) = trained("resnet8:4", Shape::new(8, 8, 1));
    let (all, _) = tuned(&full, &memory, 0, Economy::Full, 8);
    let (last, constants) = tuned(&full, &memory, full.graph.last_layers(1), Economy::Full, 8);
    let classes = crate::rig::CLASSES;
    assert_eq!(last.plan.parameters(), 17 * classes);
    assert_eq!(constants.len(), all.plan.parameters() - 17 * classes + all.plan.usage().statistics / 2);
    let usage = last.plan.usage();
    // The logits, and what the frozen layers share.
    assert_eq!(usage.activations, 8 * classes + 3 * 8 * 8 * 8 * 4);
    assert_eq!((usage.statistics, usage.gradients), (0, 2 * 8 * classes));
    assert!(last.plan.is_separable() && !all.plan.is_separable());
}

#[test]
fn the_last_layer_of_a_residual_network_is_tuned_in_pieces() {
    let (model, image) = RESNETS[0];
    let (full, memory) = trained(model, image);
    let first = full.graph.last_layers(1);
    let (whole, _) = {
        let (rig, constants) = tuned(&full, &memory, first, Economy::Full, LARGEST);
        let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
        let mut backend = Cpu::new(&mut work, &constants, &bytes);
        copy_start(&rig, &full, &memory, &mut backend);
        let mut network = rig.network();
        rig.gather(&mut backend, &mut network, &[0, 1, 2, 5, 6, 3, 4]);
        rig.step(&mut backend, &mut network, &SSE_SAM.groups(0, 2).unwrap().all()).unwrap();
        (at(&work, rig.vectors.velocity).to_vec(), ())
    };
    let (rig, constants) = tuned(&full, &memory, first, Economy::Recompute, 2);
    let (mut work, bytes) = (vec![0.0; rig.words], rig.bytes());
    let mut backend = Cpu::new(&mut work, &constants, &bytes);
    copy_start(&rig, &full, &memory, &mut backend);
    let rows = rig.write_rows(&mut backend, &[0, 1, 2, 5, 6, 3, 4]);
    let mut pieces = Pieces::new(rig.network(), rig.samples(), rig.outcome.squared_norm).unwrap();
    let width = sse_sam_core::Row::WORDS;
    pieces.set_batch([rows.part(0, 5 * width).unwrap(), rows.part(5 * width, 2 * width).unwrap()], rig.losses);
    rig.step(&mut backend, &mut pieces, &SSE_SAM.groups(0, 2).unwrap().all()).unwrap();
    let error = relative_error(&wide(at(&work, rig.vectors.velocity)), &wide(&whole));
    assert!(error < 1e-5, "{error:e}");
}

#[test]
fn a_shortcut_from_frozen_layers_wants_no_gradient() {
    // From the second convolution of the last block on: its residual comes from below.
    let (model, image) = RESNETS[0];
    let (full, memory) = trained(model, image);
    let named = |layer: &sse_sam_core::network::layer::Layer| layer.name == Name::Block(3, 0, Part::Conv2);
    let first = full.graph.layers().iter().position(named).unwrap();
    let (rig, _) = tuned(&full, &memory, first, Economy::Full, LARGEST);
    let residuals: Vec<_> = rig.plan.slots().iter().map(|slot| slot.residual).collect();
    assert_eq!(residuals, vec![sse_sam_core::network::plan::Residual::None; full.graph.layers().len()]);
    assert_slopes(&full, &memory, first);
}
