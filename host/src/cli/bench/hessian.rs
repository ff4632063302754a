//! What a product with the Hessian costs, beside a gradient of the same batch.

use std::time::Instant;

use serde::Serialize;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::training::problem::Target;
use sse_sam_core::{Curvature, Method, Model, Network, Problem, Shape, Span, Statistics};

use super::milliseconds;
use super::workload::{COUNTS, TAIL, Workload};
use crate::device::choose::Device;
use crate::device::layout::Needs;
use crate::device::machine::{Job, Machine};
use crate::error::Error;
use crate::report::console::Console;
use crate::spectrum::lanczos::Basis;
use crate::spectrum::layout::{Demand, Layout};
use crate::spectrum::start;

/// Least milliseconds of a gradient and of a product with the Hessian of one batch.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// A gradient: one pass forward by the batch's statistics, one backward.
    pub gradient_ms: f64,
    /// A product `H v`, with the pass forward at the weights that comes before it.
    pub product_ms: f64,
    /// How many gradients a product costs.
    pub gradients: f64,
}

/// Products of a batch with its Hessian, planned.
pub struct Products {
    layout: Layout,
    workload: Workload,
    rounds: usize,
}

impl Products {
    /// Plans what is timed in so many rounds: as `spectrum` plans it, with the vectors that it cannot do without.
    ///
    /// # Errors
    /// [`Error::Device`] when it does not fit, with the batch that does; [`Error::Core`] when the model does not fit the data.
    pub fn new(
        device: &Device,
        model: &Model,
        (image, classes): (Shape, usize),
        batch: usize,
        rounds: usize,
    ) -> Result<Self, Error> {
        let demand = Demand { model, image, classes, first: 0, batch, rows: batch, steps: 1, basis: Basis::None };
        let samples = |rows: usize| rows * image.len();
        // A batch is all that there is: staged, it takes as much.
        let (layout, _) = Layout::on(device, &demand, samples(batch), &samples)?;
        let needs = Needs::new(image, classes, batch);
        let workload = Workload::new(&layout.network, needs, &Method::Sgd.rule(&COUNTS, TAIL, 0, 1)?);
        Ok(Self { layout, workload, rounds })
    }

    /// Times both in turn, in full precision and with convolutions by their definition, as `spectrum` computes.
    ///
    /// # Errors
    /// What the device reports.
    pub fn measure(self, device: &Device, console: &Console) -> Result<Cost, Error> {
        let Self { layout, workload, .. } = &self;
        device.exact().run(&layout.network, &[], &workload.bytes, &self, console)
    }

    /// One gradient at the weights.
    fn gradient<B: Machine>(&self, backend: &mut B, network: &mut Network<'_, MAX_LAYERS>) -> Result<(), B::Error> {
        let (params, target) = (self.layout.network.session.vectors.params, self.target(self.layout.gradient()));
        network.forward(backend, params, Statistics::Repeat)?;
        network.backward(backend, params, &[target])
    }

    /// One product with the Hessian there.
    fn product<B: Machine>(&self, backend: &mut B, network: &mut Network<'_, MAX_LAYERS>) -> Result<(), B::Error> {
        let (layout, [v, to]) = (&self.layout, self.layout.scratch());
        let params = layout.network.session.vectors.params;
        Curvature::at(backend, network, &layout.tangents, params)?.product(backend, v, self.target(to))
    }

    fn target(&self, gradient: Span) -> Target {
        Target { column: 0, gradient }
    }
}

impl Job for &Products {
    type Output = Cost;

    fn run<B: Machine>(self, backend: &mut B) -> Result<Cost, Error>
    where
        Error: From<B::Error>,
    {
        let (layout, workload) = (&self.layout, &self.workload);
        workload.prepare(backend, &layout.network)?;
        let [v, _] = layout.scratch();
        let places = start::places(&layout.network);
        backend.write(v, &start::vector(v.length, &places, 0, 0))?;
        let session = &layout.network.session;
        let mut network = layout.network.network(0.0)?;
        let rows = workload.table(&layout.network)?;
        network.gather(backend, rows, &workload.samples(&layout.network), session.losses(0)?)?;
        let (mut gradient_ms, mut product_ms) = (f64::INFINITY, f64::INFINITY);
        for round in 0..=self.rounds {
            let start = Instant::now();
            self.gradient(backend, &mut network)?;
            session.record(backend)?;
            let middle = Instant::now();
            self.product(backend, &mut network)?;
            session.record(backend)?;
            // The first round touches memory for the first time.
            if round > 0 {
                gradient_ms = gradient_ms.min((middle - start).as_secs_f64() * 1e3);
                product_ms = product_ms.min(milliseconds(middle));
            }
        }
        Ok(Cost { gradient_ms, product_ms, gradients: product_ms / gradient_ms })
    }
}
