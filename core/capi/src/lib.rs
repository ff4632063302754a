//! `sse-sam-core` for firmware that is not written in Rust: the functions behind `include/sse_sam.h`.
//!
//! Memory is the caller's: a handle, whose size is known beforehand, and an arena, whose size the plan says. Every
//! pointer is checked for NULL and alignment, every length against the network, every stretch of memory against the
//! arena and the handle; what is wrong comes back as a [`Status`].
//!
//! # Safety
//! One promise for all functions: pointers are NULL or as long as stated, and nothing else uses that memory during the
//! call, nor an arena while it is lent; a `draw` calls no function with the handle that called it.
//!
//! The crate is `no_std`; `library` makes the static library of it. Pointers end in this file and in `memory`: the
//! rest is safe code.
#![no_std]
// Said once, above, and at the top of the header.
#![allow(clippy::missing_safety_doc)]

mod chacha;
mod memory;
mod status;
mod training;

use core::ffi::{c_char, c_void};
use core::ops::Range;

use sse_sam_core::model::{cifar_resnet, mlp, projected_resnet};
use sse_sam_core::{Error, Graph, Loss, Node, Plan};

use memory::{addresses, apart, input, output, put};
use training::{LAYERS, Layout, Pixels, Training, USUAL_LAYERS, place, size, streams};

pub use status::Status;

/// An upper bound of a handle's size in `size_t`, for a static array: `static size_t handle[SSE_SAM_HANDLE_WORDS];`.
pub const SSE_SAM_HANDLE_WORDS: usize = 900;

/// Plain cross-entropy; `a` and `b` are not read.
pub const SSE_SAM_LOSS_CE: u32 = 0;
/// Label-distribution-aware margins: `a` is the largest margin (0.5), `b` its factor (30).
pub const SSE_SAM_LOSS_LDAM: u32 = 1;
/// Logit adjustment: `a` is tau (1).
pub const SSE_SAM_LOSS_LA: u32 = 2;
/// Vector scaling: `a` is gamma (0.3), `b` is tau (1).
pub const SSE_SAM_LOSS_VS: u32 = 3;
/// Balanced softmax; `a` and `b` are not read.
pub const SSE_SAM_LOSS_BALANCED_SOFTMAX: u32 = 4;
/// Focal loss: `a` is gamma (1).
pub const SSE_SAM_LOSS_FOCAL: u32 = 5;

/// What every handle begins with.
const TAG: u32 = 0x5353_4d31;

/// A network in the caller's memory: only functions of this file look inside.
pub struct Network {
    tag: u32,
    graph: Graph<LAYERS>,
    plan: Option<Plan<LAYERS>>,
    layout: Option<Layout>,
    arena: *mut f32,
}

const _: () = assert!(LAYERS > USUAL_LAYERS || size_of::<Network>() <= SSE_SAM_HANDLE_WORDS * size_of::<usize>());
const _: () = assert!(align_of::<Network>() == align_of::<usize>());

/// One image, `[height][width][channels]`; for rows of features 1, 1 and their number.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// Rows of pixels.
    pub height: u32,
    /// Pixels a row.
    pub width: u32,
    /// Values a pixel.
    pub channels: u32,
}

/// What a plan needs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Floats of the arena.
    pub floats: usize,
    /// Floats that `sse_sam_load` and `sse_sam_save` take: parameters, then running statistics.
    pub weights: usize,
    /// How many of them are parameters.
    pub parameters: usize,
    /// Number of classes.
    pub classes: usize,
}

/// How a step updates the parameters.
///
/// | method           | `groups` | `radius`          | `tail_radius` | vectors as long as the parameters |
/// |------------------|----------|-------------------|---------------|-----------------------------------|
/// | SGD              | 1        | 0                 | not read      | 3                                 |
/// | SAM              | 1        | rho               | not read      | 4                                 |
/// | ImbSAM           | 2        | 0                 | rho           | 4                                 |
/// | SSE-SAM, stage 1 | 2        | head_rho          | tail_rho      | 5                                 |
/// | SSE-SAM, stage 2 | 2        | 0                 | tail_rho      | 4                                 |
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// 1, or 2 when the tail's samples form a group of their own.
    pub groups: u32,
    /// How far the (first) group's point lies from the parameters.
    pub radius: f32,
    /// How far the tail's point lies from the parameters.
    pub tail_radius: f32,
    /// Step length.
    pub learning_rate: f32,
    /// Share of the velocity that is kept.
    pub momentum: f32,
    /// Factor of the parameters in the gradient.
    pub weight_decay: f32,
    /// 1 for Nesterov momentum, else 0.
    pub nesterov: u32,
}

