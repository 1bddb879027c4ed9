//! Pages as text files: each test's page must be its file in `golden/`, to the letter.
//!
//! `DBBALANCE_GOLDEN=write cargo test -p kubectl-dbbalance` writes them anew; look at them before you commit them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

/// Compares a page with its file.
pub(super) fn assert_page(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("DBBALANCE_GOLDEN").is_some_and(|v| v == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == wanted,
        "{} is not the page any more, which is now:\n{page}\nand was:\n{wanted}",
        path.display()
    );
}
