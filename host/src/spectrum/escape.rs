//! How many steps each method takes away from weights where a loss curves downward: counted, not concluded from theory.
//!
//! The weights are moved a little along the vector `u` of the smallest eigenvalue, one way and the other, and from there
//! each method takes plain steps `w <- w - learning_rate * G`, without momentum or weight decay, until the loss is as far
//! below that at the weights as the best point along `u` is. What differs between methods is `G` alone.

use serde::{Deserialize, Serialize};
use sse_sam_core::ops::{Axpy, Fill};
use sse_sam_core::{Backend, Method, Sgd, Span, Vectors};

use crate::error::Error;
use crate::recipe::defaults::{GAMMA, HEAD_RHO, RHO, TAIL_RHO};
use crate::spectrum::lanczos::Room;

/// How escapes are measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// How far along `u` the weights are moved.
    pub length: f64,
    /// What a step multiplies `G` by.
    pub learning_rate: f64,
    /// Samples of a step.
    pub batch: usize,
    /// Steps that are taken at most.
    pub limit: usize,
}

/// The methods that are compared, by their default radii: SSE-SAM as in its first stage.
pub const METHODS: [(&str, Method); 4] = [
    ("sgd", Method::Sgd),
    ("sam", Method::Sam { rho: RHO }),
    ("imbsam", Method::ImbSam { rho: RHO }),
    ("sse-sam", Method::SseSam { head_rho: HEAD_RHO, tail_rho: TAIL_RHO, gamma: GAMMA }),
];

/// What one method does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Escaped {
    /// Which.
    pub method: String,
    /// Steps until the loss has fallen, from along `u` and from against it; None where the limit was reached before.
    pub steps: [Option<usize>; 2],
    /// Mean of `|G.u|` over mean of `|g.u|`, `g` the gradient of plain descent, over the batches of an epoch at the weights.
    /// None where no gradient lies along `u`.
    pub amplification: Option<f64>,
    /// Mean of `|G|` over mean of `|g|`: how much of the amplification is no matter of the direction. None where `g` is 0.
    pub growth: Option<f64>,
}

/// What all methods do at the weights of a group, and how it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Escape {
    /// How it was measured.
    #[serde(flatten)]
    pub settings: Settings,
    /// How far the loss has to fall; 0 where it falls neither way along `u`: then no step is taken.
    pub fall: f64,
    /// In the order of [`METHODS`].
    pub methods: Vec<Escaped>,
}

/// Something that is trained, and a loss that is watched meanwhile.
pub trait Course<B: Backend> {
    /// Where the weights and the vectors of a step lie.
    fn vectors(&self) -> Vectors;

    /// Batches of an epoch.
    fn batches(&self) -> usize;

    /// Takes step `number` of a training that begins here; `G` is left in its place.
    ///
    /// # Errors
    /// What the machine reports.
    fn step(&mut self, backend: &mut B, method: &Method, number: usize, sgd: &Sgd) -> Result<(), Error>;

    /// The watched loss at the weights.
    ///
    /// # Errors
    /// What the machine reports.
    fn loss(&mut self, backend: &mut B) -> Result<f64, Error>;
}

fn plain(learning_rate: f64) -> Sgd {
    Sgd { learning_rate: learning_rate as f32, momentum: 0.0, weight_decay: 0.0, nesterov: false }
}

