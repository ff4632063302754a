//! A perceptron's step by every method on every device, against the papers' formulas in f64.

use sse_sam::opencl::OpenCl;
use sse_sam_core::ops::Fill;
use sse_sam_core::{
    Arena, Demand, Economy, Graph, Machine, Method, Model, Network, Plan, Row, Run, Session, Sgd, Shape, Tail, Tally,
};
use sse_sam_tests::reference::{relative_error, step, wide};

use super::{each_device, numbers};

const COUNTS: [u32; 3] = [60, 30, 10];
const TAIL: Tail = Tail { eta: 20, weight: 1.5 };
const LABELS: [usize; 7] = [0, 1, 2, 0, 0, 2, 1];
const SGD: Sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4, nesterov: false };
const METHODS: [(Method, u32); 6] = [
    (Method::Sgd, 0),
    (Method::Sam { rho: 0.05 }, 0),
    (Method::ImbSam { rho: 0.05 }, 0),
    (Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 }, 0),
    (Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 }, 1),
    (Method::FocalSam { rho: 0.05, lambda: 0.9, gamma: 0.7 }, 0),
];

#[test]
fn a_step_of_every_method_is_the_formula_in_f64() {
    let [images, start, velocity] = [(1, 7 * 6), (2, 53), (3, 53)].map(|(seed, length)| numbers(seed, length));
    let batch = step::Batch { layers: vec![(6, 5), (5, 3)], images: wide(&images), labels: LABELS.into() };
    let mut graph = Graph::<4>::new();
    "mlp:6-5-3".parse::<Model>().unwrap().build(&mut graph, Shape::new(1, 2, 3), 3).unwrap();
    each_device(|device| {
        for ((method, epoch), economy) in METHODS
            .into_iter()
            .flat_map(|method| [Economy::Full, Economy::Lean, Economy::Recompute].map(|economy| (method, economy)))
        {
            let demand = Demand { groups: method.largest().unwrap(), economy, pieces: false };
            // Spans without padding: they are compared as they lie.
            let mut arena = Arena::new(1);
            let plan = Plan::new(&graph, LABELS.len(), demand.streams(), &mut arena).unwrap();
            let session = Session::new(plan.parameters(), &demand, 1, 1, &mut arena).unwrap();
            let mut machine = OpenCl::new(device, arena.len(), &[], &[0; Row::WORDS]).unwrap();
            let mut network = Network::new(&graph, &plan, 0.0, session.losses(0).unwrap());
            network.set_batch(LABELS.len(), session.losses(0).unwrap()).unwrap();
            let rule = method.rule(&COUNTS, TAIL, epoch, 2).unwrap();
            let factors = LABELS.map(|label| rule.factors(label, 1.0, LABELS.len()));
            let mut tally = Tally::default();
            factors.into_iter().for_each(|factors| tally.add(factors));
            let place = network.batch().unwrap();
            for (span, values) in [
                (session.vectors.params, &start[..]),
                (session.vectors.velocity, &velocity),
                (place.images, &images),
                (place.labels, &LABELS.map(|label| label as f32)),
                (place.weights[0], &factors.map(|factors| factors[0])),
                (place.weights[1], &factors.map(|factors| factors[1])),
            ] {
                machine.write(span, values).unwrap();
            }
            let [scale, shift, margin] = plan.terms;
            [(scale, 1.0), (shift, 0.0), (margin, 0.0), (session.records, 0.0)]
                .into_iter()
                .for_each(|(span, value)| machine.run(&Fill { to: span, value }).unwrap());
            let present = rule.groups.present(tally.present());
            session.step(&mut machine, &mut network, &present, &SGD, 0).unwrap();
            assert!(session.record(&mut machine).unwrap().is_finite());
            let groups = step::groups(method, &COUNTS, TAIL, epoch, 2);
            let (w, v) = batch.step(&wide(&start), &wide(&velocity), &groups, &SGD);
            for (what, span, before, expected) in
                [("w", session.vectors.params, &start, w), ("v", session.vectors.velocity, &velocity, v)]
            {
                let mut found = vec![0.0; span.length];
                machine.read(&mut found, span).unwrap();
                let moved = |after: &[f64]| -> Vec<f64> {
                    after.iter().zip(before).map(|(after, &before)| after - f64::from(before)).collect()
                };
                let error = relative_error(&moved(&wide(&found)), &moved(&expected));
                assert!(error < 4e-6, "{}: {method:?} epoch {epoch}, {economy:?}, {what}: {error:e}", device.name);
            }
        }
    });
}
