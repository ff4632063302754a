//! What NVIDIA's assembler makes of the kernels of the GPU class: registers, spills, stack and shared memory.
//!
//! No card is needed, and nothing is run: clang compiles the kernels to PTX, with libclc for the built-in functions,
//! and ptxas compiles that for a chip. A driver has its own front end and its own built-in functions, so a card's counts
//! may differ: those of clang 14, 15 and 19 do. Without clang, libclc or ptxas these tests say so and pass, unless
//! `SSE_SAM_REQUIRE_PTXAS=1`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use sse_sam::opencl::{Matrix, Tiling, Unit, units};
use sse_sam_tests::needs;

/// Chips that kernels are compiled for: A100 and H100. clang 15 knows the first only; ptxas goes on from there.
const CHIPS: [&str; 2] = ["sm_80", "sm_90"];

/// What multiplies matrices.
const MULTIPLIERS: [Matrix; 2] = [Matrix::Absent, Matrix::Instructions];

/// Most registers of a work-item: two groups of 256 then share the 65,536 of a multiprocessor.
const REGISTERS: u32 = 128;

/// Kernels that may have more, by the end of their name, and why. Groups of fewer than 256 work-items
/// still fit a multiprocessor as often.
const MORE_REGISTERS: &[(Matrix, &str, &str)] = &[
    (Matrix::Absent, "_128x32", "128 work-items"),
    (Matrix::Instructions, "_128x128", "64 sums each; its 8 warps keep the units for matrices busy alone"),
    (Matrix::Instructions, "_128x64", "128 work-items"),
    (Matrix::Instructions, "_64x64", "64 work-items"),
    (Matrix::Instructions, "_128x32", "64 work-items"),
];

/// Most registers that a work-item can have.
const ALL_REGISTERS: u32 = 255;

/// Most bytes of static shared memory of a group.
const SHARED: u32 = 32 << 10;

/// Bytes of stack of a work-item: an array with an index that is not constant is no registers.
const STACK: u32 = 0;

/// The programs that compile a kernel, and the built-in functions.
struct Tools {
    clang: String,
    ptxas: String,
    /// Bit code of libclc.
    library: String,
}

impl Tools {
    /// Those of the environment, or by the names that they have on Debian; none if one is missing.
    fn find() -> Option<Self> {
        let named = |variable, usual: &str| std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
        let tools = Self {
            clang: named("SSE_SAM_CLANG", "clang"),
            ptxas: named("SSE_SAM_PTXAS", "ptxas"),
            library: named("SSE_SAM_LIBCLC", "/usr/lib/clc/nvptx64--nvidiacl.bc"),
        };
        let runs = |tool: &String| Command::new(tool).arg("--version").output().is_ok();
        let found = runs(&tools.clang) && runs(&tools.ptxas) && Path::new(&tools.library).is_file();
        let missing =
            "clang, ptxas or libclc was not found; SSE_SAM_CLANG, SSE_SAM_PTXAS and SSE_SAM_LIBCLC say where they are";
        needs::found(found, "SSE_SAM_REQUIRE_PTXAS", missing).then_some(tools)
    }

