//! Planted saddle points: what each method does there, by the closed recurrence.

use sse_sam_core::training::problem::Target;
use sse_sam_core::{Arena, Cpu, Demand, Economy, Error, Machine, Method, Problem, Session, Sgd, Span, Statistics};

use crate::rig::SSE_SAM;

const ECONOMIES: [Economy; 3] = [Economy::Full, Economy::Lean, Economy::Recompute];

/// Plain descent: what a saddle does to a step, and not momentum.
const PLAIN: Sgd = Sgd { learning_rate: 0.05, momentum: 0.0, weight_decay: 0.0, nesterov: false };

/// `L_g(w) = sum_i slope_i * w_i + curvature_i / 2 * w_i^2`: of head and tail. A method that does not tell them apart
/// sees their sum.
struct Function {
    slope: [[f32; 2]; 2],
    curvature: [[f32; 2]; 2],
    is_split: bool,
}

impl Problem<Cpu<'_>> for Function {
    fn forward(&mut self, _: &mut Cpu<'_>, _: Span, _: Statistics) -> Result<(), Error> {
        Ok(())
    }

    fn backward(&mut self, backend: &mut Cpu<'_>, params: Span, targets: &[Target]) -> Result<(), Error> {
        for target in targets {
            let [gradient, w] = backend.slices_mut([target.gradient, params])?;
            for group in (0..2).filter(|group| !self.is_split || *group == target.column) {
                for at in 0..2 {
                    gradient[at] += self.slope[group][at] + self.curvature[group][at] * w[at];
                }
            }
        }
        Ok(())
    }
}

/// The places that so many steps lead to, the start first.
fn path(method: Method, economy: Economy, mut function: Function, start: [f32; 2], steps: usize) -> Vec<[f32; 2]> {
    let groups = method.groups(0, 2).unwrap();
    function.is_split = groups.count() == 2;
    let mut arena = Arena::new(1);
    let demand = Demand { groups: method.largest().unwrap(), economy, pieces: false };
    let session = Session::new(2, &demand, 0, 1, &mut arena).unwrap();
    let mut work = vec![0.0; arena.len()];
    let mut backend = Cpu::new(&mut work, &[], &[]);
    backend.write(session.vectors.params, &start).unwrap();
    let mut places = vec![start];
    for _ in 0..steps {
        session.step(&mut backend, &mut function, &groups.all(), &PLAIN, 0).unwrap();
        let mut place = [0.0; 2];
        backend.read(&mut place, session.vectors.params).unwrap();
        places.push(place);
    }
    places
}

/// `x^2 - y^2`, all of it the tail's: a saddle point at 0.
fn saddle() -> Function {
    Function { slope: [[0.0; 2]; 2], curvature: [[0.0; 2], [2.0, -2.0]], is_split: false }
}

/// How far a method that perturbs the tail by `radius` goes from `y`: along the gradient `-2 y` to `y - radius * sign(y)`,
/// by whose gradient it descends.
fn descended(y: f64, radius: f64) -> f64 {
    let climbed = if y == 0.0 { 0.0 } else { y - radius * y.signum() };
    y + 2.0 * f64::from(PLAIN.learning_rate) * climbed
}

const METHODS: [(Method, f64); 4] =
    [(Method::Sgd, 0.0), (Method::Sam { rho: 0.05 }, 0.05), (Method::ImbSam { rho: 0.05 }, 0.05), (SSE_SAM, 0.1)];

#[test]
fn beside_a_saddle_every_step_is_that_of_the_recurrence() {
    // Within the smallest radius, between the two, outside of both.
    for start in [0.03_f32, -0.07, 0.15] {
        for ((method, radius), economy) in METHODS.into_iter().flat_map(|method| ECONOMIES.map(|one| (method, one))) {
            let places = path(method, economy, saddle(), [0.0, start], 60);
            for (number, pair) in places.windows(2).enumerate() {
                let [[x, from], [_, to]] = [pair[0], pair[1]].map(|place| place.map(f64::from));
                let error = (to - descended(from, radius)).abs();
                let what = format!("{method:?}, {economy:?} from {start}, step {number}");
                assert!(x == 0.0 && error <= 1e-6 * from.abs().max(radius), "{what}: {from} to {to}");
            }
        }
    }
}

