//! What the rule says, one sentence a test.

mod broken;
mod episodes;
mod evidence;
mod gate;
mod shares;
