//! Every function of the C interface.

use core::hint::black_box;

use sse_sam_capi::{
    Image, Network, Update, sse_sam_handle_bytes, sse_sam_initialize, sse_sam_lend, sse_sam_lend_frozen,
    sse_sam_lend_samples, sse_sam_load, sse_sam_message, sse_sam_mlp, sse_sam_perceptron, sse_sam_perceptron_bytes,
    sse_sam_perceptron_with_options, sse_sam_plan, sse_sam_predict, sse_sam_put_bytes, sse_sam_put_floats,
    sse_sam_put_sample, sse_sam_resnet, sse_sam_save, sse_sam_set_focal_sam, sse_sam_set_loss,
    sse_sam_set_normalization, sse_sam_set_tail, sse_sam_step,
};

use crate::{any, number};

/// A pointer that the optimiser knows nothing about.
fn pointer<T>() -> *mut T {
    black_box(core::ptr::null_mut())
}

unsafe extern "C" fn draw(_: *mut core::ffi::c_void, _: u32) -> u32 {
    black_box(0)
}

/// Calls them all.
pub fn all() {
    let (network, image) = (pointer::<Network>(), Image { height: any() as u32, width: 1, channels: 1 });
    let (natural, real) = (any() as u32, f64::from(number()));
    let update: *const Update = pointer();
    // SAFETY: the program is linked, never run.
    let statuses = unsafe {
        [
            sse_sam_perceptron(network, any(), image, pointer(), any()),
            sse_sam_perceptron_with_options(network, any(), image, pointer(), any()),
            sse_sam_mlp(network, any(), image, pointer(), any()),
            sse_sam_resnet(network, any(), image, natural, natural, natural),
            sse_sam_plan(network, any(), update, pointer(), pointer()),
            sse_sam_lend(network, pointer(), any()),
            sse_sam_lend_frozen(network, pointer(), any()),
            sse_sam_lend_samples(network, pointer(), any()),
            sse_sam_set_tail(network, pointer(), any(), natural),
            sse_sam_set_focal_sam(network, pointer(), any(), real, real),
            sse_sam_set_loss(network, pointer(), any(), natural, real, real),
            sse_sam_set_normalization(network, pointer(), any()),
            sse_sam_initialize(network, any() as u64, (any() > 0).then_some(draw), pointer()),
            sse_sam_load(network, pointer(), any()),
            sse_sam_save(network, pointer(), any()),
            sse_sam_put_bytes(network, any(), pointer(), any(), natural),
            sse_sam_put_floats(network, any(), pointer(), any(), natural),
            sse_sam_put_sample(network, any(), natural, any() as i8, any() as i8, natural),
            sse_sam_step(network, any(), update, pointer()),
            sse_sam_predict(network, any(), pointer(), pointer(), any()),
        ]
    };
    let bytes = [sse_sam_handle_bytes(), sse_sam_perceptron_bytes()];
    black_box((statuses, bytes, sse_sam_message(natural as i32)));
}
