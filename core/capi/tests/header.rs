//! `include/sse_sam.h` is what cbindgen makes of the sources.

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_what_cbindgen_makes_of_the_sources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bindings = cbindgen::Builder::new()
        .with_config(cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap())
        .with_src(folder.join("src/lib.rs"))
        .with_src(folder.join("src/handle.rs"))
        .with_src(folder.join("src/values.rs"))
        .with_src(folder.join("src/status.rs"))
        .generate()
        .unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let (made, path) = (String::from_utf8(made).unwrap(), folder.join("include/sse_sam.h"));
    // What callers have to promise stands at the top of the header, once.
    if std::env::var_os("SSE_SAM_WRITE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(found == made, "SSE_SAM_WRITE_HEADER=1 cargo test -p sse-sam-capi --test header makes it anew:\n{made}");
}
