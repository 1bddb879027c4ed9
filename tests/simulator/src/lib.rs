//! A simulator of DNS caches, pools and pods around the very code of `domain/balance`.
//!
//! Discrete events, seeded: the same seed gives the same run on every machine. The model: one random
//! reader an answer; every DNS cache keeps an answer 5 s; caches are shared and picked at random, or one a
//! node; a signal reaches its process in 50 to 300 ms and the pool looks up and reopens within 0.1 to
//! 2 s; an evicted pod's successor is ready in 10 to 30 s; one reading of all pods takes 1 to 3 s.
//!
//! It shows how the rule behaves and guards its defaults. It measures nothing real: the testbed does.
#![forbid(unsafe_code)]

pub mod blind;
pub mod blind_failover;
pub mod case;
pub mod dns;
pub mod failover;
pub mod figures;
mod narrowed;
pub mod steered;
pub mod table;
pub mod world;
