//! The CPU backend agrees with the reference; and no method or kernel is without a conformance test.

use sse_sam_core::{Cpu, Error};
use sse_sam_tests::conformance::{Body, METHODS, Machine, Memory, Refusal};
use sse_sam_tests::inventory;

struct Processor;

impl Machine for Processor {
    type Error = Error;

    fn name(&self) -> String {
        "the CPU backend".to_owned()
    }

    fn alignment(&self) -> usize {
        1
    }

    fn with(&self, memory: &Memory, body: Body<'_, Error>) -> Result<(), Refusal> {
        let mut work = memory.work.clone();
        body(&mut Cpu::new(&mut work, &memory.constant, &memory.samples));
        Ok(())
    }
}

sse_sam_tests::conformance_tests!(Processor);

#[test]
fn every_backend_method_has_a_conformance_test() {
    let mut methods = inventory::backend_methods();
    let mut tested = METHODS.to_vec();
    methods.sort_unstable();
    tested.sort_unstable();
    assert_eq!(methods, tested);
}

#[test]
fn every_kernel_is_named_after_a_backend_method() {
    let methods = inventory::backend_methods();
    for (file, kernel) in inventory::kernels() {
        let named = methods.iter().any(|method| {
            kernel.strip_prefix(method.as_str()).is_some_and(|stage| stage.is_empty() || stage.starts_with('_'))
        });
        assert!(named, "{file}: no Backend method is called like the kernel {kernel}");
    }
}
