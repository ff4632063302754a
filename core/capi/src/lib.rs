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
mod handle;
mod layout;
mod memory;
mod model;
mod rows;
mod status;
mod training;
mod values;

use core::ffi::{c_char, c_void};

use handle::{Handle, make, open, ready};
use layout::{Order, size};
use memory::{addresses, apart, input, output, put};
use sse_sam_core::network::layer::{Layers, Perceptron as Perceptrons, Residual};
use sse_sam_core::network::models::{Stem, cifar_resnet, mlp, projected_resnet};
use sse_sam_core::{Graph, Loss, Row};
use training::{Pixels, Training, finite, streams};

pub use handle::Network;
pub use status::Status;
pub use values::*;

/// Layers of the largest network: perceptrons of 13 sizes and ResNet-8 have fewer than 24. For deeper ones the library is
/// built with the environment variable `SSE_SAM_LAYERS` (ResNet-18 and ResNet-20: 43); handles grow with it.
const LAYERS: usize = match option_env!("SSE_SAM_LAYERS") {
    None => USUAL_LAYERS,
    Some(text) => match usize::from_str_radix(text, 10) {
        Ok(layers) => layers,
        Err(_) => panic!("SSE_SAM_LAYERS must be a number of layers"),
    },
};

/// As many as `SSE_SAM_HANDLE_WORDS` has room for.
const USUAL_LAYERS: usize = 24;

/// Layers of what `sse_sam_perceptron` makes: the input, 4 linear ones, ReLU between.
const PERCEPTRON_LAYERS: usize = 8;

/// A picture as it is.
const UNMOVED: Row = Row { index: 0, label: 0, top: 0, left: 0, flip: false, weights: [0.0; 2] };

type General = Handle<LAYERS, Residual, true>;
type Perceptron = Handle<PERCEPTRON_LAYERS, Perceptrons, true>;

const _: () = assert!(LAYERS > USUAL_LAYERS || size_of::<General>() <= SSE_SAM_HANDLE_WORDS * size_of::<usize>());
const _: () = assert!(size_of::<Perceptron>() <= SSE_SAM_PERCEPTRON_WORDS * size_of::<usize>());
const _: () = assert!(align_of::<General>() == align_of::<usize>() && align_of::<Perceptron>() == align_of::<usize>());

/// Bytes of memory that a handle takes which `sse_sam_mlp` or `sse_sam_resnet` makes, aligned as a `size_t`.
#[unsafe(no_mangle)]
pub extern "C" fn sse_sam_handle_bytes() -> usize {
    size_of::<General>()
}

/// Bytes of memory that a handle takes which `sse_sam_perceptron` makes, aligned as a `size_t`.
#[unsafe(no_mangle)]
pub extern "C" fn sse_sam_perceptron_bytes() -> usize {
    size_of::<Perceptron>()
}

/// A sentence for what a function returned; static, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn sse_sam_message(status: i32) -> *const c_char {
    Status::message(status).as_ptr()
}

/// Makes a multi-layer perceptron as `sse_sam_mlp` does, the same bits in less memory and flash: of 2 to 5 sizes, and for
/// losses without a focal factor, planned without options. A program that makes no other network links no convolution,
/// batch norm or pooling.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_perceptron(
    network: *mut Network,
    bytes: usize,
    image: Image,
    layer_sizes: *const u32,
    count: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { perceptron::<PERCEPTRON_LAYERS, Perceptrons, false>(network, bytes, image, layer_sizes, count) }.into()
}

/// As `sse_sam_perceptron`, for a network that is planned with options: some more flash.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_perceptron_with_options(
    network: *mut Network,
    bytes: usize,
    image: Image,
    layer_sizes: *const u32,
    count: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { perceptron::<PERCEPTRON_LAYERS, Perceptrons, true>(network, bytes, image, layer_sizes, count) }.into()
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
    // SAFETY: the caller's promise.
    unsafe { perceptron::<LAYERS, Residual, true>(network, bytes, image, layer_sizes, count) }.into()
}

