//! What compilers other than this machine's drivers make of the kernels: processors of every width, and SPIR-V.
//!
//! No device is needed. Without clang these tests say so and pass, unless `SSE_SAM_REQUIRE_CLANG=1`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use sse_sam::opencl::{Matrix, Tiling, Unit, units};
use sse_sam_tests::needs::{clang, runs};

/// The tiles of CPUs, by the width of their registers.
const CPUS: [Tiling; 3] = [Tiling::Cpu4, Tiling::Cpu8, Tiling::Cpu16];

/// Every file that a device of some kind builds.
fn all_units() -> impl Iterator<Item = Unit> {
    let gpus = [(Tiling::Gpu, Matrix::Absent), (Tiling::Gpu, Matrix::Emulated)];
    let classes = CPUS.into_iter().map(|tiles| (tiles, Matrix::Absent)).chain(gpus);
    classes.flat_map(|(class, matrix)| units(class, matrix))
}

/// What clang says of a file that it compiles with these options.
fn compile(clang: &str, unit: &Unit, options: &[&str], to: &Path) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("kernels.cl");
    std::fs::write(&source, &unit.text).unwrap();
    let mut command = Command::new(clang);
    command.args(["-x", "cl", "-O2", "-Xclang", "-finclude-default-header", "-emit-llvm"]).args(options);
    command.args(unit.options.split_whitespace()).arg("-o").arg(to).arg("-").stdin(File::open(&source).unwrap());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn kernels_compile_without_a_word_for_processors_of_every_width() {
    let Some(clang) = clang() else { return };
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("kernels.bc");
    // SSE2, AVX2 and AVX-512; vectors of GPUs fit the registers of all.
    let own = [("x86-64", Tiling::Cpu4), ("haswell", Tiling::Cpu8), ("skylake-avx512", Tiling::Cpu16)];
    // The widest tiles are what any processor may be made to take.
    let processors = own.into_iter().chain([("x86-64", Tiling::Cpu16), ("haswell", Tiling::Cpu16)]);
    let wide =
        processors.flat_map(|(processor, tiles)| units(tiles, Matrix::Absent).map(move |unit| (processor, unit)));
    for (processor, unit) in wide.chain(units(Tiling::Gpu, Matrix::Absent).map(|unit| ("haswell", unit))) {
        let march = format!("-march={processor}");
        let output = compile(&clang, &unit, &["-c", "-target", "x86_64-unknown-linux-gnu", &march], &to);
        let said = text(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{} for {processor}:\n{said}", unit.file);
    }
}

/// LLVM's own functions that SPIR-V has instructions for, or that stand for nothing.
const KNOWN_TO_SPIRV: [&str; 6] = [
    "llvm.fmuladd.",
    "llvm.lifetime.",
    "llvm.memcpy.",
    "llvm.memset.",
    "llvm.assume",
    "llvm.experimental.noalias.scope",
];

#[test]
fn kernels_become_spir_v() {
    let Some(clang) = clang() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [assembly, code, spirv] = ["kernels.ll", "kernels.bc", "kernels.spv"].map(|name| folder.path().join(name));
    let translator = translator(&clang);
    // As drivers do it: they leave optimising to what comes behind SPIR-V.
    let options = ["-target", "spir64", "-Xclang", "-disable-llvm-passes"];
    for unit in all_units() {
        let output = compile(&clang, &unit, &[&options[..], &["-S"]].concat(), &assembly);
        assert!(output.status.success() && output.stderr.is_empty(), "{}:\n{}", unit.file, text(&output.stderr));
        let assembly = std::fs::read_to_string(&assembly).unwrap();
        for line in assembly.lines().filter(|line| line.starts_with("declare") && line.contains("@llvm.")) {
            let known = KNOWN_TO_SPIRV.iter().any(|name| line.contains(&format!("@{name}")));
            assert!(known, "{}: SPIR-V has nothing for {line}", unit.file);
        }
        if let Some(translator) = &translator {
            assert!(compile(&clang, &unit, &[&options[..], &["-c"]].concat(), &code).status.success());
            let output = Command::new(translator).arg(&code).arg("-o").arg(&spirv).output().unwrap();
            assert!(output.status.success(), "{}: {}", unit.file, text(&output.stderr));
        }
    }
}

/// The translator of clang's version, where there is one.
fn translator(clang: &str) -> Option<String> {
    let version = text(&Command::new(clang).arg("-dumpversion").output().unwrap().stdout);
    let name = format!("llvm-spirv-{}", version.split('.').next().unwrap_or_default());
    let found = runs(&name).then_some(name);
    if found.is_none() {
        eprintln!("no translator of clang {} was found: nothing is translated", version.trim());
    }
    found
}
