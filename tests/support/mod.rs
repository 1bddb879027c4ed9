//! What tests of several capabilities share. Each test file takes what it needs of it.
#![allow(dead_code)]

pub mod rds;
