//! Draws pages for a terminal, for the kubectl plugin and for the testbed's demo: colours, bars, tables, wrapped lines,
//! ages, and a screen that is redrawn in place.
//!
//! [`canvas`] and [`render`] are pure: whether there are colours, and how wide the terminal is, are values of a
//! [`Canvas`]. [`screen`] asks the terminal and writes to it.
#![forbid(unsafe_code)]

pub mod canvas;
pub mod render;
pub mod screen;

pub use canvas::{Canvas, Tone};
