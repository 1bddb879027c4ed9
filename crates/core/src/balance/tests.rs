//! What the rule says, one sentence a test.

mod broken;
mod dns_gate;
mod episodes;
mod evidence;
mod shares;
