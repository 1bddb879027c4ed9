//! Tests of the rules, one sentence per test.

mod broken;
mod dns_gate;
mod episodes;
mod equal_weights;
mod evidence;
mod others;
mod shares;
mod told;
mod weights;