/// What a step found. A loss of the batch is `head + tail`: sums over a group's samples, divided by the batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Loss of the first group at the parameters.
    pub head: f32,
    /// Loss of the tail at the parameters; 0 without a second group.
    pub tail: f32,
    /// Loss of the first group at its perturbed point; 0 where there is none.
    pub perturbed_head: f32,
    /// Loss of the tail at its perturbed point; 0 where there is none.
    pub perturbed_tail: f32,
    /// Squared norm of the update's gradient.
    pub squared_norm: f32,
}

/// A handle that a constructor made, and the addresses that nothing else may overlap: its own, and the arena's.
///
/// # Safety
/// `network` is NULL or memory of a handle's size that nobody else uses while `'a` lasts.
unsafe fn open<'a>(network: *mut Network) -> Result<(&'a mut Network, [Range<usize>; 2]), Status> {
    let own = addresses(network, 1)?;
    // SAFETY: neither null nor misaligned; the tag is the memory's own word on whether it is a handle.
    if unsafe { (&raw const (*network).tag).read() } != TAG {
        return Err(Status::NoHandle);
    }
    // SAFETY: made by `make`, which wrote every field.
    let network = unsafe { &mut *network };
    let floats = network.layout.as_ref().map_or(0, |layout| layout.floats);
    let arena = if network.arena.is_null() { 0..0 } else { addresses(network.arena, floats)? };
    Ok((network, [own, arena]))
}

/// A network that is ready to work, and the addresses that nothing else may overlap.
///
/// # Safety
/// As [`open`]; and the arena is still lent.
unsafe fn ready<'a>(network: *mut Network) -> Result<(Training<'a>, [Range<usize>; 2]), Status> {
    // SAFETY: the caller's promise.
    let (Network { graph, plan, layout, arena, .. }, taken) = unsafe { open(network)? };
    let (Some(plan), Some(layout), false) = (plan, layout, arena.is_null()) else { return Err(Status::Order) };
    // SAFETY: `sse_sam_lend` checked pointer and length and filled it; it is lent until the next plan.
    let arena = unsafe { core::slice::from_raw_parts_mut(*arena, layout.floats) };
    Ok((Training { graph, plan, layout, arena }, taken))
}

/// Makes a handle of `bytes` of memory and fills its graph.
///
/// # Safety
/// As [`open`] for `bytes` of memory.
unsafe fn make(
    memory: *mut Network,
    bytes: usize,
    build: impl FnOnce(&mut Graph<LAYERS>) -> Result<Node, Error>,
) -> Result<(), Status> {
    addresses(memory, 1)?;
    if bytes < size_of::<Network>() {
        return Err(Status::ShortHandle);
    }
    // SAFETY: long enough, aligned, and the caller's to give; there is nothing in it to drop. Field by field, as a whole
    // network is large for a chip's stack.
    let network = unsafe {
        (&raw mut (*memory).tag).write(0);
        (&raw mut (*memory).graph).write(Graph::new());
        (&raw mut (*memory).plan).write(None);
        (&raw mut (*memory).layout).write(None);
        (&raw mut (*memory).arena).write(core::ptr::null_mut());
        &mut *memory
    };
    build(&mut network.graph)?;
    network.tag = TAG;
    Ok(())
}

/// Bytes of memory that a handle takes, aligned as a `size_t`.
#[unsafe(no_mangle)]
pub extern "C" fn sse_sam_handle_bytes() -> usize {
    size_of::<Network>()
}

/// A sentence for what a function returned; static, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn sse_sam_message(status: i32) -> *const c_char {
    Status::message(status).as_ptr()
}

/// Makes a multi-layer perceptron in `bytes` of memory at `network`: linear layers of `count` sizes (2 to 13) with ReLU
/// between. The first size is `height * width * channels`, the last one the number of classes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_mlp(
    network: *mut Network,
    bytes: usize,
    image: Image,
    layer_sizes: *const u32,
    count: usize,
) -> Status {
    let made = || {
        let own = addresses(network, 1)?.start..addresses(network.cast::<u8>(), bytes)?.end;
        // SAFETY: the caller's promise.
        let widths = unsafe { input(layer_sizes, count, &[own])? };
        let &[_, .., classes] = widths else { return Err(Status::Model) };
        widths.iter().try_for_each(|width| size(*width).map(|_| ()))?;
        let (image, classes) = (image.shape()?, size(classes)?);
        // SAFETY: the caller's promise.
        unsafe { make(network, bytes, |graph| mlp(graph, image, classes, widths)) }
    };
    made().into()
}

