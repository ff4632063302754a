//! Devices with other numbers of units than they have: how the blocks of a GPU split a sum.

use sse_sam::opencl::{Block, Convolution, DeviceInfo, DeviceType, Direction, OpenCl, Tiling, kernel_table};
use sse_sam_core::ops::Conv2dBackwardWeight;
use sse_sam_core::{Conv2d, Machine, Run, Shape, Span};

use super::each_device;

/// The device with a GPU's tiles, as if it were of this kind and had so many units.
fn as_if(device: &DeviceInfo, kind: DeviceType, compute_units: u32) -> DeviceInfo {
    let mut device = device.clone();
    (device.tiles, device.kind, device.compute_units) = (Tiling::Gpu, kind, compute_units);
    device
}

/// The bits of a weight gradient, a sum over 2,048 pixels.
fn weight_gradient(device: &DeviceInfo) -> Vec<u32> {
    let (conv, images) = (Conv2d::new(Shape::new(16, 16, 16), 16, 3, 1, 1).unwrap(), 8);
    let (size, weights) = (images * conv.input.len(), conv.weights());
    let [x, dy, dweight] = [Span::work(0, size), Span::work(size, size), Span::work(2 * size, weights)];
    let mut machine = OpenCl::new(device, 2 * size + weights, &[], &[]).unwrap();
    machine.reserve_convolution(&conv, images).unwrap();
    let numbers = |step: usize| -> Vec<f32> { (0..size).map(|i| (i * step % 1009) as f32 / 1009.0 - 0.5).collect() };
    machine.write(x, &numbers(389)).unwrap();
    machine.write(dy, &numbers(691)).unwrap();
    machine.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[dy], conv: &conv }).unwrap();
    let mut found = vec![0.0f32; weights];
    machine.read(&mut found, dweight).unwrap();
    found.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_gpus_sums_follow_its_units_and_a_cpus_do_not() {
    each_device(|device| {
        let table = |kind, units| kernel_table(&as_if(device, kind, units), Convolution::Auto);
        let bits = |kind, units| weight_gradient(&as_if(device, kind, units));
        assert!(table(DeviceType::Gpu, 2).contains("block_groups: 4"), "{}", table(DeviceType::Gpu, 2));
        assert_ne!(table(DeviceType::Gpu, 2), table(DeviceType::Gpu, 16), "what decides bits says so");
        assert_ne!(bits(DeviceType::Gpu, 2), bits(DeviceType::Gpu, 16));
        assert_eq!(bits(DeviceType::Gpu, 2), bits(DeviceType::Gpu, 2));
        assert_eq!(table(DeviceType::Cpu, 2), table(DeviceType::Cpu, 16));
        assert_eq!(bits(DeviceType::Cpu, 2), bits(DeviceType::Cpu, 16), "cores change no bit");
    });
}

#[test]
fn every_block_is_right_however_few_units_there_are() {
    each_device(|device| {
        for units in [1, 3] {
            let mut machine = OpenCl::new(&as_if(device, DeviceType::Gpu, units), 1, &[], &[]).unwrap();
            assert_eq!(machine.device().compute_units, units);
            let blocks = Block::ALL.into_iter().flat_map(|block| Direction::ALL.map(|direction| (direction, block)));
            let blocks = blocks.filter(|(_, block)| block.is_within(device));
            assert_eq!(machine.check(blocks.collect::<Vec<_>>()).unwrap(), []);
        }
    });
}
