//! Devices whose work-groups, or kernels, have less than usual: PoCL as `POCL_MAX_WORK_GROUP_SIZE` makes it, in a process
//! of its own. Other devices stay as they are there.

use std::path::Path;
use std::process::Command;

use sse_sam::opencl::{Block, Convolution, OpenCl, Tiling, build_logs, devices, kernel_table};
use sse_sam_core::ops::GlobalAveragePoolForward;
use sse_sam_core::{Conv2d, Machine, Run, Shape, Span};
use sse_sam_tests::conformance;

use super::faults::{assert_passed, child, is_child};
use super::{Device, each_device};

/// Runs a test in processes where groups have at most so many work-items, with the tiles of each class.
fn with_small_groups(test: &str, cases: &[(&str, &str)]) {
    each_device(|_| ());
    let folder = tempfile::tempdir().unwrap();
    for (items, tiles) in cases {
        let variables =
            [("POCL_MAX_WORK_GROUP_SIZE", *items), ("SSE_SAM_OPENCL_TILES", *tiles)].map(|(k, v)| (k, Path::new(v)));
        let result = child(test, &[&variables[..], &[("POCL_CACHE_DIR", folder.path())]].concat());
        eprintln!("{items} work-items, tiles of a {tiles}: {:?}", result.1);
        assert_passed(&result);
    }
}

#[test]
fn child_agrees_with_the_reference() {
    if is_child() {
        each_device(|device| conformance::run(&Device(device)).assert_clean());
    }
}

#[test]
fn devices_with_small_work_groups_agree_with_the_reference() {
    // One, where sums have no tree, and sizes that are no power of two.
    let cases = [("1", "gpu"), ("100", "gpu"), ("20", "cpu")];
    with_small_groups("limits::child_agrees_with_the_reference", &cases);
}

/// How many work-items a group of PoCL may have in this process.
fn most() -> Option<usize> {
    std::env::var("POCL_MAX_WORK_GROUP_SIZE").ok()?.parse().ok()
}

#[test]
fn child_computes_in_the_blocks_that_there_are() {
    if !is_child() {
        return;
    }
    let conv = Conv2d::new(Shape::new(8, 8, 16), 16, 3, 1, 1).unwrap();
    for device in devices().unwrap() {
        if device.platform_name == "Portable Computing Language" {
            assert_eq!(Some(device.largest_group), most());
        }
        let there = Block::ALL.into_iter().filter(|block| block.is_within(&device));
        assert!(there.clone().all(|block| block.items(&device) <= device.largest_group));
        let machine = OpenCl::new(&device, 1, &[], &[]).unwrap();
        for form in machine.algorithms(&conv, 4) {
            assert_eq!(
                form.block().is_some(),
                device.tiles == Tiling::Gpu && there.clone().next().is_some(),
                "{form:?}"
            );
        }
        // What decides bits says so.
        let mut usual = device.clone();
        usual.largest_group = 256;
        let same = kernel_table(&device, Convolution::Auto) == kernel_table(&usual, Convolution::Auto);
        assert_eq!(same, device.largest_group >= 256, "{}", kernel_table(&device, Convolution::Auto));
    }
}

#[test]
fn blocks_that_a_device_has_no_work_groups_for_are_left_out() {
    let cases = [("256", "gpu"), ("128", "gpu"), ("64", "gpu"), ("63", "gpu"), ("16", "cpu")];
    with_small_groups("limits::child_computes_in_the_blocks_that_there_are", &cases);
}

#[test]
fn a_network_trains_in_groups_of_any_size() {
    each_device(|_| ());
    let folder = tempfile::tempdir().unwrap();
    for (items, tiles) in [("128", "cpu"), ("128", "gpu"), ("16", "gpu"), ("1", "cpu")] {
        let out = folder.path().join(format!("{items}-{tiles}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
        command.args(["train", "--device", "auto", "--epochs", "1", "--model", "resnet8:4", "--quiet", "--out"]);
        command.arg(&out);
        if !devices().unwrap().is_empty() {
            command.args(["--tiles", tiles]);
        }
        command.env("POCL_MAX_WORK_GROUP_SIZE", items).env("POCL_CACHE_DIR", folder.path().join("kernels"));
        let output = command.env("SSE_SAM_CACHE", folder.path().join("cache")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && out.join("last.safetensors").exists(), "{items}, {tiles}: {said}");
        let general = said.contains(&format!("work-groups of at most {items} work-items"));
        let pocl = devices().unwrap().iter().all(|device| device.platform_name == "Portable Computing Language");
        assert!(!pocl || devices().unwrap().is_empty() || general == ((items, tiles) == ("16", "gpu")), "{said}");
    }
}

#[test]
fn a_device_without_local_memory_computes_without_it() {
    each_device(|device| {
        let mut without = device.clone();
        (without.local_memory, without.tiles) = (0, Tiling::Gpu);
        let mut machine = OpenCl::new(&without, 64, &[], &[]).unwrap();
        let [x, y] = [Span::work(0, 12), Span::work(32, 3)];
        machine.write(x, &[0.5; 12]).unwrap();
        machine.run(&GlobalAveragePoolForward { y, x, input: Shape::new(2, 2, 3) }).unwrap();
        let mut found = [0.0; 3];
        machine.read(&mut found, y).unwrap();
        assert_eq!(found, [0.5; 3]);
    });
}

#[test]
fn scratch_memory_that_kernels_cannot_count_is_refused() {
    each_device(|device| {
        let mut large = device.clone();
        (large.global_memory, large.largest_allocation) = (u64::MAX, u64::MAX);
        // Its own description says how much there is: a backend keeps that of the device that was asked for first.
        let refused = OpenCl::new(&large, 64, &[], &[]).unwrap().reserve_scratch(1 << 32);
        let reason = refused.unwrap_err().to_string();
        assert!(reason.contains("2^32") || reason.contains("does not fit"), "{reason}");
    });
}

#[test]
fn no_compiler_warns_of_a_kernel() {
    each_device(|device| {
        for tiles in [Tiling::Cpu4, Tiling::Cpu8, Tiling::Cpu16, Tiling::Gpu] {
            let mut device = device.clone();
            device.tiles = tiles;
            for (file, log) in build_logs(&device).unwrap() {
                assert!(!log.to_lowercase().contains("warning"), "{file} on {}:\n{log}", device.name);
                let silent =
                    device.platform_name != "Portable Computing Language" || log.trim_matches('\0').trim().is_empty();
                assert!(silent, "{file}: {log}");
            }
        }
    });
}

#[test]
fn building_kernels_prints_nothing() {
    each_device(|device| {
        // Another processor than this one too, where the driver can be told.
        let other: [(&str, &str); 2] =
            [("POCL_LLVM_CPU_NAME", "haswell"), ("POCL_KERNELLIB_NAME", "kernel-x86_64-pc-linux-gnu-avx2")];
        let processors = [&[][..], if cfg!(target_arch = "x86_64") { &other } else { &[] }];
        for (tiles, processor) in
            [("cpu", processors[0]), ("gpu", processors[0]), ("cpu8", processors[1]), ("cpu4", processors[1])]
        {
            let folder = tempfile::tempdir().unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
            command.args(["devices", "--kernels", "--device", &device.selector(), "--tiles", tiles]);
            command.env("POCL_CACHE_DIR", folder.path()).envs(processor.iter().copied());
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{tiles} {processor:?}: {said}");
        }
    });
}
