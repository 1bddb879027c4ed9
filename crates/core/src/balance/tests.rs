//! Tests of the rules, one sentence per test.

mod broken;
mod dns_gate;
mod episodes;
mod evidence;
mod shares;
mod told;