/// Makes a residual network in `bytes` of memory at `network`: `depth` 8, 20, 32, 44, 56 (three stages of `width`, 2 and
/// 4 times `width` channels) or 18, 34 (four stages), as `resnet8:4` is depth 8 and width 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_resnet(
    network: *mut Network,
    bytes: usize,
    image: Image,
    depth: u32,
    width: u32,
    classes: u32,
) -> Status {
    let made = || {
        let (image, width, classes) = (image.shape()?, size(width)?, size(classes)?);
        let blocks = match depth {
            18 => Some([2, 2, 2, 2]),
            34 => Some([3, 4, 6, 3]),
            _ => None,
        };
        let repeats = match depth {
            8 => 1,
            20 => 3,
            32 => 5,
            44 => 7,
            56 => 9,
            18 | 34 => 0,
            _ => return Err(Status::Model),
        };
        let build = |graph: &mut Graph<LAYERS>| match blocks {
            Some(blocks) => projected_resnet(graph, &blocks, width, image, classes),
            None => cifar_resnet(graph, repeats, width, image, classes),
        };
        // SAFETY: the caller's promise.
        unsafe { make(network, bytes, build) }
    };
    made().into()
}

/// Plans training with batches of at most `batch` rows and steps that need no more than `largest`: as many groups, as
/// many radii above 0. Takes back an arena that was lent before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_plan(
    network: *mut Network,
    batch: usize,
    largest: *const Update,
    sizes: *mut Sizes,
) -> Status {
    let planned = || {
        // SAFETY: the caller's promise.
        let (network, _) = unsafe { open(network)? };
        network.arena = core::ptr::null_mut();
        (network.plan, network.layout) = (None, None);
        let own = addresses(network, 1)?;
        // SAFETY: the caller's promise.
        let (largest, to) = unsafe { (input(largest, 1, &[])?, output(sizes, 1, &[own])?) };
        let largest = largest.first().ok_or(Status::Internal)?;
        let layout = network.layout.insert(place(&mut network.plan, &network.graph, batch, largest)?);
        let plan = network.plan.as_ref().ok_or(Status::Internal)?;
        put(to, &[training::sizes(plan, layout)])
    };
    planned().into()
}

/// Lends `floats` floats at `arena`, at least as many as planned: they are the library's until the next plan. Everything
/// in them becomes 0, the loss plain cross-entropy without a tail, and bytes are divided by 255.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_lend(network: *mut Network, arena: *mut f32, floats: usize) -> Status {
    let lent = || {
        // SAFETY: the caller's promise.
        let (opened, _) = unsafe { open(network)? };
        let Network { graph, plan: Some(plan), layout: Some(layout), .. } = &mut *opened else {
            return Err(Status::Order);
        };
        apart(&addresses(arena, floats)?, &[addresses(network, 1)?])?;
        if floats < layout.floats {
            return Err(Status::ShortArena);
        }
        // SAFETY: checked above; zeros are numbers.
        let values = unsafe {
            arena.write_bytes(0, layout.floats);
            core::slice::from_raw_parts_mut(arena, layout.floats)
        };
        Training { graph, plan, layout, arena: values }.clear()?;
        opened.arena = arena;
        Ok(())
    };
    lent().into()
}

/// Chooses the loss (`SSE_SAM_LOSS_...` with its numbers `a` and `b`) for `counts`, the training samples of each of
/// `classes` classes. A class with fewer than `eta` is tail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_set_loss(
    network: *mut Network,
    counts: *const u32,
    classes: usize,
    eta: u32,
    loss: u32,
    a: f64,
    b: f64,
) -> Status {
    let set = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        let counts = unsafe { input(counts, classes, &taken)? };
        let loss = match loss {
            SSE_SAM_LOSS_CE => Loss::CrossEntropy,
            SSE_SAM_LOSS_LDAM => Loss::Ldam { max_m: a, scale: b },
            SSE_SAM_LOSS_LA => Loss::LogitAdjustment { tau: a },
            SSE_SAM_LOSS_VS => Loss::VectorScaling { gamma: a, tau: b },
            SSE_SAM_LOSS_BALANCED_SOFTMAX => Loss::BalancedSoftmax,
            SSE_SAM_LOSS_FOCAL => Loss::Focal { gamma: a },
            _ => return Err(Status::Range),
        };
        training.set_loss(counts, eta, loss)
    };
    set().into()
}

