//! What the sources say there is: the methods of the Backend trait, and the kernels.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// The names in `source` of methods that take `&mut self`, between `pub trait Backend` and its closing brace.
fn methods_of(source: &str) -> Vec<String> {
    let text = source.split_once("pub trait Backend").expect("there is a Backend trait").1;
    let text = text.split_once("\n}").expect("the trait ends").0;
    let takes_self =
        |rest: &&str| rest.split_once('(').is_some_and(|(_, rest)| rest.trim_start().starts_with("&mut self"));
    text.split("\n    fn ").skip(1).filter(takes_self).map(identifier).collect()
}

/// The names of the kernels in `source`: what stands before the argument list after each `__kernel`.
fn kernels_of(source: &str) -> Vec<String> {
    let code: Vec<&str> = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let after_void = |rest: &str| rest.split_once("void").map(|(_, name)| identifier(name.trim_start()));
    code.split("__kernel").skip(1).filter_map(after_void).collect()
}

/// Every method of the Backend trait.
///
/// # Panics
/// When core's source cannot be read.
pub fn backend_methods() -> Vec<String> {
    methods_of(&fs::read_to_string(root().join("core/src/backend.rs")).expect("core/src/backend.rs is readable"))
}

/// Every kernel, as (file, name); none when there is no kernel file.
///
/// # Panics
/// When the folder of kernels cannot be read.
pub fn kernels() -> Vec<(String, String)> {
    let mut kernels = Vec::new();
    for entry in fs::read_dir(root().join("kernels")).expect("the folder of kernels is readable") {
        let path = entry.expect("a folder's entry is readable").path();
        if path.extension().is_some_and(|extension| extension == "cl") {
            let source = fs::read_to_string(&path).expect("a kernel file is readable");
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            kernels.extend(kernels_of(&source).into_iter().map(|kernel| (file.clone(), kernel)));
        }
    }
    kernels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_on_one_line_and_on_many_are_found() {
        let source = "fn no(&mut self);\npub trait Backend {\n    type Error;\n\n    /// fn doc(&mut self)\n    fn a(&mut self);\n    \
                      fn b_c(\n        &mut self,\n    ) -> u8;\n    fn d(x: u8);\n}\nfn e(&mut self);";
        assert_eq!(methods_of(source), ["a", "b_c"]);
    }

    #[test]
    fn kernels_with_attributes_and_line_breaks_are_found() {
        let source = "// __kernel void no(\n__kernel void axpy(uint n)\n__kernel __attribute__((reqd_work_group_size(1, 1, 1)))\n\
                      void sgd_norm(\n";
        assert_eq!(kernels_of(source), ["axpy", "sgd_norm"]);
    }
}
