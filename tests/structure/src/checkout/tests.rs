#![allow(clippy::unwrap_used)]
use super::*;
use crate::fixture::FixtureTree;

#[test]
fn tests_are_known_by_their_place_below_the_package() {
    for path in [
        "src/tests/a.rs",
        "src/plan/testing/a.rs",
        "src/a/tests.rs",
        "src/a_tests.rs",
    ] {
        assert!(is_test_path(Path::new(path)), "{path}");
    }
    for path in [
        "src/contests.rs",
        "src/tests_of_life.rs",
        "src/testing.rs",
        "src/a.rs",
    ] {
        assert!(!is_test_path(Path::new(path)), "{path}");
    }
}

#[test]
fn a_package_has_the_roots_that_its_manifest_and_its_folders_name() {
    let manifest = "[package]\nname = \"a\"\n[lib]\nname = \"b\"\npath = \"src/lib.rs\"\n\
                    [[bin]]\nname = \"c\"\npath = \"other/c.rs\"\n[[test]]\npath = \"t.rs\"\n";
    let tree = FixtureTree::write_files(&[
        ("crates/a/Cargo.toml", manifest),
        ("crates/a/src/lib.rs", ""),
        ("crates/a/other/c.rs", ""),
        ("crates/a/src/bin/d/main.rs", ""),
        ("crates/a/src/bin/e.rs", ""),
        ("crates/a/t.rs", ""),
        ("crates/readme.md", ""),
    ])
    .unwrap();
    let packages = find_production_packages(tree.root_folder()).unwrap();
    assert_eq!(packages.len(), 1);
    assert_eq!(packages[0].name, "a");
    let roots = [
        "src/lib.rs",
        "other/c.rs",
        "src/bin/d/main.rs",
        "src/bin/e.rs",
    ];
    let wanted: Vec<PathBuf> = roots
        .iter()
        .map(|x| Path::new("crates/a").join(x))
        .collect();
    assert_eq!(packages[0].roots, wanted);
}

#[test]
fn build_output_and_hidden_folders_are_not_walked() {
    let files = [
        ("a.rs", ""),
        ("target/b.rs", ""),
        (".git/c.rs", ""),
        ("d/e.rs", ""),
        ("f.txt", ""),
    ];
    let tree = FixtureTree::write_files(&files).unwrap();
    let found = find_rust_files(tree.root_folder()).unwrap();
    assert_eq!(found, [PathBuf::from("a.rs"), PathBuf::from("d/e.rs")]);
}

#[test]
fn dots_are_taken_out_of_paths() {
    assert_eq!(
        normalize_path(Path::new("a/b/../../c/./d.rs")),
        Path::new("c/d.rs")
    );
}
