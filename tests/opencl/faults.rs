//! Missing libraries and drivers, failing calls, leaks, and memory of several buffers or too little of it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use sse_sam::opencl::{self, Error, OpenCl, devices};
use sse_sam_core::ops::{Ascend, Axpy, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dForward, Fill};
use sse_sam_core::{
    Arena, Conv2d, Demand, Economy, Graph, Machine, Method, Model, Network, Plan, Row, Run, Samples, Session, Sgd,
    Shape, Span,
};

use super::{each_device, numbers};

/// Whether this process was started by [`child`]: a test named `child_...` does nothing in any other.
pub fn is_child() -> bool {
    std::env::var_os("SSE_SAM_TEST_CHILD").is_some()
}

/// Runs a test of this program named `child_...` in a process of its own, which the environment can be changed for.
pub fn child(test: &str, variables: &[(&str, &Path)]) -> (Output, Duration) {
    let start = Instant::now();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads", "1"]).env("SSE_SAM_TEST_CHILD", "1");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    (output, start.elapsed())
}

#[track_caller]
pub fn assert_passed((output, _): &(Output, Duration)) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn child_finds_no_device() {
    if !is_child() {
        return;
    }
    let start = Instant::now();
    assert_eq!(devices().unwrap().len(), 0);
    let refused = opencl::select(&[], "opencl").unwrap_err();
    assert!(matches!(refused, Error::Library { .. } | Error::Device { .. }), "{refused}");
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

#[test]
fn without_a_library_there_is_no_device_and_no_waiting() {
    assert_passed(&child(
        "faults::child_finds_no_device",
        &[("SSE_SAM_OPENCL_LIBRARY", Path::new("/nowhere/libOpenCL.so"))],
    ));
}

#[test]
fn a_loader_without_drivers_or_with_a_broken_one_finds_no_device() {
    let folder = tempfile::tempdir().unwrap();
    assert_passed(&child("faults::child_finds_no_device", &[("OCL_ICD_VENDORS", folder.path())]));
    std::fs::write(folder.path().join("broken.icd"), "/nowhere/libdriver.so\n").unwrap();
    assert_passed(&child("faults::child_finds_no_device", &[("OCL_ICD_VENDORS", folder.path())]));
}

#[test]
fn child_says_why_there_is_no_library() {
    if !is_child() {
        return;
    }
    let reason = opencl::library_error().unwrap();
    let wanted = std::env::var("SSE_SAM_TEST_REASON").unwrap();
    assert!(wanted.split('|').all(|part| reason.contains(part)) && !reason.contains("dlopen failed"), "{reason}");
}

#[test]
fn the_systems_reason_for_a_missing_or_broken_library_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libOpenCL.so.1");
    std::fs::write(&text, "no library").unwrap();
    let named = |library: &Path, reason: &str| {
        let variables = [("SSE_SAM_OPENCL_LIBRARY", library), ("SSE_SAM_TEST_REASON", Path::new(reason))];
        assert_passed(&child("faults::child_says_why_there_is_no_library", &variables));
    };
    named(Path::new("/nowhere/libOpenCL.so"), "/nowhere/libOpenCL.so");
    named(&text, text.to_str().unwrap());
    if cfg!(target_os = "linux") {
        named(Path::new("/nowhere/libOpenCL.so"), "cannot open shared object file");
        named(&text, "too short");
        // A library, but not of OpenCL.
        named(Path::new("libc.so.6"), "libc.so.6|has no clGetPlatformIDs");
    }
}

/// Everything a run asks of a device, in small.
fn little_run() -> Result<(), Error> {
    for device in devices()? {
        let mut machine = OpenCl::new(&device, 4096, &[1.0; 8], &[7; 64])?;
        let conv = Conv2d::new(Shape::new(4, 4, 2), 3, 3, 1, 1)?;
        machine.reserve_convolution(&conv, 2)?;
        let [x, y, weight, dweight, norm] =
            [(0, 64), (128, 96), (256, 54), (320, 54), (384, 1)].map(|(at, length)| Span::work(at, length));
        machine.write(x, &[0.5; 64])?;
        machine.stage(3, vec![9; 5])?;
        machine.run(&Fill { to: weight, value: 0.25 })?;
        machine.run(&Conv2dForward { y, x, weight, conv: &conv })?;
        machine.run(&Conv2dBackwardWeight { dweight: &[dweight], x, dy: &[y], conv: &conv })?;
        machine.run(&Ascend { point: dweight, squared_norm: norm, params: weight, radius: 0.1 })?;
        let mut values = [0.0; 54];
        machine.read(&mut values, dweight)?;
        machine.finish()?;
    }
    Ok(())
}

#[test]
fn child_names_the_call_that_fails() {
    if !is_child() {
        return;
    }
    // A driver's own code too, which the crates below do not know.
    for (code, name) in [(-5, "CL_OUT_OF_RESOURCES"), (-9999, "the driver's own")] {
        for after in 1.. {
            opencl::fail_after(after, code);
            match little_run() {
                Ok(()) => break,
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.starts_with("cl") && text.contains(name), "call {after}: {text}");
                    let Error::Call { call, device, .. } = &error else { panic!("call {after}: {error:?}") };
                    let before_a_device = call.starts_with("clGetPlatform") || call.starts_with("clGetDevice");
                    assert!(before_a_device || !device.is_empty(), "call {after}: {text}");
                }
            }
            assert!(opencl::calls() < 10_000_000, "no run was free of failures");
        }
    }
    opencl::fail_after(0, 0);
    little_run().unwrap();
}

#[test]
fn every_call_that_fails_is_named() {
    each_device(|_| ());
    assert_passed(&child("faults::child_names_the_call_that_fails", &[]));
}

