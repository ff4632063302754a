//! How many floating-point operations a step needs.

use sse_sam_core::training::method::Present;

use crate::device::layout::Layout;
use crate::error::Error;

/// Floating-point operations of the convolutions and linear layers of a step with `rows` samples, as their formulas say:
/// two for each multiply-add, products with padding among them.
///
/// There is a forward pass at the parameters and at each perturbed point. Weight gradients and input gradients (where
/// they are wanted: not of the first layer) are taken once for each group at the parameters and once at each point.
///
/// # Errors
/// [`Error::Core`] when graph and plan do not belong together.
pub fn flops(layout: &Layout, rows: usize, present: &Present) -> Result<u64, Error> {
    let points = present.perturbed().count() as u64;
    let (forwards, gradients) = (1 + points, present.iter().count() as u64 + points);
    let mut products = 0u64;
    for (layer, slot) in layout.graph.layers().iter().zip(layout.plan.slots()) {
        let own = layer.products(layout.graph.shape(layer.input)?).saturating_mul(rows as u64);
        let wanted = 1 + u64::from(slot.backward_input.is_some());
        products = products.saturating_add(own.saturating_mul(forwards + wanted * gradients));
    }
    Ok(products.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use sse_sam_core::{Arena, Method, Shape};

    use super::*;
    use crate::device::layout::Needs;

    const SSE_SAM: Method = Method::SseSam { head_rho: 0.1, tail_rho: 0.1, gamma: 0.5 };

    #[track_caller]
    fn check(model: &str, image: Shape, method: Method, epoch: u32, expected: u64) {
        let needs = Needs { groups: SSE_SAM.largest().unwrap(), ..Needs::new(image, 3, 5) };
        let layout = Layout::new(&model.parse().unwrap(), &needs, Arena::new(1)).unwrap();
        let present = method.groups(epoch, 2).unwrap().all();
        assert_eq!(flops(&layout, 5, &present).unwrap(), expected);
    }

    #[test]
    fn a_perceptrons_operations_are_counted_by_hand() {
        let image = Shape::new(1, 1, 7);
        // Forward 5 * (7 * 4 + 4 * 3), weight gradients the same, input gradients of the second layer alone.
        let (all, last) = (5 * (7 * 4 + 4 * 3), 5 * 4 * 3);
        check("mlp:7-4-3", image, Method::Sgd, 0, 2 * (all + all + last));
        check("mlp:7-4-3", image, Method::Sam { rho: 0.1 }, 0, 2 * (2 * all + 2 * (all + last)));
        check("mlp:7-4-3", image, Method::ImbSam { rho: 0.1 }, 0, 2 * (2 * all + 3 * (all + last)));
        check("mlp:7-4-3", image, SSE_SAM, 0, 2 * (3 * all + 4 * (all + last)));
        check("mlp:7-4-3", image, SSE_SAM, 1, 2 * (2 * all + 3 * (all + last)));
    }

    #[test]
    fn a_residual_networks_operations_are_counted_by_hand() {
        // Stem, two convolutions of the first stage, two halving ones, two others, and the last layer.
        let stem = 64 * 9 * 3 * 2;
        let others = 2 * 64 * 9 * 2 * 2 + 16 * 9 * (2 * 4 + 4 * 4) + 4 * 9 * (4 * 8 + 8 * 8) + 8 * 3;
        check("resnet8:2", Shape::new(8, 8, 3), Method::Sgd, 0, 2 * 5 * (2 * stem + 3 * others));
    }
}
