//! What the plan promises, each promise a sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod addresses;
mod bindings;
mod by_name;
mod cluster;
mod dns;
mod drain;
mod epochs;
mod gates;
mod harm;
mod holds;
mod incurable;
mod leaving;
mod measured;
mod odds;
mod owners;
mod peers;
mod prepared;
mod privileges;
mod reopened;
mod runs;
mod spent;
mod steer;
mod steps;
mod stories;
mod successors;
mod tape;
mod unmeasured;
mod weights;
mod worlds;
