//! Trainings that every machine must repeat bit for bit.
//!
//! Each trial trains on the same digits with the same order of samples and prints, after every step, a hash of all
//! parameters: what a chip prints is what the desk prints. A [`Machine`] lends memory and takes the text.
#![no_std]
#![forbid(unsafe_code)]

pub mod digits;
mod economy;
mod executor;
mod report;
mod slices;

use report::Line;
use sse_sam_core::network::layer::{All, Perceptron, Residual};
use sse_sam_core::network::models::{cifar_resnet, mlp};
use sse_sam_core::{Error, Graph, Loss, Method, Plan, Sgd};

pub use economy::{LEAN_WORK, SMALLEST_WORK, economy, smallest};
pub use executor::Recipe;
pub use report::{Hash, Label, Machine};
pub use slices::{WORK as SLICES_WORK, slices};

/// Samples of a batch of the perceptron.
pub const MLP_BATCH: usize = 16;
/// Numbers of work memory that [`perceptron`] needs.
pub const MLP_WORK: usize = 16_458;
/// Numbers of work memory that [`residual`] needs.
pub const RESIDUAL_WORK: usize = 57_982;

const EPOCHS: u32 = 4;
const STEPS: u32 = 10;
const SSE_SAM: Method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 0.5 };
const SGD: Sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4, nesterov: false };

/// Where a trial keeps its network, off the stack: lent like the work memory, for up to `N` layers.
pub struct Room<const N: usize> {
    graph: Graph<N>,
    plan: Result<Plan<N>, Error>,
}

impl<const N: usize> Room<N> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { graph: Graph::new(), plan: Err(Error::Model) }
    }
}

impl<const N: usize> Default for Room<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Layers of the perceptron, the input among them.
pub const MLP_LAYERS: usize = 4;
/// Layers of the residual network.
pub const RESIDUAL_LAYERS: usize = 20;

// Constants: what a recipe does not use is not linked.
static PERCEPTRON: Recipe = Recipe {
    method: SSE_SAM,
    share: digits::tail_share,
    loss: Loss::CrossEntropy,
    sgd: SGD,
    epochs: EPOCHS,
    steps: STEPS,
    batch: MLP_BATCH,
    crop: 0,
};
static RESIDUAL: Recipe = Recipe {
    method: SSE_SAM,
    share: digits::tail_share,
    loss: Loss::VectorScaling { gamma: 0.05, tau: 0.75 },
    sgd: SGD,
    epochs: 2,
    steps: 4,
    batch: 8,
    crop: 1,
};

/// A perceptron 64-32-10 with SSE-SAM through both stages, batch 16.
pub fn perceptron(
    machine: &mut impl Machine,
    room: &mut Room<MLP_LAYERS>,
    work: &mut [f32],
    samples: &[u8],
) -> Result<(), Error> {
    mlp(&mut room.graph, digits::IMAGE, digits::CLASSES, &[64, 32, 10])?;
    executor::train::<MLP_LAYERS, Perceptron>(machine, room, &PERCEPTRON, work, samples)
}

/// A residual network with convolutions, batch norm and shortcuts, with SSE-SAM through both stages, batch 8.
pub fn residual(
    machine: &mut impl Machine,
    room: &mut Room<RESIDUAL_LAYERS>,
    work: &mut [f32],
    samples: &[u8],
) -> Result<(), Error> {
    cifar_resnet(&mut room.graph, 1, 4, digits::IMAGE, digits::CLASSES)?;
    executor::train::<RESIDUAL_LAYERS, Residual>(machine, room, &RESIDUAL, work, samples)
}

/// Every method with every loss, a few steps each, on a perceptron.
pub fn sweep(
    machine: &mut impl Machine,
    room: &mut Room<MLP_LAYERS>,
    work: &mut [f32],
    samples: &[u8],
) -> Result<(), Error> {
    mlp(&mut room.graph, digits::IMAGE, digits::CLASSES, &[64, 32, 10])?;
    let methods = [
        ("sgd", Method::Sgd),
        ("sam", Method::Sam { rho: 0.05 }),
        ("imbsam", Method::ImbSam { rho: 0.05 }),
        ("sse-sam", SSE_SAM),
        ("focal-sam", Method::FocalSam { rho: 0.05, lambda: 1.0, gamma: 0.5 }),
    ];
    let losses = [
        ("ce", Loss::CrossEntropy),
        ("ldam", Loss::Ldam { max_m: 0.5, scale: 30.0 }),
        ("la", Loss::LogitAdjustment { tau: 1.0 }),
        ("vs", Loss::VectorScaling { gamma: 0.3, tau: 1.0 }),
        ("balanced-softmax", Loss::BalancedSoftmax),
        ("focal", Loss::Focal { gamma: 1.5 }),
    ];
    for (method_name, method) in methods {
        for (loss_name, loss) in losses {
            Line::new(machine).text(method_name).text(loss_name).end();
            let sgd = Sgd { nesterov: method == Method::Sgd, ..SGD };
            let share = if method.has_tail() { digits::tail_share } else { digits::focal_share };
            let recipe = Recipe { method, share, loss, sgd, epochs: 2, steps: 1, batch: MLP_BATCH, crop: 2 };
            executor::train::<MLP_LAYERS, All>(machine, room, &recipe, work, samples)?;
        }
    }
    Ok(())
}
