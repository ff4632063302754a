//! A handle: a head that every function reads, then a network that only the code for its kind reads.
//!
//! The head leads to that code by a function pointer that the constructor wrote. So a program links the code of the
//! networks that it makes, and no other.

use core::ops::Range;

use sse_sam_core::network::layer::Layers;
use sse_sam_core::{Error, Graph, Node};

use crate::layout::Layout;
use crate::memory::addresses;
use crate::model::{Body, Model};
use crate::status::Status;
use crate::training::Training;

/// What every handle begins with.
const TAG: u32 = 0x5353_4d32;

/// A network in the caller's memory: only functions of this file look inside.
pub struct Network {
    tag: u32,
    /// Bytes of the whole handle.
    bytes: usize,
    model: unsafe fn(*mut Network) -> *mut dyn Model,
    pub(crate) layout: Option<Layout>,
    pub(crate) arena: *mut f32,
    pub(crate) frozen: *const f32,
    pub(crate) samples: *const u8,
    /// Bytes of samples.
    pub(crate) sample_bytes: usize,
}

/// A handle: `Network` is its beginning.
#[repr(C)]
pub(crate) struct Handle<const N: usize, L: Layers, const OPTIONS: bool> {
    head: Network,
    body: Body<N, L, OPTIONS>,
}

/// Memory that a handle uses, by its addresses.
pub(crate) struct Taken {
    own: Range<usize>,
    arena: Range<usize>,
    frozen: Range<usize>,
    samples: Range<usize>,
}

impl Taken {
    /// What is written to: nothing that is read may overlap it.
    pub(crate) fn written(&self) -> [Range<usize>; 2] {
        [self.own.clone(), self.arena.clone()]
    }

    /// All of it: nothing that is written to may overlap it.
    pub(crate) fn all(&self) -> [Range<usize>; 4] {
        [self.own.clone(), self.arena.clone(), self.frozen.clone(), self.samples.clone()]
    }

    /// What is read: the arena may not overlap it.
    pub(crate) fn read(&self) -> [Range<usize>; 3] {
        [self.own.clone(), self.frozen.clone(), self.samples.clone()]
    }
}

/// The addresses of memory that may not have been lent yet.
fn lent<T>(pointer: *const T, length: usize) -> Result<Range<usize>, Status> {
    if pointer.is_null() { Ok(0..0) } else { addresses(pointer, length) }
}

/// A handle that a constructor made, its network, and the memory it uses.
///
/// # Safety
/// `network` is NULL or memory of a handle's size that nobody else uses while `'a` lasts.
pub(crate) unsafe fn open<'a>(network: *mut Network) -> Result<(&'a mut Network, &'a mut dyn Model, Taken), Status> {
    addresses(network, 1)?;
    // SAFETY: neither null nor misaligned; the tag says whether the memory is a handle.
    if unsafe { (&raw const (*network).tag).read() } != TAG {
        return Err(Status::NoHandle);
    }
    // SAFETY: made by `make`, which wrote every field and the body behind the head; the two do not overlap.
    let (head, body) = unsafe {
        let body = ((*network).model)(network);
        (&mut *network, &mut *body)
    };
    let own = addresses(network.cast::<u8>(), head.bytes)?;
    let (floats, frozen) = head.layout.as_ref().map_or((0, 0), |layout| (layout.floats, layout.frozen));
    let (arena, frozen) = (lent(head.arena, floats)?, lent(head.frozen, frozen)?);
    let samples = lent(head.samples, head.sample_bytes)?;
    Ok((head, body, Taken { own, arena, frozen, samples }))
}

/// A network that is ready to work, and the memory it uses.
///
/// # Safety
/// As [`open`]; and the arena, frozen layers and samples are still lent.
pub(crate) unsafe fn ready<'a>(network: *mut Network) -> Result<(Training<'a>, Taken), Status> {
    // SAFETY: the caller's promise.
    let (head, model, taken) = unsafe { open(network)? };
    let (Some(layout), false) = (&mut head.layout, head.arena.is_null()) else { return Err(Status::Order) };
    if layout.frozen > 0 && head.frozen.is_null() {
        return Err(Status::Order);
    }
    // SAFETY: the functions that lend checked pointers and lengths and filled the arena; lent until the next plan.
    let (arena, frozen, samples) = unsafe {
        let frozen = if head.frozen.is_null() { &[] } else { core::slice::from_raw_parts(head.frozen, layout.frozen) };
        let samples: &[u8] =
            if head.samples.is_null() { &[] } else { core::slice::from_raw_parts(head.samples, head.sample_bytes) };
        (core::slice::from_raw_parts_mut(head.arena, layout.floats), frozen, samples)
    };
    Ok((Training { model, layout, arena, frozen, samples }, taken))
}

/// Makes a handle of `bytes` of memory and fills its graph.
///
/// # Safety
/// As [`open`] for `bytes` of memory.
pub(crate) unsafe fn make<const N: usize, L: Layers, const OPTIONS: bool>(
    network: *mut Network,
    bytes: usize,
    build: impl FnOnce(&mut Graph<N>) -> Result<Node, Error>,
) -> Result<(), Status> {
    addresses(network, 1)?;
    if bytes < size_of::<Handle<N, L, OPTIONS>>() {
        return Err(Status::ShortHandle);
    }
    let handle = network.cast::<Handle<N, L, OPTIONS>>();
    let head = Network {
        tag: 0,
        bytes: size_of::<Handle<N, L, OPTIONS>>(),
        model: body::<N, L, OPTIONS>,
        layout: None,
        arena: core::ptr::null_mut(),
        frozen: core::ptr::null(),
        samples: core::ptr::null(),
        sample_bytes: 0,
    };
    // SAFETY: long enough, aligned, and the caller's to give; there is nothing in it to drop. Field by field, as a whole
    // network is large for a chip's stack.
    let handle = unsafe {
        (&raw mut (*handle).head).write(head);
        (&raw mut (*handle).body.graph).write(Graph::new());
        (&raw mut (*handle).body.plan).write(Err(Error::Model));
        &mut *handle
    };
    build(&mut handle.body.graph)?;
    handle.head.tag = TAG;
    Ok(())
}

/// The body of a handle of this kind.
///
/// # Safety
/// `network` is the beginning of such a handle.
unsafe fn body<const N: usize, L: Layers, const OPTIONS: bool>(network: *mut Network) -> *mut dyn Model {
    // SAFETY: the caller's promise.
    unsafe { &raw mut (*network.cast::<Handle<N, L, OPTIONS>>()).body }
}