/// Measures escapes along and against `u`, a vector of length 1, until the watched loss has fallen by `fall`. The weights are
/// afterwards what they were; `advance` is told of trials that are done, and of how many.
///
/// # Errors
/// What the machine or the course reports.
pub fn escape<B: Backend>(
    backend: &mut B,
    course: &mut impl Course<B>,
    room: &Room,
    (u, fall): (Span, f64),
    settings: &Settings,
    advance: &dyn Fn(usize, usize),
) -> Result<Escape, Error>
where
    Error: From<B::Error>,
{
    let vectors = course.vectors();
    let mut weights = vec![0.0; vectors.params.length];
    backend.read(&mut weights, vectors.params)?;
    backend.run(&Fill { to: vectors.velocity, value: 0.0 })?;
    let goal = course.loss(backend)? - fall;
    let (mut methods, mut of_plain) = (Vec::new(), [0.0; 2]);
    for (number, (name, method)) in METHODS.iter().enumerate() {
        let means = means(backend, course, room, method, u)?;
        if number == 0 {
            of_plain = means;
        }
        let mut steps = [None; 2];
        for (side, (steps, sign)) in steps.iter_mut().zip([1.0, -1.0]).enumerate() {
            advance(2 * number + side, 2 * METHODS.len());
            if fall > 0.0 {
                backend.run(&Axpy { y: vectors.params, alpha: (sign * settings.length) as f32, x: u })?;
                *steps = count(backend, course, method, goal, settings)?;
                backend.write(vectors.params, &weights)?;
            }
        }
        let [amplification, growth] = [0, 1].map(|at| (of_plain[at] > 0.0).then(|| means[at] / of_plain[at]));
        methods.push(Escaped { method: (*name).into(), steps, amplification, growth });
    }
    advance(2 * METHODS.len(), 2 * METHODS.len());
    Ok(Escape { settings: *settings, fall, methods })
}

/// Means of `|G.u|` and of `|G|` over the batches of an epoch, all at the weights: by steps of length 0.
fn means<B: Backend>(
    backend: &mut B,
    course: &mut impl Course<B>,
    room: &Room,
    method: &Method,
    u: Span,
) -> Result<[f64; 2], Error>
where
    Error: From<B::Error>,
{
    let (gradient, batches) = (course.vectors().gradient, course.batches());
    let mut sums = [0.0; 2];
    for number in 0..batches {
        course.step(backend, method, number, &plain(0.0))?;
        sums[0] += room.dot(backend, gradient, u)?.abs();
        sums[1] += room.norm(backend, gradient)?;
    }
    Ok(sums.map(|sum| sum / batches.max(1) as f64))
}

