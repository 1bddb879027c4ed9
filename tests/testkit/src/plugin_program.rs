//! The kubectl plugin's program, as users install it.

use std::path::PathBuf;

/// Finds the built plugin: the file that `DBBALANCE_PLUGIN` names, else the release build of this checkout.
///
/// # Panics
/// If it was not built.
pub fn find_plugin_program() -> PathBuf {
    let built = crate::checkout_path("target/release/kubectl-dbbalance");
    let program = std::env::var_os("DBBALANCE_PLUGIN").map_or(built, PathBuf::from);
    assert!(
        program.is_file(),
        "{} is missing: build it by `make program`",
        program.display()
    );
    program
}
