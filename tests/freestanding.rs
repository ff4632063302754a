//! core has no panic path: a program whose panic handler cannot be linked links all the same.

use std::path::Path;
use std::process::{Command, Output};

use sse_sam_tests::needs::skip;

/// What the panic handler of the program calls; defined nowhere.
const SYMBOL: &str = "sse_sam_core_can_panic";

/// Builds the program, without the network if that is possible; features as `cargo` takes them.
fn build(features: &str) -> Output {
    let offline = run_cargo(features, &["--offline"]);
    let wants_network = String::from_utf8_lossy(&offline.stderr).contains("--offline");
    if wants_network { run_cargo(features, &[]) } else { offline }
}

fn run_cargo(features: &str, options: &[&str]) -> Output {
    // A folder for each set of features: the two tests run side by side.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("freestanding-{features}"));
    Command::new(env!("CARGO"))
        .args(["build", "--release", "--features", features, "--target-dir"])
        .arg(target)
        .args(options)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("freestanding"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo can be started")
}

/// The program is linked as GNU linkers want it; the same core is compiled everywhere, so one kind of machine decides.
fn can_link() -> bool {
    let can = cfg!(all(target_os = "linux", target_env = "gnu"));
    if !can {
        skip("links with GNU linkers on Linux only");
    }
    can
}

#[test]
fn core_links_where_no_panic_may_remain() {
    if can_link() {
        let output = build("");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_index_that_may_be_out_of_bounds_does_not_link() {
    if can_link() {
        let output = build("panics");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(SYMBOL), "{stderr}");
    }
}