#[test]
fn plain_descent_grows_by_its_factor_and_a_perturbed_one_within_its_radius_is_drawn_back() {
    let factor = 1.0 + 2.0 * f64::from(PLAIN.learning_rate);
    let starts = METHODS.into_iter().flat_map(|method| [0.03_f32, 0.045].map(|start| (method, start)));
    for ((method, radius), start) in starts {
        let places = path(method, Economy::Full, saddle(), [0.0, start], 400);
        let y = |number: usize| f64::from(places[number][1]);
        let start = f64::from(start);
        // y - radius grows by the factor in each step, as long as y stays on its side.
        let closed = |number: usize| radius + (start - radius) * factor.powi(number as i32);
        for number in (0..20).take_while(|&number| closed(number) > 0.0) {
            let error = (y(number) - closed(number)).abs();
            assert!(error <= 1e-6 * closed(number).max(radius), "{method:?}: {}, {}", y(number), closed(number));
        }
        if radius == 0.0 {
            assert!(y(400) > 1e15);
            continue;
        }
        // It nears the saddle until it jumps across, and then never gets further than one such jump.
        let across = (0..400).find(|&number| closed(number) <= 0.0).unwrap();
        assert!((1..across).all(|number| y(number) < y(number - 1)), "{method:?}");
        let jump = (factor - 1.0) * radius;
        assert!((across..400).all(|number| y(number).abs() <= jump * (1.0 + 1e-6)), "{method:?}, from {start}");
    }
}

#[test]
fn from_exactly_a_saddle_nobody_moves() {
    for ((method, _), economy) in METHODS.into_iter().flat_map(|method| ECONOMIES.map(|one| (method, one))) {
        let places = path(method, economy, saddle(), [0.0; 2], 50);
        assert!(places.iter().flatten().all(|value| *value == 0.0), "{method:?}, {economy:?}: {places:?}");
    }
}

/// At 0 the gradients are (3, 4) and (-3, -4): their sum is 0, they themselves are not.
fn cancelling() -> Function {
    Function { slope: [[3.0, 4.0], [-3.0, -4.0]], curvature: [[1.0, 2.0], [2.0, -1.0]], is_split: false }
}

#[test]
fn where_two_groups_cancel_methods_that_do_not_tell_them_apart_stay() {
    for (method, economy) in
        [Method::Sgd, Method::Sam { rho: 0.05 }].into_iter().flat_map(|method| ECONOMIES.map(|one| (method, one)))
    {
        let places = path(method, economy, cancelling(), [0.0; 2], 50);
        assert!(places.iter().flatten().all(|value| *value == 0.0), "{method:?}, {economy:?}: {places:?}");
    }
}

#[test]
fn where_two_groups_cancel_methods_that_perturb_one_leave_as_computed_by_hand() {
    // The tail climbs by -rho * (0.6, 0.8), where its gradient has grown by rho * (-1.2, 0.8); the head by rho * (0.6, 0.8),
    // where its own has grown by rho * (0.6, 1.6).
    let [imbsam, sse_sam] = [[-0.06, 0.04], [-0.12 + 0.03, 0.08 + 0.08]];
    for (method, sum) in [(Method::ImbSam { rho: 0.05 }, imbsam), (SSE_SAM, sse_sam)] {
        for economy in ECONOMIES {
            let places = path(method, economy, cancelling(), [0.0; 2], 1);
            let expected = sum.map(|sum: f64| -f64::from(PLAIN.learning_rate) * sum);
            let error = (f64::from(places[1][0]) - expected[0]).hypot(f64::from(places[1][1]) - expected[1]);
            // The gradients of 5 are rounded before they cancel.
            let rounding = 2.0 * f64::from(f32::EPSILON) * 5.0 * f64::from(PLAIN.learning_rate);
            assert!(error <= rounding, "{method:?}, {economy:?}: {:?}, {expected:?}", places[1]);
        }
    }
}
