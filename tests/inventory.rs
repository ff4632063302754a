//! What the sources say there is: the methods of the Backend trait.

use std::fs;
use std::path::Path;

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

/// Every method of the Backend trait.
///
/// # Panics
/// When core's source cannot be read.
pub fn backend_methods() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/machine/backend.rs");
    methods_of(&fs::read_to_string(path).expect("core/src/machine/backend.rs is readable"))
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
}
