#![allow(clippy::unwrap_used)]
use super::*;
use crate::fixture::FixtureTree;

fn read_modules(files: &[(&str, &str)]) -> Result<Vec<(String, String)>, StructureError> {
    let fixture = FixtureTree::write_files(files).unwrap();
    let root = fixture.root_folder();
    let tree = ModuleTree::read_crate(root, Path::new(""), Path::new("src/lib.rs"))?;
    let describe = |x: &SourceModule| (x.display_path(), x.file.display().to_string());
    Ok(tree.modules.iter().map(describe).collect())
}

#[test]
fn modules_are_found_in_files_folders_inline_and_at_a_written_path() {
    let found = read_modules(&[
        ("src/lib.rs", "mod a; mod b { mod c; }"),
        ("src/a.rs", "mod d; #[path = \"../other/e.rs\"] mod e;"),
        ("src/b/c.rs", ""),
        ("src/a/d/mod.rs", "mod f;"),
        ("src/a/d/f.rs", ""),
        ("other/e.rs", ""),
    ])
    .unwrap();
    let names: Vec<(&str, &str)> = found.iter().map(|x| (x.0.as_str(), x.1.as_str())).collect();
    assert_eq!(
        names,
        [
            ("crate", "src/lib.rs"),
            ("a", "src/a.rs"),
            ("a::d", "src/a/d/mod.rs"),
            ("a::d::f", "src/a/d/f.rs"),
            ("a::e", "other/e.rs"),
            ("b", "src/lib.rs"),
            ("b::c", "src/b/c.rs"),
        ]
    );
}

#[test]
fn modules_for_tests_are_not_read_and_their_inline_lines_are_counted() {
    let text = "#[cfg(test)]\nmod missing;\nmod a;\n#[cfg(test)]\nmod b {\n    fn f() {}\n}\n";
    let fixture =
        FixtureTree::write_files(&[("src/lib.rs", text), ("src/a.rs", "#![cfg(test)]")]).unwrap();
    let root = fixture.root_folder();
    let tree = ModuleTree::read_crate(root, Path::new(""), Path::new("src/lib.rs")).unwrap();
    assert_eq!(tree.modules.len(), 1);
    assert_eq!(
        (tree.modules[0].file_lines, tree.modules[0].test_lines),
        (7, 4)
    );
}

#[test]
fn a_missing_file_and_broken_code_are_errors_with_their_place() {
    let missing = read_modules(&[("src/lib.rs", "\nmod a;")]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "src/lib.rs:2: the file of `mod a` is missing"
    );
    let broken = read_modules(&[("src/lib.rs", "fn f(\n")]).unwrap_err();
    assert!(broken.to_string().starts_with("src/lib.rs:"), "{broken}");
}
