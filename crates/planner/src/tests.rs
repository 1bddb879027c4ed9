//! What the plan promises, each promise a sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod addresses;
mod bindings;
mod dns;
mod epochs;
mod gates;
mod harm;
mod holds;
mod incurable;
mod measured;
mod odds;
mod owners;
mod peers;
mod prepared;
mod privileges;
mod runs;
mod spent;
mod steer;
mod steps;
mod stories;
mod tape;
mod unmeasured;
mod worlds;
