//! A training through graph, plan and executor.

use sse_sam_core::network::layer::Layers;
use sse_sam_core::ops::Fill;
use sse_sam_core::training::method::Groups;
use sse_sam_core::{
    Arena, Cpu, Demand, Economy, Error, Graph, Loss, Machine as _, Method, Network, Plan, Problem, Row, Run, Session,
    Sgd, Span, Statistics, Tally, step,
};

use crate::Room;
use crate::digits::{self, CLASSES, TEST, TRAIN};
use crate::report::{Hash, Label, Machine, Step};

/// What is trained, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// The method.
    pub method: Method,
    /// What of a sample counts in the method's second group, by its label.
    pub share: fn(u8) -> f32,
    /// The loss.
    pub loss: Loss,
    /// The update.
    pub sgd: Sgd,
    /// Epochs.
    pub epochs: u32,
    /// Steps an epoch.
    pub steps: u32,
    /// Samples a batch.
    pub batch: usize,
    /// Most pixels by which a picture is moved.
    pub crop: i8,
}

impl Recipe {
    fn demand(&self) -> Result<Demand, Error> {
        Ok(Demand { groups: self.method.largest()?, economy: Economy::Full, pieces: false })
    }
}

/// Where a training's numbers lie; a function of its own, so that what planning takes of the stack is free again later.
#[inline(never)]
fn lay_out<const N: usize>(plan: &Plan<N>, recipe: &Recipe, arena: &mut Arena) -> Result<Session, Error> {
    Session::new(plan.parameters(), &recipe.demand()?, recipe.batch, 1, arena)
}

/// Trains the graph in `room` as `recipe` says, from the same start on every machine.
pub fn train<const N: usize, L: Layers>(
    machine: &mut impl Machine,
    room: &mut Room<N>,
    recipe: &Recipe,
    work: &mut [f32],
    samples: &[u8],
) -> Result<(), Error> {
    let mut arena = Arena::new(1);
    let Room { graph, plan } = room;
    plan_network(plan, graph, recipe, &mut arena)?;
    let plan = plan.as_ref().map_err(|error| *error)?;
    // Borrowed where it lies: moved out of the result, it would take its place on the stack twice.
    let session = &lay_out(plan, recipe, &mut arena);
    let session = session.as_ref().map_err(|error| *error)?;
    machine.note(Label::Arena, 4 * arena.len() as u64);
    let mut cpu = Cpu::new(work, &[], samples);
    let focal = if L::FOCAL { recipe.loss.focal() } else { 0.0 };
    let mut network = Network::<N, L>::of(graph, plan, focal, session.losses(0)?)?;
    let mut counter = 0;
    cpu.run(&Fill { to: Span::work(0, arena.len()), value: 0.0 })?;
    network.initialize(&mut cpu, session.vectors.params, |_| digits::draw(&mut counter))?;
    cpu.write(plan.normalization, &digits::NORMALIZATION)?;
    write_tables(&mut cpu, plan.terms, &recipe.loss)?;
    run(machine, &mut cpu, &mut network, recipe, session, samples)?;
    let [params] = cpu.slices_mut([session.vectors.params])?;
    machine.trained(params);
    Ok(())
}

/// [`announce`] for a recipe.
#[inline(never)]
fn plan_network<const N: usize>(
    plan: &mut Result<Plan<N>, Error>,
    graph: &Graph<N>,
    recipe: &Recipe,
    arena: &mut Arena,
) -> Result<(), Error> {
    announce(plan, graph, recipe.batch, recipe.demand()?.streams(), arena);
    Ok(())
}

/// The network's plan; a function of its own, so that what planning takes of the stack is free again in training.
#[inline(never)]
pub fn announce<const N: usize>(
    plan: &mut Result<Plan<N>, Error>,
    graph: &Graph<N>,
    batch: usize,
    streams: usize,
    arena: &mut Arena,
) {
    *plan = Plan::new(graph, batch, streams, arena);
}

#[inline(never)]
fn write_tables(cpu: &mut Cpu, [scale, shift, margin]: [Span; 3], loss: &Loss) -> Result<(), Error> {
    let mut tables = [[0.0; CLASSES]; 3];
    let [scales, shifts, margins] = &mut tables;
    for (class, ((scale, shift), margin)) in scales.iter_mut().zip(shifts).zip(margins).enumerate() {
        let terms = loss.terms(&digits::COUNTS, class)?;
        (*scale, *shift, *margin) = (terms.scale, terms.shift, terms.margin);
    }
    cpu.write(scale, &tables[0])?;
    cpu.write(shift, &tables[1])?;
    cpu.write(margin, &tables[2])
}

