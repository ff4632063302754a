//! The perceptron in less memory: by the lean forms of the step, one sample at a time, with a layer in constant memory,
//! and evaluated with everything there.

use sse_sam_core::network::layer::Perceptron;
use sse_sam_core::network::models::mlp;
use sse_sam_core::ops::Fill;
use sse_sam_core::training::method::Groups;
use sse_sam_core::{
    Arena, Cpu, Demand, Economy, Error, Loss, Machine as _, Network, Pieces, Plan, Problem, Row, Run, Session, Span,
    Tally, lean_step,
};

use crate::digits::{self, CLASSES};
use crate::executor::{announce, correct, hash, loss};
use crate::report::{Label, Line, Machine, Step};
use crate::{MLP_BATCH as BATCH, MLP_LAYERS, Room, SGD, SSE_SAM};

/// Numbers of work memory that [`economy`] needs: those of lean memory, which takes most of what it tries.
pub const LEAN_WORK: usize = 14_048;
/// Numbers of work memory that [`smallest`] needs.
pub const SMALLEST_WORK: usize = 7_540;

const EPOCHS: u32 = 2;
const STEPS: u32 = 5;

/// What fine-tuning starts from: the perceptron's parameters after its trial, in flash.
static START: [f32; 2410] = numbers(include_bytes!("../../assets/start.bin"));

const fn numbers<const N: usize>(bytes: &[u8]) -> [f32; N] {
    let (mut numbers, mut rest, mut at) = ([0.0; N], bytes, 0);
    while let Some((number, after)) = rest.split_first_chunk() {
        numbers[at] = f32::from_le_bytes(*number);
        (rest, at) = (after, at + 1);
    }
    assert!(at == N && rest.is_empty());
    numbers
}

/// A network that takes its batch whole or in pieces.
trait Learner: for<'c> Problem<Cpu<'c>> {
    /// Makes the table's rows the next batch: the head first.
    fn take(&mut self, cpu: &mut Cpu, session: &Session, tally: &Tally) -> Result<(), Error>;
}

impl<const N: usize> Learner for Network<'_, N, Perceptron> {
    fn take(&mut self, cpu: &mut Cpu, session: &Session, _: &Tally) -> Result<(), Error> {
        self.gather(cpu, session.table, &digits::train(self.plan().normalization), session.losses(0)?)
    }
}

impl<const N: usize> Learner for Pieces<'_, N, Perceptron> {
    fn take(&mut self, _: &mut Cpu, session: &Session, tally: &Tally) -> Result<(), Error> {
        self.set_batch(tally.parts(session.table)?, session.losses(0)?);
        Ok(())
    }
}

/// Every way to save memory, a few steps of SSE-SAM each; what is evaluated from constants is what was trained before.
pub fn economy(
    machine: &mut impl Machine,
    room: &mut Room<MLP_LAYERS>,
    work: &mut [f32],
    samples: &[u8],
) -> Result<(), Error> {
    mlp(&mut room.graph, digits::IMAGE, CLASSES, &[64, 32, 10])?;
    for (name, economy) in [("lean", Economy::Lean), ("recompute", Economy::Recompute)] {
        Line::new(machine).text(name).end();
        let params = whole(machine, room, economy, work, samples)?;
        Line::new(machine).text("evaluation").end();
        evaluation(machine, room, params, work, samples)?;
    }
    Line::new(machine).text("fine-tuning").end();
    fine_tuning(machine, room, work, samples)?;
    Line::new(machine).text("pieces").end();
    pieces(machine, room, work, samples)
}

/// The least memory: one point serves both groups in turn, one sample passes at a time.
pub fn smallest(
    machine: &mut impl Machine,
    room: &mut Room<MLP_LAYERS>,
    work: &mut [f32],
    samples: &[u8],
) -> Result<(), Error> {
    mlp(&mut room.graph, digits::IMAGE, CLASSES, &[64, 32, 10])?;
    pieces(machine, room, work, samples)
}