/// Says how bytes become numbers, `(byte - mean) * factor`: `table` holds the mean of each channel, then one over the
/// deviation of each, `2 * channels` floats in all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_set_normalization(network: *mut Network, table: *const f32, floats: usize) -> Status {
    let set = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        training.normalize(unsafe { input(table, floats, &taken)? })
    };
    set().into()
}

/// Draws initial weights; the velocity becomes 0. `draw` returns the next 32 random bits of a layer (counted from 0) and
/// is given `context`. Where it is NULL, `seed` decides, and the network starts as `sse-sam train --seed` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_initialize(
    network: *mut Network,
    seed: u64,
    draw: Option<unsafe extern "C" fn(context: *mut c_void, layer: u32) -> u32>,
    context: *mut c_void,
) -> Status {
    let initialized = || {
        // SAFETY: the caller's promise.
        let (training, _) = unsafe { ready(network)? };
        match draw {
            // SAFETY: the caller's function with the caller's context.
            Some(draw) => training.initialize(|layer| unsafe { draw(context, layer as u32) }),
            None => training.initialize(streams(seed)),
        }
    };
    initialized().into()
}

/// Makes `floats` numbers at `weights` the network's: parameters, then running statistics, as `sse_sam_save` and
/// `sse-sam export` write them. The velocity becomes 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_load(network: *mut Network, weights: *const f32, floats: usize) -> Status {
    let loaded = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        training.load(unsafe { input(weights, floats, &taken)? })
    };
    loaded().into()
}

/// Copies the network's numbers to `floats` floats at `weights`: parameters, then running statistics (mean, then variance
/// of each batch norm), layer by layer; images and kernels with channels last, as `sse-sam import` reads them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_save(network: *mut Network, weights: *mut f32, floats: usize) -> Status {
    let saved = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        training.save(unsafe { output(weights, floats, &taken)? })
    };
    saved().into()
}

/// Makes one image of bytes row `row` (from 0) of the batch, normalised, with its label (any class when it is only to be
/// classified). It stays until it is overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_put_bytes(
    network: *mut Network,
    row: usize,
    pixels: *const u8,
    length: usize,
    label: u32,
) -> Status {
    let done = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        let pixels = Pixels::Bytes(unsafe { input(pixels, length, &taken)? });
        training.put(row, pixels, label)
    };
    done().into()
}

/// Makes one image or row of features, floats that the network takes as they are, row `row` of the batch; else as
/// `sse_sam_put_bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_put_floats(
    network: *mut Network,
    row: usize,
    pixels: *const f32,
    length: usize,
    label: u32,
) -> Status {
    let done = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        let pixels = Pixels::Floats(unsafe { input(pixels, length, &taken)? });
        training.put(row, pixels, label)
    };
    done().into()
}

/// One step of training on the first `rows` rows of the batch. `report` may be NULL. When the gradient is not finite, the
/// parameters stay and `SSE_SAM_STATUS_NOT_FINITE` comes back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_step(
    network: *mut Network,
    rows: usize,
    update: *const Update,
    report: *mut Report,
) -> Status {
    let done = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        let update = unsafe { input(update, 1, &taken)? }.first().ok_or(Status::Internal)?;
        // SAFETY: the caller's promise.
        let to = if report.is_null() { &mut [] } else { unsafe { output(report, 1, &taken)? } };
        let found = training.step(rows, update)?;
        to.iter_mut().for_each(|to| {
            to.write(found);
        });
        Ok(())
    };
    done().into()
}

/// Classifies the first `rows` rows of the batch: `classes[row]` is the class of the largest logit. `logits`, `floats`
/// floats as `[rows][classes]`, may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_predict(
    network: *mut Network,
    rows: usize,
    classes: *mut u32,
    logits: *mut f32,
    floats: usize,
) -> Status {
    let done = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        let found = unsafe { output(classes, rows, &taken)? };
        let [handle, lent] = taken;
        let taken = [handle, lent, addresses(classes, rows)?];
        // SAFETY: the caller's promise.
        let logits = if logits.is_null() { None } else { Some(unsafe { output(logits, floats, &taken)? }) };
        training.predict(found, logits)
    };
    done().into()
}