#[inline(never)]
fn run<M: Machine, const N: usize, L: Layers>(
    machine: &mut M,
    cpu: &mut Cpu,
    network: &mut Network<N, L>,
    recipe: &Recipe,
    session: &Session,
    samples: &[u8],
) -> Result<(), Error> {
    for epoch in 0..recipe.epochs {
        let groups = recipe.method.groups(epoch, recipe.epochs)?;
        for number in 0..recipe.steps {
            let started = machine.instructions();
            let columns = take(cpu, network, recipe, session, &groups, (epoch, number), samples)?;
            let (present, outcome) = (groups.present(columns), session.outcome(0)?);
            step(cpu, network, &session.vectors, &present, &recipe.sgd, &outcome)?;
            if number == 0 {
                let instructions = machine.instructions().wrapping_sub(started);
                machine.note(Label::Step(recipe.method.stage(epoch, recipe.epochs)), instructions);
            }
            if M::PRINTS {
                let loss = loss(cpu, session, columns)?;
                let correct = correct(cpu, network, recipe.batch, session, samples)?;
                let hash = hash(cpu, session.vectors.params)?;
                Step { epoch, step: number, loss, correct, hash }.print(machine);
            }
        }
    }
    Ok(())
}

/// Makes the samples of step `number` the network's batch; returns which groups have any.
// `inline(never)`: its stack is free again in the step.
#[inline(never)]
fn take<const N: usize, L: Layers>(
    cpu: &mut Cpu,
    network: &mut Network<N, L>,
    recipe: &Recipe,
    session: &Session,
    groups: &Groups,
    (epoch, number): (u32, u32),
    samples: &[u8],
) -> Result<[bool; 2], Error> {
    let mut tally = Tally::default();
    for place in 0..recipe.batch {
        let position = number as usize * recipe.batch + place;
        let index = digits::sample(epoch, position);
        let label = samples.get(index).copied().unwrap_or_default();
        let row = row((index, label), position, recipe, groups);
        tally.add(row.weights);
        cpu.write(session.table.part(place * Row::WORDS, Row::WORDS)?, &row.encode())?;
    }
    network.gather(cpu, session.table, &digits::train(network.plan().normalization), session.losses(0)?)?;
    Ok(tally.present())
}

/// A row of the batch, moved and mirrored by its position when the recipe crops.
fn row((index, label): (usize, u8), position: usize, recipe: &Recipe, groups: &Groups) -> Row {
    let span = 2 * usize::from(recipe.crop.unsigned_abs()) + 1;
    let shift = |position: usize| (position % span) as i8 - recipe.crop;
    let weights = groups.factors((recipe.share)(label), recipe.batch);
    let flip = recipe.crop > 0 && position % 4 == 3;
    Row { index: index as u32, label: label.into(), top: shift(position), left: shift(position / 3), flip, weights }
}

/// The loss at the parameters, over the groups that the batch has.
pub fn loss(cpu: &mut Cpu, session: &Session, columns: [bool; 2]) -> Result<f32, Error> {
    let (mut total, mut one) = (0.0, [0.0]);
    for (span, _) in session.losses(0)?.plain.into_iter().zip(columns).filter(|(_, present)| *present) {
        cpu.read(&mut one, span)?;
        total += one[0];
    }
    Ok(total)
}

/// Test images that the network classifies correctly.
pub fn correct<const N: usize, L: Layers>(
    cpu: &mut Cpu,
    network: &mut Network<N, L>,
    batch: usize,
    session: &Session,
    samples: &[u8],
) -> Result<u32, Error> {
    let mut correct = 0;
    let labels = samples.get(TRAIN..TRAIN + TEST).unwrap_or_default();
    for (number, labels) in labels.chunks(batch.max(1)).enumerate() {
        for place in 0..labels.len() {
            let index = (number * batch + place) as u32;
            let row = Row { index, label: 0, top: 0, left: 0, flip: false, weights: [0.0; 2] };
            cpu.write(session.table.part(place * Row::WORDS, Row::WORDS)?, &row.encode())?;
        }
        let rows = session.table.part(0, labels.len() * Row::WORDS)?;
        network.gather(cpu, rows, &digits::test(network.plan().normalization), session.losses(0)?)?;
        network.forward(cpu, session.vectors.params, Statistics::Running)?;
        let logits = network.logits()?;
        for (place, label) in labels.iter().enumerate() {
            let mut scores = [0.0; CLASSES];
            cpu.read(&mut scores, logits.part(place * CLASSES, CLASSES)?)?;
            correct += u32::from(digits::argmax(&scores) == usize::from(*label));
        }
    }
    Ok(correct)
}

/// The hash of all parameters.
#[inline(never)]
pub fn hash(cpu: &mut Cpu, params: Span) -> Result<Hash, Error> {
    let [params] = cpu.slices_mut([params])?;
    Ok(Hash::of(params))
}
