//! The `dbbalance` program: parse, initialise, dispatch.
fn main() {}
