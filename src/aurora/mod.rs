//! The way to Aurora: reads clusters through the RDS API, and keeps on reading them.
//!
//! - [`validate`] says whether an answer is whole, and makes it a reading;
//! - [`rds`] asks AWS, two batched calls for up to a hundred clusters;
//! - [`poller`] asks at the right pace, one task per account role and region.
//!
//! It tells what was read and never acts on it: what a change means is decided in `domain` and `controller`.
