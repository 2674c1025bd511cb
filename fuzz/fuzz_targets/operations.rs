//! What happens to a breaker, in any order: the crate does what the model of `tests/model` does, after every step.
//!
//! An input is a list of steps of eight bytes. A model that disagrees says at which step, and what came before is in
//! the model that it prints.
//!
//! `cargo fuzz run operations`; `cargo fuzz tmin operations FILE` shortens what was found.
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