    /// What the kernels of `unit` use on `chip`.
    fn compile(&self, unit: &Unit, chip: &str) -> Vec<Usage> {
        let folder = tempfile::tempdir().unwrap();
        let [source, assembly, binary] = ["kernels.cl", "kernels.ptx", "kernels.cubin"].map(|n| folder.path().join(n));
        std::fs::write(&source, &unit.text).unwrap();
        let mut clang = Command::new(&self.clang);
        clang.args(["-x", "cl", "-target", "nvptx64-nvidia-nvcl", "-O3", "-S", "-Wno-linker-warnings"]);
        for option in ["-target-cpu", CHIPS[0], "-target-feature", "+ptx75", "-finclude-default-header"] {
            clang.args(["-Xclang", option]);
        }
        clang.args(["-Xclang", "-mlink-builtin-bitcode", "-Xclang", &self.library]);
        clang
            .args(unit.options.split_whitespace())
            .arg("-o")
            .arg(&assembly)
            .stdin(File::open(&source).unwrap())
            .arg("-");
        run(&mut clang, unit.file);
        let mut ptxas = Command::new(&self.ptxas);
        ptxas.args(["-v", "-arch", chip]).arg(&assembly).arg("-o").arg(&binary);
        usages(&text(&run(&mut ptxas, unit.file).stderr))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(command: &mut Command, file: &str) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{file}: {command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    output
}

/// What a kernel uses: registers of a work-item; bytes of spilt registers and of stack of a work-item; bytes of shared
/// memory of a group.
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    kernel: String,
    registers: u32,
    spilt: u32,
    stack: u32,
    shared: u32,
}

impl Usage {
    /// The rules that it breaks.
    fn faults(&self, multiplier: Matrix) -> Vec<String> {
        let mut large = MORE_REGISTERS.iter().filter(|(matrix, ..)| *matrix == multiplier);
        let large = large.any(|(_, end, _)| self.kernel.ends_with(end));
        let registers = if large { ALL_REGISTERS } else { REGISTERS };
        let rules = [
            (self.registers, registers, "registers"),
            (self.spilt, 0, "bytes of spilt registers"),
            (self.stack, STACK, "bytes of stack"),
            (self.shared, SHARED, "bytes of shared memory"),
        ];
        // A kernel without registers is one whose line was not read.
        let broken = rules.iter().filter(|(used, most, what)| used > most || (*used == 0 && *what == "registers"));
        broken.map(|(used, most, what)| format!("{}: {used} {what}, at most {most}", self.kernel)).collect()
    }
}

/// What `ptxas -v` says of every kernel: a line with its name, one with its stack and one for each function that it
/// calls, one with its registers.
fn usages(log: &str) -> Vec<Usage> {
    let mut usages = Vec::new();
    for line in log.lines() {
        if let Some(kernel) =
            line.split_once("Compiling entry function '").and_then(|(_, rest)| rest.split('\'').next())
        {
            usages.push(Usage { kernel: kernel.to_owned(), registers: 0, spilt: 0, stack: 0, shared: 0 });
        }
        let Some(usage) = usages.last_mut() else { continue };
        for (number, unit) in numbers(line) {
            match unit {
                _ if unit.starts_with("bytes stack frame") => usage.stack = usage.stack.max(number),
                _ if unit.starts_with("bytes spill") => usage.spilt += number,
                _ if unit.starts_with("registers") => usage.registers = number,
                _ if unit.starts_with("bytes smem") => usage.shared = number,
                _ => {}
            }
        }
    }
    usages
}

/// The numbers of a line, each with what is behind it.
fn numbers(line: &str) -> impl Iterator<Item = (u32, &str)> {
    line.split([',', ':']).filter_map(|part| {
        let (number, unit) = part.trim().trim_start_matches("Used ").split_once(' ')?;
        Some((number.parse().ok()?, unit))
    })
}

#[test]
fn what_ptxas_reports_is_read_in_full() {
    let log = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'sgd_merge' for 'sm_90'
ptxas info    : Function properties for sgd_merge
    208 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 18 registers, used 1 barriers, 1024 bytes smem
ptxas info    : Compile time = 8.375 ms
";
    let usage = Usage { kernel: "sgd_merge".into(), registers: 18, spilt: 12, stack: 208, shared: 1024 };
    assert_eq!(usages(log), [usage]);
}

#[test]
fn kernels_of_the_gpu_class_fit_nvidia_chips() {
    let Some(tools) = Tools::find() else { return };
    let mut faults = Vec::new();
    for (chip, multiplier) in CHIPS.into_iter().flat_map(|chip| MULTIPLIERS.map(|multiplier| (chip, multiplier))) {
        println!("{:<42} registers  spilt  stack  shared", format!("{chip}, matrices: {multiplier:?}"));
        for unit in units(Tiling::Gpu, multiplier) {
            let usages = tools.compile(&unit, chip);
            assert!(!unit.kernels.is_empty(), "{} has no kernel", unit.file);
            let missing = |kernel: &&&str| !usages.iter().any(|usage| usage.kernel == **kernel);
            faults.extend(unit.kernels.iter().filter(missing).map(|kernel| format!("{kernel}: not compiled")));
            for usage in usages {
                let Usage { kernel, registers, spilt, stack, shared } = &usage;
                println!("{kernel:<42} {registers:>9} {spilt:>6} {stack:>6} {shared:>7}");
                faults.extend(usage.faults(multiplier).iter().map(|fault| format!("{chip}, {fault}")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