/// Steps until the loss is at most `goal`.
fn count<B: Backend>(
    backend: &mut B,
    course: &mut impl Course<B>,
    method: &Method,
    goal: f64,
    settings: &Settings,
) -> Result<Option<usize>, Error> {
    for number in 0..=settings.limit {
        let loss = course.loss(backend)?;
        if loss <= goal {
            return Ok(Some(number));
        }
        if number == settings.limit || !loss.is_finite() {
            break;
        }
        course.step(backend, method, number, &plain(settings.learning_rate))?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use sse_sam_core::training::problem::Target;
    use sse_sam_core::{Arena, Cpu, Demand, Economy, Error as CoreError, Machine, Problem, Session, Statistics};

    use super::*;
    use crate::spectrum::lanczos::Basis;

    /// `x^2 - y^2`, all of it the tail's, in one batch: a saddle point at 0.
    struct Saddle {
        session: Session,
    }

    struct Slope;

    impl Problem<Cpu<'_>> for Slope {
        fn forward(&mut self, _: &mut Cpu<'_>, _: Span, _: Statistics) -> Result<(), CoreError> {
            Ok(())
        }

        fn backward(&mut self, backend: &mut Cpu<'_>, params: Span, targets: &[Target]) -> Result<(), CoreError> {
            for target in targets {
                let [gradient, w] = backend.slices_mut([target.gradient, params])?;
                gradient[0] += 2.0 * w[0];
                gradient[1] -= 2.0 * w[1];
            }
            Ok(())
        }
    }

    impl Course<Cpu<'_>> for Saddle {
        fn vectors(&self) -> Vectors {
            self.session.vectors
        }

        fn batches(&self) -> usize {
            1
        }

        fn step(&mut self, backend: &mut Cpu<'_>, method: &Method, _: usize, sgd: &Sgd) -> Result<(), Error> {
            let groups = method.groups(0, 2)?;
            let present = groups.present([groups.count() == 1, true]);
            Ok(self.session.step(backend, &mut Slope, &present, sgd, 0)?)
        }

        fn loss(&mut self, backend: &mut Cpu<'_>) -> Result<f64, Error> {
            let mut w = [0.0; 2];
            backend.read(&mut w, self.session.vectors.params)?;
            let [x, y] = w.map(f64::from);
            Ok(x * x - y * y)
        }
    }

    /// What the methods do that stand at `y` and have to fall by `fall`.
    fn escaped(y: f32, fall: f64, settings: &Settings) -> Escape {
        let mut arena = Arena::new(1);
        let groups = METHODS[3].1.largest().unwrap();
        let demand = Demand { groups, economy: Economy::Full, pieces: false };
        let session = Session::new(2, &demand, 0, 1, &mut arena).unwrap();
        let room = Room::new(&mut arena, 2, (Basis::None, 1)).unwrap();
        let u = arena.allocate(2).unwrap();
        let mut memory = vec![0.0; arena.len()];
        let mut cpu = Cpu::new(&mut memory, &[], &[]);
        cpu.write(session.vectors.params, &[0.0, y]).unwrap();
        cpu.write(u, &[0.0, 1.0]).unwrap();
        let mut course = Saddle { session };
        let found = escape(&mut cpu, &mut course, &room, (u, fall), settings, &|_, _| {}).unwrap();
        let mut after = [0.0; 2];
        cpu.read(&mut after, session.vectors.params).unwrap();
        assert_eq!(after, [0.0, y]);
        found
    }

    const SETTINGS: Settings = Settings { length: 1e-3, learning_rate: 0.05, batch: 1, limit: 100 };

    #[test]
    fn plain_descent_escapes_a_saddle_in_the_steps_of_its_growth_and_a_perturbed_method_within_its_radius_never() {
        // 0.001 * 1.1^n is 0.1 after log(100) / log(1.1) = 48.3 steps.
        let found = escaped(0.0, 0.01, &SETTINGS);
        let sgd = Escaped { method: "sgd".into(), steps: [Some(49); 2], amplification: None, growth: None };
        assert_eq!(found.methods[0], sgd);
        assert!(found.methods[1..].iter().all(|method| method.steps == [None; 2]), "{found:?}");
        // A limit below that is reached.
        let short = escaped(0.0, 0.01, &Settings { limit: 48, ..SETTINGS });
        assert_eq!(short.methods[0].steps, [None; 2]);
        assert_eq!(escaped(0.0, 0.01, &Settings { limit: 49, ..SETTINGS }).methods[0].steps, [Some(49); 2]);
    }

    #[test]
    fn beside_a_saddle_each_method_sees_its_own_share_of_the_gradient() {
        // At y = 0.2 the gradient is -0.4; climbing by a radius along it leaves y - radius.
        let found = escaped(0.2, 0.05, &SETTINGS);
        for (method, radius) in found.methods.iter().zip([0.0, RHO, RHO, TAIL_RHO]) {
            let expected = 1.0 - radius / 0.2;
            // Beside this saddle u is the gradient's own direction.
            for share in [method.amplification, method.growth] {
                assert!((share.unwrap() - expected).abs() < 1e-6, "{method:?}");
            }
            let steps = [1.0, -1.0].map(|sign| {
                let (mut y, mut steps) = (0.2 + sign * 1e-3, 0);
                while y * y < 0.2 * 0.2 + 0.05 {
                    y += 2.0 * 0.05 * (y - radius);
                    steps += 1;
                }
                Some(steps)
            });
            assert_eq!(method.steps, steps, "{method:?}");
        }
    }

    #[test]
    fn where_the_loss_does_not_fall_along_the_direction_no_step_is_taken() {
        let found = escaped(0.2, 0.0, &SETTINGS);
        assert!(found.methods.iter().all(|method| method.steps == [None; 2] && method.amplification.is_some()));
    }
}
