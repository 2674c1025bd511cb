//! Operations on a breaker in any order. After every step the crate's state equals that of the model in `tests/model`.
//!
//! An input is a list of eight-byte steps. A disagreement names its step and prints the model, which contains the steps
//! before it.
//!
//! `cargo fuzz run operations`; `cargo fuzz tmin operations FILE` shortens an input that fails.
#![no_main]

#[path = "../../tests/model/operation.rs"]
mod operation;
#[path = "../../tests/model/reference.rs"]
mod reference;
#[path = "../../tests/model/rules.rs"]
mod rules;
#[path = "../../tests/model/side_by_side.rs"]
mod side_by_side;

use libfuzzer_sys::fuzz_target;
use operation::Step;

fuzz_target!(|bytes: &[u8]| {
    let steps: Vec<_> = bytes.chunks_exact(STEP).map(read).collect();
    side_by_side::run(&steps).unwrap_or_else(|disagreement| panic!("{disagreement}"));
});

const STEP: usize = 8;

fn read(bytes: &[u8]) -> Step {
    let bytes: [u8; STEP] = bytes.try_into().expect("as many");
    Step::from(bytes)
}