/// All layers, the batch at once. Returns where the parameters lie.
fn whole(
    machine: &mut impl Machine,
    room: &mut Room<MLP_LAYERS>,
    economy: Economy,
    work: &mut [f32],
    samples: &[u8],
) -> Result<Span, Error> {
    let mut arena = Arena::new(1);
    let Room { graph, plan } = room;
    let demand = demand(economy, false)?;
    announce(plan, graph, BATCH, demand.streams(), &mut arena);
    let plan = plan.as_ref().map_err(|error| *error)?;
    let session = lay_out(machine, plan, &demand, arena)?;
    let mut cpu = Cpu::new(work, &[], samples);
    let mut network = Network::<MLP_LAYERS, Perceptron>::of(graph, plan, 0.0, session.losses(0)?)?;
    begin(&mut cpu, &network, &session)?;
    let mut evaluated = network.clone();
    train(machine, &mut cpu, &mut network, &mut evaluated, &session, samples)?;
    Ok(session.vectors.params)
}

/// The last layer alone, for classes that should count alike (logit adjustment); the first is read where it lies.
fn fine_tuning(
    machine: &mut impl Machine,
    room: &mut Room<MLP_LAYERS>,
    work: &mut [f32],
    samples: &[u8],
) -> Result<(), Error> {
    let mut arena = Arena::new(1);
    let Room { graph, plan } = room;
    let demand = demand(Economy::Lean, false)?;
    *plan = Plan::fine_tuning(graph, graph.last_layers(1), BATCH, demand.streams(), &mut arena);
    let plan = plan.as_ref().map_err(|error| *error)?;
    let session = lay_out(machine, plan, &demand, arena)?;
    let (frozen, trained) = START.split_at_checked(plan.frozen().length).ok_or(Error::Model)?;
    let mut cpu = Cpu::new(work, frozen, samples);
    let mut network = Network::<MLP_LAYERS, Perceptron>::of(graph, plan, 0.0, session.losses(0)?)?;
    begin(&mut cpu, &network, &session)?;
    cpu.write(session.vectors.params, trained)?;
    let [_, shift, _] = plan.terms;
    for class in 0..CLASSES {
        let terms = Loss::LogitAdjustment { tau: 1.0 }.terms(&digits::COUNTS, class)?;
        cpu.write(shift.part(class, 1)?, &[terms.shift])?;
    }
    let mut evaluated = network.clone();
    train(machine, &mut cpu, &mut network, &mut evaluated, &session, samples)
}

fn pieces(
    machine: &mut impl Machine,
    room: &mut Room<MLP_LAYERS>,
    work: &mut [f32],
    samples: &[u8],
) -> Result<(), Error> {
    let mut arena = Arena::new(1);
    let Room { graph, plan } = room;
    let demand = demand(Economy::Recompute, true)?;
    announce(plan, graph, 1, demand.streams(), &mut arena);
    let plan = plan.as_ref().map_err(|error| *error)?;
    // Borrowed where it lies: moved out of the result, it would take its place on the stack twice.
    let session = &lay_out(machine, plan, &demand, arena);
    let session = session.as_ref().map_err(|error| *error)?;
    let mut cpu = Cpu::new(work, &[], samples);
    let mut network = Network::<MLP_LAYERS, Perceptron>::of(graph, plan, 0.0, session.losses(0)?)?;
    begin(&mut cpu, &network, session)?;
    let piece = session.piece().ok_or(Error::Pieces)?;
    let mut pieces = Pieces::new(network.clone(), digits::train(plan.normalization), piece)?;
    train(machine, &mut cpu, &mut pieces, &mut network, session, samples)?;
    let [params] = cpu.slices_mut([session.vectors.params])?;
    machine.trained(params);
    Ok(())
}

/// Test images that are classified correctly by a plan that has everything in constant memory: `params`, where they lie.
fn evaluation(
    machine: &mut impl Machine,
    room: &mut Room<MLP_LAYERS>,
    params: Span,
    work: &mut [f32],
    samples: &[u8],
) -> Result<(), Error> {
    let mut arena = Arena::new(1);
    let Room { graph, plan } = room;
    *plan = Plan::inference(graph, BATCH, &mut arena);
    let plan = plan.as_ref().map_err(|error| *error)?;
    let session = lay_out(machine, plan, &demand(Economy::Recompute, false)?, arena)?;
    let (before, rest) = work.split_at_mut_checked(params.offset + params.length).ok_or(Error::Model)?;
    let mut cpu = Cpu::new(rest, before.get(params.offset..).unwrap_or_default(), samples);
    cpu.write(plan.normalization, &digits::NORMALIZATION)?;
    let mut network = Network::<MLP_LAYERS, Perceptron>::of(graph, plan, 0.0, session.losses(0)?)?;
    let correct = correct(&mut cpu, &mut network, BATCH, &session, samples)?;
    Line::new(machine).text("correct").number(correct).end();
    Ok(())
}

