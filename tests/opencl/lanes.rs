//! Tiles for registers of 4, 8 and 16 numbers: the same bits from every kernel, and from a training.

use std::process::Command;

use sse_sam::opencl::DeviceType;

use super::*;

const TILINGS: [&str; 3] = ["cpu4", "cpu8", "cpu16"];

/// The CPUs among the devices, with each of these tiles.
fn each_cpu(test: impl Fn(&DeviceInfo, [DeviceInfo; 3])) {
    each_device(|device| {
        if device.kind == DeviceType::Cpu {
            let forced = [Tiling::Cpu4, Tiling::Cpu8, Tiling::Cpu16].map(|tiles| {
                let mut device = device.clone();
                device.tiles = tiles;
                device
            });
            test(device, forced);
        }
    });
}

/// All memory after `run`, whose convolutions are computed like this.
fn memory(
    device: &DeviceInfo,
    layout: &Layout,
    convolution: Convolution,
    run: impl Fn(&mut OpenCl) -> Result<(), Error>,
) -> Vec<u32> {
    let mut machine = OpenCl::new(device, layout.work.len(), &[], &[]).unwrap();
    machine.set_convolution(convolution);
    let all = Span::work(0, layout.work.len());
    machine.write(all, &layout.work).unwrap();
    run(&mut machine).unwrap();
    let mut found = vec![0.0; layout.work.len()];
    machine.read(&mut found, all).unwrap();
    found.into_iter().map(f32::to_bits).collect()
}

/// Asserts that what is left in memory does not depend on the tiles.
#[track_caller]
fn same(
    what: &str,
    devices: &[DeviceInfo; 3],
    layout: &Layout,
    convolution: Convolution,
    run: impl Fn(&mut OpenCl) -> Result<(), Error>,
) {
    let found = devices.each_ref().map(|device| memory(device, layout, convolution, &run));
    let before: Vec<u32> = layout.work.iter().map(|number| number.to_bits()).collect();
    assert!(found[2] != before, "{what}: nothing was computed");
    for (narrow, name) in found.iter().zip(TILINGS).take(2) {
        let differs = narrow.iter().zip(&found[2]).position(|(narrow, wide)| narrow != wide);
        assert_eq!(differs, None, "{what}: {name} gives other bits than cpu16");
    }
}

#[test]
fn a_tiling_means_what_the_registers_say() {
    each_cpu(|device, _| {
        for (lanes, expected) in
            [(0, Tiling::Cpu4), (4, Tiling::Cpu4), (8, Tiling::Cpu8), (16, Tiling::Cpu16), (32, Tiling::Cpu16)]
        {
            let mut device = device.clone();
            (device.tiles, device.lanes) = (Tiling::Cpu, lanes);
            assert_eq!(device.tiling(), expected, "{lanes}");
            device.tiles = Tiling::Cpu8;
            assert_eq!(device.tiling(), Tiling::Cpu8, "what is named is taken");
        }
        let tables = [Tiling::Cpu4, Tiling::Cpu8, Tiling::Cpu16].map(|tiles| {
            let mut device = device.clone();
            device.tiles = tiles;
            sse_sam::opencl::kernel_table(&device, Convolution::Auto)
        });
        assert!(tables[0] != tables[1] && tables[1] != tables[2], "{tables:?}");
    });
}