/// A perceptron of either kind.
///
/// # Safety
/// As [`make`]; and `layer_sizes` has `count` elements.
unsafe fn perceptron<const N: usize, L: Layers, const OPTIONS: bool>(
    network: *mut Network,
    bytes: usize,
    image: Image,
    layer_sizes: *const u32,
    count: usize,
) -> Result<(), Status> {
    let own = addresses(network, 1)?.start..addresses(network.cast::<u8>(), bytes)?.end;
    // SAFETY: the caller's promise.
    let widths = unsafe { input(layer_sizes, count, &[own])? };
    let &[_, .., classes] = widths else { return Err(Status::Model) };
    widths.iter().try_for_each(|width| size(*width).map(|_| ()))?;
    let (image, classes) = (image.shape()?, size(classes)?);
    // SAFETY: the caller's promise.
    unsafe { make::<N, L, OPTIONS>(network, bytes, |graph| mlp(graph, image, classes, widths)) }
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
            Some(blocks) => projected_resnet(graph, &blocks, width, Stem::Small, image, classes),
            None => cifar_resnet(graph, repeats, width, image, classes),
        };
        // SAFETY: the caller's promise.
        unsafe { make::<LAYERS, Residual, true>(network, bytes, build) }
    };
    made().into()
}

/// Plans training with batches of at most `batch` rows and steps that need no more than `largest`: as many groups, as
/// many radii above 0. `options` may be NULL. Takes back whatever was lent before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_plan(
    network: *mut Network,
    batch: usize,
    largest: *const Update,
    options: *const Options,
    sizes: *mut Sizes,
) -> Status {
    let planned = || {
        // SAFETY: the caller's promise.
        let (head, model, taken) = unsafe { open(network)? };
        (head.arena, head.frozen, head.samples) = (core::ptr::null_mut(), core::ptr::null(), core::ptr::null());
        head.layout = None;
        let [own, _] = taken.written();
        // SAFETY: the caller's promise.
        let (largest, to) = unsafe { (input(largest, 1, &[])?, output(sizes, 1, &[own])?) };
        let usual = [Options { memory: SSE_SAM_MEMORY_FULL, trainable_layers: 0, micro_batch: 0 }];
        // SAFETY: the caller's promise.
        let options = if options.is_null() { &usual } else { unsafe { input(options, 1, &[])? } };
        let (Some(largest), Some(options)) = (largest.first(), options.first()) else { return Err(Status::Internal) };
        let layout = head.layout.insert(model.place(&Order::new(batch, largest, options)?)?);
        put(to, &[layout.sizes(model.slots())])
    };
    planned().into()
}

/// Lends `floats` floats at `arena`, at least as many as planned: they are the library's until the next plan. Everything
/// in them becomes 0, the loss plain cross-entropy without a tail, and bytes are divided by 255.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_lend(network: *mut Network, arena: *mut f32, floats: usize) -> Status {
    let lent = || {
        // SAFETY: the caller's promise.
        let (head, model, taken) = unsafe { open(network)? };
        let Some(layout) = &mut head.layout else { return Err(Status::Order) };
        apart(&addresses(arena, floats)?, &taken.read())?;
        if floats < layout.floats {
            return Err(Status::ShortArena);
        }
        // SAFETY: checked above; zeros are numbers.
        let values = unsafe {
            arena.write_bytes(0, layout.floats);
            core::slice::from_raw_parts_mut(arena, layout.floats)
        };
        Training { model, layout, arena: values, frozen: &[], samples: &[] }.clear()?;
        head.arena = arena;
        Ok(())
    };
    lent().into()
}

/// Lends the numbers of frozen layers, `floats` of them, at least as many as planned; in flash, say, and read there until
/// the next plan. Layer by layer: weight, bias, and of a batch norm mean and variance; so those of a perceptron are the
/// first of the numbers that `sse-sam export` writes, and `sse_sam_load` takes the rest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_lend_frozen(network: *mut Network, numbers: *const f32, floats: usize) -> Status {
    let lent = || {
        // SAFETY: the caller's promise.
        let (head, _, taken) = unsafe { open(network)? };
        let Some(layout) = &head.layout else { return Err(Status::Order) };
        // SAFETY: the caller's promise.
        let values = unsafe { input(numbers, floats, &taken.written())? };
        finite(values.get(..layout.frozen).ok_or(Status::ShortFrozen)?)?;
        head.frozen = numbers;
        Ok(())
    };
    lent().into()
}

/// Lends `count` samples, in flash, say, for `sse_sam_put_sample`, until the next plan: a byte with the label of each, then
/// the image of each, a byte a value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_lend_samples(network: *mut Network, samples: *const u8, count: usize) -> Status {
    let lent = || {
        // SAFETY: the caller's promise.
        let (head, _, taken) = unsafe { open(network)? };
        let Some(layout) = &head.layout else { return Err(Status::Order) };
        let bytes =
            layout.image.len().checked_add(1).and_then(|bytes| bytes.checked_mul(count)).ok_or(Status::Length)?;
        if count == 0 {
            return Err(Status::Length);
        }
        apart(&addresses(samples, bytes)?, &taken.written())?;
        (head.samples, head.sample_bytes) = (samples, bytes);
        Ok(())
    };
    lent().into()
}

