//! Where the numbers of a spectrum lie: the network and its tangents, the weights, Lanczos's vectors.

use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::training::method::Groups;
use sse_sam_core::{Arena, Economy, Error as CoreError, Graph, Model, Plan, Session, Shape, Span, Tangents};

use crate::device::choose::Device;
use crate::device::layout;
use crate::device::room::largest;
use crate::error::Error;
use crate::spectrum::lanczos::{Basis, Room};

/// What a spectrum asks for of memory.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The network.
    pub model: &'a Model,
    /// One image.
    pub image: Shape,
    /// Number of classes.
    pub classes: usize,
    /// Number of the first layer whose parameters the Hessian is of.
    pub first: usize,
    /// Samples that pass through the network at once.
    pub batch: usize,
    /// Samples of the largest group.
    pub rows: usize,
    /// Products of a Lanczos run.
    pub steps: usize,
    /// Which of its vectors are kept.
    pub basis: Basis,
}

/// Vectors beside those of a training and of Lanczos.
const EXTRA: usize = 4;

/// A planned spectrum.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The network with its weights; the vectors of its training are free for other uses.
    pub network: layout::Layout,
    /// What products need beside it.
    pub tangents: Tangents<MAX_LAYERS>,
    /// Lanczos's memory.
    pub room: Room,
    extra: [Span; EXTRA],
}

impl Layout {
    /// Plans a spectrum.
    ///
    /// # Errors
    /// [`Error::Core`] when the model does not fit the data or the plan grows too large.
    pub fn new(demand: &Demand<'_>, mut arena: Arena) -> Result<Self, Error> {
        let mut graph = Graph::new();
        demand.model.build(&mut graph, demand.image, demand.classes)?;
        let plan = Plan::fine_tuning(&graph, demand.first, demand.batch, 2, &mut arena)?;
        let tangents = Tangents::new(&graph, &plan, &mut arena)?;
        let training = sse_sam_core::Demand { groups: Groups::ONE, economy: Economy::Lean, pieces: false };
        let session = Session::new(plan.parameters(), &training, demand.rows.max(demand.batch), 1, &mut arena)?;
        let room = Room::new(&mut arena, plan.parameters(), (demand.basis, demand.steps))?;
        let mut extra = [Span::work(0, 0); EXTRA];
        for span in &mut extra {
            *span = arena.allocate(plan.parameters())?;
        }
        let network = layout::Layout { graph, plan, session, batch: demand.batch, words: arena.len() };
        Ok(Self { network, tangents, room, extra })
    }

    /// One image.
    pub fn image(&self) -> Shape {
        self.network.graph.layers().first().map_or(Shape::new(0, 0, 0), |layer| layer.output)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.network.graph.layers().last().map_or(0, |layer| layer.output.len())
    }

    /// A place of weights beside the network's own.
    pub fn point(&self) -> Span {
        self.network.session.vectors.velocity
    }

    /// Of the gradient.
    pub fn gradient(&self) -> Span {
        self.extra[0]
    }

    /// Of the vector that belongs to the smallest eigenvalue.
    pub fn lowest(&self) -> Span {
        self.extra[1]
    }

    /// Two vectors for whatever is needed at the moment.
    pub fn scratch(&self) -> [Span; 2] {
        [self.extra[2], self.extra[3]]
    }

    /// Plans a spectrum on a device, beside samples that take `resident` bytes as a whole, or `staged(rows)` batch by batch.
    /// The second value is given where they have to be staged: rows of a batch.
    ///
    /// # Errors
    /// [`Error::Device`] when it does not fit, with what would; [`Error::Core`] when the model does not fit the data.
    pub fn on(
        device: &Device,
        demand: &Demand<'_>,
        resident: usize,
        staged: &impl Fn(usize) -> usize,
    ) -> Result<(Self, Option<usize>), Error> {
        let plan = |demand: &Demand<'_>| -> Result<Option<(Self, Option<usize>)>, Error> {
            let planned = match Self::new(demand, device.arena()) {
                Err(Error::Core(CoreError::TooLarge | CoreError::Segment { .. })) => return Ok(None),
                planned => planned?,
            };
            let staged = staged(demand.batch);
            Ok(device
                .lays_out(&planned.network, resident, staged)
                .map(|is_staged| (planned, is_staged.then_some(demand.batch))))
        };
        if let Some(planned) = plan(demand)? {
            return Ok(planned);
        }
        let fits = |demand: &Demand<'_>| plan(demand).is_ok_and(|planned| planned.is_some());
        Err(too_small(device, demand, fits))
    }
}

/// The error for a spectrum that does not fit: what would.
fn too_small(device: &Device, demand: &Demand<'_>, fits: impl Fn(&Demand<'_>) -> bool) -> Error {
    let Demand { steps, basis, batch, .. } = *demand;
    let needed = Layout::new(demand, device.arena()).map(|layout| layout.network.words.div_ceil(1 << 18));
    let needed = needed.map(|mib| format!("{mib} MiB")).unwrap_or_else(|_| "more memory than can be addressed".into());
    let is_kept = basis == Basis::Full;
    let fewer = if is_kept { largest(steps, |steps| fits(&Demand { steps, ..*demand })) } else { 0 };
    let none = is_kept && fits(&Demand { basis: Basis::None, ..*demand });
    let hint = match (fewer, none) {
        (0, false) => match largest(batch, |batch| fits(&Demand { basis: Basis::None, batch, ..*demand })) {
            0 => "not even one sample a batch fits beside three vectors".into(),
            batch if is_kept => format!("--basis none --batch {batch} fits"),
            batch => format!("--batch {batch} fits"),
        },
        (0, true) => "no basis fits: --basis none keeps three vectors".into(),
        (fewer, _) => format!("--steps {fewer} fits, and --basis none keeps three vectors for any number of steps"),
    };
    let what = if is_kept { format!("a basis of {steps} steps") } else { "three vectors".into() };
    let message = format!("{needed} are needed for {what} beside batches of {batch}, which do not fit its memory");
    Error::Device { device: device.name(), message, hint: Some(hint) }
}
