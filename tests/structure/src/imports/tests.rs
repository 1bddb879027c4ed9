#![allow(clippy::unwrap_used)]
use std::path::Path;

use super::*;
use crate::fixture::FixtureTree;

fn list_imports(files: &[(&str, &str)]) -> Vec<String> {
    let fixture = FixtureTree::write_files(files).unwrap();
    let root = fixture.root_folder();
    let tree = ModuleTree::read_crate(root, Path::new(""), Path::new("src/lib.rs")).unwrap();
    let name = |index: usize| tree.modules[index].display_path();
    find_imports(&tree)
        .iter()
        .map(|x| format!("{} -> {} by {}", name(x.from), name(x.to), x.text))
        .collect()
}

#[test]
fn paths_lead_into_the_deepest_module_that_they_name() {
    let found = list_imports(&[
        ("src/lib.rs", "mod a; mod b;"),
        (
            "src/a.rs",
            "mod c; use crate::b::d::Item; use self::c::Inner; use c::Other;",
        ),
        (
            "src/a/c.rs",
            "use super::super::b; fn f(x: super::Outer) {}",
        ),
        ("src/b.rs", "pub mod d { pub struct Item; }"),
    ]);
    assert_eq!(
        found,
        [
            "a -> b::d by crate::b::d::Item",
            "a -> a::c by self::c::Inner",
            "a -> a::c by c::Other",
            "a::c -> b by super::super::b",
            "a::c -> a by super::Outer",
        ]
    );
}

#[test]
fn names_of_modules_that_use_brought_in_are_followed() {
    let found = list_imports(&[
        ("src/lib.rs", "mod a; mod b;"),
        (
            "src/a.rs",
            "use crate::b as other; fn f() { other::c::g() }",
        ),
        (
            "src/b.rs",
            "pub mod c { use super::*; fn g() { d::h() } } mod d { pub fn h() {} }",
        ),
    ]);
    assert_eq!(
        found,
        [
            "a -> b by crate::b",
            "a -> b::c by other::c::g",
            "b::c -> b by super::*",
            "b::c -> b::d by d::h",
        ]
    );
}

#[test]
fn other_crates_and_exported_macros_are_not_imports_and_an_alias_of_itself_ends() {
    let found = list_imports(&[
        ("src/lib.rs", "mod http; mod a;"),
        ("src/http.rs", ""),
        (
            "src/a.rs",
            "use http::Request; use ::http::Response; use x::y as x; fn f() { crate::log!(); x::z() }",
        ),
    ]);
    assert!(found.is_empty(), "{found:?}");
}
