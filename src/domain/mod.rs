//! What the operator knows and decides, without any I/O: values in, values out.
//!
//! Nothing here awaits, reads a clock or the environment, or imports anything of ours but `api`.

pub mod topology;
pub mod tracker;
