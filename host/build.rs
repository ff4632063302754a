//! Puts an empty library where the linker looks for OpenCL: `opencl::loader` defines its functions and finds the real
//! library at run time.

use std::{env, fs, io, path::PathBuf};

/// An `ar` archive without members.
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let Some(folder) = env::var_os("OUT_DIR").map(PathBuf::from) else { return Ok(()) };
    fs::write(folder.join("libOpenCL.a"), EMPTY_ARCHIVE)?;
    fs::write(folder.join("OpenCL.lib"), EMPTY_ARCHIVE)?;
    println!("cargo:rustc-link-search=native={}", folder.display());
    Ok(())
}
