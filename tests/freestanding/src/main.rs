//! Every operation of core in a program that cannot panic: its panic handler calls a symbol that nobody defines, so the
//! linker refuses the program unless the optimiser has proved that no panic is reached.
#![no_std]
#![no_main]

mod interface;

use core::hint::black_box;
use core::panic::PanicInfo;

use sse_sam_core::longtail::classes::{Profile, Shots, is_tail, long_tail_counts};
use sse_sam_core::longtail::loss::deferred_class_weights;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::{
    Ascend, Axpy, BatchNormBackward, BatchNormForward, BatchNormInference, Conv2dBackwardInput, Conv2dBackwardWeight,
    Conv2dForward, Copy, CrossEntropy, Decay, Descend, Fill, Gather, GlobalAveragePoolBackward,
    GlobalAveragePoolForward, LinearBackwardInput, LinearBackwardWeight, LinearForward, ReluBackward, ReluForward,
    SgdUpdate, ShortcutBackward, ShortcutForward,
};
use sse_sam_core::training::problem::Target;
use sse_sam_core::{
    Arena, Batch, Conv2d, Cpu, Demand, Economy, Error, Graph, Loss, Losses, Machine, Method, Model, Network, Outcome,
    Pieces, Plan, Problem, Record, Row, Run, Samples, Schedule, Session, Sgd, Shape, Space, Span, Statistics, Tail,
    Tally, Terms, lean_step, step,
};

unsafe extern "C" {
    /// Defined nowhere.
    fn sse_sam_core_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: no program in which this call is left over links.
    unsafe { sse_sam_core_can_panic() }
}

/// A number that the optimiser knows nothing about.
fn any() -> usize {
    black_box(0)
}

fn span() -> Span {
    let space = match any() {
        0 => Space::Work,
        1 => Space::Constant,
        _ => Space::Samples,
    };
    Span { space, offset: any(), length: any() }
}

fn shape() -> Shape {
    Shape::new(any(), any(), any())
}

fn flag() -> bool {
    any() > 0
}

fn number() -> f32 {
    black_box(0.5)
}

/// Up to three spans: fewer, and more, than a backward method takes.
struct Spans([Span; 3]);

impl Spans {
    fn any() -> Self {
        Self([span(), span(), span()])
    }

    fn list(&self) -> &[Span] {
        self.0.get(..any()).unwrap_or(&self.0)
    }
}

fn memory(backend: &mut Cpu<'_>) -> Result<(), Error> {
    let mut values = [0.0; 8];
    backend.write(span().part(any(), any())?, &values)?;
    backend.read(&mut values, span())?;
    backend.run(&Fill { to: span(), value: number() })?;
    backend.run(&Copy { to: span(), from: span() })?;
    let batch = Batch { images: span(), labels: span(), weights: [span(), span()] };
    let samples = Samples { images: span(), image: shape(), normalization: span() };
    backend.run(&Gather { batch: &batch, rows: span(), samples: &samples })?;
    let row = Row::decode(&black_box([0.0; Row::WORDS]));
    black_box(row.encode());
    Ok(())
}

fn outcome() -> Outcome {
    let group_squared_norms = [span(), span()];
    Outcome { squared_norm: span(), group_squared_norms, failure: span(), number: number() }
}

fn vectors(backend: &mut Cpu<'_>) -> Result<(), Error> {
    backend.run(&Axpy { y: span(), alpha: number(), x: span() })?;
    backend.run(&Ascend { point: span(), squared_norm: span(), params: span(), radius: number() })?;
    let sgd = Sgd { learning_rate: number(), momentum: number(), weight_decay: number(), nesterov: flag() };
    backend.run(&SgdUpdate { params: span(), velocity: span(), outcome: &outcome(), gradient: span(), sgd: &sgd })?;
    backend.run(&Decay { velocity: span(), params: span(), sgd: &sgd })?;
    backend.run(&Descend { params: span(), velocity: span(), outcome: &outcome(), learning_rate: number() })
}

