//! Holds the workspace to its layers and dependencies.
//!
//! The rules are the tables `LAYERS` and `DEPENDENCIES` of `src/layout.rs`. A failure names the
//! import or dependency, the rule, and what to do.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::Path;

use dbbalance_structure::dependencies::check_dependencies;
use dbbalance_structure::layers::{RuleViolation, check_layers};
use dbbalance_structure::layout::{DEPENDENCIES, LAYERS};

fn checkout_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn assert_no_violation(violations: &[RuleViolation]) {
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(
        texts.is_empty(),
        "the rules of tests/structure/src/layout.rs are broken:\n\n{}\n",
        texts.join("\n\n")
    );
}

#[test]
fn no_module_imports_one_of_a_higher_layer() {
    assert_no_violation(&check_layers(checkout_folder(), LAYERS).unwrap());
}

#[test]
fn no_package_depends_on_what_it_may_not() {
    assert_no_violation(&check_dependencies(checkout_folder(), DEPENDENCIES).unwrap());
}
