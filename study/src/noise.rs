//! A provider that fails at random for ten minutes, under several loads, and then goes down.

mod chart;
mod cost;
mod designs;
mod loads;
mod table;
mod traffic;

pub(crate) use self::{
    chart::draw,
    loads::{Load, run_all},
    table::of as table,
};