#[test]
fn convolutions_give_the_same_bits_for_registers_of_every_width() {
    each_cpu(|_, devices| {
        // Outputs of 16, 8 and 4 pixels a side take wide, middle and narrow tiles; channels and filters are few, whole
        // slices, and ragged; Winograd's form takes whole ones, those of many channels through memory.
        let direct = [(3, 1, [17, 8, 4]), (3, 2, [32, 15, 8]), (1, 2, [32, 16, 7])];
        let direct = direct.into_iter().flat_map(|(kernel, stride, sides)| {
            [[3, 17], [16, 32], [35, 20]].into_iter().flat_map(move |[channels, filters]| {
                sides.map(|side| (Convolution::Direct, [channels, filters, kernel, stride, side]))
            })
        });
        let winograd = [[16, 32], [80, 80]].into_iter().flat_map(|[channels, filters]| {
            [4, 7, 18].map(|side| (Convolution::Winograd, [channels, filters, 3, 1, side]))
        });
        for (convolution, sizes) in direct.chain(winograd) {
            let [channels, filters, kernel, stride, side] = sizes;
            let conv = Conv2d::new(Shape::new(side, side, channels), filters, kernel, stride, kernel / 2).unwrap();
            let mut layout = Layout::new(16);
            let images = 3;
            let [x, dx, dx_too] = [conv.input.len(); 3].map(|length| layout.random(images * length));
            let [y, dy, dy_too] = [conv.output.len(); 3].map(|length| layout.random(images * length));
            let [weight, dweight, dweight_too] = [conv.weights(); 3].map(|length| layout.random(length));
            same(&format!("{convolution:?} {sizes:?}"), &devices, &layout, convolution, |machine| {
                machine.reserve_convolution(&conv, images)?;
                machine.run(&Conv2dForward { y, x, weight, conv: &conv })?;
                let (dx, dy, dweight) = (&[dx, dx_too], &[dy, dy_too], &[dweight, dweight_too]);
                machine.run(&Conv2dBackwardInput { dx, dy, weight, conv: &conv, accumulate: true })?;
                machine.run(&Conv2dBackwardWeight { dweight, x, dy, conv: &conv })
            });
        }
    });
}

#[test]
fn layers_give_the_same_bits_for_registers_of_every_width() {
    each_cpu(|_, devices| {
        for (rows, channels) in [(5, 3), (130, 16), (200, 35), (300, 64), (70, 101)] {
            let mut layout = Layout::new(16);
            let [y, x, residual, dx, dy] = [rows * channels; 5].map(|length| layout.random(length));
            let [weight, bias, dweight, dbias] = [channels; 4].map(|length| layout.random(length));
            let [saved, running] = [2 * channels; 2].map(|length| layout.put(&vec![0.5; length]));
            same(&format!("batch norm {rows} x {channels}"), &devices, &layout, Convolution::Auto, |machine| {
                let (relu, residual, running) = (true, Some(residual), Some(running));
                machine.run(&BatchNormForward { y, saved, running, x, weight, bias, residual, relu })?;
                let (dx, dweight, dbias, dy) = (&[dx], &[dweight], &[dbias], &[dy]);
                let (relu, residual, accumulate) = (true, true, true);
                machine.run(&BatchNormBackward {
                    dx,
                    dweight,
                    dbias,
                    dy,
                    y,
                    x,
                    weight,
                    bias,
                    saved,
                    relu,
                    residual,
                    accumulate,
                })
            });
            let outputs = 19;
            let mut layout = Layout::new(16);
            let [x, dx] = [rows * channels; 2].map(|length| layout.random(length));
            let [y, dy] = [rows * outputs; 2].map(|length| layout.random(length));
            let [weight, dweight] = [channels * outputs; 2].map(|length| layout.random(length));
            let [bias, dbias] = [outputs; 2].map(|length| layout.random(length));
            same(&format!("linear {rows} x {channels}"), &devices, &layout, Convolution::Auto, |machine| {
                machine.run(&LinearForward { y, x, weight, bias })?;
                let (dx, dy, dweight, dbias) = (&[dx], &[dy], &[dweight], &[dbias]);
                machine.run(&LinearBackwardInput { dx, dy, weight, outputs, accumulate: true })?;
                machine.run(&LinearBackwardWeight { dweight, dbias, x, dy })
            });
        }
    });
}

#[test]
fn a_training_gives_the_same_weights_for_registers_of_every_width() {
    each_cpu(|device, _| {
        let folder = tempfile::tempdir().unwrap();
        for convolution in ["direct", "winograd"] {
            let weights = TILINGS.map(|tiles| {
                let out = folder.path().join(format!("{convolution}-{tiles}"));
                let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
                command.args(["train", "--model", "resnet8:16", "--epochs", "1", "--quiet", "--conv", convolution]);
                command.args(["--device", &device.selector(), "--tiles", tiles]).arg("--out").arg(&out);
                let output = command.env("SSE_SAM_CACHE", folder.path()).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                std::fs::read(out.join("last.safetensors")).unwrap()
            });
            assert!(weights[0] == weights[2] && weights[1] == weights[2], "{convolution}: other bits");
        }
    });
}