#[test]
fn child_keeps_objects_and_memory_flat() {
    if !is_child() {
        return;
    }
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        status.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
    };
    each_device(|device| {
        let mut graph = Graph::<8>::new();
        "mlp:6-5-3".parse::<Model>().unwrap().build(&mut graph, Shape::new(1, 2, 3), 3).unwrap();
        let method = Method::SseSam { head_rho: 0.05, tail_rho: 0.1, gamma: 1.0 };
        let demand = Demand { groups: method.largest().unwrap(), economy: Economy::Full, pieces: false };
        let mut arena = Arena::new(OpenCl::alignment());
        let plan = Plan::new(&graph, 8, demand.streams(), &mut arena).unwrap();
        let session = Session::new(plan.parameters(), &demand, 8, 1, &mut arena).unwrap();
        let (table, losses) = (session.table, session.losses(0).unwrap());
        let bytes: Vec<u8> = (0..48).map(|index| index * 5).collect();
        let mut machine = OpenCl::new(device, arena.len(), &[], &bytes).unwrap();
        let row = |index| Row { index, label: index % 3, top: 0, left: 0, flip: false, weights: [0.1, 0.1] };
        let rows = (0..8).map(|index| row(index).encode());
        machine.write(table, &rows.flatten().collect::<Vec<f32>>()).unwrap();
        machine.write(plan.normalization, &[100.0, 100.0, 100.0, 0.01, 0.01, 0.01]).unwrap();
        machine.run(&Fill { to: plan.terms[0], value: 1.0 }).unwrap();
        let mut network = Network::new(&graph, &plan, 0.0, losses);
        network
            .initialize(&mut machine, session.vectors.params, |layer| (layer as u32 + 1).wrapping_mul(0x9e37_79b9))
            .unwrap();
        let (images, image) = (Span::samples(0, 48), Shape::new(1, 2, 3));
        let samples = Samples { images, image, normalization: plan.normalization };
        let groups = demand.groups.all();
        let sgd = Sgd { learning_rate: 0.01, momentum: 0.9, weight_decay: 0.0, nesterov: false };
        let mut steps = |machine: &mut OpenCl, count: usize| {
            for number in 0..count {
                network.gather(machine, table, &samples, losses).unwrap();
                session.step(machine, &mut network, &groups, &sgd, 0).unwrap();
                if number % 50 == 0 {
                    session.record(machine).unwrap();
                }
            }
            let left = session.record(machine).unwrap();
            assert!(left.squared_norm > 0.0 && left.is_finite(), "{left:?}");
        };
        let wanted = std::env::var("SSE_SAM_SOAK_STEPS").map_or(20_000, |steps| steps.parse().unwrap());
        let left = |machine: &OpenCl| (opencl::live_objects(), opencl::live_buffers(), machine.bytes());
        steps(&mut machine, wanted / 10);
        let (before, small) = (left(&machine), resident());
        steps(&mut machine, wanted);
        let (after, large) = (left(&machine), resident());
        eprintln!("{wanted} steps: objects, buffers and bytes of the device {before:?}, then {after:?}");
        eprintln!("bytes of the process: {small}, then {large}");
        assert_eq!(before, after);
        assert!(large <= small + small / 100, "{small} bytes, then {large}");
    });
}

#[test]
fn objects_and_memory_stay_flat() {
    let result = child("faults::child_keeps_objects_and_memory_flat", &[]);
    assert_passed(&result);
    eprint!("{}", String::from_utf8_lossy(&result.0.stderr));
}

#[test]
fn work_memory_of_several_buffers_is_one_memory() {
    each_device(|device| {
        let values = numbers(1, 300);
        let mut machine = OpenCl::with_segment(device, 300, &[], &[], 128).unwrap();
        for (at, length) in [(0, 128), (128, 100), (256, 44)] {
            machine.write(Span::work(at, length), &values[at..at + length]).unwrap();
        }
        machine.run(&Axpy { y: Span::work(256, 44), alpha: 1.0, x: Span::work(130, 44) }).unwrap();
        let mut found = [0.0; 44];
        machine.read(&mut found, Span::work(256, 44)).unwrap();
        assert!(found.iter().zip(&values[256..]).zip(&values[130..]).all(|((found, a), b)| *found == a + b));
        let straddling = machine.run(&Fill { to: Span::work(100, 60), value: 0.0 });
        assert!(matches!(straddling, Err(Error::Core(sse_sam_core::Error::Segment { .. }))), "{straddling:?}");
    });
}

#[test]
fn too_little_memory_is_said_before_any_is_taken() {
    each_device(|device| {
        let words = usize::try_from(device.global_memory / 4 + 1).unwrap();
        let refused = OpenCl::new(device, words, &[], &[]).err();
        assert!(matches!(refused, Some(Error::Memory { .. })), "{refused:?}");
        let conv = Conv2d::new(Shape::new(8, 8, 512), 512, 3, 1, 1).unwrap();
        let mut machine = OpenCl::new(device, 3_000_000, &[], &[]).unwrap();
        let [x, y, weight] = [(0, 32_768), (32_768, 32_768), (65_536, conv.weights())].map(|(at, n)| Span::work(at, n));
        let needed = machine.run(&Conv2dBackwardInput { dx: &[x], dy: &[y], weight, conv: &conv, accumulate: false });
        if let Err(error) = &needed {
            assert!(matches!(error, Error::Scratch { .. }), "{error}");
            machine.reserve_convolution(&conv, 1).unwrap();
            machine.run(&Conv2dBackwardInput { dx: &[x], dy: &[y], weight, conv: &conv, accumulate: false }).unwrap();
        }
    });
}
