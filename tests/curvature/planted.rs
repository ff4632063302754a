//! A saddle point whose smallest eigenvalue is known: a network of two linear layers whose weights are 0.

use sse_sam::Error;
use sse_sam::spectrum::lanczos::{Basis, Operator, Room, lanczos};
use sse_sam::spectrum::quadrature::Spectrum;
use sse_sam::spectrum::start;
use sse_sam_core::memory::Place;
use sse_sam_core::network::layer::{Initializer, Name};
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::ops::Fill;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Arena, Cpu, Curvature, Graph, Loss, Network, Run, Shape, Span};
use sse_sam_tests::random::Numbers;

use crate::rig::{Batch, Rig, State};

const INPUTS: usize = 5;
const HIDDEN: usize = 3;
const CLASSES: usize = 4;
const ROWS: usize = 9;
const PARAMETERS: usize = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * CLASSES;

/// Products with the Hessian of a network on the batch that lies in it.
struct Products<'a> {
    rig: &'a Rig,
    network: Network<'a, MAX_LAYERS>,
}

impl Operator<Cpu<'_>> for Products<'_> {
    fn product(&mut self, backend: &mut Cpu<'_>, to: Span, v: Span) -> Result<(), Error> {
        backend.run(&Fill { to, value: 0.0 })?;
        let mut curvature = Curvature::at(backend, &mut self.network, &self.rig.tangents, self.rig.params)?;
        Ok(curvature.product(backend, v, Target { column: 0, gradient: to })?)
    }
}

fn graph() -> Graph<MAX_LAYERS> {
    let mut graph = Graph::new();
    let image = graph.input(Shape::new(1, 1, INPUTS)).unwrap();
    let hidden = graph.linear(Name::Linear(1), image, HIDDEN, Initializer::Uniform).unwrap();
    graph.linear(Name::Linear(2), hidden, CLASSES, Initializer::Uniform).unwrap();
    graph
}

/// The smallest and the largest eigenvalue at parameters.
fn extremes(params: &[f32], batch: &Batch) -> [f64; 2] {
    let mut arena = Arena::new(1);
    let room = Room::new(&mut arena, PARAMETERS, (Basis::Full, PARAMETERS)).unwrap();
    let rig = Rig::of(graph(), Loss::CrossEntropy, &[3; CLASSES], ROWS, arena);
    assert_eq!(rig.plan.parameters(), PARAMETERS);
    let mut memory = vec![0.0; rig.words];
    let mut cpu = Cpu::new(&mut memory, &[], &[]);
    rig.write(&mut cpu, &State { params: params.to_vec(), running: vec![Vec::new(); 3] });
    let mut network = rig.network();
    rig.gather(&mut cpu, &mut network, batch);
    let start = start::vector(PARAMETERS, &[Place { offset: 0, length: PARAMETERS }], 1, 0);
    let mut products = Products { rig: &rig, network };
    let run = lanczos(&mut cpu, &mut products, &room, (&start, PARAMETERS), |_, _, _| Ok(())).unwrap();
    let found = Spectrum::of(&[run]).unwrap();
    [found.lambda_min.value, found.lambda_max.value]
}

/// The largest singular value of `sum_i weight_i r_i (x_i, 1)'` with `r_i = softmax(bias) - onehot(label_i)`, in f64.
fn largest_singular_value(bias: &[f32], batch: &Batch) -> f64 {
    let exponentials: Vec<f64> = bias.iter().map(|&bias| f64::from(bias).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    let mut matrix = [[0.0; INPUTS + 1]; CLASSES];
    for ((x, &label), &weight) in batch.images.chunks(INPUTS).zip(&batch.labels).zip(&batch.weights) {
        for (class, row) in matrix.iter_mut().enumerate() {
            let residual = exponentials[class] / sum - f64::from(u8::from(class == label as usize));
            for (entry, x) in row.iter_mut().zip(x.iter().chain(&[1.0])) {
                *entry += f64::from(weight) * residual * f64::from(*x);
            }
        }
    }
    let (mut v, mut norm) = ([1.0; INPUTS + 1], 0.0_f64);
    for _ in 0..10_000 {
        let u = matrix.map(|row| row.iter().zip(&v).map(|(a, b)| a * b).sum::<f64>());
        v = std::array::from_fn(|at| matrix.iter().zip(&u).map(|(row, u)| row[at] * u).sum());
        norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        v = v.map(|v| v / norm);
    }
    norm.sqrt()
}

#[test]
fn two_linear_layers_at_zero_are_a_saddle_whose_smallest_eigenvalue_is_known() {
    let mut numbers = Numbers::named("planted");
    for round in 0..4 {
        let batch = Batch::drawn(Shape::new(1, 1, INPUTS), CLASSES, ROWS, &mut numbers);
        let bias = numbers.list_between(CLASSES, -0.5, 0.5);
        let expected = -largest_singular_value(&bias, &batch);
        // The Hessian is even in the weights: at 1e-4 of them it has moved by 1e-8.
        for size in [0.0, 1e-4] {
            let mut params = numbers.list_between(PARAMETERS - CLASSES, -size, size);
            params.extend(&bias);
            let [lowest, highest] = extremes(&params, &batch);
            assert!(highest >= -lowest * (1.0 - 1e-5), "{highest}");
            let error = (lowest / expected - 1.0).abs();
            assert!(error < 1e-5, "round {round}, weights of {size}: {lowest}, {expected}");
        }
    }
}
