//! Links a program for the board that QEMU emulates: `link/arm.x` or `link/riscv.x`.

fn main() {
    println!("cargo:rerun-if-changed=link");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/link");
    let script = match &*std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default() {
        "arm" => "arm.x",
        "riscv32" => "riscv.x",
        _ => return,
    };
    println!("cargo:rustc-link-arg-bins=-L{folder}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
}
