//! What clang makes of the kernels of the CPU class: where convolutions multiply, no vector register is spilt.
//!
//! No device is needed, and nothing is run: kernels are compiled to assembly for processors with registers of every width,
//! each with its own tiles, as drivers do it: every function inline. Of LLVM's assembly its comments are read, which name
//! loops and what is spilt. Without clang these tests say so and pass, unless `SSE_SAM_REQUIRE_CLANG=1`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use sse_sam::opencl::{Matrix, Tiling, Unit, units};
use sse_sam_tests::needs::{self, clang};

/// A processor: its name, its target, and the tiles for registers as wide as its own.
struct Processor {
    name: &'static str,
    target: &'static str,
    option: &'static str,
    tiles: Tiling,
}

const fn x86(name: &'static str, option: &'static str, tiles: Tiling) -> Processor {
    Processor { name, target: "x86_64-unknown-linux-gnu", option, tiles }
}

const PROCESSORS: [Processor; 4] = [
    x86("haswell", "-march=haswell", Tiling::Cpu8),
    x86("znver3", "-march=znver3", Tiling::Cpu8),
    x86("skylake-avx512", "-march=skylake-avx512", Tiling::Cpu16),
    Processor {
        name: "cortex-a76",
        target: "aarch64-unknown-linux-gnu",
        option: "-mcpu=cortex-a76",
        tiles: Tiling::Cpu4,
    },
];

