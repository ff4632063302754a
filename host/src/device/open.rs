//! The algorithms that a network's convolutions take on an OpenCL device: as recorded, remembered, timed, or shipped.

use std::collections::BTreeMap;

use sse_sam_core::network::layer::Op;
use sse_sam_core::ops::Fill;
use sse_sam_core::{Conv2d, Run, Span};

use crate::device::layout::Layout;
use crate::device::machine::Identity;
use crate::device::store::{Owner, TuningStore};
use crate::opencl::convolution::pick;
use crate::opencl::tuning::trial;
use crate::opencl::{
    self, AlgorithmTable, Algorithms, Block, ConvProblem, Convolution, DeviceInfo, Direction, Fault, OpenCl, Selection,
};
use crate::report::{Event, Observer};

/// The device as far as what is measured on it is remembered.
pub(crate) fn owner(info: &DeviceInfo) -> Owner {
    Owner::new(Identity::new(info, Convolution::Auto, &Selection::default()), info.compute_units)
}

/// The algorithms of each convolution that a device has several for: as recorded, else as remembered, else as shipped; but
/// with the tiles of a CPU, where there is something to gain, as timed now.
pub(crate) fn selection(
    info: &DeviceInfo,
    layout: &Layout,
    recorded: &AlgorithmTable,
    observer: &dyn Observer,
) -> Result<Selection, opencl::Error> {
    let images = layout.plan.max_batch();
    let mut open = pick::problems(info, images, layout.convolutions());
    let mut table = AlgorithmTable::new();
    take(&mut open, &mut table, |problem, _| recorded.get(problem).copied());
    if open.is_empty() {
        return Ok(Selection::new(images, table));
    }
    let store = TuningStore::of_user();
    let known = store.known(&owner(info), observer);
    take(&mut open, &mut table, |problem, _| known.get(problem).copied());
    let is_timed = |conv: &Conv2d| info.tiles.is_cpu() && !pick::is_small(conv, images);
    take(&mut open, &mut table, |_, conv| (!is_timed(conv)).then(|| pick::shipped(info, conv)));
    if !open.is_empty() {
        table.extend(timed(info, images, open, &store, observer)?);
    }
    Ok(Selection::new(images, table))
}

/// The fastest algorithms of these convolutions, timed while nobody else times any, and kept; or what others found who were
/// earlier.
fn timed(
    info: &DeviceInfo,
    images: usize,
    mut open: BTreeMap<ConvProblem, Conv2d>,
    store: &TuningStore,
    observer: &dyn Observer,
) -> Result<AlgorithmTable, opencl::Error> {
    let (held, owner) = (store.hold(observer), owner(info));
    let (known, mut table) = (held.known(&owner), AlgorithmTable::new());
    take(&mut open, &mut table, |problem, _| known.get(problem).copied());
    if open.is_empty() {
        return Ok(table);
    }
    let (shapes, device, place) = (open.len(), &info.name, store.place());
    let message = &format!("timing convolutions of {shapes} shapes on {device}; kept in {place}");
    observer.observe(&Event::Notice { message });
    let measured = open.iter().map(|(problem, conv)| Ok((*problem, time(info, conv, images)?)));
    table.extend(held.remember(&owner, measured.collect::<Result<_, opencl::Error>>()?, observer));
    Ok(table)
}

/// The fastest algorithms of a convolution, all of which must run.
fn time(info: &DeviceInfo, conv: &Conv2d, images: usize) -> Result<Algorithms, opencl::Error> {
    let measured = trial::measure(info, conv, images)?;
    match measured
        .skipped
        .iter()
        .find_map(|refusal| if let Fault::Fails(error) = &refusal.fault { Some(error) } else { None })
    {
        Some(error) => Err(error.clone()),
        None => Ok(measured.algorithms()),
    }
}

/// Moves the problems that `find` knows the algorithms of into the table.
fn take(
    open: &mut BTreeMap<ConvProblem, Conv2d>,
    table: &mut AlgorithmTable,
    find: impl Fn(&ConvProblem, &Conv2d) -> Option<Algorithms>,
) {
    open.retain(|problem, conv| {
        find(problem, conv).is_none_or(|algorithms| {
            table.insert(*problem, algorithms);
            false
        })
    });
}

/// A backend with all memory that the network's operations need, whose blocks are checked.
pub(crate) fn open(
    info: &DeviceInfo,
    layout: &Layout,
    (frozen, samples): (&[f32], &[u8]),
    convolution: Convolution,
    selection: Selection,
    observer: &dyn Observer,
) -> Result<OpenCl, opencl::Error> {
    let mut backend = OpenCl::new(info, layout.words, frozen, samples)?;
    backend.set_convolution(convolution);
    backend.set_selection(selection);
    let rows = layout.plan.max_batch();
    backend.reserve_scratch(scratch(info, layout))?;
    // A device that cannot launch kernels is noticed before anything is allocated.
    backend.run(&Fill { to: Span::work(0, layout.words.min(1)), value: 0.0 })?;
    backend.finish()?;
    if let Some(sentence) = without_blocks(info).filter(|_| layout.convolutions().next().is_some()) {
        observer.warn(&format!("warning: {sentence}"));
    }
    for refusal in backend.check_operations(&operations(layout), rows)?.iter().filter(|refusal| refusal.first) {
        observer.warn(&format!("warning: {}: {refusal}", info.name));
    }
    Ok(backend)
}

/// `f32` of scratch memory that the network's operations need.
pub(crate) fn scratch(info: &DeviceInfo, layout: &Layout) -> usize {
    let rows = layout.plan.max_batch();
    let channels = layout.graph.layers().iter().map(|layer| layer.output.channels).max();
    let convolutions = layout.convolutions().map(|conv| OpenCl::scratch(info, &conv, rows));
    convolutions
        .max()
        .unwrap_or(0)
        .max(OpenCl::scratch_of_layers(info, channels.unwrap_or(1), rows))
        .max(OpenCl::SCRATCH)
}

/// What to say of a device whose kernels are to be a GPU's, but whose work-groups are too small for every block.
fn without_blocks(info: &DeviceInfo) -> Option<String> {
    let DeviceInfo { name, largest_group, local_memory, .. } = info;
    let none = !info.tiles.is_cpu() && !Block::ALL.into_iter().any(|block| block.is_within(info));
    none.then(|| {
        format!(
            "{name} has work-groups of at most {largest_group} work-items and {local_memory} bytes of local memory: \
             convolutions are computed by the general kernels, which are slower"
        )
    })
}

/// The operations of a network's convolutions, those of one problem once.
fn operations(layout: &Layout) -> Vec<(Direction, Conv2d)> {
    let mut operations = BTreeMap::new();
    for (number, (layer, slot)) in layout.graph.layers().iter().zip(layout.plan.slots()).enumerate() {
        let Op::Conv2d(conv) = layer.op else { continue };
        let is_wanted = |direction: &Direction| match direction {
            Direction::Forward => true,
            Direction::BackwardInput => slot.backward_input.is_some(),
            Direction::BackwardWeight => number >= layout.plan.first_trained(),
        };
        for direction in Direction::ALL.into_iter().filter(is_wanted) {
            operations.insert((direction, ConvProblem::new(&conv, 1)), (direction, conv));
        }
    }
    operations.into_values().collect()
}
