//! The interface from C: `interface.c` and `options.c`, compiled by the system's C compiler and linked with the static library.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The target whose sanitizer is Rust's and GCC's and Clang's alike.
const SANITIZED: &str = "x86_64-unknown-linux-gnu";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// The static library, instrumented for AddressSanitizer, without the network if that is possible.
fn library(target: &Path) -> PathBuf {
    let build = |options: &[&str]| {
        Command::new(env!("CARGO"))
            .args(["build", "--package", "sse-sam-c", "--target", SANITIZED, "--target-dir"])
            .arg(target)
            .args(options)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            // The sanitizer is an unstable option of a stable compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-Zsanitizer=address")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .expect("cargo can be started")
    };
    let mut output = build(&["--offline"]);
    if String::from_utf8_lossy(&output.stderr).contains("--offline") {
        output = build(&[]);
    }
    assert!(output.status.success(), "{}", text(&output));
    target.join(SANITIZED).join("debug/libsse_sam_c.a")
}

fn compiler() -> Command {
    Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

#[test]
fn every_function_does_its_work_and_refuses_bad_input_under_address_sanitizer() {
    let found = compiler().arg("--version").output().is_ok_and(|output| output.status.success());
    if !found || !cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
        // Written to standard error directly: the test harness hides what a passing test prints.
        let _ = writeln!(std::io::stderr(), "skipped: the C test needs a C compiler on x86-64 Linux");
        return;
    }
    let (source, out) = (Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let library = library(&out.join("library"));
    for name in ["interface", "options"] {
        let program = out.join(name);
        let compiled = compiler()
            .args(["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
            .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
            .arg("-I")
            .arg(source.join("include"))
            .arg(source.join("tests").join(name).with_extension("c"))
            .arg(&library)
            .args(["-lm", "-lpthread", "-ldl", "-o"])
            .arg(&program)
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", text(&compiled));
        let ran = Command::new(&program).output().unwrap();
        assert!(ran.status.success(), "{name}.c: {}", text(&ran));
    }
}