fn layers(backend: &mut Cpu<'_>) -> Result<(), Error> {
    let [a, b, c] = [(); 3].map(|()| Spans::any());
    backend.run(&LinearForward { y: span(), x: span(), weight: span(), bias: span() })?;
    backend.run(&LinearBackwardInput {
        dx: a.list(),
        dy: b.list(),
        weight: span(),
        outputs: any(),
        accumulate: flag(),
    })?;
    backend.run(&LinearBackwardWeight { dweight: a.list(), dbias: b.list(), x: span(), dy: c.list() })?;
    // Its fields are public: a convolution need not have come out of `Conv2d::new`.
    let conv = Conv2d { input: shape(), output: shape(), kernel: any(), stride: any(), padding: any() };
    for conv in [conv, Conv2d::new(shape(), any(), any(), any(), any())?] {
        backend.run(&Conv2dForward { y: span(), x: span(), weight: span(), conv: &conv })?;
        backend.run(&Conv2dBackwardInput {
            dx: a.list(),
            dy: b.list(),
            weight: span(),
            conv: &conv,
            accumulate: flag(),
        })?;
        backend.run(&Conv2dBackwardWeight { dweight: a.list(), x: span(), dy: b.list(), conv: &conv })?;
    }
    Ok(())
}

fn normalization(backend: &mut Cpu<'_>) -> Result<(), Error> {
    let [a, b, c, d] = [(); 4].map(|()| Spans::any());
    let maybe = || flag().then(span);
    backend.run(&BatchNormForward {
        y: span(),
        saved: span(),
        running: maybe(),
        x: span(),
        weight: span(),
        bias: span(),
        residual: maybe(),
        relu: flag(),
    })?;
    backend.run(&BatchNormInference {
        y: span(),
        x: span(),
        weight: span(),
        bias: span(),
        running: span(),
        residual: maybe(),
        relu: flag(),
    })?;
    let (dx, dweight, dbias, dy) = (a.list(), b.list(), c.list(), d.list());
    backend.run(&BatchNormBackward {
        dx,
        dweight,
        dbias,
        dy,
        y: span(),
        x: span(),
        weight: span(),
        bias: span(),
        saved: span(),
        relu: flag(),
        residual: flag(),
        accumulate: flag(),
    })
}

fn rest(backend: &mut Cpu<'_>) -> Result<(), Error> {
    let [a, b, c] = [(); 3].map(|()| Spans::any());
    backend.run(&ReluForward { y: span(), x: span() })?;
    backend.run(&ReluBackward { dx: a.list(), dy: b.list(), y: span(), accumulate: flag() })?;
    backend.run(&ShortcutForward { y: span(), x: span(), input: shape(), output: shape() })?;
    backend.run(&ShortcutBackward {
        dx: a.list(),
        dy: b.list(),
        input: shape(),
        output: shape(),
        accumulate: flag(),
    })?;
    backend.run(&GlobalAveragePoolForward { y: span(), x: span(), input: shape() })?;
    backend.run(&GlobalAveragePoolBackward { dx: a.list(), dy: b.list(), input: shape(), accumulate: flag() })?;
    let terms = Terms { scale: span(), shift: span(), margin: span(), focal: number() };
    backend.run(&CrossEntropy {
        dlogits: a.list(),
        losses: b.list(),
        logits: span(),
        labels: span(),
        weights: c.list(),
        terms,
    })
}

/// Any network, planned, initialised, trained by any method and evaluated.
fn network(backend: &mut Cpu<'_>) -> Result<(), Error> {
    let mut graph = Graph::<MAX_LAYERS>::new();
    let model: Model = black_box("resnet8").parse()?;
    model.build(&mut graph, shape(), any())?;
    let mut arena = Arena::segmented(any(), any());
    let plan = Plan::new(&graph, any(), any(), &mut arena)?;
    let method = method();
    let economies = [Economy::Full, Economy::Lean, Economy::Recompute];
    let economy = economies.get(any()).copied().unwrap_or_default();
    let demand = Demand { groups: method.largest()?, economy, pieces: flag() };
    black_box((demand.streams(), demand.vectors()));
    let session = Session::new(plan.parameters(), &demand, any(), any(), &mut arena)?;
    let (vectors, losses) = (session.vectors, session.losses(any())?);
    let mut network = Network::new(&graph, &plan, number(), losses);
    network.initialize(backend, vectors.params, |layer| black_box(layer as u32))?;
    let samples = Samples { images: span(), image: shape(), normalization: span() };
    network.gather(backend, span(), &samples, losses)?;
    let (counts, tail) = (black_box([7, 3, 0]), Tail { eta: any() as u32, weight: f64::from(number()) });
    let rule = method.rule(&counts, tail, any() as u32, any() as u32)?;
    let mut tally = Tally::default();
    tally.add(rule.factors(any(), f64::from(number()), any()));
    let groups = rule.groups.present(tally.present());
    let sgd = Sgd { learning_rate: number(), momentum: number(), weight_decay: number(), nesterov: flag() };
    step(backend, &mut network, &vectors, &groups, &sgd, &outcome())?;
    lean_step(backend, &mut network, &vectors, &groups, &sgd, &outcome())?;
    session.clear(backend)?;
    session.step(backend, &mut network, &groups, &sgd, any())?;
    black_box((session.record(backend)?, session.record(backend)?.is_finite()));
    let mut records = [[0.0; Record::WORDS]; 3];
    session.read(backend, records.get_mut(..any()).unwrap_or_default())?;
    network.forward(backend, vectors.params, Statistics::Running)?;
    black_box(network.logits()?);
    let mut pieces = Pieces::new(network, samples, span())?;
    pieces.set_batch(tally.parts(span())?, losses);
    lean_step(backend, &mut pieces, &vectors, &groups, &sgd, &outcome())?;
    fine_tuning(backend, &graph)
}