/// What SSE-SAM asks for.
fn demand(economy: Economy, pieces: bool) -> Result<Demand, Error> {
    Ok(Demand { groups: SSE_SAM.largest()?, economy, pieces })
}

/// Everything beside the network's own, and how much memory that makes.
#[inline(never)]
fn lay_out<M: Machine, const N: usize>(
    machine: &mut M,
    plan: &Plan<N>,
    demand: &Demand,
    mut arena: Arena,
) -> Result<Session, Error> {
    let session = Session::new(plan.parameters(), demand, BATCH, 1, &mut arena)?;
    let bytes = 4 * arena.len();
    machine.note(Label::Arena, bytes as u64);
    if M::PRINTS {
        Line::new(machine).text("arena").number(bytes as u32).end();
    }
    Ok(session)
}

/// Everything zero but the initial parameters, the normalisation and the scale of plain cross-entropy.
#[inline(never)]
fn begin<const N: usize>(cpu: &mut Cpu, network: &Network<N, Perceptron>, session: &Session) -> Result<(), Error> {
    let (plan, mut counter) = (network.plan(), 0);
    let [scale, shift, margin] = plan.terms;
    network.initialize(cpu, session.vectors.params, |_| digits::draw(&mut counter))?;
    cpu.write(plan.normalization, &digits::NORMALIZATION)?;
    cpu.run(&Fill { to: scale, value: 1.0 })?;
    for span in [shift, margin, session.vectors.velocity, session.outcome(0)?.failure] {
        cpu.run(&Fill { to: span, value: 0.0 })?;
    }
    Ok(())
}

/// Both stages of SSE-SAM.
#[inline(never)]
fn train<M: Machine, const N: usize>(
    machine: &mut M,
    cpu: &mut Cpu,
    learner: &mut impl Learner,
    network: &mut Network<N, Perceptron>,
    session: &Session,
    samples: &[u8],
) -> Result<(), Error> {
    for (epoch, number) in (0..EPOCHS).flat_map(|epoch| (0..STEPS).map(move |number| (epoch, number))) {
        let groups = SSE_SAM.groups(epoch, EPOCHS)?;
        let started = machine.instructions();
        let tally = write_rows(cpu, session.table, &groups, (epoch, number), samples)?;
        let (columns, outcome) = (tally.present(), session.outcome(0)?);
        learner.take(cpu, session, &tally)?;
        lean_step(cpu, learner, &session.vectors, &groups.present(columns), &SGD, &outcome)?;
        if number == 0 {
            let instructions = machine.instructions().wrapping_sub(started);
            machine.note(Label::Step(SSE_SAM.stage(epoch, EPOCHS)), instructions);
        }
        if M::PRINTS {
            let loss = loss(cpu, session, columns)?;
            let correct = correct(cpu, network, network.plan().max_batch(), session, samples)?;
            let hash = hash(cpu, session.vectors.params)?;
            Step { epoch, step: number, loss, correct, hash }.print(machine);
        }
    }
    Ok(())
}

/// A batch's rows, head first.
fn write_rows(
    cpu: &mut Cpu,
    rows: Span,
    groups: &Groups,
    (epoch, number): (u32, u32),
    samples: &[u8],
) -> Result<Tally, Error> {
    let (mut heads, mut tails, mut tally) = (0, 0, Tally::default());
    for position in (number as usize * BATCH..).take(BATCH) {
        let index = digits::sample(epoch, position);
        let label = samples.get(index).copied().unwrap_or_default();
        let weights = groups.factors(digits::tail_share(label), BATCH);
        tally.add(weights);
        let place = if digits::is_tail(label) {
            tails += 1;
            BATCH - tails
        } else {
            heads += 1;
            heads - 1
        };
        let row = Row { index: index as u32, label: label.into(), top: 0, left: 0, flip: false, weights };
        cpu.write(rows.part(place * Row::WORDS, Row::WORDS)?, &row.encode())?;
    }
    Ok(tally)
}