/// Goes in front of the kernels: functions as a driver has them, where clang alone would call them or refuse a kernel.
const FRONT: &str = "\
#define inline __attribute__((always_inline)) inline
#define __kernel
#define __local
#define reqd_work_group_size(x, y, z) noinline
#define FUSED(type)                                                                                  \\
  static __attribute__((overloadable)) inline type fused(const type a, const type b, const type c) { \\
    _Pragma(\"OPENCL FP_CONTRACT ON\") return a * b + c;                                               \\
  }
FUSED(float) FUSED(float4) FUSED(float8) FUSED(float16)
#define fma fused
static inline uint smaller(const uint a, const uint b) { return a < b ? a : b; }
#define min smaller
";

/// Files with convolutions on CPUs.
const FILES: [&str; 2] = ["convolution_tile.cl", "winograd.cl"];

/// Ends of the names of kernels that move or transform numbers only.
const NO_PRODUCTS: [&str; 5] = ["_pack", "_weights", "_merge", "_windows", "_gradients"];

/// What an innermost loop does with vectors.
#[derive(Clone, Debug, Default)]
struct Loop {
    kernel: String,
    multiply_adds: u32,
    loads: u32,
    stores: u32,
    spilt: u32,
    reloaded: u32,
}

impl Loop {
    /// Counts an instruction, with its comment.
    fn count(&mut self, line: &str) {
        let (code, comment) = line.split_once(" # ").or_else(|| line.split_once("//")).unwrap_or((line, ""));
        let code = code.split('#').next().unwrap_or(code).trim();
        let (name, operands) = code.split_once(char::is_whitespace).unwrap_or((code, ""));
        let arm = ["ld", "st", "fml"].iter().any(|start| name.starts_with(start));
        let starts = |c: char| operands.split([',', ' ', '{']).any(|word| is_register(word.trim(), c));
        let vector = ["%xmm", "%ymm", "%zmm"].iter().any(|register| operands.contains(register))
            || (arm && (starts('q') || starts('v')));
        if !vector {
            return;
        }
        let packed = (name.starts_with("vfm") || name.starts_with("vfnm")) && name.ends_with("ps");
        self.multiply_adds += u32::from(packed || name.starts_with("fml"));
        let memory = operands.contains('(') || (operands.contains('[') && !name.starts_with("fml"));
        let stores = memory && (name.starts_with("st") || operands.ends_with(')'));
        let both = u32::from(name.starts_with("ldp") || name.starts_with("stp")) + 1;
        self.stores += if stores { both } else { 0 };
        self.loads += if memory && !stores { both } else { 0 };
        let whole = ["16-byte", "32-byte", "64-byte"].iter().any(|size| comment.contains(size));
        self.spilt += if whole && comment.contains("Spill") { both } else { 0 };
        self.reloaded += u32::from(whole && comment.contains("Reload"));
    }

    /// Whether it adds up products and stores none: those of transforms and copies store what they make.
    fn only_multiplies(&self) -> bool {
        self.multiply_adds >= 8 && self.stores == self.spilt
    }

    /// Whether registers would do.
    fn is_clean(&self) -> bool {
        self.spilt + self.reloaded == 0
    }
}

/// Whether a word of ARM's assembly names this vector register: `q3`, `v3.4s`.
fn is_register(word: &str, start: char) -> bool {
    word.strip_prefix(start).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The innermost loops of some assembly of LLVM's, by the comments of their blocks.
fn loops(assembly: &str) -> Vec<Loop> {
    let mut loops: BTreeMap<(String, String), Loop> = BTreeMap::new();
    let (mut kernel, mut block, mut header) = (String::new(), String::new(), None);
    for line in assembly.lines() {
        if let Some(label) = line.split_once(':').map(|(label, _)| label).filter(|label| is_label(label)) {
            match label.strip_prefix(".L") {
                Some(own) => block = own.to_owned(),
                None => kernel = label.to_owned(),
            }
            header = None;
        } else if line.starts_with("# %bb") || line.starts_with("// %bb") {
            header = None;
        }
        if let Some((_, rest)) = line.split_once("in Loop: Header=") {
            header = rest.split_whitespace().next().map(str::to_owned);
        }
        if line.contains("This Inner Loop Header") {
            header = Some(block.clone());
            loops.insert((kernel.clone(), block.clone()), Loop { kernel: kernel.clone(), ..Loop::default() });
        }
        let inside = header.as_ref().and_then(|header| loops.get_mut(&(kernel.clone(), header.clone())));
        if let Some(inside) = inside.filter(|_| line.starts_with('\t') && !line.starts_with("\t.")) {
            inside.count(line.trim());
        }
    }
    loops.into_values().collect()
}

/// Whether it is the label of a function or of a block.
fn is_label(label: &str) -> bool {
    let own = label.strip_prefix(".L").unwrap_or(label);
    own.starts_with(char::is_alphabetic) && own.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// The assembly of a file for a processor.
fn compile(clang: &str, unit: &Unit, processor: &Processor) -> String {
    let mut command = Command::new(clang);
    command.args(["-x", "cl", "-O3", "-Xclang", "-finclude-default-header", "-S", "-target", processor.target]);
    command.arg(processor.option).args(unit.options.split_whitespace()).args(["-o", "-", "-"]);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let text = format!("{FRONT}{}", unit.text);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", unit.file, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The innermost loops with multiply-adds of every convolution with these tiles; says what each does.
fn products(clang: &str, processor: &Processor, tiles: Tiling) -> Vec<Loop> {
    println!("{:<42} multiply-adds  loads each  spilt  reloaded", format!("{}, {tiles:?}", processor.name));
    let mut all = Vec::new();
    for unit in units(tiles, Matrix::Absent).filter(|unit| FILES.contains(&unit.file)) {
        let mut found = loops(&compile(clang, &unit, processor));
        found.retain(|one| one.multiply_adds > 0);
        for Loop { kernel, multiply_adds, loads, spilt, reloaded, .. } in &found {
            let each = f64::from(*loads) / f64::from(*multiply_adds);
            println!("{kernel:<42} {multiply_adds:>13} {each:>11.2} {spilt:>6} {reloaded:>9}");
        }
        for kernel in unit.kernels.iter().filter(|kernel| !NO_PRODUCTS.iter().any(|end| kernel.ends_with(end))) {
            let multiplies = found.iter().any(|one| one.kernel == **kernel && one.only_multiplies());
            assert!(multiplies, "{kernel} for {}: no loop that only multiplies was found", processor.name);
        }
        all.extend(found);
    }
    all
}

/// Whether this clang makes code for a processor; says so where it does not.
fn knows(clang: &str, processor: &Processor) -> bool {
    let architecture = processor.target.split('-').next().unwrap_or_default().replace('_', "-");
    let output = Command::new(clang).arg("-print-targets").output().unwrap();
    let known = String::from_utf8_lossy(&output.stdout).contains(&architecture);
    needs::found(known, "SSE_SAM_REQUIRE_CLANG", &format!("this clang makes no code for {architecture}"))
}

#[test]
fn no_vector_is_spilt_where_convolutions_multiply() {
    let Some(clang) = clang() else { return };
    for processor in PROCESSORS.iter().filter(|processor| knows(&clang, processor)) {
        for one in products(&clang, processor, processor.tiles) {
            // Transforms of 16 lanes hold up to 31 vectors of 32, and clang spills some of them.
            let checked = one.only_multiplies() || processor.tiles != Tiling::Cpu16;
            assert!(!checked || one.is_clean(), "{}: {one:?}", processor.name);
        }
    }
}

#[test]
fn the_widest_tiles_are_spilt_where_registers_are_narrow() {
    let Some(clang) = clang() else { return };
    let spilt = products(&clang, &PROCESSORS[0], Tiling::Cpu16);
    for kernel in ["conv2d_forward_winograd", "conv2d_forward_3x3_wide", "conv2d_backward_weight_3x3_deep"] {
        let spills = |one: &Loop| one.kernel == kernel && one.only_multiplies() && one.spilt > 0;
        assert!(spilt.iter().any(spills), "{kernel} is not spilt: what is read of the assembly?");
    }
}

#[test]
fn loops_and_spills_are_read_in_full() {
    let assembly = "\
sum:                                    # @sum
# %bb.0:
\tvmovups\t%ymm0, 32(%rsp)                  # 32-byte Spill
.LBB0_1:                                # =>This Loop Header: Depth=1
\tvmovups\t%ymm0, 64(%rsp)                  # 32-byte Spill
.LBB0_2:                                #   Parent Loop BB0_1 Depth=1
                                        # =>  This Inner Loop Header: Depth=2
\tvbroadcastss\t(%rdi), %ymm1
\tvfmadd213ps\t64(%rsp), %ymm1, %ymm2 # 32-byte Folded Reload
                                        # ymm2 = (ymm1 * ymm2) + mem
\tvmovups\t%ymm2, 96(%rsp)                  # 32-byte Spill
\tmovq\t%rax, 8(%rsp)                       # 8-byte Spill
# %bb.3:                                #   in Loop: Header=BB0_2 Depth=2
\tvmovaps\t%ymm2, (%rsi)
# %bb.4:                                #   in Loop: Header=BB0_1 Depth=1
\tvmovaps\t%ymm3, (%rsi)
arm:                                    // @arm
.LBB1_1:                                // =>This Inner Loop Header: Depth=1
\tldp\tq0, q1, [x0]
\tldr\tq2, [sp, #16]                    // 16-byte Folded Reload
\tfmla\tv3.4s, v0.4s, v2.s[0]
\tstp\tq0, q1, [sp, #32]                // 32-byte Folded Spill
\tstp\tx8, x9, [sp, #64]                // 16-byte Folded Spill
";
    let found = loops(assembly);
    let numbers = |one: &Loop| [one.multiply_adds, one.loads, one.stores, one.spilt, one.reloaded];
    assert_eq!(found.iter().map(|one| one.kernel.as_str()).collect::<Vec<_>>(), ["arm", "sum"]);
    assert_eq!([numbers(&found[0]), numbers(&found[1])], [[1, 3, 2, 2, 1], [1, 2, 2, 1, 1]]);
}