/// Says which classes are tail: those with fewer than `eta` training samples in `counts`, of `classes` classes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_set_tail(
    network: *mut Network,
    counts: *const u32,
    classes: usize,
    eta: u32,
) -> Status {
    let set = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        training.set_tail(unsafe { input(counts, classes, &taken.written())? }, eta)
    };
    set().into()
}

/// Says what of a sample's loss Focal-SAM perturbs, by its class: `lambda * (1 - n_c / N)^gamma` of `n_c` training samples
/// in `counts`, of `classes` classes, among `N`. `lambda` is in 0 to 1, `gamma` at least 0. Takes the place of
/// `sse_sam_set_tail`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_set_focal_sam(
    network: *mut Network,
    counts: *const u32,
    classes: usize,
    lambda: f64,
    gamma: f64,
) -> Status {
    let set = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        training.set_focal_sam(unsafe { input(counts, classes, &taken.written())? }, lambda, gamma)
    };
    set().into()
}

/// Chooses the loss (`SSE_SAM_LOSS_...` with its numbers `a` and `b`) for `counts`, the training samples of each of
/// `classes` classes. Plain cross-entropy needs no such call, and spares a program the others' logarithms and powers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_set_loss(
    network: *mut Network,
    counts: *const u32,
    classes: usize,
    loss: u32,
    a: f64,
    b: f64,
) -> Status {
    let set = || {
        // SAFETY: the caller's promise.
        let (training, taken) = unsafe { ready(network)? };
        // SAFETY: the caller's promise.
        let counts = unsafe { input(counts, classes, &taken.written())? };
        let loss = match loss {
            SSE_SAM_LOSS_CE => Loss::CrossEntropy,
            SSE_SAM_LOSS_LDAM => Loss::Ldam { max_m: a, scale: b },
            SSE_SAM_LOSS_LA => Loss::LogitAdjustment { tau: a },
            SSE_SAM_LOSS_VS => Loss::VectorScaling { gamma: a, tau: b },
            SSE_SAM_LOSS_BALANCED_SOFTMAX => Loss::BalancedSoftmax,
            SSE_SAM_LOSS_FOCAL => Loss::Focal { gamma: a },
            _ => return Err(Status::Range),
        };
        training.set_loss(counts, loss)
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
        training.normalize(unsafe { input(table, floats, &taken.written())? })
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
        training.load(unsafe { input(weights, floats, &taken.written())? })
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
        training.save(unsafe { output(weights, floats, &taken.all())? })
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
        let pixels = Pixels::Bytes(unsafe { input(pixels, length, &taken.written())? }, UNMOVED);
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
        let pixels = Pixels::Floats(unsafe { input(pixels, length, &taken.written())? });
        training.put(row, pixels, label)
    };
    done().into()
}

/// Makes sample `index` of those lent (from 0) row `row` of the batch. Pixel (y, x) of the row is pixel
/// (y + `top`, x + `left`) of the sample, mirrored left to right first if `flip` is 1 (else 0), and black outside.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sse_sam_put_sample(
    network: *mut Network,
    row: usize,
    index: u32,
    top: i8,
    left: i8,
    flip: u32,
) -> Status {
    let done = || {
        // SAFETY: the caller's promise.
        let (training, _) = unsafe { ready(network)? };
        if flip > 1 {
            return Err(Status::Range);
        }
        training.put_sample(row, Row { index, top, left, flip: flip == 1, ..UNMOVED })
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
        let update = unsafe { input(update, 1, &taken.written())? }.first().ok_or(Status::Internal)?;
        // SAFETY: the caller's promise.
        let to = if report.is_null() { &mut [] } else { unsafe { output(report, 1, &taken.all())? } };
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
        let found = unsafe { output(classes, rows, &taken.all())? };
        let [own, arena, frozen, samples] = taken.all();
        let taken = [own, arena, frozen, samples, addresses(classes, rows)?];
        // SAFETY: the caller's promise.
        let logits = if logits.is_null() { None } else { Some(unsafe { output(logits, floats, &taken)? }) };
        training.predict(found, logits)
    };
    done().into()
}