/// The same network with frozen layers, and for inference.
fn fine_tuning(backend: &mut Cpu<'_>, graph: &Graph<MAX_LAYERS>) -> Result<(), Error> {
    let mut arena = Arena::segmented(any(), any());
    let tuned = Plan::fine_tuning(graph, graph.last_layers(any()), any(), any(), &mut arena)?;
    let plan = Plan::inference(graph, any(), &mut arena)?;
    for plan in [&tuned, &plan] {
        let losses = Losses { plain: [span(), span()], perturbed: [span(), span()] };
        let mut network = Network::new(graph, plan, number(), losses);
        network.set_batch(any(), losses)?;
        network.forward(backend, span(), Statistics::Repeat)?;
        network.backward(backend, span(), &[Target { column: any(), gradient: span() }])?;
        black_box((plan.usage(), plan.is_separable()));
    }
    Ok(())
}

fn method() -> Method {
    let real = || f64::from(number());
    match any() {
        0 => Method::Sgd,
        1 => Method::Sam { rho: real() },
        2 => Method::ImbSam { rho: real() },
        3 => Method::FocalSam { rho: real(), lambda: real(), gamma: real() },
        _ => Method::SseSam { head_rho: real(), tail_rho: real(), gamma: real() },
    }
}

/// The plain values beside the step.
fn values() -> Result<(), Error> {
    let real = || f64::from(number());
    let mut counts = black_box([7, 3, 0]);
    let profile = if flag() { Profile::Step } else { Profile::Exponential };
    long_tail_counts(&mut counts, any() as u32, real(), profile)?;
    black_box((is_tail(any() as u32, any() as u32), Shots { many: 5, few: 2 }.of(any() as u32)));
    let (vs, la) = (Loss::VectorScaling { gamma: real(), tau: real() }, Loss::LogitAdjustment { tau: real() });
    let ldam = Loss::Ldam { max_m: real(), scale: real() };
    for loss in [vs, la, ldam, Loss::BalancedSoftmax, Loss::CrossEntropy, Loss::Focal { gamma: real() }] {
        black_box(black_box(loss).terms(&counts, any())?);
    }
    deferred_class_weights(&counts).for_each(|weight| {
        black_box(weight);
    });
    let milestones = black_box([1, 2]);
    let steps = Schedule::MultiStep { milestones: &milestones, factor: real() };
    for schedule in [Schedule::Constant, Schedule::Cosine, steps] {
        black_box(black_box(schedule).learning_rate(real(), any() as u32, any() as u32, any() as u32)?);
    }
    Ok(())
}

/// The operation without a method of its own.
fn slices(values: &[f32]) {
    black_box(sse_sam_core::ops::squared_norm(values));
    #[cfg(feature = "panics")]
    black_box(values[any()]);
}

/// Where the program begins; it is linked, never run.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let (mut work, constant, samples) = ([0.0; 64], [0.0; 64], [0; 64]);
    slices(black_box(&work));
    let mut backend = Cpu::new(black_box(&mut work), black_box(&constant), black_box(&samples));
    for part in [memory, vectors, layers, normalization, rest, network] {
        let _ = black_box(part(&mut backend));
    }
    let _ = black_box(values());
    interface::all();
    loop {
        core::hint::spin_loop();
    }
}
